import type {Ms} from '../base/ids.js';
import {KIB} from '../base/units.js';
import type {RecoveryOrder, RecoverySpeed} from '../cluster/recovery.js';
import {type Clock, sleep} from '../env/clock.js';
import type {Stats} from './stats.js';

/** Looks at the order again this often while it waits. */
const LOOK_MS: Ms = 500;
/** The same, whether others want what is held meanwhile. */
const WANTED_MS: Ms = 20;
/** Who holds an object that others want goes on for so long, so that it is taken from him a few times only. */
const HOLD_MS: Ms = 50;
/** Of what was not used before so much may be made up for. */
const CREDIT_MS: Ms = 200;
/** Figures are of the last moments. */
const FADE_MS: Ms = 10_000;
/** While servers have clients to serve it goes so much slower, */
const BUSY_SHARE = 8;
/** in smaller pieces, and for so long after the last of them has said so. */
const BUSY_PIECE_BYTES = 64 * KIB;
const BUSY_MS: Ms = 500;
/** So much of a column is made at a time. */
const PIECE_BYTES = 256 * KIB;

/** Keeps a recovery within its order, has it give way to clients, and knows how fast it goes. */
export class Pace {
  readonly #clock: Clock;
  readonly #stats: Stats;
  readonly #order: () => RecoveryOrder & {busy: boolean};
  #moved: number;
  /** Until then what was moved so far takes, at the rate. */
  #due: Ms;
  #since: {at: Ms; bytes: number; chunks: number};
  #chunks = 0;
  #speed = {bytes: 0, chunks: 0};
  #busyReplies: number;
  #busyUntil: Ms = Number.NEGATIVE_INFINITY;

  /** `stats`: of a client that does nothing else. `order`: with whether the server in whose process it works is busy. */
  constructor(clock: Clock, stats: Stats, order: () => RecoveryOrder & {busy: boolean}) {
    this.#clock = clock;
    this.#stats = stats;
    this.#order = order;
    this.#due = clock.now();
    this.#moved = this.#bytes;
    this.#busyReplies = stats.busyReplies;
    this.#since = {at: clock.now(), bytes: this.#bytes, chunks: 0};
  }

  /** Before each object: waits while the recovery is paused, and for the rate. Ends early when it is `stopped`. */
  async next(stopped: () => boolean): Promise<void> {
    this.#chunks++;
    this.#measure();
    await this.wait(stopped);
  }

  /** The same before it goes on with an object that it had to give up. `hurries`: what is done again, since others change it, gives way to nobody. */
  async wait(stopped: () => boolean, hurries = false): Promise<void> {
    for (;;) {
      this.#count(hurries);
      const now = this.#clock.now();
      const {paused} = this.#order();
      if (stopped() || (!paused && this.#due <= now)) return;
      await sleep(this.#clock, paused ? LOOK_MS : Math.min(LOOK_MS, this.#due - now));
    }
  }

  /**
   * After each piece of an object whose lease is held since `begun`: waits for the rate, unless others want it. False: it is to be given up, to
   * them or because the recovery is paused, and what is left is done another time.
   */
  async moved(begun: Ms, wanted: () => boolean): Promise<boolean> {
    this.#count();
    for (;;) {
      const now = this.#clock.now();
      if (wanted()) return now - begun < HOLD_MS;
      if (this.#order().paused) return false;
      if (this.#due <= now) return true;
      await sleep(this.#clock, Math.min(WANTED_MS, this.#due - now));
    }
  }

  /** So much is made at a time: while it is, what clients ask for waits. */
  get pieceBytes(): number {
    return this.#givesWay ? BUSY_PIECE_BYTES : PIECE_BYTES;
  }

  get speed(): RecoverySpeed {
    this.#measure();
    return {...this.#speed, givesWay: this.#givesWay};
  }

  get #givesWay(): boolean {
    const now = this.#clock.now();
    const {busyReplies} = this.#stats;
    if (busyReplies > this.#busyReplies || this.#order().busy) this.#busyUntil = now + BUSY_MS;
    this.#busyReplies = busyReplies;
    return now < this.#busyUntil;
  }

  #count(hurries = false): void {
    const moved = this.#bytes;
    const {rate} = this.#order();
    this.#due = Math.max(this.#due, this.#clock.now() - CREDIT_MS);
    const share = !hurries && this.#givesWay ? BUSY_SHARE : 1;
    this.#due += (1000 * share * (moved - this.#moved)) / Math.max(1, rate);
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
