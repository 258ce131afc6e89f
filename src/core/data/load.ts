import type {Ms} from '../base/ids.js';
import type {Clock} from '../env/clock.js';

const WINDOW_MS: Ms = 500;
/** With fewer requests in that time nobody would feel what else is done. */
const BUSY_REQUESTS = 4;

/** Does a server have clients to serve? Then scrub and recoveries give way. */
export class Load {
  readonly #clock: Clock;
  #since: Ms = Number.NEGATIVE_INFINITY;
  #count = 0;
  #until: Ms = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A request of somebody who does not give way himself. */
  served(): void {
    const now = this.#clock.now();
    if (now - this.#since >= WINDOW_MS) {
      this.#since = now;
      this.#count = 0;
    }
    if (++this.#count >= BUSY_REQUESTS) this.#until = now + WINDOW_MS;
  }

  get busy(): boolean {
    return this.#clock.now() < this.#until;
  }
}
