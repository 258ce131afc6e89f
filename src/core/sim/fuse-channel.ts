import {assert} from '../base/assert.js';
import {
  type FuseChannel,
  type FuseHandler,
  type FuseStats,
  REQUEST,
  REQUEST_OFFSET,
  type Ticket,
} from '../env/fuse-channel.js';

const SLOT_BYTES = 4096 + (1 << 20) + 4096;
const HEAD_BYTES = 64 << 10;
const EBADF = 9;

export interface SimReply {
  errno: number;
  bytes: Uint8Array;
}

interface Call {
  ticket: Ticket;
  opcode: number;
  request: Uint8Array;
  resent: boolean;
  answer: (reply: SimReply) => void;
}

/** A reply as queued: the bytes are taken at the flush, as the kernel takes them. */
interface Queued {
  ticket: Ticket;
  errno: number;
  parts: {memory: Uint8Array; offset: number; length: number}[];
}

/**
 * The plain twin of the channel to the kernel: a test or a world plays the kernel with `call`, `interrupt`, `forget`
 * and `end`. Requests lie in slots at the same places, wait for slots in the same way, and replies leave when they
 * would, so what the door may touch when is the same.
 */
export class SimFuseChannel implements FuseChannel {
  readonly heads: {readonly u32: Uint32Array; readonly u8: Uint8Array};
  /** What was sent to the kernel, oldest first. */
  readonly notices: {code: number; body: Uint8Array}[] = [];
  /** Answers a notification with an errno. Default: 0. */
  onNotice: (code: number, body: Uint8Array) => number = () => 0;
  readonly #memory: Uint8Array;
  readonly #slots: number[][] = [[], []];
  readonly #waiting: Call[] = [];
  readonly #pending = new Map<Ticket, Call>();
  #queue: Queued[] = [];
  #handler: FuseHandler | undefined;
  #headNext = 0;
  #nextTicket = 0;
  #nextNotice = 0;
  #inBatch = false;
  #flushPromised = false;
  #closed = false;
  #failed = 0;
  readonly #ops: Record<number, number> = {};

  constructor(memory: ArrayBuffer) {
    this.#memory = new Uint8Array(memory);
    const heads = new ArrayBuffer(HEAD_BYTES);
    this.heads = {u32: new Uint32Array(heads), u8: new Uint8Array(heads)};
  }

  /** A request of the kernel; the body is what follows fuse_in_header. Waits for a slot, then for the door. */
  call(
    opcode: number,
    nodeid: number,
    body: Uint8Array,
    {uid = 0, gid = 0, pid = 1, resent = false} = {},
  ): {ticket: Ticket; reply: Promise<SimReply>} {
    const request = new Uint8Array(40 + body.length);
    const header = new DataView(request.buffer);
    header.setUint32(0, request.length, true);
    header.setUint32(4, opcode, true);
    header.setBigUint64(16, BigInt(nodeid), true);
    [uid, gid, pid].forEach((id, i) => void header.setUint32(24 + i * 4, id, true));
    request.set(body, 40);
    assert(REQUEST_OFFSET + request.length <= SLOT_BYTES, 'the request fits in a slot');
    const ticket = this.#nextTicket++;
    const reply = new Promise<SimReply>((answer) => {
      this.#waiting.push({ticket, opcode, request, resent, answer});
    });
    this.#deliver();
    return {ticket, reply};
  }

  /** The caller of a request has been sent a signal. Requests that are not read yet just vanish. */
  interrupt(ticket: Ticket): void {
    const at = this.#waiting.findIndex((call) => call.ticket === ticket);
    if (at >= 0) this.#waiting.splice(at, 1)[0]!.answer({errno: 4, bytes: new Uint8Array(0)});
    else if (this.#pending.has(ticket)) this.#batch((door) => door.interrupt(ticket));
  }

  forget(nodeid: number, count: number): void {
    this.#batch((door) => door.forget(nodeid, count));
  }

  /** Unmounted, or the device failed. */
  end(errno: number): void {
    this.#handler?.ended(errno);
  }

  start(handler: FuseHandler): void {
    assert(this.#handler === undefined, 'start() once');
    this.#handler = handler;
    this.#deliver();
  }

  get armed(): readonly [number, number] {
    return [this.#slots[0]!.length, this.#slots[1]!.length];
  }

  arm(slot: number, reserve: boolean): void {
    if (this.#closed) return;
    assert(slot % 4096 === 0 && slot >= 0 && slot + SLOT_BYTES <= this.#memory.length, 'a slot');
    assert(!this.#slots.some((list) => list.includes(slot)), 'the slot is armed already');
    this.#slots[reserve ? 1 : 0]!.push(slot);
    if (!this.#inBatch && this.#waiting.length > 0) queueMicrotask(() => this.#deliver());
  }

  #deliver(): void {
    if (this.#inBatch || this.#closed || this.#handler === undefined) return;
    while (this.#waiting.length > 0) {
      const reserve = this.#slots[0]!.length === 0;
      const slot = this.#slots[reserve ? 1 : 0]!.pop();
      if (slot === undefined) return;
      const call = this.#waiting.shift()!;
      this.#pending.set(call.ticket, call);
      this.#ops[call.opcode] = (this.#ops[call.opcode] ?? 0) + 1;
      this.#memory.set(call.request, slot + REQUEST_OFFSET);
      const flags = (reserve ? REQUEST.fromReserve : 0) | (call.resent ? REQUEST.resent : 0);
      this.#batch((door) => door.request(call.ticket, slot, flags));
    }
  }

  #batch(tell: (door: FuseHandler) => void): void {
    if (this.#handler === undefined || this.#closed) return;
    this.#inBatch = true;
    try {
      tell(this.#handler);
      this.#handler.batchEnd();
    } finally {
      this.#inBatch = false;
      this.flush();
    }
  }

  head(bytes: number): number {
    if (this.#headNext + bytes > HEAD_BYTES) this.flush();
    const at = this.#headNext;
    this.#headNext += (bytes + 7) & ~7;
    return at;
  }

  replyError(ticket: Ticket, errno: number): void {
    assert(errno >= 0 && errno < 512, `errno ${errno}`);
    this.#push({ticket, errno, parts: []});
  }

  replyHead(ticket: Ticket, head: number, bytes: number): void {
    const parts = [{memory: this.heads.u8, offset: head, length: bytes}];
    this.#push({ticket, errno: 0, parts});
  }

  replyData(ticket: Ticket, pairs: ArrayLike<number>, count: number): void {
    const parts = Array.from({length: count}, (_, i) => ({
      memory: this.#memory,
      offset: pairs[i * 2]!,
      length: pairs[i * 2 + 1]!,
    }));
    this.#push({ticket, errno: 0, parts});
  }

  #push(reply: Queued): void {
    this.#queue.push(reply);
    if (this.#inBatch || this.#flushPromised) return;
    this.#flushPromised = true;
    queueMicrotask(() => {
      this.#flushPromised = false;
      this.flush();
    });
  }

  flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#headNext = 0;
    if (this.#closed) return;
    for (const {ticket, errno, parts} of queue) {
      const call = this.#pending.get(ticket);
      if (call === undefined) {
        this.#failed++;
        this.#handler?.replyFailed(ticket, EBADF);
        continue;
      }
      this.#pending.delete(ticket);
      const pieces = parts.map((p) => p.memory.slice(p.offset, p.offset + p.length));
      call.answer({errno, bytes: Buffer.concat(pieces)});
    }
  }

  notify(code: number, body: Uint8Array): number {
    if (this.#closed) return 0;
    const id = ++this.#nextNotice;
    const copy = body.slice();
    this.notices.push({code, body: copy});
    queueMicrotask(() => this.#handler?.notified(id, this.onNotice(code, copy)));
    return id;
  }

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  get noticeBegun(): number {
    return this.#nextNotice;
  }

  stats(): FuseStats {
    const zero = {wakes: 0, reads: 0, emptyReads: 0, replies: 0, goneReplies: 0, forgets: 0};
    const last = {lastFailedErrno: 0, lastFailedOpcode: 0, interrupts: 0, droppedInterrupts: 0};
    const lingering = {lingers: 0, lingerHits: 0};
    const rest = {starved: 0, reserveUsed: 0, notices: this.notices.length, failedNotices: 0};
    const now = {failedReplies: this.#failed, pending: this.#pending.size, ops: {...this.#ops}};
    return {...zero, ...last, ...rest, ...lingering, ...now};
  }

  close(): void {
    this.flush();
    this.#closed = true;
  }
}
