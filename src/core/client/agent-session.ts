import {type ClientEnv, type ClientOptions, type OpenedClient, openClient} from './index.js';

const CLOSE_MS = 5000;
const CONNECT_MS = 5000;
const DIRTY_BYTES_MAX = 1024 * 1024;

/** A client session inside a server's process, which lasts for as long as it has something to do. */
export class AgentSession {
  readonly #env: ClientEnv;
  readonly #options: () => Pick<ClientOptions, 'meta' | 'name' | 'server'>;
  #client: Promise<OpenedClient> | null = null;
  #closing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(env: ClientEnv, options: () => Pick<ClientOptions, 'meta' | 'name' | 'server'>) {
    this.#env = env;
    this.#options = options;
  }

  /** The session; a new one after `rest`. Rejects as `openClient`. */
  open(): Promise<OpenedClient> {
    if (this.#closed) throw new Error('the agent is closed');
    if (this.#client === null) {
      const client = openClient(this.#env, {
        ...this.#options(),
        agent: true,
        dirtyBytesMax: DIRTY_BYTES_MAX,
        connectMs: CONNECT_MS,
      });
      this.#client = client;
      client.catch(() => {
        if (this.#client === client) this.#client = null;
      });
    }
    return this.#client;
  }

  /** Ends the session, if there is one. */
  rest(): void {
    const client = this.#client;
    if (client === null) return;
    this.#client = null;
    const ended = client.then(
      (one) => one.close(CLOSE_MS),
      () => {},
    );
    this.#closing = Promise.all([this.#closing, ended]).then(() => {});
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.rest();
    await this.#closing;
  }
}
