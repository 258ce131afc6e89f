import type {Connection, Listener, Net} from '../env/net.js';

/**
 * A port that a process keeps while who answers at it changes: given up for a moment, another process may have it, and the next role could not listen. Who comes
 * while nobody answers is sent away, as if nobody listened.
 */
export class HeldPort implements Pick<Net, 'listen'> {
  readonly #listener: Listener;
  #accept: ((connection: Connection) => void) | null = null;

  /** Rejects as `net.listen` does. */
  static open(net: Pick<Net, 'listen'>, address: string): Promise<HeldPort> {
    let port: HeldPort | null = null;
    const accept = (connection: Connection): void => {
      const answer = port === null ? null : port.#accept;
      if (answer === null) connection.close('nobody answers here now');
      else answer(connection);
    };
    return net.listen(address, accept).then((listener) => {
      port = new HeldPort(listener);
      return port;
    });
  }

  private constructor(listener: Listener) {
    this.#listener = listener;
  }

  get address(): string {
    return this.#listener.address;
  }

  /** Answers here until its `close`, whatever address it wants; the one before has ended. */
  listen(_address: string, accept: (connection: Connection) => void): Promise<Listener> {
    this.#accept = accept;
    const close = (): Promise<void> => {
      if (this.#accept === accept) this.#accept = null;
      return Promise.resolve();
    };
    return Promise.resolve({address: this.address, close});
  }

  close(): Promise<void> {
    return this.#listener.close();
  }
}
