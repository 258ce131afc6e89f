import {Lost} from '../base/errors.js';
import type {CheckpointWatch} from './backtraces.js';
import type {BatchLog} from './log.js';
import type {LayeredStore} from './store.js';

type Entry = [string, Uint8Array | null];

/**
 * 5 s and 256 KiB: handing a checkpoint to LMDB holds the event loop for 2 to 4 us per entry (measured), 256 KiB of log are
 * about 3,000 creations and 9,000 entries. A start replays about twice that much at most, in 0.1 s.
 */
export const checkpointDefaults = {ms: 5_000, bytes: 256 * 1024};

/**
 * Logged, or in the overlay, while a checkpoint is being written: then whoever makes more waits for it. Else memory and the next start would have no
 * bound, and the next checkpoint would be a long one: what LMDB takes for each page that it changes grows with their number in the transaction.
 */
const AHEAD_BYTES_MAX = 8 * 1024 * 1024;
const AHEAD_ENTRIES_MAX = 12_000;

export interface CheckpointOptions {
  /** Logged bytes after which one is begun. */
  bytes: number;
  /** Resolves when a batch may go into the Kv; what is there cannot be taken back. */
  kept(sequence: number): Promise<void>;
  failed(error: unknown): void;
  /** Who sees what is written, if anybody. */
  watch(): CheckpointWatch | undefined;
}

/** Decides when the overlay goes into the Kv. One checkpoint at a time; requests go on meanwhile. */
export class Checkpointer {
  readonly #store: LayeredStore;
  readonly #log: BatchLog;
  readonly #options: CheckpointOptions;
  #bytes = 0;
  #running: Promise<void> | null = null;
  #abandoned = false;
  #failed: unknown = null;
  /** Of the checkpoint that is running: the Kv is being written. */
  #writing = false;

  constructor(store: LayeredStore, log: BatchLog, options: CheckpointOptions) {
    this.#store = store;
    this.#log = log;
    this.#options = options;
  }

  logged(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes >= this.#options.bytes) this.begin();
  }

  /** What has come since the checkpoint that is running began is too much. */
  get behind(): boolean {
    if (this.#running === null) return false;
    const {overlayBytes, overlayEntries} = this.#store;
    const bytes = Math.max(this.#bytes, overlayBytes);
    return bytes >= AHEAD_BYTES_MAX || overlayEntries >= AHEAD_ENTRIES_MAX;
  }

  /** Resolves when no checkpoint, or another one, is running. */
  async next(): Promise<void> {
    await this.#running;
  }

  /** Unless one is running or nothing has changed. */
  begin(): void {
    if (this.#running !== null || this.#abandoned) return;
    if (this.#log.last === this.#store.position.sequence) return;
    this.#bytes = 0;
    this.#running = this.#run()
      .catch((error: unknown) => {
        this.#failed = error;
        this.#options.failed(error);
      })
      .finally(() => {
        this.#running = null;
      });
  }

  async #run(): Promise<void> {
    const {last: sequence, sum} = this.#log;
    const kept = Promise.all([this.#log.sync(), this.#options.kept(sequence)]).then(() => {
      if (this.#abandoned) throw new Lost('given up');
      this.#writing = true;
    });
    const watch = this.#options.watch();
    const note =
      watch && ((changes: Iterable<Entry>, from: number) => watch.note(changes, from, sequence));
    try {
      await this.#store.checkpoint({sequence, sum}, kept, note);
    } finally {
      this.#writing = false;
    }
    watch?.written(sequence);
    await this.#log.trim(sequence);
  }

  /** What was logged before the call is in the Kv. Rejects when it will not be: with what failed, or Lost, as it was given up. */
  async finish(): Promise<void> {
    const {last} = this.#log;
    while (this.#store.position.sequence < last) {
      if (this.#failed !== null) throw this.#failed;
      if (this.#abandoned) throw new Lost('given up');
      this.begin();
      await this.#running;
    }
  }

  /** The same, and no checkpoint is running: for when nothing is logged any more. */
  async close(): Promise<void> {
    await this.finish();
    await this.#running;
  }

  /** What has not begun to be written is not. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    if (this.#writing) await this.#running;
  }
}
