import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type Clock, sleep} from '../env/clock.js';

const AGAIN_MS: Ms = 1000;

/** Repeats what is EIO for lack of servers, until so long has passed. */
export async function patiently<T>(clock: Clock, ms: Ms, run: () => Promise<T>): Promise<T> {
  const until = clock.now() + ms;
  for (;;) {
    try {
      return await run();
    } catch (error) {
      const short = error instanceof FsError && error.errno === 'EIO';
      if (!short || clock.now() + AGAIN_MS >= until) throw error;
    }
    await sleep(clock, AGAIN_MS);
  }
}
