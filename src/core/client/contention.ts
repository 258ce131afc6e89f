import type {Ms} from '../base/ids.js';
import type {Held} from './held.js';

const BACKOFF_MS_MIN: Ms = 20;
const BACKOFF_MS_MAX: Ms = 2000;
/** A lease that is taken back before so many times the last wait did not pay. */
const SOON = 10;

/** Others have wanted the directory. Who takes turns with others at short intervals does better without the lease. */
export function contended(held: Held, now: Ms): void {
  const soon = now - held.entrustedAt < SOON * held.backoffMs;
  held.backoffMs = soon ? Math.min(BACKOFF_MS_MAX, 2 * held.backoffMs) : BACKOFF_MS_MIN;
  held.contendedUntil = now + held.backoffMs;
}
