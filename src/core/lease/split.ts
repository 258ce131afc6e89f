import type {Ms} from '../base/ids.js';
import {find, type LeaseObject, READ, type Session, type Waiter, WRITE} from './lease-object.js';
import {
  EVERYTHING,
  gapAround,
  isEverything,
  NOTHING,
  overlap,
  overlaps,
  type Ranges,
  WHOLE,
} from './ranges.js';

/**
 * Who asks for a range gets all around it that nobody holds or waits for; unless so many writers have asked for ranges of one another's, each so soon
 * after the last: they write in turns through the object, and what one got too much the next would have to ask for.
 */
const SPLITS_MAX = 4;
const SPLIT_MS: Ms = 1000;

/** What a request is to get; nothing of what it asks for is held by others. */
export function rangesFor(object: LeaseObject, {session, mode, range}: Waiter, now: Ms): Ranges {
  // Who has read it may do so until it has heard that it writes: it is left the whole.
  if (mode !== WRITE || find(object, session)?.mode === READ) return WHOLE;
  let gap = EVERYTHING;
  const leave = (taken: Ranges): void => {
    const {from, to} = gapAround(taken, range);
    gap = {from: Math.max(gap.from, from), to: Math.min(gap.to, to)};
  };
  for (const holder of object.holders) if (holder.session !== session) leave(holder.ranges);
  // Whoever waits for something else would have to ask for it.
  for (const waiter of object.queue)
    if (waiter.session !== session && !overlap(waiter.range, range)) leave([waiter.range]);
  const turns = object.splits >= SPLITS_MAX && now - object.splitAt < SPLIT_MS;
  return turns && !isEverything(gap) ? [range] : [gap];
}

/** A range was asked of somebody who writes. */
export function noteSplit(object: LeaseObject, now: Ms): void {
  object.splits = now - object.splitAt < SPLIT_MS ? object.splits + 1 : 1;
  object.splitAt = now;
}

/** Those that are nobody else's, and that nobody else waits for. */
export function freeOf(object: LeaseObject, session: Session, ranges: Ranges): Ranges {
  const {holders, queue, lookers, changers} = object;
  if (lookers.length > 0 || changers.some((changer) => changer.session !== session)) return NOTHING;
  return ranges.filter(
    (range) =>
      holders.every((holder) => holder.session === session || !overlaps(holder.ranges, range)) &&
      queue.every((waiter) => !overlap(waiter.range, range)),
  );
}
