import {messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {
  HeartbeatReply,
  HeartbeatRequest,
  HelloReply,
  HelloRequest,
} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import {Redial} from '../transport/redial.js';

const HEARTBEAT_MS: Ms = 1_000;

export interface MetaLinkOptions {
  address: string;
  /** Sets the handlers of a fresh connection, before it says hello. */
  serve(peer: Peer): void;
  /** Who this server is; the session is added. */
  hello(): Partial<HelloRequest>;
  welcomed(reply: HelloReply): Promise<void>;
  figures(): Partial<HeartbeatRequest>;
  answered(reply: HeartbeatReply): void;
  onBug?(bug: unknown): void;
}

/** The connection to the meta server: dialled again and again, with a heartbeat for as long as it is up. */
export class MetaLink {
  readonly #env: Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'random' | 'release'>;
  readonly #options: MetaLinkOptions;
  readonly #redial: Redial;
  /** Of this process: so that a reconnect is not taken for a restart. */
  #session = 0;
  #term = 0;
  #heartbeatMs = HEARTBEAT_MS;
  #timer: Timer | null = null;

  constructor(
    env: Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'random' | 'release'>,
    options: MetaLinkOptions,
  ) {
    this.#env = env;
    this.#options = options;
    this.#redial = new Redial(env, {
      address: options.address,
      ...(options.onBug === undefined ? {} : {peer: {onBug: options.onBug}}),
      hello: (peer) => this.#hello(peer),
      onUp: () => this.#beat(),
      onDown: () => this.#timer?.cancel(),
    });
  }

  /** The connection, when it is up. Rejects after so long: with the meta server's refusal, or Lost. */
  peer(deadlineMs: Ms): Promise<Peer> {
    return this.#redial.peer(deadlineMs);
  }

  get connected(): boolean {
    return this.#redial.current !== null;
  }

  close(reason: string): void {
    this.#timer?.cancel();
    this.#redial.close(reason);
    this.#timer?.cancel();
  }

  async #hello(peer: Peer): Promise<void> {
    this.#options.serve(peer);
    const message = await peer.hello({...this.#options.hello(), session: this.#session});
    if (message.term < this.#term)
      throw new Refusal('NotActive', 'the term of this meta server is over');
    this.#term = message.term;
    if (message.session === 0) throw new Refusal('NoSession', 'the meta server gave none');
    this.#session = message.session;
    this.#heartbeatMs = message.heartbeatMs || HEARTBEAT_MS;
    await this.#options.welcomed(message);
  }

  #beat(): void {
    const peer = this.#redial.current;
    if (peer === null) return;
    // Late by several is as bad as lost, and then a newer one counts.
    const options = {urgent: true, deadlineMs: 4 * this.#heartbeatMs};
    peer.call(OPS.heartbeat, this.#options.figures(), options).then(
      ({message}) => this.#options.answered(message),
      (error: unknown) => {
        this.#env.log.debug('heartbeat.failed', {error: messageOf(error)});
        // It may have been stopped, and another one be active.
        if (this.#redial.several) peer.close('heartbeat: no answer');
      },
    );
    this.#timer = this.#env.clock.timer(this.#heartbeatMs, () => this.#beat());
  }
}
