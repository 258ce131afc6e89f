import {Bug} from '../base/assert.js';
import {ERRNO} from '../base/errno.js';
import {FsError, messageOf, Refusal} from '../base/errors.js';
import type {Identity} from '../base/identity.js';
import type {Segment} from '../base/pool.js';
import type {WaitingRequest} from '../base/traffic.js';
import type {Env} from '../env/env.js';
import type {Connection, Frame} from '../env/net.js';
import {FLAG, MESSAGE_BYTES_MAX} from '../protocol/frame.js';
import type {HelloRequest} from '../protocol/gen/wire.js';
import {type AnyOp, OPS, opByCode} from '../protocol/ops.js';
import type {Greeting} from './greeting.js';
import type {Handlers} from './handlers.js';
import type {Answer} from './peer-api.js';
import {refusalOfRequest, refusalOfRole} from './rights.js';

const DETAIL_CHARS_MAX = 300;
const EMPTY = new Uint8Array(0);

export interface DispatcherOptions {
  /** Requests that are being carried out; at so many the connection is paused. */
  inFlightMax: number;
  greeting: Greeting;
  onBug(bug: unknown): void;
  /** Closes the connection: the other side sent what no peer of ours sends. */
  refuse(reason: string): void;
}

/** The called half of a peer: finds the handler of a request and sends what it answers. */
export class Dispatcher {
  readonly #env: Pick<Env, 'clock' | 'log' | 'pool' | 'traffic'>;
  readonly #connection: Connection;
  readonly #options: DispatcherOptions;
  #handlers: Handlers<unknown> | null = null;
  #context: unknown = null;
  #inFlight = 0;
  #paused = false;
  /** What is being carried out, if somebody counts. */
  readonly #open = new Set<WaitingRequest>();
  readonly #unwatch: (() => void) | null;

  constructor(
    env: Pick<Env, 'clock' | 'log' | 'pool' | 'traffic'>,
    connection: Connection,
    options: DispatcherOptions,
  ) {
    this.#env = env;
    this.#connection = connection;
    this.#options = options;
    this.#unwatch = env.traffic?.served.watch(() => this.#open) ?? null;
  }

  /** Nothing comes any more. */
  closed(): void {
    this.#unwatch?.();
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  serve<C>(handlers: Handlers<C>, context: C): void {
    this.#handlers = handlers as Handlers<unknown>;
    this.#context = context;
  }

  /** A frame without the reply flag. */
  request(frame: Frame): void {
    const {payload} = frame;
    const op = this.#known(frame.type);
    if (op === undefined && this.#options.greeting.theirs !== null) {
      this.#unknown(frame);
      return;
    }
    const handler = this.#handlers?.get(frame.type);
    if (op === undefined || handler === undefined) {
      this.#refuse(`${op?.name ?? `type ${frame.type}`} is not allowed here`, payload);
      return;
    }
    if (payload !== null && op.payload !== 'request') {
      this.#refuse(`payload in ${op.name}`, payload);
      return;
    }
    const request = this.#decode(op, frame);
    if (request === null) return;
    if (op.code === OPS.hello.code && !this.#met(request as HelloRequest, frame.id)) return;
    const denied = refusalOfRequest(this.#identity, op, request);
    if (denied !== null) {
      this.#release(payload === null ? null : [payload]);
      this.#inFlight++;
      this.#fail(op, frame.id, denied);
      return;
    }
    this.#inFlight++;
    this.balance();
    const open = this.#begin(op);
    let answer: Answer<unknown> | Promise<Answer<unknown>>;
    try {
      answer = handler(request, this.#context, payload, frame.id);
    } catch (error) {
      this.#end(open, true);
      this.#fail(op, frame.id, error);
      return;
    }
    if ('then' in answer)
      answer.then(
        (value) => {
          this.#end(open, false);
          this.#answer(op, frame.id, value);
        },
        (error: unknown) => {
          this.#end(open, true);
          this.#fail(op, frame.id, error);
        },
      );
    else {
      this.#end(open, false);
      this.#answer(op, frame.id, answer);
    }
  }

  #begin({code}: AnyOp): WaitingRequest | null {
    if (this.#unwatch === null) return null;
    const open = {kind: code, peer: this.#connection.peer, since: this.#env.clock.now()};
    this.#open.add(open);
    return open;
  }

  #end(open: WaitingRequest | null, failed: boolean): void {
    if (open === null) return;
    this.#open.delete(open);
    const {meter} = this.#env.traffic!.served;
    meter.record(open.kind, this.#env.clock.now() - open.since, failed);
  }

  /** What this release knows. */
  #known(code: number): AnyOp | undefined {
    const op = opByCode.get(code);
    const {own} = this.#options.greeting;
    return op?.since != null && !own.features.includes(op.since) ? undefined : op;
  }

  /** Of a later release than this one, which should have asked. */
  #unknown({type, id, payload}: Frame): void {
    if (payload !== null) this.#env.pool.release(payload.slot);
    this.#env.log.info('request.unknown', {type});
    if (id === 0) return;
    const detail = new TextEncoder().encode('this side is of an older release: upgrade it first');
    this.#connection.send(type, FLAG.reply, id, ERRNO.EOPNOTSUPP, detail, null);
  }

  /** Who has proved to be there. */
  get #identity(): Identity | null {
    return this.#connection.identity ?? null;
  }

  #met(hello: HelloRequest, id: number): boolean {
    try {
      const denied = refusalOfRole(this.#identity, hello.role);
      if (denied !== null) throw denied;
      this.#options.greeting.met(hello);
      return true;
    } catch (error) {
      this.#inFlight++;
      this.#fail(OPS.hello as unknown as AnyOp, id, error);
      this.#options.refuse(messageOf(error));
      return false;
    }
  }

  /**
   * Reads on or not. The queue counts only from twice its limit: calls stop at once the limit, so a side that only
   * calls never stops reading, and two peers cannot wait for each other.
   */
  balance(): void {
    const connection = this.#connection;
    const full =
      this.#inFlight >= this.#options.inFlightMax ||
      connection.queuedBytes > 2 * connection.queueLimit;
    if (full === this.#paused) return;
    this.#paused = full;
    if (full) connection.pause();
    else connection.resume();
  }

  #decode(op: AnyOp, frame: Frame): unknown {
    let reason: string | null;
    try {
      const request = op.request.decode(frame.message);
      reason = op.request.check(request);
      if (reason === null) return request;
    } catch {
      reason = `${op.name} cannot be decoded`;
    }
    this.#refuse(reason, frame.payload);
    return null;
  }

  #refuse(reason: string, payload: Segment | null): void {
    if (payload !== null) this.#env.pool.release(payload.slot);
    this.#options.refuse(reason);
  }

  #answer(op: AnyOp, id: number, answer: Answer<unknown>): void {
    const payload = answer.payload ?? null;
    if (id === 0) {
      this.#release(payload);
      this.#done();
      return;
    }
    let message: Uint8Array;
    try {
      const added = op.code === OPS.hello.code ? this.#options.greeting.answer : null;
      message = op.reply.encode(
        (added === null ? answer.message : {...answer.message, ...added}) as object,
      );
      if (message.length > MESSAGE_BYTES_MAX) throw this.#tooLong(op, message.length);
    } catch (error) {
      this.#release(payload);
      this.#fail(op, id, error);
      return;
    }
    this.#connection.send(op.code, FLAG.reply, id, 0, message, payload);
    this.#done();
  }

  /** A handler's bug, but who asked may have asked for it: nobody else is to suffer. */
  #tooLong({name}: AnyOp, bytes: number): FsError {
    this.#env.log.error('reply.too-long', {op: name, bytes});
    return new FsError('EIO', `the reply to ${name} has ${bytes} bytes`);
  }

  #fail(op: AnyOp, id: number, error: unknown): void {
    let status: number = ERRNO.EIO;
    let detail = '';
    if (error instanceof FsError || error instanceof Refusal) {
      status = error.number;
      detail = error.detail.slice(0, DETAIL_CHARS_MAX);
    } else {
      this.#env.log.error('handler.failed', {op: op.name, error: messageOf(error)});
    }
    if (id !== 0) {
      const message = detail === '' ? EMPTY : new TextEncoder().encode(detail);
      this.#connection.send(op.code, FLAG.reply, id, status, message, null);
    }
    this.#done();
    if (error instanceof Bug) this.#options.onBug(error);
  }

  #done(): void {
    this.#inFlight--;
    this.balance();
  }

  #release(payload: readonly Segment[] | null): void {
    if (payload !== null) for (const {slot} of payload) this.#env.pool.release(slot);
  }
}
