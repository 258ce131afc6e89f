import {Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import type {Connection, Listener} from '../env/net.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import type {HeldPort} from '../transport/held-port.js';
import {Peer} from '../transport/peer.js';

/** Who has not said hello by then is gone. */
const HELLO_MS: Ms = 5_000;
const HELLO = {
  ...{cluster: '', session: 0, resumed: false, heartbeatMs: 0, sessionTimeoutMs: 0},
  ...{boot: 0, term: 0},
};
/** The answer leaves first. */
const CLOSE_MS: Ms = 100;

/** Where a meta server that is not the active one listens: it tells whoever comes who is. */
export class StandbyDoor {
  readonly #env: Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'release'>;
  readonly #active: () => string;
  readonly #node: Handlers<null>;
  readonly #peers = new Set<Peer>();
  #listener: Listener | null = null;

  /** `active`: host:port of the active one; empty: not known. `node`: for who wants this very server. */
  constructor(
    env: Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'release'>,
    active: () => string,
    node: Handlers<null>,
  ) {
    this.#env = env;
    this.#active = active;
    this.#node = node;
  }

  async open(port: HeldPort): Promise<void> {
    this.#listener = await port.listen(port.address, (connection) => this.#accept(connection));
  }

  #accept(connection: Connection): void {
    const {clock} = this.#env;
    const peer: Peer = new Peer(this.#env, connection, {
      onClosed: () => {
        timer.cancel();
        this.#peers.delete(peer);
      },
    });
    const timer = clock.timer(HELLO_MS, () => peer.close('no hello', true));
    this.#peers.add(peer);
    peer.serve(
      new Handlers<null>().on(OPS.hello, ({role}) => {
        if (role === 'node') {
          timer.cancel();
          peer.serve(this.#node, null);
          return {message: HELLO};
        }
        clock.timer(CLOSE_MS, () => peer.close('not active', true));
        throw new Refusal('NotActive', this.#active());
      }),
      null,
    );
  }

  async close(): Promise<void> {
    await this.#listener?.close();
    for (const peer of [...this.#peers]) peer.close('another role', true);
  }
}
