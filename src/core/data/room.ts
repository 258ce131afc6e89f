import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {MIB} from '../base/units.js';
import {sleep, type Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';

/** Removal, logs and repair go on when writes are refused. */
const RESERVE_BYTES_MAX = 64 * MIB;
/** However small the disk is, the half of it that a repair may have takes some of its writes, which are of 256 KiB at most. */
const RESERVE_BYTES_MIN = 4 * MIB;
const RESERVE_SHARE = 0.01;
const MEASURE_MS: Ms = 2_000;
/** At the edge the disk is asked before a write is refused, but not more often than this. */
const ASK_MS_MIN: Ms = 100;
/** A write that others took the room from is refused at last. */
const LOOKS_MAX = 20;

/** How much may still be written. ENOSPC comes before the disk is full, so that what needs little can always be done. */
export class Room {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  readonly #reserveBytes: number | undefined;
  #totalBytes = 0;
  /** As measured, less what was written since. */
  #freeBytes = 0;
  #measuredBytes = 0;
  #looking: Promise<void> | null = null;
  #asked: Ms = Number.NEGATIVE_INFINITY;
  #timer: Timer | null = null;
  #closed = false;

  constructor(env: Pick<Env, 'clock' | 'disk' | 'log'>, reserveBytes?: number) {
    this.#env = env;
    this.#reserveBytes = reserveBytes;
  }

  async start(): Promise<void> {
    await this.#measure();
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Free for data. */
  get freeBytes(): number {
    return this.#free(1);
  }

  /** Less so much of the reserve. */
  #free(share: number, freeBytes = this.#freeBytes): number {
    const reserve =
      this.#reserveBytes ??
      Math.max(RESERVE_BYTES_MIN, Math.min(RESERVE_BYTES_MAX, this.#totalBytes * RESERVE_SHARE));
    return Math.max(0, Math.floor(freeBytes - reserve * share));
  }

  #seen(share: number): number {
    return this.#free(share, this.#measuredBytes);
  }

  /** Before `bytes` are written. FsError ENOSPC when only the reserve is left, of which a repair may have half. */
  async take(bytes: number, repair: boolean): Promise<void> {
    const share = repair ? 0.5 : 1;
    for (let looks = 0; this.#free(share) < bytes; looks++) {
      // Overwritten blocks were counted, too: look before a no. And again, if others took what was seen.
      if (looks === LOOKS_MAX || (looks > 0 && this.#seen(share) < bytes))
        throw new FsError('ENOSPC', 'only the reserve is left');
      this.#looking ??= this.#look().finally(() => {
        this.#looking = null;
      });
      await this.#looking;
    }
    this.#freeBytes -= bytes;
  }

  async #look(): Promise<void> {
    const {clock} = this.#env;
    const wait = this.#asked + ASK_MS_MIN - clock.now();
    if (wait > 0) await sleep(clock, wait);
    await this.#measure();
  }

  async #measure(): Promise<void> {
    this.#asked = this.#env.clock.now();
    const {totalBytes, freeBytes} = await this.#env.disk.space();
    this.#totalBytes = totalBytes;
    this.#freeBytes = freeBytes;
    this.#measuredBytes = freeBytes;
  }

  #plan(): void {
    if (this.#closed) return;
    this.#timer = this.#env.clock.timer(MEASURE_MS, () => {
      this.#measure()
        .catch((error: unknown) => this.#env.log.warn('space.unknown', {error: messageOf(error)}))
        .finally(() => this.#plan());
    });
  }
}
