import type {Ms} from '../base/ids.js';
import {
  type ByteRange,
  common,
  END,
  minus,
  NOTHING,
  overlaps,
  plus,
  type Ranges,
} from '../lease/ranges.js';

/** Ranges that are remembered, and for how long at least; twice as long and as many at most. */
const RANGES_MAX = 256;
const USE_MS: Ms = 1000;

/** Where programs have read and written an object lately. */
export class RecentUse {
  #now: Ranges = NOTHING;
  #before: Ranges = NOTHING;
  #since: Ms = Number.NEGATIVE_INFINITY;

  note(range: ByteRange, at: Ms): void {
    this.#turn(at);
    this.#now = plus(this.#now, range);
  }

  ranges(at: Ms): Ranges {
    this.#turn(at);
    return this.#before.reduce(plus, this.#now);
  }

  #turn(at: Ms): void {
    const age = at - this.#since;
    if (age < USE_MS && this.#now.length < RANGES_MAX) return;
    this.#before = age < 2 * USE_MS ? this.#now : NOTHING;
    this.#now = NOTHING;
    this.#since = at;
  }
}

/** Ranges that are asked for ahead at most. */
const AHEAD_MAX = 32;

/** Finds out whether parts of an object are asked for at even distances: then the next ones can be had with them. */
export class Stride {
  #last: ByteRange = {from: 0, to: 0};
  #distance = 0;
  #hits = 0;

  /** What is likely to be asked for after `range`, twice as much each time it was so. */
  after(range: ByteRange): Ranges {
    const {from, to} = range;
    const last = this.#last;
    const length = to - from;
    // What came ahead was not asked for.
    const distance = from - last.from;
    const even =
      this.#distance > 0 &&
      distance > 0 &&
      distance % this.#distance === 0 &&
      length === last.to - last.from;
    this.#hits = even ? this.#hits + 1 : 0;
    if (!even) this.#distance = distance;
    this.#last = range;
    if (!even || length > this.#distance) return NOTHING;
    const count = Math.min(AHEAD_MAX, 2 ** this.#hits);
    let found: Ranges = NOTHING;
    for (let i = 1; i <= count && to + i * this.#distance < END; i++)
      found = plus(found, {from: from + i * this.#distance, to: to + i * this.#distance});
    return found;
  }
}

/**
 * What to keep of `held` when others want a range for writing: nothing, if nothing was used lately, or if some of the range was: they work on the same
 * bytes, and who works on the same bytes does better with all of the object in turns. What lies on this side of the range, if all that was used does: most
 * who write go on from where they have begun. Else both write all over the object, and only what was used stays.
 */
export function staysOf(held: Ranges, wanted: ByteRange, used: Ranges): Ranges {
  const first = used[0];
  const last = used.at(-1);
  if (first === undefined || last === undefined || overlaps(used, wanted)) return NOTHING;
  if (wanted.from >= last.to) return minus(held, {from: wanted.from, to: END});
  if (wanted.to <= first.from) return minus(held, {from: 0, to: first.from});
  return common(held, used);
}
