import type {OnReadOpts, Socket} from 'node:net';
import {assert} from '../base/assert.js';
import type {Identity} from '../base/identity.js';
import type {BufferPool, Segment, Slot} from '../base/pool.js';
import {KIB, MIB} from '../base/units.js';
import type {Connection, ConnectionHandler} from '../env/net.js';
import {
  encodeHead,
  FLAG,
  FrameReader,
  HEADER_BYTES,
  type Header,
  payloadLength,
  payloadSumOf,
} from '../protocol/frame.js';
import type {FrameSeal} from './frame-seal.js';

/** Eight of the largest payloads: what keeps a link of 10 Gbit/s busy for 6 ms. */
const QUEUE_BYTES_MAX = 8 * MIB;
/** One writev each; a batch takes frames until it has this many bytes or pieces. Half of IOV_MAX, so one call does. */
const BATCH_BYTES = MIB;
const BATCH_CHUNKS = 512;
/** Headers and messages of one batch lie together in one buffer. */
const HEAD_BYTES = 64 * KIB;
/** A longer message is not copied there but is a piece of its own. */
const MESSAGE_COPY_BYTES = 8 * KIB;
/** How long `close` waits for what was sent before it. */
const LINGER_MS = 1000;
/** So many head buffers are kept for reuse: 4 MiB. */
const HEADS_KEPT = 64;

/** A buffer for headers and messages, with its two views. */
interface Head {
  bytes: Buffer<ArrayBuffer>;
  view: DataView<ArrayBuffer>;
}

/** What all connections of one Net moved since the start. */
export interface NetStats {
  framesIn: number;
  framesOut: number;
  /** With headers; what came of a frame that was cut is in it. */
  bytesIn: number;
  bytesOut: number;
  /** Batches handed to the kernel, one writev each. */
  writes: number;
}

/** What all connections of one Net have in common. */
export interface TcpShared {
  pool: BufferPool;
  readonly stats: NetStats;
  heads: Head[];
  /** Where a connection that has just been paused would read next; see `#space`. */
  spill: Buffer;
}

export function tcpShared(pool: BufferPool): TcpShared {
  const stats = {framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0, writes: 0};
  return {pool, stats, heads: [], spill: Buffer.alloc(4 * KIB)};
}

/** Frames that leave with one writev. */
class Batch {
  readonly head: Head;
  readonly chunks: Uint8Array[] = [];
  readonly slots: Slot[] = [];
  bytes = 0;
  /** head.bytes[start, end) is not in `chunks` yet. */
  #start = 0;
  end = 0;

  constructor(shared: TcpShared) {
    const view = shared.heads.pop();
    this.head = view ?? newHead();
  }

  hasRoom(messageBytes: number): boolean {
    const copied = messageBytes > MESSAGE_COPY_BYTES ? 0 : messageBytes;
    return (
      this.bytes < BATCH_BYTES &&
      this.chunks.length < BATCH_CHUNKS &&
      this.end + HEADER_BYTES + copied <= HEAD_BYTES
    );
  }

  /** Closes the stretch of the head buffer that has been filled since the last chunk. */
  cut(): void {
    if (this.end === this.#start) return;
    this.chunks.push(this.head.bytes.subarray(this.#start, this.end));
    this.#start = this.end;
  }
}

function newHead(): Head {
  const bytes = Buffer.from(new ArrayBuffer(HEAD_BYTES));
  return {bytes, view: new DataView(bytes.buffer)};
}

const noHandler: ConnectionHandler = {frame: () => {}, closed: () => {}, drained: () => {}};

/**
 * One TCP connection. Received payload lands in its slot without a copy in JavaScript, except for what came along
 * with the header. What is sent within one turn leaves with one writev; slots are released when it has returned.
 */
export class TcpConnection implements Connection {
  readonly queueLimit = QUEUE_BYTES_MAX;
  readonly onread: OnReadOpts;
  readonly identity: Identity | null;
  readonly #shared: TcpShared;
  readonly #reader: FrameReader;
  readonly #seal: FrameSeal | null;
  /** Came through a stream that chooses its own buffers, and waits until frames may be taken. */
  #rest: Buffer | null = null;
  #socket: Socket | null = null;
  #handler: ConnectionHandler = noHandler;
  #queued = 0;
  #overLimit = false;
  #batches: Batch[] = [];
  #writing: Batch | null = null;
  #flushPlanned = false;
  #pumpPlanned = false;
  /** Until there is a handler nobody could take a frame. */
  #paused = true;
  /** The socket does not read: paused, or no slot for the payload. */
  #stopped = false;
  #waitsForSlot = false;
  #spilled = false;
  #closed = false;
  /** Frames that came, and when it was last looked at; and for how many looks none has. */
  #frames = 0;
  #seen = 0;
  #looks = 0;
  #linger: NodeJS.Timeout | null = null;

  constructor(
    shared: TcpShared,
    readonly peer: string,
    secured: {identity: Identity; seal: FrameSeal | null} | null = null,
  ) {
    this.#shared = shared;
    this.identity = secured?.identity ?? null;
    this.#seal = secured?.seal ?? null;
    this.#reader = new FrameReader(shared.pool);
    this.onread = {
      buffer: () => this.#space() as Buffer,
      callback: (count) => {
        this.#received(count);
        return true; // Stopping is done by `pause` of the socket.
      },
    };
  }

  /** Once, with the connected socket that was made with `onread`. */
  attach(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#fail(error.message));
    socket.on('end', () => this.#fail(this.#reader.idle ? 'closed by the peer' : 'cut in a frame'));
    socket.on('close', () => {
      this.#fail('closed');
      this.#dropAll();
    });
  }

  /** Once, with a stream that does not read into buffers of ours. */
  attachStream(stream: Socket): void {
    stream.on('data', (bytes: Buffer) => this.#came(bytes));
    this.attach(stream);
  }

  get queuedBytes(): number {
    return this.#queued;
  }

  /** From time to time. Ends it when it was in the midst of the same frame for so many looks, and not because of this side. True: it has ended. */
  looked(most: number): boolean {
    const {idle, starved} = this.#reader;
    const same = this.#frames === this.#seen;
    this.#seen = this.#frames;
    if (idle || starved || this.#stopped || !same) this.#looks = 0;
    else if (++this.#looks >= most) this.#fail('a frame has not come to its end');
    return this.#closed;
  }

  handle(handler: ConnectionHandler): void {
    this.#handler = handler;
    this.resume();
  }

  pause(): void {
    this.#paused = true;
    this.#stop();
  }

  resume(): void {
    this.#paused = false;
    this.#planPump();
  }

  send(
    type: number,
    flags: number,
    id: number,
    status: number,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): void {
    if (this.#closed) {
      if (payload !== null) for (const {slot} of payload) this.#shared.pool.release(slot);
      return;
    }
    const sealed =
      this.#seal === null ? message : this.#seal.close(type, flags, id, status, message, payload);
    const payloadBytes = payloadLength(payload);
    const payloadSum =
      (flags & FLAG.payloadSum) !== 0 ? payloadSumOf(this.#shared.pool, payload ?? []) : 0;
    const messageBytes = sealed.length;
    this.#append(
      {type, flags, id, status, messageBytes, payloadBytes, payloadSum},
      sealed,
      payload,
    );
    if (this.#queued > QUEUE_BYTES_MAX) this.#overLimit = true;
    this.#planFlush();
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#end(reason);
    this.#flush();
    if (this.#queued === 0) this.#socket?.destroy();
    else this.#linger = setTimeout(() => this.#socket?.destroy(), LINGER_MS);
  }

  #append(header: Header, message: Uint8Array, payload: readonly Segment[] | null): void {
    let batch = this.#batches.at(-1);
    if (batch === undefined || !batch.hasRoom(message.length)) {
      batch = new Batch(this.#shared);
      this.#batches.push(batch);
    }
    const {head} = batch;
    const own = message.length > MESSAGE_COPY_BYTES;
    encodeHead(head.view, head.bytes, batch.end, header, message, !own);
    batch.end += HEADER_BYTES + (own ? 0 : message.length);
    if (own) {
      batch.cut();
      batch.chunks.push(message);
    }
    if (payload !== null) {
      batch.cut();
      for (const {slot, offset, length} of payload) {
        batch.slots.push(slot);
        if (length > 0) batch.chunks.push(this.#shared.pool.view(offset, length));
      }
    }
    const bytes = HEADER_BYTES + message.length + header.payloadBytes;
    batch.bytes += bytes;
    const {stats} = this.#shared;
    stats.framesOut++;
    stats.bytesOut += bytes;
    this.#queued += bytes;
  }

  /** After the current event and all promises that it resolved: their frames leave together. */
  #planFlush(): void {
    if (this.#flushPlanned || this.#writing !== null) return;
    this.#flushPlanned = true;
    queueMicrotask(this.#flushSoon);
  }

  readonly #flushSoon = (): void => {
    process.nextTick(this.#flushNow);
  };

  readonly #flushNow = (): void => {
    this.#flushPlanned = false;
    this.#flush();
  };

  #flush(): void {
    if (this.#writing !== null || this.#socket === null) return;
    const batch = this.#batches.shift();
    if (batch === undefined) return;
    this.#writing = batch;
    this.#shared.stats.writes++;
    batch.cut();
    const {chunks} = batch;
    const last = chunks.length - 1;
    if (last === 0) {
      this.#socket.write(chunks[0]!, this.#written);
      return;
    }
    this.#socket.cork();
    for (let at = 0; at < last; at++) this.#socket.write(chunks[at]!);
    this.#socket.write(chunks[last]!, this.#written);
    this.#socket.uncork();
  }

  readonly #written = (): void => {
    const batch = this.#writing;
    if (batch === null) return; // Dropped by the close.
    this.#writing = null;
    this.#drop(batch);
    if (this.#closed) {
      if (this.#queued === 0) this.#socket?.destroySoon();
      else this.#flush();
      return;
    }
    this.#flush();
    if (this.#overLimit && this.#queued < QUEUE_BYTES_MAX / 2) {
      this.#overLimit = false;
      this.#handler.drained();
    }
  };

  #drop(batch: Batch): void {
    this.#queued -= batch.bytes;
    for (const slot of batch.slots) this.#shared.pool.release(slot);
    if (this.#shared.heads.length < HEADS_KEPT) this.#shared.heads.push(batch.head);
  }

  /** The socket is gone: nothing reads the slots any more, and nothing writes to the reader's. */
  #dropAll(): void {
    if (this.#linger !== null) clearTimeout(this.#linger);
    const writing = this.#writing;
    this.#writing = null;
    if (writing !== null) this.#drop(writing);
    for (const batch of this.#batches.splice(0)) this.#drop(batch);
    this.#reader.close();
  }

  /** Where the socket reads next. It asks right after each read and keeps the answer while it is stopped, when `next`
   * still changes what the reader wants; then it gets the spill buffer, whose content is fed to the reader. */
  #space(): Uint8Array {
    this.#spilled = this.#stopped;
    return this.#spilled ? this.#shared.spill : this.#reader.space();
  }

  #received(count: number): void {
    if (this.#closed) return;
    this.#shared.stats.bytesIn += count;
    if (this.#spilled) this.#reader.feed(this.#shared.spill.subarray(0, count));
    else this.#reader.filled(count);
    this.#pump();
  }

  #came(bytes: Buffer): void {
    if (this.#closed) return;
    this.#shared.stats.bytesIn += bytes.length;
    this.#rest = this.#rest === null ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#pump();
  }

  /** Gives the reader what has come, as far as it has space; false: there is nothing. */
  #takeRest(): boolean {
    const rest = this.#rest;
    if (rest === null) return false;
    const space = this.#reader.space();
    const count = rest.copy(space, 0, 0, Math.min(space.length, rest.length));
    this.#reader.filled(count);
    this.#rest = count === rest.length ? null : rest.subarray(count);
    return true;
  }

  #pump(): void {
    while (!this.#paused && !this.#closed) {
      const frame = this.#reader.next();
      if (frame === null) {
        if (!this.#reader.starved && this.#takeRest()) continue;
        if (this.#reader.starved) this.#waitForSlot();
        else this.#go();
        return;
      }
      if (typeof frame === 'string') {
        this.#fail(frame);
        return;
      }
      this.#shared.stats.framesIn++;
      this.#frames++;
      const opened = this.#seal === null ? frame : this.#seal.open(frame);
      if (opened === null) {
        if (frame.payload !== null) this.#shared.pool.release(frame.payload.slot);
        this.#fail('a frame is not as it was sent');
        return;
      }
      this.#handler.frame(opened);
    }
    this.#stop();
  }

  #planPump(): void {
    if (this.#pumpPlanned) return;
    this.#pumpPlanned = true;
    process.nextTick(() => {
      this.#pumpPlanned = false;
      this.#pump();
    });
  }

  #waitForSlot(): void {
    this.#stop();
    if (this.#waitsForSlot) return;
    this.#waitsForSlot = true;
    this.#shared.pool.onFree(() => {
      this.#waitsForSlot = false;
      this.#planPump();
    });
  }

  #stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#socket?.pause();
  }

  #go(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#socket?.resume();
  }

  /** The other side, the network or the peer's bytes ended it: nothing more is sent. */
  #fail(reason: string): void {
    if (!this.#closed) this.#end(reason);
    this.#socket?.destroy();
  }

  #end(reason: string): void {
    assert(!this.#closed, 'closed once');
    this.#closed = true;
    this.#handler.closed(reason);
  }
}
