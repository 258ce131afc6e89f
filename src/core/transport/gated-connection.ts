import type {Identity} from '../base/identity.js';
import type {BufferPool, Segment} from '../base/pool.js';
import type {Connection, ConnectionHandler} from '../env/net.js';

/** What must have happened before anybody may hear of what is sent. */
export interface OutputGate {
  /** What is sent now may leave when this has been reached. */
  readonly needed: number;
  readonly reached: number;
  /** False: nothing of what others say is to be heard any more, and nothing leaves. */
  readonly valid: boolean;
  /** Calls once, when more has been reached. */
  onReached(wake: () => void): void;
}

interface Held {
  needed: number;
  send(): void;
  drop(): void;
  bytes: number;
}

/**
 * A connection whose frames leave, in their order, when what they may tell of cannot be lost any more: whoever sends goes on at once, and nobody
 * else knows. (Output commit; Strom, Yemini 1985.)
 */
export class GatedConnection implements Connection {
  readonly peer: string;
  readonly #inner: Connection;
  readonly #gate: OutputGate;
  readonly #pool: Pick<BufferPool, 'release'>;
  #held: Held[] = [];
  #heldBytes = 0;
  #waiting = false;
  #open = false;
  #closed = false;
  /** The queue was above its limit, and its sender waits. */
  #over = false;
  #handler: ConnectionHandler | null = null;

  constructor(inner: Connection, gate: OutputGate, pool: Pick<BufferPool, 'release'>) {
    this.#inner = inner;
    this.#gate = gate;
    this.#pool = pool;
    this.peer = inner.peer;
  }

  /** Of this one nothing is held back any more: it is for those who must have it first. */
  ungate(): void {
    this.#open = true;
    this.#flush();
  }

  handle(handler: ConnectionHandler): void {
    this.#handler = handler;
    this.#inner.handle({
      frame: (frame) => {
        if (this.#gate.valid || this.#closed) handler.frame(frame);
        else {
          if (frame.payload !== null) this.#pool.release(frame.payload.slot);
          this.close('this server is not the active one any more');
        }
      },
      closed: (reason) => {
        this.#drop();
        handler.closed(reason);
      },
      drained: () => this.#drained(),
    });
  }

  send(
    type: number,
    flags: number,
    id: number,
    status: number,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): void {
    const gate = this.#gate;
    const needed = gate.needed;
    if (!gate.valid && !this.#closed) {
      for (const {slot} of payload ?? []) this.#pool.release(slot);
      return;
    }
    if (this.#closed || this.#open || (this.#held.length === 0 && needed <= gate.reached)) {
      this.#inner.send(type, flags, id, status, message, payload);
      return;
    }
    const bytes = (payload ?? []).reduce((sum, {length}) => sum + length, message.length);
    this.#heldBytes += bytes;
    this.#held.push({
      needed,
      bytes,
      send: () => this.#inner.send(type, flags, id, status, message, payload),
      drop: () => {
        for (const {slot} of payload ?? []) this.#pool.release(slot);
      },
    });
    if (this.queuedBytes > this.queueLimit) this.#over = true;
    this.#wait();
  }

  #wait(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#gate.onReached(() => {
      this.#waiting = false;
      this.#flush();
    });
  }

  #flush(): void {
    const {reached, valid} = this.#gate;
    if (!valid) {
      this.close('this server is not the active one any more');
      return;
    }
    let count = 0;
    for (const {needed, bytes, send} of this.#held) {
      if (needed > reached && !this.#open) break;
      count++;
      this.#heldBytes -= bytes;
      send();
    }
    if (count === 0) {
      if (this.#held.length > 0) this.#wait();
      return;
    }
    this.#held.splice(0, count);
    if (this.#held.length > 0) this.#wait();
    if (this.#over) this.#drained();
  }

  #drained(): void {
    if (this.queuedBytes >= this.queueLimit / 2) return;
    this.#over = false;
    this.#handler?.drained();
  }

  #drop(): void {
    this.#closed = true;
    for (const {drop} of this.#held.splice(0)) drop();
    this.#heldBytes = 0;
  }

  get identity(): Identity | null {
    return this.#inner.identity ?? null;
  }

  get queuedBytes(): number {
    return this.#inner.queuedBytes + this.#heldBytes;
  }

  get queueLimit(): number {
    return this.#inner.queueLimit;
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  /** What is held does not leave. */
  close(reason: string): void {
    this.#drop();
    this.#inner.close(reason);
  }
}
