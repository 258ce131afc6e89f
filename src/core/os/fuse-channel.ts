import {assert} from '../base/assert.js';
import type {FuseChannel, FuseHandler, FuseStats, Ticket} from '../env/fuse-channel.js';
import {type FuseNative, fuseNative, type NativeChannel} from './fuse-native.js';

const INTERRUPT = 2;
/** A sleep and a wake-up cost more than this on both sides. Spent only while requests come one after the other and nobody waits (native/fuse). */
const LINGER_NS = 50_000;
const REPLY_WORDS = 6;
/** A reply of one part is the common one: this many leave in one flush. */
const HEAD_BYTES_MAX = 4096;
const STAT_NAMES = [
  'wakes',
  'reads',
  'emptyReads',
  'replies',
  'failedReplies',
  'goneReplies',
  'lastFailedErrno',
  'lastFailedOpcode',
  'forgets',
  'interrupts',
  'droppedInterrupts',
  'starved',
  'reserveUsed',
  'notices',
  'failedNotices',
  'pending',
  'lingers',
  'lingerHits',
] as const;

/**
 * /dev/fuse behind the native channel. Takes the descriptor over. The memory must stay attached; slots are the ones
 * of its pool.
 */
export class DeviceFuseChannel implements FuseChannel {
  readonly heads: {readonly u32: Uint32Array; readonly u8: Uint8Array};
  readonly #layout: FuseNative['layout'];
  readonly #native: NativeChannel;
  readonly #control: Float64Array;
  #handler: FuseHandler | undefined;
  #closed = false;
  /** Replies in the control block, and the word after the last of them. */
  #queued = 0;
  #next: number;
  #headNext = 0;
  #inBatch = false;
  #flushPromised = false;
  readonly #armed: [number, number] = [0, 0];
  #noticeId = 0;

  constructor(device: number, memory: ArrayBuffer) {
    const native = fuseNative();
    this.#layout = native.layout;
    const control = new ArrayBuffer(this.#layout.controlBytes);
    this.#control = new Float64Array(control, 0, this.#layout.heads);
    const headStart = this.#layout.heads * 8;
    this.heads = {
      u32: new Uint32Array(control, headStart, this.#layout.headBytes / 4),
      u8: new Uint8Array(control, headStart, this.#layout.headBytes),
    };
    this.#next = this.#layout.replies;
    this.#native = new native.Channel(
      device,
      memory,
      control,
      (requests, forgets) => this.#batch(requests, forgets),
      (count) => this.#notified(count),
      (errno) => this.#handler?.ended(errno),
      LINGER_NS,
    );
  }

  start(handler: FuseHandler): void {
    assert(this.#handler === undefined, 'start() once');
    this.#handler = handler;
  }

  get armed(): readonly [number, number] {
    return this.#armed;
  }

  arm(slot: number, reserve: boolean): void {
    assert(this.#handler !== undefined, 'start() before arm()');
    if (this.#closed) return;
    const errno = this.#native.arm(slot, reserve);
    assert(errno === 0, `arm(${slot}): errno ${errno}`);
    this.#armed[reserve ? 1 : 0]++;
  }

  head(bytes: number): number {
    assert(bytes <= HEAD_BYTES_MAX, `a head of ${bytes} bytes`);
    if (this.#headNext + bytes > this.#layout.headBytes) this.flush();
    const at = this.#headNext;
    this.#headNext += (bytes + 7) & ~7;
    return at;
  }

  replyError(ticket: Ticket, errno: number): void {
    this.#queue(ticket, errno, 0, 0, 0);
  }

  replyHead(ticket: Ticket, head: number, bytes: number): void {
    this.#queue(ticket, 0, -1 - head, bytes, 0);
  }

  replyData(ticket: Ticket, pairs: ArrayLike<number>, count: number): void {
    assert(count <= this.#layout.segmentsMax, `a reply of ${count} segments`);
    if (count <= 1) {
      this.#queue(ticket, 0, count === 0 ? 0 : pairs[0]!, count === 0 ? 0 : pairs[1]!, 0);
      return;
    }
    const at = this.#queue(ticket, 0, 0, 0, count);
    for (let i = 0; i < count * 2; i++) this.#control[at + REPLY_WORDS + i] = pairs[i]!;
  }

  /** Appends a record with room for `segments`; returns the word where it starts. */
  #queue(ticket: Ticket, errno: number, offset: number, length: number, segments: number): number {
    const words = REPLY_WORDS + 2 * segments;
    const end = this.#layout.replies + this.#layout.repliesCount;
    // The heads that have been given out stay where they are until the next head() or flush() of the caller.
    if (this.#next + words > end) this.#send();
    const at = this.#next;
    const control = this.#control;
    control[at] = ticket;
    control[at + 1] = errno;
    control[at + 2] = offset;
    control[at + 3] = length;
    control[at + 4] = segments;
    this.#next += words;
    this.#queued++;
    if (!this.#inBatch && !this.#flushPromised) {
      this.#flushPromised = true;
      queueMicrotask(() => {
        this.#flushPromised = false;
        this.flush();
      });
    }
    return at;
  }

  flush(): void {
    this.#send();
    this.#headNext = 0;
  }

  #send(): void {
    const count = this.#queued;
    this.#queued = 0;
    this.#next = this.#layout.replies;
    if (count === 0 || this.#closed) return;
    if (this.#native.flush(count) !== 0) this.#reportFailed(count);
  }

  #reportFailed(count: number): void {
    // Copied first: the handler may queue replies over the records.
    const failed: [Ticket, number][] = [];
    for (let i = 0, at = this.#layout.replies; i < count; i++) {
      const errno = this.#control[at + 5]!;
      if (errno !== 0) failed.push([this.#control[at]!, errno]);
      at += REPLY_WORDS + 2 * this.#control[at + 4]!;
    }
    for (const [ticket, errno] of failed) this.#handler?.replyFailed(ticket, errno);
  }

  #batch(requests: number, forgets: number): void {
    const handler = this.#handler!;
    const control = this.#control;
    this.#inBatch = true;
    try {
      for (let i = 0, at = this.#layout.requests; i < requests; i++, at += 3) {
        const flags = control[at + 2]!;
        if ((flags & INTERRUPT) !== 0) {
          handler.interrupt(control[at]!);
          continue;
        }
        this.#armed[flags & 1]!--;
        handler.request(control[at]!, control[at + 1]!, flags);
      }
      for (let i = 0, at = this.#layout.forgets; i < forgets; i++, at += 2) {
        handler.forget(control[at]!, control[at + 1]!);
      }
      handler.batchEnd();
    } finally {
      this.#inBatch = false;
      this.flush();
    }
  }

  #notified(count: number): void {
    const at = this.#layout.notified;
    const done = this.#control.slice(at, at + count * 2);
    for (let i = 0; i < count; i++) this.#handler?.notified(done[i * 2]!, done[i * 2 + 1]!);
  }

  notify(code: number, body: Uint8Array): number {
    if (this.#closed) return 0;
    return this.#native.notify(this.#noticeId + 1, code, body) ? ++this.#noticeId : 0;
  }

  get empty(): boolean {
    return this.#closed || this.#native.empty();
  }

  get noticeBegun(): number {
    return this.#closed ? this.#noticeId : this.#native.begun();
  }

  stats(): FuseStats {
    const at = this.#layout.stats;
    const counts = STAT_NAMES.map((name, i) => [name, this.#control[at + i]!] as const);
    const ops: Record<number, number> = {};
    for (let i = 0; i < this.#layout.opcodesCount; i++) {
      const count = this.#control[this.#layout.opcodes + i]!;
      if (count !== 0) ops[i] = count;
    }
    return {...(Object.fromEntries(counts) as Omit<FuseStats, 'ops'>), ops};
  }

  close(): void {
    if (this.#closed) return;
    this.#send();
    this.#closed = true;
    this.#native.close();
  }
}
