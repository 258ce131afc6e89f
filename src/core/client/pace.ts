import type {Ms} from '../base/ids.js';
import type {RecoveryOrder} from '../cluster/recovery.js';
import {type Clock, sleep} from '../env/clock.js';
import type {Stats} from './stats.js';

/** Looks at the order again this often while it waits. */
const LOOK_MS: Ms = 500;
/** What is held meanwhile others may be waiting for: an object's lease is not kept longer for the sake of the rate. */
const HOLD_MS: Ms = 2_000;
/** Of what was not used before so much may be made up for. */
const CREDIT_MS: Ms = 200;
/** Figures are of the last moments. */
const FADE_MS: Ms = 10_000;

/** Keeps a recovery within its order, and knows how fast it goes. */
export class Pace {
  readonly #clock: Clock;
  readonly #stats: Stats;
  readonly #order: () => RecoveryOrder;
  #moved: number;
  /** Until then what was moved so far takes, at the rate. */
  #due: Ms;
  #since: {at: Ms; bytes: number; chunks: number};
  #chunks = 0;
  #speed = {bytes: 0, chunks: 0};

  /** `stats`: of a client that does nothing else. */
  constructor(clock: Clock, stats: Stats, order: () => RecoveryOrder) {
    this.#clock = clock;
    this.#stats = stats;
    this.#order = order;
    this.#due = clock.now();
    this.#moved = this.#bytes;
    this.#since = {at: clock.now(), bytes: this.#bytes, chunks: 0};
  }

  /** Before each object: waits while the recovery is paused, and for the rate. Ends early when it is `stopped`. */
  async next(stopped: () => boolean): Promise<void> {
    this.#chunks++;
    this.#measure();
    for (;;) {
      this.#count();
      const now = this.#clock.now();
      const {paused} = this.#order();
      if (stopped() || (!paused && this.#due <= now)) return;
      await sleep(this.#clock, paused ? LOOK_MS : Math.min(LOOK_MS, this.#due - now));
    }
  }

  /** After each piece of an object whose lease is held since `begun`: waits for the rate, within bounds. */
  async moved(begun: Ms): Promise<void> {
    this.#count();
    const now = this.#clock.now();
    const wait = Math.min(this.#due, begun + HOLD_MS) - now;
    if (wait > 0) await sleep(this.#clock, wait);
  }

  /** Bytes, and objects, a second of late. */
  get speed(): {bytes: number; chunks: number} {
    this.#measure();
    return this.#speed;
  }

  #count(): void {
    const moved = this.#bytes;
    this.#due = Math.max(this.#due, this.#clock.now() - CREDIT_MS);
    this.#due += (1000 * (moved - this.#moved)) / Math.max(1, this.#order().rate);
    this.#moved = moved;
  }

  #measure(): void {
    const now = this.#clock.now();
    const {at, bytes, chunks} = this.#since;
    const seconds = (now - at) / 1000;
    if (seconds < 1) return;
    this.#speed = {
      bytes: Math.round((this.#bytes - bytes) / seconds),
      chunks: (this.#chunks - chunks) / seconds,
    };
    if (now - at > FADE_MS) this.#since = {at: now, bytes: this.#bytes, chunks: this.#chunks};
  }

  get #bytes(): number {
    return this.#stats.dataBytesIn + this.#stats.dataBytesOut;
  }
}
