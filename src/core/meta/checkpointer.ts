import type {BatchLog} from './log.js';
import type {LayeredStore} from './store.js';

/**
 * 5 s and 256 KiB: handing a checkpoint to LMDB holds the event loop for 2 to 4 us per entry (measured), 256 KiB of log are
 * about 3,000 creations and 9,000 entries. A start replays about twice that much at most, in 0.1 s.
 */
export const checkpointDefaults = {ms: 5_000, bytes: 256 * 1024};

export interface CheckpointOptions {
  /** Logged bytes after which one is begun. */
  bytes: number;
  failed(error: unknown): void;
}

/** Decides when the overlay goes into the Kv. One checkpoint at a time; requests go on meanwhile. */
export class Checkpointer {
  readonly #store: LayeredStore;
  readonly #log: BatchLog;
  readonly #options: CheckpointOptions;
  #bytes = 0;
  #running: Promise<void> | null = null;

  constructor(store: LayeredStore, log: BatchLog, options: CheckpointOptions) {
    this.#store = store;
    this.#log = log;
    this.#options = options;
  }

  logged(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes >= this.#options.bytes) this.begin();
  }

  /** Unless one is running or nothing has changed. */
  begin(): void {
    if (this.#running !== null || this.#log.last === this.#store.position) return;
    this.#bytes = 0;
    this.#running = this.#run()
      .catch((error: unknown) => this.#options.failed(error))
      .finally(() => {
        this.#running = null;
      });
  }

  async #run(): Promise<void> {
    const position = this.#log.last;
    const written = this.#store.checkpoint(position, this.#log.sync());
    await written;
    await this.#log.trim(position);
  }

  /** Everything that was logged is in the Kv. */
  async finish(): Promise<void> {
    while (this.#log.last !== this.#store.position) {
      this.begin();
      await this.#running;
    }
    await this.#running;
  }
}
