import {FIRST_RELEASE, type Release} from '../base/features.js';
import type {Env} from '../env/env.js';
import type {Connection, Frame} from '../env/net.js';
import {FLAG} from '../protocol/frame.js';
import type {HelloReply, HelloRequest} from '../protocol/gen/wire.js';
import {type AnyOp, OPS, type Op} from '../protocol/ops.js';
import {CALLS_MAX, Calls} from './calls.js';
import {Dispatcher} from './dispatcher.js';
import {Greeting} from './greeting.js';
import type {Handlers} from './handlers.js';
import type {CallOptions, PeerLike, Reply} from './peer-api.js';

export interface PeerOptions {
  /**
   * Requests of the other side that are carried out at once; beyond it the connection is paused, replies to own calls
   * too. So where handlers wait for calls over the same connection, or for other requests of the same peer, it must be
   * above what the other side can have outstanding (CALLS_MAX).
   */
  inFlightMax?: number;
  /** Once, after all calls were rejected. */
  onClosed?(reason: string): void;
  /** A broken invariant in a handler. Default: thrown in a turn of its own, which ends the process. */
  onBug?(bug: unknown): void;
}

/** Twice CALLS_MAX: a peer of ours never gets there, even with urgent calls. */
const IN_FLIGHT_MAX = 2 * CALLS_MAX;

/** One end of a connection: calls the other one and carries out what it asks. */
export class Peer implements PeerLike {
  readonly peer: string;
  readonly #connection: Connection;
  readonly #calls: Calls;
  readonly #dispatcher: Dispatcher;
  readonly #env: Pick<Env, 'clock' | 'log' | 'pool'>;
  readonly #onClosed: (reason: string) => void;
  readonly #greeting: Greeting;
  #closed = false;

  /** Takes the connection over; nothing is served before `serve`, which belongs into the same turn. */
  constructor(
    env: Pick<Env, 'clock' | 'log' | 'pool' | 'release' | 'traffic'>,
    connection: Connection,
    options: PeerOptions = {},
  ) {
    this.peer = connection.peer;
    this.#connection = connection;
    this.#env = env;
    this.#onClosed = options.onClosed ?? (() => {});
    const refuse = (reason: string) => {
      if (this.#closed) return;
      env.log.warn('peer.refused', {peer: this.peer, reason});
      this.close(reason);
    };
    this.#greeting = new Greeting(env.release);
    this.#calls = new Calls(env, connection, {refuse, greeting: this.#greeting});
    this.#dispatcher = new Dispatcher(env, connection, {
      greeting: this.#greeting,
      inFlightMax: options.inFlightMax ?? IN_FLIGHT_MAX,
      refuse,
      onBug: options.onBug ?? ((bug) => env.clock.soon(() => raise(bug))),
    });
    connection.handle({
      frame: (frame) => this.#frame(frame),
      closed: (reason) => this.#end(reason),
      drained: () => {
        this.#calls.sendWaiting();
        this.#dispatcher.balance();
      },
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  get release(): Release {
    return this.#greeting.theirs ?? FIRST_RELEASE;
  }

  knows(op: Pick<AnyOp, 'since'>): boolean {
    return this.#greeting.knows(op);
  }

  /** Own calls without a reply. */
  get outstanding(): number {
    return this.#calls.outstanding;
  }

  /** Requests of the other side without an answer. */
  get inFlight(): number {
    return this.#dispatcher.inFlight;
  }

  /** From now on these requests are allowed and no others; `context` goes to every handler. */
  serve<C>(handlers: Handlers<C>, context: C): void {
    this.#dispatcher.serve(handlers, context);
  }

  call<Q, R>(op: Op<Q, R>, request: Partial<Q>, options?: CallOptions): Promise<Reply<R>> {
    return this.#calls.call(op, request, options);
  }

  /** Says hello; the two then know of each other's releases. Rejects as `call`, and with Refusal WrongVersion. */
  async hello(request: Partial<HelloRequest>, options?: CallOptions): Promise<HelloReply> {
    const {introduction} = this.#greeting;
    const {message} = await this.call(OPS.hello, {...introduction, ...request}, options);
    this.#greeting.answered(message);
    return message;
  }

  /** Id 0 asks for no reply. */
  push<Q, R>(op: Op<Q, R>, request: Partial<Q>): void {
    if (this.#closed || !this.knows(op)) return;
    this.#connection.send(op.code, 0, 0, 0, op.request.encode(request), null);
  }

  /** What was sent before still leaves, if the network takes it soon. `quiet`: whoever reads the log knows. */
  close(reason: string, quiet = false): void {
    if (this.#closed) return;
    this.#end(reason, quiet);
    this.#connection.close(reason);
  }

  #frame(frame: Frame): void {
    if (this.#closed) {
      if (frame.payload !== null) this.#env.pool.release(frame.payload.slot);
    } else if ((frame.flags & FLAG.reply) !== 0) this.#calls.reply(frame);
    else this.#dispatcher.request(frame);
  }

  #end(reason: string, quiet = false): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#env.log[quiet ? 'debug' : 'info']('peer.closed', {peer: this.peer, reason});
    this.#calls.close(reason);
    this.#dispatcher.closed();
    this.#onClosed(reason);
  }
}

function raise(bug: unknown): never {
  throw bug;
}
