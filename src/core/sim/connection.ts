import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import {type BufferPool, PAYLOAD_BYTES_MAX, type Segment} from '../base/pool.js';
import type {Connection, ConnectionHandler} from '../env/net.js';
import type {SimNetwork} from './network.js';
import type {Actor} from './scheduler.js';

/** One end of a connection: whose, and where. */
export interface End {
  actor: Actor;
  pool: BufferPool;
  host: string;
  /** The other end's address. */
  peer: string;
}

interface Outgoing {
  header: [type: number, flags: number, id: number, status: number];
  message: Uint8Array;
  payload: readonly Segment[];
  bytes: number;
}

/** A frame on its way or waiting unread; `fin`: the peer has closed, nothing follows. */
interface Travelling {
  header: [type: number, flags: number, id: number, status: number];
  message: Uint8Array;
  payload: Uint8Array | null;
  bytes: number;
  fin: boolean;
  at: Ms;
}

const HEADER_BYTES = 32;
const RETRY_MS: Ms = 100;
/** Virtual times are sums of floats. */
const ROUNDING_MS: Ms = 1e-6;

export function connectionPair(
  network: SimNetwork,
  a: End,
  b: End,
): [SimConnection, SimConnection] {
  const first = new SimConnection(network, a);
  const second = new SimConnection(network, b);
  first.other = second;
  second.other = first;
  return [first, second];
}

/**
 * Frames pass three places: the sender's queue (lost with the process), the wire and the receiver's unread ones
 * (both bounded by the window, and not lost when the sender dies), the receiver's pool.
 */
export class SimConnection implements Connection {
  readonly peer: string;
  readonly end: End;
  other!: SimConnection;
  /** The dialling program has been given it. */
  taken = false;
  readonly #network: SimNetwork;
  #handler: ConnectionHandler | null = null;
  /** Neither takes frames from the program nor gives it any. */
  #closed = false;
  /** Why, until the handler has been told. */
  #closeReason: string | null = null;
  #told = false;
  #paused = false;

  #queue: Outgoing[] = [];
  #queuedBytes = 0;
  #above = false;
  #pumping = false;

  /** Towards this end. */
  #wire: Travelling[] = [];
  #wireMoving = false;
  #lastArrival: Ms = 0;
  #unread: Travelling[] = [];
  #windowUsed = 0;
  #delivering = false;
  #waitsForPool = false;

  constructor(network: SimNetwork, end: End) {
    this.#network = network;
    this.end = end;
    this.peer = end.peer;
    end.actor.onDeath(() => this.#died());
  }

  get closed(): boolean {
    return this.#closed;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get queueLimit(): number {
    return this.#network.shape.queueLimit;
  }

  handle(handler: ConnectionHandler): void {
    assert(this.#handler === null, 'one handler for each connection');
    this.#handler = handler;
    if (this.#closeReason !== null) {
      this.#network.scheduler.soon(this.end.actor, 'closed', () => this.#tellClosed());
    } else {
      this.#deliverSoon();
    }
  }

  send(
    type: number,
    flags: number,
    id: number,
    status: number,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): void {
    if (this.end.actor.dead) return;
    const segments = payload ?? [];
    if (this.#closed) {
      for (const segment of segments) this.end.pool.release(segment.slot);
      return;
    }
    const payloadBytes = segments.reduce((sum, segment) => sum + segment.length, 0);
    assert(payloadBytes <= PAYLOAD_BYTES_MAX, 'a frame carries at most one large slot');
    const bytes = HEADER_BYTES + message.length + payloadBytes;
    this.#queue.push({header: [type, flags, id, status], message, payload: segments, bytes});
    this.#queuedBytes += bytes;
    if (this.#queuedBytes > this.queueLimit) this.#above = true;
    this.#pumpSoon();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliverSoon();
  }

  /** What was queued still leaves, as a socket's `end` has it; what was not read is dropped. */
  close(reason: string): void {
    if (this.#closed || this.end.actor.dead) return;
    for (const frame of this.#queue.splice(0)) this.other.#launch(this.#take(frame));
    this.#shut(reason);
    this.other.#launch(fin());
  }

  /** The connection breaks; this end learns it after a while. What it has not read yet is lost. */
  reset(reason: string): void {
    this.#wire = [];
    this.#unread = [];
    const {scheduler} = this.#network;
    scheduler.schedule(this.end.actor, this.#network.latency(), 'reset', () => this.#shut(reason));
  }

  #died(): void {
    this.#network.forget(this);
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#wire = [];
    this.#unread = [];
    // The kernel of a killed process closes its sockets; a host without power says nothing.
    if (this.#network.reachable(this.end.host, this.end.host)) this.other.#launch(fin());
  }

  #shut(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#network.forget(this);
    for (const frame of this.#queue.splice(0)) {
      for (const segment of frame.payload) this.end.pool.release(segment.slot);
    }
    this.#queuedBytes = 0;
    this.#wire = [];
    this.#unread = [];
    this.#closeReason = reason;
    if (this.#handler !== null) this.#tellClosed();
  }

  #tellClosed(): void {
    if (this.#told) return;
    this.#told = true;
    this.#handler?.closed(this.#closeReason ?? '');
  }

  #pumpSoon(): void {
    if (this.#pumping || this.#queue.length === 0) return;
    this.#pumping = true;
    this.#network.scheduler.schedule(this.end.actor, 0, 'leave', () => {
      this.#pumping = false;
      this.#pump();
    });
  }

  /** Moves what the window has room for from the queue to the wire. */
  #pump(): void {
    const {other} = this;
    const {windowBytes} = this.#network.shape;
    while (!this.#closed && this.#queue.length > 0) {
      const next = this.#queue[0]!;
      if (other.#windowUsed > 0 && other.#windowUsed + next.bytes > windowBytes) break;
      this.#queue.shift();
      other.#launch(this.#take(next));
      if (this.#network.breaks()) {
        this.reset('connection reset (simulated)');
        other.reset('connection reset (simulated)');
      }
    }
    if (this.#above && this.#queuedBytes < this.queueLimit / 2) {
      this.#above = false;
      this.#network.scheduler.soon(this.end.actor, 'drained', () => {
        if (!this.#closed) this.#handler?.drained();
      });
    }
  }

  /** The frame leaves: its bytes are copied now, its slots are given back. */
  #take(frame: Outgoing): Travelling {
    const {pool} = this.end;
    const length = frame.bytes - HEADER_BYTES - frame.message.length;
    const payload = length > 0 ? new Uint8Array(length) : null;
    let at = 0;
    for (const segment of frame.payload) {
      payload?.set(pool.view(segment.offset, segment.length), at);
      at += segment.length;
      pool.release(segment.slot);
    }
    this.#queuedBytes -= frame.bytes;
    const message = frame.message.slice();
    return {header: frame.header, message, payload, bytes: frame.bytes, fin: false, at: 0};
  }

  /** Something is on its way to this end. */
  #launch(frame: Travelling): void {
    const {scheduler} = this.#network;
    frame.at = Math.max(this.#lastArrival, scheduler.now + this.#network.latency());
    this.#lastArrival = frame.at;
    this.#wire.push(frame);
    this.#windowUsed += frame.bytes;
    this.#move();
  }

  #move(): void {
    const head = this.#wire[0];
    if (this.#wireMoving || head === undefined) return;
    this.#wireMoving = true;
    const {scheduler} = this.#network;
    scheduler.schedule(null, head.at - scheduler.now, 'arrive', () => {
      this.#wireMoving = false;
      const first = this.#wire[0];
      if (first === undefined) return;
      if (!this.#network.reachable(this.other.end.host, this.end.host)) {
        first.at = scheduler.now + RETRY_MS;
      } else if (first.at <= scheduler.now + ROUNDING_MS) {
        this.#wire.shift();
        if (this.#closed) this.#answerReset(first);
        else this.#unread.push(first);
        this.#deliverSoon();
      }
      this.#move();
    });
  }

  /** Bytes for an end that is gone: its kernel answers that there is no such connection. */
  #answerReset(frame: Travelling): void {
    this.#wire = [];
    if (!frame.fin) this.other.reset('connection reset by peer');
  }

  #deliverSoon(): void {
    if (this.#delivering || this.#paused || this.#closed) return;
    if (this.#unread.length === 0 || this.#handler === null || this.#waitsForPool) return;
    this.#delivering = true;
    this.#network.scheduler.schedule(this.end.actor, 0, 'deliver', () => {
      this.#delivering = false;
      if (this.#paused || this.#closed) return;
      this.#deliver();
      this.#deliverSoon();
    });
  }

  #deliver(): void {
    const frame = this.#unread[0];
    if (frame === undefined) return;
    if (frame.fin) {
      this.#unread.shift();
      this.#shut('closed by the peer');
      return;
    }
    const payload = this.#place(frame.payload);
    if (payload === undefined) return;
    this.#unread.shift();
    this.#windowUsed -= frame.bytes;
    this.other.#pumpSoon();
    const [type, flags, id, status] = frame.header;
    const {scheduler} = this.#network;
    for (const word of frame.header) scheduler.mix(word);
    for (const byte of frame.message) scheduler.mix(byte);
    this.#handler?.frame({type, flags, id, status, message: frame.message, payload});
  }

  /** The payload in a slot of this end's pool; undefined when it has to wait for one. */
  #place(payload: Uint8Array | null): Segment | null | undefined {
    if (payload === null) return null;
    const {pool} = this.end;
    const slot = pool.alloc(payload.length);
    if (slot < 0) {
      this.#waitsForPool = true;
      pool.onFree(() => {
        this.#waitsForPool = false;
        this.#deliverSoon();
      });
      return undefined;
    }
    const offset = pool.payload(slot);
    pool.view(offset, payload.length).set(payload);
    return {slot, offset, length: payload.length};
  }
}

const fin = (): Travelling => ({
  header: [0, 0, 0, 0],
  message: new Uint8Array(0),
  payload: null,
  bytes: 0,
  fin: true,
  at: 0,
});
