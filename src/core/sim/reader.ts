import {FsError} from '../base/errors.js';
import {ROOT_OID} from '../base/ids.js';
import type {SeededRandom} from './random.js';
import type {Recorder} from './recorder.js';

const GAP_MS = 250;
/** Long enough that a copy is made meanwhile. */
const TIMES = 40;
/** So that what it has seen does not make the history too long to be judged. */
const READS_MAX = 240;
const READ_BYTES = 32 * 1024;
const TYPE_DIR = 4;
const TYPE_FILE = 8;

/** Reads files that others are changing, the same ones again and again, so that they are worth read copies. */
export class Reader {
  readonly #recorder: Recorder;
  readonly #random: SeededRandom;
  readonly #pause: (ms: number) => Promise<void>;
  /** Smaller files are not in columns. */
  readonly #bytesMin: number;
  #stopped = false;

  constructor(
    recorder: Recorder,
    random: SeededRandom,
    bytesMin: number,
    pause: (ms: number) => Promise<void>,
  ) {
    this.#recorder = recorder;
    this.#random = random;
    this.#bytesMin = bytesMin;
    this.#pause = pause;
  }

  stop(): void {
    this.#stopped = true;
  }

  async run(): Promise<void> {
    let left = READS_MAX;
    while (!this.#stopped && left > 0) {
      await this.#pause(this.#random.float() * GAP_MS);
      const oid = await this.#pick();
      if (oid === 0) continue;
      for (let times = TIMES; times > 0 && left > 0 && !this.#stopped; times--, left--) {
        await this.#read(oid);
        await this.#pause(this.#random.float() * GAP_MS);
      }
    }
  }

  /** A file somewhere in the tree; 0: the way ended before one. */
  async #pick(): Promise<number> {
    for (let oid: number = ROOT_OID; ; ) {
      const entries = await this.#tried(async () => (await this.#recorder.readdir(oid)).entries);
      if (entries === null || entries.length === 0) return 0;
      const entry = this.#random.pick(entries);
      if (entry.type === TYPE_FILE) {
        const attr = await this.#tried(() => this.#recorder.getattr(entry.oid));
        return attr !== null && attr.size > this.#bytesMin ? entry.oid : 0;
      }
      if (entry.type !== TYPE_DIR) return 0;
      oid = entry.oid;
    }
  }

  async #read(oid: number): Promise<void> {
    await this.#tried(async () => {
      await this.#recorder.open(oid, false, true);
      try {
        await this.#recorder.read(oid, 0, READ_BYTES, true);
      } finally {
        this.#recorder.release(oid);
      }
    });
  }

  /** Null: it is not there any more, or cannot be read now; the history judges whether that may be. */
  async #tried<T>(work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof FsError) return null;
      throw error;
    }
  }
}
