import {assert} from '../base/assert.js';
import {errorFromStatus, FsError, Lost} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import type {WaitingRequest} from '../base/traffic.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {Connection, Frame} from '../env/net.js';
import {MESSAGE_BYTES_MAX} from '../protocol/frame.js';
import type {AnyOp, Op} from '../protocol/ops.js';
import type {Greeting} from './greeting.js';
import {type CallOptions, OWN_ID_MIN, type Reply} from './peer-api.js';

/** Requests without a reply on one connection; further calls wait. At 200 to 300 bytes each about 1 MiB. */
export const CALLS_MAX = 4096;
/** As long as the recall time and the session timeout: by then the meta server has given this client up, too. */
export const CALL_DEADLINE_MS: Ms = 10_000;
/** The sweep is not more often than this, so a deadline is late by at most so much. */
const SWEEP_MS_MIN: Ms = 20;

interface Pending {
  id: number;
  op: AnyOp;
  deadlineMs: Ms;
  /** Time of the clock. */
  due: Ms;
  resolve(reply: Reply<unknown>): void;
  reject(error: Error): void;
  /** Until it has been sent. */
  message: Uint8Array | null;
  payload: readonly Segment[] | null;
}

export interface CallsOptions {
  greeting: Greeting;
  /** Closes the connection: the other side sent what no peer of ours sends. */
  refuse(reason: string): void;
}

/**
 * The calling half of a peer: requests that wait for room, requests that wait for their reply.
 * Invariant: `waiting` is empty unless there is no room; every payload is owned by exactly one of waiting and connection.
 */
export class Calls {
  readonly #env: Pick<Env, 'clock' | 'log' | 'pool' | 'traffic'>;
  readonly #connection: Connection;
  readonly #options: CallsOptions;
  readonly #pending = new Map<number, Pending>();
  #waiting: Pending[] = [];
  #lastId = OWN_ID_MIN;
  #sweep: Timer | null = null;
  #sweepAt: Ms = Number.POSITIVE_INFINITY;
  #closed: string | null = null;
  readonly #unwatch: (() => void) | null;

  constructor(
    env: Pick<Env, 'clock' | 'log' | 'pool' | 'traffic'>,
    connection: Connection,
    options: CallsOptions,
  ) {
    this.#env = env;
    this.#connection = connection;
    this.#options = options;
    this.#unwatch = env.traffic?.called.watch(() => this.#unanswered()) ?? null;
  }

  *#unanswered(): Iterable<WaitingRequest> {
    const {peer} = this.#connection;
    for (const {op, due, deadlineMs} of [...this.#pending.values(), ...this.#waiting])
      yield {kind: op.code, peer, since: due - deadlineMs};
  }

  #count({op, due, deadlineMs}: Pending, failed: boolean): void {
    const {clock, traffic} = this.#env;
    traffic?.called.meter.record(op.code, clock.now() - (due - deadlineMs), failed);
  }

  /** Calls without a reply, sent or not. */
  get outstanding(): number {
    return this.#pending.size + this.#waiting.length;
  }

  call<Q, R>(op: Op<Q, R>, request: Partial<Q>, options?: CallOptions): Promise<Reply<R>> {
    const payload = options?.payload ?? null;
    const refused = (error: unknown): Promise<Reply<R>> => {
      this.#release(payload);
      return Promise.reject(error);
    };
    if (this.#closed !== null)
      return refused(new Lost(`${op.name} to ${this.#connection.peer}: ${this.#closed}`));
    const unknown = this.#options.greeting.refusal(op);
    if (unknown !== null) return refused(unknown);
    let message: Uint8Array;
    try {
      message = op.request.encode(request);
    } catch (error) {
      return refused(error); // A field of a wrong type: the caller's bug.
    }
    if (message.length > MESSAGE_BYTES_MAX) return refused(new FsError('E2BIG', op.name));
    const id = options?.id ?? this.#nextId();
    assert(id > 0 && !this.#pending.has(id), 'the id of a request is its own');
    const deadlineMs = options?.deadlineMs ?? CALL_DEADLINE_MS;
    const due = this.#env.clock.now() + deadlineMs;
    if (due < this.#sweepAt) this.#planSweep(due);
    const urgent = options?.urgent === true;
    return new Promise((resolve, reject) => {
      const pending: Pending = {
        id,
        op: op as unknown as AnyOp,
        deadlineMs,
        due,
        resolve: resolve as (reply: Reply<unknown>) => void,
        reject,
        message,
        payload,
      };
      if (urgent || this.#hasRoom()) this.#send(pending);
      else this.#waiting.push(pending);
    });
  }

  /** A frame with the reply flag. */
  reply(frame: Frame): void {
    const pending = this.#pending.get(frame.id);
    if (pending === undefined) {
      // Its deadline has passed.
      this.#env.log.debug('call.late-reply', {type: frame.type, id: frame.id});
      this.#releaseOne(frame.payload);
      return;
    }
    this.#pending.delete(frame.id);
    this.#settle(pending, frame);
    if (this.#waiting.length > 0) this.sendWaiting();
  }

  /** There may be room again. */
  sendWaiting(): void {
    while (this.#waiting.length > 0 && this.#hasRoomInWire()) this.#send(this.#waiting.shift()!);
  }

  /** Rejects everything with Lost; nothing can be called from now on. */
  close(reason: string): void {
    if (this.#closed !== null) return;
    this.#closed = reason;
    this.#unwatch?.();
    this.#sweep?.cancel();
    const all = [...this.#pending.values(), ...this.#waiting];
    this.#pending.clear();
    this.#waiting = [];
    for (const pending of all) this.#lose(pending, reason);
  }

  #settle(pending: Pending, frame: Frame): void {
    const {op} = pending;
    let reason: string | null = null;
    if (op.code !== frame.type) reason = `reply of type ${frame.type} to ${op.name}`;
    else if (frame.payload !== null && (op.payload !== 'reply' || frame.status !== 0))
      reason = `payload in the reply to ${op.name}`;
    else if (frame.status !== 0) {
      const detail = new TextDecoder().decode(frame.message);
      this.#count(pending, true);
      pending.reject(errorFromStatus(frame.status, detail));
      return;
    } else {
      try {
        const message = op.reply.decode(frame.message);
        reason = op.reply.check(message);
        if (reason === null) {
          this.#count(pending, false);
          pending.resolve({message, payload: frame.payload});
          return;
        }
      } catch {
        reason = `the reply to ${op.name} cannot be decoded`;
      }
    }
    this.#releaseOne(frame.payload);
    this.#lose(pending, reason);
    this.#options.refuse(reason);
  }

  #hasRoom(): boolean {
    return this.#waiting.length === 0 && this.#hasRoomInWire();
  }

  #hasRoomInWire(): boolean {
    return (
      this.#pending.size < CALLS_MAX && this.#connection.queuedBytes <= this.#connection.queueLimit
    );
  }

  #send(pending: Pending): void {
    const {message, payload} = pending;
    pending.message = pending.payload = null;
    this.#pending.set(pending.id, pending);
    this.#connection.send(pending.op.code, 0, pending.id, 0, message!, payload);
  }

  #nextId(): number {
    do this.#lastId = this.#lastId === ID_MAX ? OWN_ID_MIN : this.#lastId + 1;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #lose(pending: Pending, reason: string): void {
    this.#release(pending.payload);
    pending.payload = null;
    this.#count(pending, true);
    pending.reject(new Lost(`${pending.op.name} to ${this.#connection.peer}: ${reason}`));
  }

  /** One timer for all calls: it is set to the earliest deadline, and most calls are answered long before. */
  #planSweep(due: Ms): void {
    this.#sweep?.cancel();
    this.#sweepAt = due;
    const delay = Math.max(due - this.#env.clock.now(), SWEEP_MS_MIN);
    this.#sweep = this.#env.clock.timer(delay, () => this.#sweepNow());
  }

  #sweepNow(): void {
    this.#sweep = null;
    this.#sweepAt = Number.POSITIVE_INFINITY;
    const now = this.#env.clock.now();
    let next = Number.POSITIVE_INFINITY;
    const late: Pending[] = [];
    for (const pending of this.#pending.values()) {
      if (pending.due <= now) late.push(pending);
      else if (pending.due < next) next = pending.due;
    }
    for (const pending of this.#waiting) {
      if (pending.due <= now) late.push(pending);
      else if (pending.due < next) next = pending.due;
    }
    if (next < Number.POSITIVE_INFINITY) this.#planSweep(next);
    if (late.length === 0) return;
    this.#waiting = this.#waiting.filter((pending) => pending.due > now);
    for (const pending of late) this.#pending.delete(pending.id);
    for (const pending of late) this.#lose(pending, `no reply in ${pending.deadlineMs} ms`);
    this.sendWaiting();
  }

  #release(payload: readonly Segment[] | null): void {
    if (payload !== null) for (const {slot} of payload) this.#env.pool.release(slot);
  }

  #releaseOne(payload: Segment | null): void {
    if (payload !== null) this.#env.pool.release(payload.slot);
  }
}

const ID_MAX = 0xffff_ffff;
