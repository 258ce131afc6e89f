import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {alignDown, alignUp, BLOCK_BYTES} from '../base/units.js';
import {type Clock, sleep} from '../env/clock.js';
import {type ByteRange, END} from '../lease/ranges.js';
import type {BytePath} from './columns.js';
import {Disagree} from './reconstruct.js';
import {GaveWay} from './stripe-reader.js';

/** So long columns that do not agree are waited for, and so soon they are looked at again. */
const SETTLE_MS: Ms = 10_000;
const SETTLE_AGAIN_MS: Ms = 500;

/** The whole blocks that these bytes lie in: what leases are of. At least one. */
export function blocksOf(offset: number, length: number): ByteRange {
  const end = Math.min(offset + Math.max(1, length), END);
  const from = alignDown(Math.min(offset, end - 1), BLOCK_BYTES);
  return {from, to: end > END - BLOCK_BYTES ? END : alignUp(end, BLOCK_BYTES)};
}

/**
 * After a power cut, what was being written is settled by a resync, which needs the lease: so whoever meets it before looks again
 * without keeping the lease meanwhile.
 */
export async function settledSoon<T>(clock: Clock, look: () => Promise<T>): Promise<T> {
  const until = clock.now() + SETTLE_MS;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof Disagree) || error.settled || clock.now() >= until) throw error;
      await sleep(clock, SETTLE_AGAIN_MS);
    }
  }
}

/** A read that gives its lease up while it waits for servers is made again under the next one, as long as it may wait for them. */
export async function givingWay<T>(
  {clock, columnWaitMs, tooFewWaitMs}: Pick<BytePath, 'clock' | 'columnWaitMs' | 'tooFewWaitMs'>,
  look: () => Promise<T>,
): Promise<T> {
  const until = clock.now() + Math.max(columnWaitMs, tooFewWaitMs);
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof GaveWay)) throw error;
      if (clock.now() >= until) throw new FsError('EIO', error.message);
    }
  }
}
