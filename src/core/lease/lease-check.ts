import {assert} from '../base/assert.js';
import {inTheWay, type LeaseObject, NONE, READ, type Session, WRITE} from './lease-object.js';
import {common, isWhole, overlaps} from './ranges.js';

/** The invariants of one object. */
export function checkObject(object: LeaseObject, grace: boolean): void {
  const {holders, queue, lookers, changers} = object;
  for (const {session} of lookers) {
    const writers = holders.filter((h) => h.mode === WRITE && h.session !== session);
    assert(writers.length > 0, 'who waits to look waits for a writer');
    const known = writers.every((writer) => writer.recalledTo >= 0 || writer.session.fencing);
    // Who comes back in the grace period is told when it is over.
    assert(known || grace, 'a writer knows that somebody waits to look');
  }
  for (const [index, holder] of holders.entries()) {
    const {mode, ranges, recalledTo, recallRange} = holder;
    assert(mode !== NONE, 'a holder holds something');
    assert(mode === WRITE || isWhole(ranges), 'a lease for reading is on everything');
    assert(ranges.length > 0, 'a lease is on something');
    for (const other of holders.slice(index + 1)) {
      const together =
        mode === READ ? other.mode === READ : common(ranges, other.ranges).length === 0;
      assert(together && other.mode === mode, 'nobody else holds what is held for writing');
    }
    assert(recalledTo < mode, 'a recall asks for less than is held');
    assert(recalledTo < 0 || overlaps(ranges, recallRange), 'a recall asks for what is held');
  }
  for (const changer of changers) {
    const alone = holders.every((holder) => holder.session === changer.session);
    assert(alone, 'nobody else holds what is being changed');
  }
  const head = queue[0];
  if (head === undefined || grace) return;
  for (const holder of holders) {
    if (holder.session === head.session || !inTheWay(holder, head.mode, head.range)) continue;
    const recalled = holder.recalledTo >= 0 || holder.session.fencing;
    assert(recalled, 'whoever is in the way was recalled');
  }
}

/** What a session knows of itself. */
export function checkSession(session: Session): void {
  let writes = 0;
  for (const [oid, holder] of session.leases) {
    const both = holder.object.oid === oid && holder.object.holders.includes(holder);
    assert(both, 'a lease is in both lists');
    if (holder.mode === WRITE) writes++;
  }
  assert(writes === session.writeCount, 'write leases are counted');
  for (const [object, count] of session.waits) {
    const all = [...object.queue, ...object.lookers];
    const stands = all.filter((waiter) => waiter.session === session).length;
    assert(stands === count, 'a session knows where it waits');
  }
}
