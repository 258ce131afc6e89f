import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import {
  type ByteRange,
  EVERYTHING,
  includes,
  isWhole,
  overlap,
  overlaps,
  type Ranges,
} from './ranges.js';

/** Modes of a lease (LeaseMode on the wire). A higher one includes the lower ones. */
export const NONE = 0;
export const READ = 1;
export const WRITE = 2;
export type Mode = 0 | 1 | 2;
/**
 * Not held but passed through: somebody has the meta server change the object. Any number at once; nobody but the one
 * who asks for the change holds anything of the object meanwhile.
 */
export const CHANGE = 3;
export type Wanted = 1 | 2 | 3;

/** What the owner of the table must do, in this order. */
export type LeaseEffect =
  /** The request with this ticket has its lease: `mode` of the whole object; and if `part` is given, WRITE of it. */
  | {do: 'grant'; session: number; oid: number; mode: Mode; ticket: number; part?: ByteRange}
  /** Ask the session to go down to `keep` in that range; whatever it keeps elsewhere is up to it. */
  | {do: 'recall'; session: number; oid: number; keep: Mode; range: ByteRange}
  /** Put the session out: have every data server refuse it, then call `end`. What it holds stays held until then. */
  | {do: 'fence'; session: number; oid: number};

export interface LeaseOptions {
  /** A holder that has not yielded by then is fenced. */
  recallMs: Ms;
  /** Leases of one session above this are recalled, the least recently asked for first. */
  leasesPerSessionMax: number;
}

export interface Holder {
  readonly object: LeaseObject;
  readonly session: Session;
  mode: Mode;
  /** Of WRITE: what it holds; never empty. Else the whole object. */
  ranges: Ranges;
  /** The mode to which it was recalled; -1: not recalled. Invariant: recalledTo < mode. */
  recalledTo: number;
  /** Of what. Invariant: while it is recalled, some of it is in `ranges`. */
  recallRange: ByteRange;
  recallBy: Ms;
}

export interface Waiter {
  session: Session;
  mode: Wanted;
  /** Of WRITE; else everything. */
  range: ByteRange;
  ticket: number;
}

/** A change under way. */
export interface Changer {
  session: Session;
  ticket: number;
}

export interface LeaseObject {
  readonly oid: number;
  readonly holders: Holder[];
  readonly queue: Waiter[];
  /** Those who wait until nobody else writes; they get nothing and are in nobody's way. */
  readonly lookers: Waiter[];
  readonly changers: Changer[];
  /** How often, one soon after the other, a range was asked of somebody who writes, and when that was last. */
  splits: number;
  splitAt: Ms;
}

export interface Session {
  readonly id: number;
  /** By oid, least recently asked for first. */
  readonly leases: Map<number, Holder>;
  writeCount: number;
  /** Objects in whose queue, or among whose lookers, it stands, and how often. */
  readonly waits: Map<LeaseObject, number>;
  /** Its fence was asked for: it gets nothing more and is asked for nothing more. */
  fencing: boolean;
}

/** Does what is held satisfy a request, now and after a recall that may be under way? */
export function covers(holder: Holder, mode: Wanted, range: ByteRange): boolean {
  if (holder.mode < mode || !includes(holder.ranges, range)) return false;
  if (holder.recalledTo < 0) return true;
  // What else it gives up with a range is up to it.
  return holder.recalledTo >= mode;
}

/** What it may count on of the whole object: the mode, or what a recall under way leaves of it. */
export function lasting(holder: Holder): Mode {
  if (!isWhole(holder.ranges)) return NONE;
  return holder.recalledTo < 0 ? holder.mode : (holder.recalledTo as Mode);
}

/** Is a holder of another session in the way of such a request? */
export function inTheWay(holder: Holder, mode: Wanted, range: ByteRange): boolean {
  if (mode === READ) return holder.mode === WRITE;
  if (mode === CHANGE || holder.mode === READ) return true;
  return overlaps(holder.ranges, range);
}

export function waited(session: Session, object: LeaseObject): void {
  const left = (session.waits.get(object) ?? 0) - 1;
  assert(left >= 0, 'who leaves a queue stood in it');
  if (left > 0) session.waits.set(object, left);
  else session.waits.delete(object);
}

export function compatible(
  object: LeaseObject,
  session: Session,
  mode: Wanted,
  range: ByteRange,
): boolean {
  for (const holder of object.holders)
    if (holder.session !== session && inTheWay(holder, mode, range)) return false;
  if (mode === CHANGE) return true;
  for (const changer of object.changers) if (changer.session !== session) return false;
  return true;
}

/** Has the recall of a holder been obeyed? */
export const obeyed = ({mode, recalledTo, recallRange, ranges}: Holder): boolean =>
  mode <= recalledTo || !ranges.some((range) => overlap(range, recallRange));

export function find(object: LeaseObject, session: Session): Holder | null {
  // Few holders are found fastest in their own list; many through the session's map.
  if (object.holders.length > 8) return session.leases.get(object.oid) ?? null;
  for (const holder of object.holders) if (holder.session === session) return holder;
  return null;
}

export function newHolder(
  object: LeaseObject,
  session: Session,
  mode: Mode,
  ranges: Ranges,
): Holder {
  const not = {recalledTo: -1, recallRange: EVERYTHING, recallBy: 0};
  const holder: Holder = {object, session, mode, ranges, ...not};
  object.holders.push(holder);
  session.leases.set(object.oid, holder);
  return holder;
}

export function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  assert(index >= 0, 'it is in the list');
  const last = list.pop()!;
  if (index < list.length) list[index] = last;
}

/** Takes the session out of every queue; the objects whose queues changed. */
export function leaveQueues(session: Session): LeaseObject[] {
  const changed = [...session.waits.keys()];
  for (const {queue, lookers} of changed) {
    for (const list of [queue, lookers]) {
      for (let i = list.length - 1; i >= 0; i--) {
        if (list[i]!.session === session) list.splice(i, 1);
      }
    }
  }
  session.waits.clear();
  return changed;
}
