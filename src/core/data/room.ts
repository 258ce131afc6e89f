import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {MIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';

/** Removal, logs and repair go on when writes are refused. */
const RESERVE_BYTES_MAX = 64 * MIB;
const RESERVE_SHARE = 0.01;
const MEASURE_MS: Ms = 2_000;
/** At the edge the disk is asked before a write is refused, but not more often than this. */
const ASK_MS_MIN: Ms = 100;

/** How much may still be written. ENOSPC comes before the disk is full, so that what needs little can always be done. */
export class Room {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  readonly #reserveBytes: number | undefined;
  #totalBytes = 0;
  /** As measured, less what was written since. */
  #freeBytes = 0;
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
  #free(share: number): number {
    const reserve =
      this.#reserveBytes ?? Math.min(RESERVE_BYTES_MAX, this.#totalBytes * RESERVE_SHARE);
    return Math.max(0, Math.floor(this.#freeBytes - reserve * share));
  }

  /** Before `bytes` are written. FsError ENOSPC when only the reserve is left, of which a repair may have half. */
  async take(bytes: number, repair: boolean): Promise<void> {
    const share = repair ? 0.5 : 1;
    if (this.#free(share) < bytes) {
      // Overwritten blocks were counted, too: look before a no.
      if (this.#env.clock.now() - this.#asked >= ASK_MS_MIN) await this.#measure();
      if (this.#free(share) < bytes) throw new FsError('ENOSPC', 'only the reserve is left');
    }
    this.#freeBytes -= bytes;
  }

  async #measure(): Promise<void> {
    this.#asked = this.#env.clock.now();
    const {totalBytes, freeBytes} = await this.#env.disk.space();
    this.#totalBytes = totalBytes;
    this.#freeBytes = freeBytes;
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
