import {FsError, Lost} from '../../src/core/base/errors.js';
import type {BufferPool, Segment} from '../../src/core/base/pool.js';
import type {Connection, ConnectionHandler, Frame, Listener, Net} from '../../src/core/env/net.js';
import {payloadLength} from '../../src/core/protocol/frame.js';

interface Sent {
  frame: Omit<Frame, 'payload'>;
  payload: readonly Segment[] | null;
  bytes: number;
}

/** One end. Frames arrive in microtasks, in order; payload is copied from slot to slot of the one pool. */
export class MemoryConnection implements Connection {
  readonly queueLimit: number;
  readonly #pool: BufferPool;
  /** The other end; set right after both were made. */
  other!: MemoryConnection;
  handler: ConnectionHandler | null = null;
  paused = false;
  closed: string | null = null;
  queuedBytes = 0;
  #over = false;
  #queue: Sent[] = [];
  #planned = false;

  constructor(
    pool: BufferPool,
    readonly peer: string,
    queueLimit: number,
  ) {
    this.#pool = pool;
    this.queueLimit = queueLimit;
  }

  handle(handler: ConnectionHandler): void {
    this.handler = handler;
    this.other.plan();
  }

  send(
    type: number,
    flags: number,
    id: number,
    status: number,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): void {
    if (this.closed !== null) {
      this.#release(payload);
      return;
    }
    const bytes = 32 + message.length + payloadLength(payload);
    this.#queue.push({
      frame: {type, flags, id, status, message: message.slice()},
      payload,
      bytes,
    });
    this.queuedBytes += bytes;
    if (this.queuedBytes > this.queueLimit) this.#over = true;
    this.plan();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.other.plan();
  }

  close(reason: string): void {
    this.#deliver(true);
    this.end(reason);
    this.other.end('closed by the peer');
  }

  end(reason: string): void {
    if (this.closed !== null) return;
    this.closed = reason;
    for (const {payload} of this.#queue.splice(0)) this.#release(payload);
    this.handler?.closed(reason);
  }

  plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      this.#deliver(false);
    });
  }

  /** `last`: what the other end can take before the close. */
  #deliver(last: boolean): void {
    while (this.#queue.length > 0 && this.closed === null) {
      const {other} = this;
      if (other.paused || other.handler === null || other.closed !== null) return;
      const next = this.#queue[0]!;
      let payload: Segment | null = null;
      const length = payloadLength(next.payload);
      if (length > 0) {
        const slot = this.#pool.alloc(length);
        if (slot < 0) {
          if (!last) this.#pool.onFree(() => this.plan());
          return;
        }
        payload = {slot, offset: this.#pool.payload(slot), length};
        this.#copy(next.payload!, payload.offset);
      }
      this.#queue.shift();
      this.#release(next.payload);
      this.queuedBytes -= next.bytes;
      other.handler.frame({...next.frame, payload});
      if (this.#over && this.queuedBytes < this.queueLimit / 2) {
        this.#over = false;
        this.handler?.drained();
      }
    }
  }

  #copy(from: readonly Segment[], to: number): void {
    for (const {offset, length} of from) {
      this.#pool.bytes.copy(this.#pool.bytes, to, offset, offset + length);
      to += length;
    }
  }

  #release(payload: readonly Segment[] | null): void {
    for (const {slot} of payload ?? []) this.#pool.release(slot);
  }
}

/** A network in one process without time and without faults, but for the ones that a test makes by closing ends. */
export class MemoryNet implements Net {
  readonly #pool: BufferPool;
  readonly #listeners = new Map<string, (connection: Connection) => void>();
  readonly #queueLimit: number;
  #nextPort = 10_000;
  /** What names stand for. */
  readonly names = new Map<string, () => Promise<string[]>>();
  /** Addresses that were dialled. */
  readonly dialled: string[] = [];

  constructor(pool: BufferPool, queueLimit = 1 << 20) {
    this.#pool = pool;
    this.#queueLimit = queueLimit;
  }

  resolve(names: string): Promise<string[]> | null {
    return this.names.get(names)?.() ?? null;
  }

  connect(address: string, _timeoutMs: number): Promise<Connection> {
    this.dialled.push(address);
    const accept = this.#listeners.get(address);
    if (accept === undefined) return Promise.reject(new Lost(`${address}: refused`));
    const [near, far] = this.pair(address);
    accept(far);
    return Promise.resolve(near);
  }

  listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    const own = address.endsWith(':0') ? `${address.slice(0, -1)}${this.#nextPort++}` : address;
    if (this.#listeners.has(own)) return Promise.reject(new FsError('EBUSY', own));
    this.#listeners.set(own, accept);
    return Promise.resolve({
      address: own,
      close: async () => void this.#listeners.delete(own),
    });
  }

  /** Nobody listens there any more. */
  drop(address: string): void {
    this.#listeners.delete(address);
  }

  /** Two ends of one connection. */
  pair(address = 'memory:1'): [MemoryConnection, MemoryConnection] {
    const near = new MemoryConnection(this.#pool, address, this.#queueLimit);
    const far = new MemoryConnection(this.#pool, 'memory:2', this.#queueLimit);
    near.other = far;
    far.other = near;
    return [near, far];
  }
}
