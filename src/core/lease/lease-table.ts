import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import {LeaseBook} from './lease-book.js';
import {checkObject, checkSession} from './lease-check.js';
import {
  CHANGE,
  compatible,
  covers,
  find,
  type Holder,
  inTheWay,
  type LeaseEffect,
  type LeaseObject,
  type LeaseOptions,
  lasting,
  leaveQueues,
  type Mode,
  NONE,
  newHolder,
  obeyed,
  READ,
  remove,
  type Session,
  type Waiter,
  type Wanted,
  WRITE,
  waited,
} from './lease-object.js';
import {
  type ByteRange,
  common,
  EVERYTHING,
  hull,
  includes,
  isEverything,
  isWhole,
  NOTHING,
  overlap,
  plus,
  type Ranges,
  WHOLE,
} from './ranges.js';
import {RecallDeadlines} from './recall-deadlines.js';
import {noteSplit, rangesFor} from './split.js';

/** Ranges of one object above which a session is asked for all of them. */
const RANGES_MAX = 1024;

/** What a session says that it holds of an object. */
export interface Claim {
  mode: Mode;
  ranges: Ranges;
}

/**
 * Leases on objects: `read` of all of it is shared, `write` of all of it or of ranges is exclusive. Owns no timer and sends nothing: the
 * owner passes the time in and carries the effects out. Requests for one object are served first come, first served, but for those that wait
 * for other ranges than whoever came before.
 *
 * Who asks for a range for writing gets all around it that nobody else holds or waits for. If somebody holds some of it, he is asked for
 * the range and decides what else he gives up with it.
 *
 * A change by the meta server (`change`, until `changed`) is compatible with other changes and with what the session
 * that asks for it holds, and with nothing that others hold. A session that holds `write` need not queue for it: those
 * in the queue wait for what it holds.
 *
 * Between owner and client, grants and recalls of one session arrive in the order of the effects. So a client obeys
 * a recall by what it holds at that moment (even while a request of its own waits), ignores a recall of what it does
 * not hold, takes a grant as `max(held, granted)`, and yields unasked only what it has no request out for. To keep less for reading than
 * it may is to yield unasked. A recall is over when nothing of what it asks for is held any more, and when the connection is lost.
 *
 * Invariants: nobody holds anything of what another one holds for writing, nor for reading where anybody holds anything for writing; the
 * head of a queue cannot be granted as things stand (or the table is in its grace period), and every holder in its way has been recalled or is
 * being fenced; objects without holders and waiters are not kept.
 */
export class LeaseTable extends LeaseBook {
  readonly #options: LeaseOptions;
  readonly #deadlines: RecallDeadlines;
  #grace = false;
  #effects: LeaseEffect[] = [];

  constructor(options: LeaseOptions) {
    super();
    this.#options = options;
    this.#deadlines = new RecallDeadlines(options.recallMs);
  }

  /** In the grace period after a restart only `reclaim` gives leases; requests wait. */
  get grace(): boolean {
    return this.#grace;
  }

  startGrace(): void {
    assert(this.objects.size === 0, 'grace begins with an empty table');
    this.#grace = true;
  }

  endGrace(now: Ms): LeaseEffect[] {
    this.#grace = false;
    for (const object of [...this.objects.values()]) this.#pump(object, now);
    return this.#out();
  }

  /**
   * Begins a change at once if nothing is in its way: true, and `changed` must follow. Else false: `request` it with the
   * mode CHANGE.
   */
  tryChange(sessionId: number, oid: number, ticket: number): boolean {
    const session = this.session(sessionId);
    const object = this.object(oid);
    const own = find(object, session);
    const free =
      (own?.mode === WRITE && isWhole(own.ranges)) ||
      (object.queue.length === 0 &&
        !this.#grace &&
        compatible(object, session, CHANGE, EVERYTHING));
    if (free && !session.fencing) object.changers.push({session, ticket});
    this.drop(object);
    return free && !session.fencing;
  }

  /** The change with this ticket is over. */
  changed(oid: number, ticket: number, now: Ms): LeaseEffect[] {
    const object = this.objects.get(oid);
    const index = object?.changers.findIndex((changer) => changer.ticket === ticket) ?? -1;
    if (object === undefined || index < 0) return [];
    object.changers.splice(index, 1);
    if (object.queue.length === 0) this.drop(object);
    else this.#pump(object, now);
    return this.#out();
  }

  /**
   * Asks for a lease; the `grant` with this ticket comes now or later, or never if the session ends. `range`: of WRITE, what has to
   * be in it at least.
   */
  request(
    sessionId: number,
    oid: number,
    mode: Wanted,
    ticket: number,
    now: Ms,
    range: ByteRange = EVERYTHING,
  ): LeaseEffect[] {
    assert(range.from < range.to, 'a lease is on something');
    const session = this.session(sessionId);
    if (session.fencing) return [];
    const object = this.object(oid);
    const waiter: Waiter = {session, mode, range: mode === WRITE ? range : EVERYTHING, ticket};
    const holder = find(object, session);
    if (holder !== null && covers(holder, mode, waiter.range)) {
      this.#granted(object, waiter);
      return this.#out();
    }
    object.queue.push(waiter);
    session.waits.set(object, (session.waits.get(object) ?? 0) + 1);
    this.#pump(object, now);
    return this.#out();
  }

  /**
   * Waits until no other session holds the object for writing, and gets nothing: the `grant` with this ticket says so. Queues and changes
   * do not matter to it. A writer is asked to go down to reading.
   */
  look(sessionId: number, oid: number, ticket: number, now: Ms): LeaseEffect[] {
    const session = this.session(sessionId);
    if (session.fencing) return [];
    const object = this.object(oid);
    object.lookers.push({session, mode: READ, range: EVERYTHING, ticket});
    session.waits.set(object, (session.waits.get(object) ?? 0) + 1);
    this.#pump(object, now);
    return this.#out();
  }

  /**
   * Grants the whole object without waiting and without recalling anyone, or answers what the session holds of it already (maybe NONE).
   * `effects` are trims of the session's other leases.
   */
  tryRequest(
    sessionId: number,
    oid: number,
    mode: 1 | 2,
    now: Ms,
  ): {mode: Mode; effects: LeaseEffect[]} {
    const session = this.session(sessionId);
    const object = this.object(oid);
    let holder = find(object, session);
    if (holder !== null && covers(holder, mode, EVERYTHING)) {
      this.#touch(holder);
      return {mode: lasting(holder), effects: []};
    }
    const wanted = {session, mode, range: EVERYTHING};
    const possible =
      !session.fencing && object.queue.length === 0 && this.#grantable(object, wanted);
    if (possible) {
      this.#hold(object, session, mode, WHOLE, now);
      holder = find(object, session);
    }
    this.drop(object);
    return {mode: holder === null ? NONE : lasting(holder), effects: this.#out()};
  }

  /** Takes a lease that was held before the restart; false if another holder's is in its way. */
  reclaim(sessionId: number, oid: number, mode: 1 | 2, now: Ms, ranges: Ranges = WHOLE): boolean {
    assert(this.#grace, 'leases are reclaimed in the grace period only');
    const session = this.session(sessionId);
    if (session.fencing) return false;
    const object = this.object(oid);
    const holder = find(object, session);
    const claimed = mode === WRITE ? ranges : WHOLE;
    const has = claimed.every((range) => holder !== null && covers(holder, mode, range));
    const possible = has || claimed.every((range) => compatible(object, session, mode, range));
    if (possible && !has) this.#hold(object, session, mode, claimed, now);
    this.drop(object);
    return possible;
  }

  /**
   * The session goes down to `keep`, but for `stays`, of which it keeps what it holds for writing; nothing happens if it holds no
   * more than that. Whoever holds only ranges, or keeps some, keeps nothing for reading.
   */
  yield(
    sessionId: number,
    oid: number,
    keep: Mode,
    now: Ms,
    stays: Ranges = NOTHING,
  ): LeaseEffect[] {
    const object = this.objects.get(oid);
    const session = this.sessions.get(sessionId);
    if (object === undefined || session === undefined) return [];
    const holder = find(object, session);
    if (holder === null || holder.mode <= keep) return [];
    this.#lower(holder, keep, stays);
    this.#pump(object, now);
    return this.#out();
  }

  /** After a reconnect the session says what it holds: it keeps no more than that, and what is recalled is recalled again. */
  reconcile(sessionId: number, listed: ReadonlyMap<number, Claim>, now: Ms): LeaseEffect[] {
    for (const holder of [...(this.sessions.get(sessionId)?.leases.values() ?? [])]) {
      const {object} = holder;
      const {mode, ranges} = listed.get(object.oid) ?? {mode: NONE, ranges: NOTHING};
      const less = mode < holder.mode || !holder.ranges.every((range) => includes(ranges, range));
      if (less) {
        if (mode === WRITE) this.#lower(holder, NONE, ranges);
        else this.#lower(holder, mode, NOTHING);
      }
      if (holder.recalledTo >= 0 && holder.mode !== NONE) this.#recallEffect(holder);
      if (less) this.#pump(object, now);
    }
    return this.#out();
  }

  /** Removes a waiting request, when whoever asked does not wait any more. */
  cancel(sessionId: number, oid: number, ticket: number, now: Ms): LeaseEffect[] {
    const object = this.objects.get(oid);
    if (object === undefined) return [];
    for (const list of [object.queue, object.lookers]) {
      const index = list.findIndex((w) => w.ticket === ticket && w.session.id === sessionId);
      if (index < 0) continue;
      const [waiter] = list.splice(index, 1);
      waited(waiter!.session, object);
      this.#pump(object, now);
      return this.#out();
    }
    return [];
  }

  /** The session is about to be fenced for another reason: nothing more is granted to it. */
  fencing(sessionId: number, now: Ms): LeaseEffect[] {
    const session = this.sessions.get(sessionId);
    if (session === undefined) return [];
    session.fencing = true;
    for (const object of leaveQueues(session)) this.#pump(object, now);
    return this.#out();
  }

  /** The session is over (after its fence was acknowledged, if it needed one): everything it held is free. */
  end(sessionId: number, now: Ms): LeaseEffect[] {
    const session = this.sessions.get(sessionId);
    if (session === undefined) return [];
    const touched: LeaseObject[] = [];
    for (const holder of session.leases.values()) {
      remove(holder.object.holders, holder);
      holder.mode = NONE;
      holder.recalledTo = -1;
      touched.push(holder.object);
    }
    for (const object of leaveQueues(session)) touched.push(object);
    this.sessions.delete(sessionId);
    for (const object of touched) this.#pump(object, now);
    return this.#out();
  }

  /** Fences holders whose recall time is over; but for those that are `spared` they have it once more. */
  tick(now: Ms, spared: (session: number, oid: number) => boolean = () => false): LeaseEffect[] {
    for (let late = this.#deadlines.take(now); late !== null; late = this.#deadlines.take(now)) {
      if (spared(late.session.id, late.object.oid)) this.#deadlines.add(late, now);
      else this.#fence(late, now);
    }
    return this.#out();
  }

  /** When `tick` has something to do at the earliest; null: nothing is recalled. */
  nextDeadline(): Ms | null {
    return this.#deadlines.next;
  }

  /** Every invariant over everything; dear, for tests and the simulator. */
  check(): void {
    for (const object of this.objects.values()) this.#checkObject(object);
    for (const session of this.sessions.values()) checkSession(session);
  }

  #checkObject(object: LeaseObject): void {
    const head = object.queue[0];
    const waits = head === undefined || this.#grace || !this.#grantable(object, head);
    assert(waits, 'the head of the queue waits for someone');
    checkObject(object, this.#grace);
  }

  #touch(holder: Holder): void {
    const {leases} = holder.session;
    leases.delete(holder.object.oid);
    leases.set(holder.object.oid, holder);
  }

  #grantable(object: LeaseObject, {session, mode, range}: Omit<Waiter, 'ticket'>): boolean {
    if (this.#grace) return false;
    const own = find(object, session);
    // Its own recalled lease must come back first: the client may have a recall of it on its table.
    if (own !== null && own.recalledTo >= 0 && mode !== CHANGE) return false;
    // Who writes a part leaves room for others: without end they would follow one another, and nobody could look in between.
    if (mode === WRITE && object.lookers.some((one) => one.session !== session)) return false;
    return compatible(object, session, mode, range);
  }

  /** Grants what can be granted, in order; recalls whoever stands in the way of the first that cannot. */
  #pump(object: LeaseObject, now: Ms): void {
    this.#serveLookers(object, now);
    const {queue} = object;
    for (let at = 0; at < queue.length; ) {
      const waiter = queue[at]!;
      const own = find(object, waiter.session);
      const has = waiter.mode !== CHANGE && own !== null && covers(own, waiter.mode, waiter.range);
      const passes = queue.slice(0, at).every(({range}) => !overlap(range, waiter.range));
      if (has || (passes && this.#grantable(object, waiter))) {
        queue.splice(at, 1);
        waited(waiter.session, object);
        if (waiter.mode === CHANGE) object.changers.push(waiter);
        else if (!has) {
          const ranges = rangesFor(object, waiter, now);
          this.#hold(object, waiter.session, waiter.mode, ranges, now);
        }
        this.#granted(object, waiter);
        continue;
      }
      if (passes && !this.#grace) this.#recallFor(object, waiter, at === 0, now);
      if (isEverything(waiter.range)) break;
      at++;
    }
    // After the grants: what they gave goes, too.
    for (const holder of object.holders)
      if (holder.ranges.length > RANGES_MAX) this.#recall(holder, NONE, EVERYTHING, now);
    this.#checkObject(object);
    this.drop(object);
  }

  /** Tells that a request has what it waited for. */
  #granted(object: LeaseObject, {session, mode, range, ticket}: Waiter): void {
    const holder = find(object, session);
    const grant = {do: 'grant', session: session.id, oid: object.oid, ticket} as const;
    if (holder === null) this.#effects.push({...grant, mode: NONE});
    else {
      this.#touch(holder);
      const part = holder.ranges.find((one) => overlap(one, range));
      const split = mode === WRITE && !isWhole(holder.ranges) && part !== undefined;
      const how = split ? {mode: NONE as Mode, part} : {mode: lasting(holder)};
      this.#effects.push({...grant, ...how});
    }
  }

  #recallFor(object: LeaseObject, {session, mode, range}: Waiter, head: boolean, now: Ms): void {
    for (const holder of object.holders) {
      if (holder.session === session || !inTheWay(holder, mode, range)) continue;
      // One after the other: what lies between two ranges need not go with them.
      if (!head && holder.recalledTo >= 0) continue;
      const keep = mode === READ && isWhole(holder.ranges) ? READ : NONE;
      const splits = mode === WRITE && holder.mode === WRITE;
      const asked = this.#recall(holder, keep, splits ? range : EVERYTHING, now);
      if (asked && splits && !isEverything(range)) noteSplit(object, now);
    }
  }

  #serveLookers(object: LeaseObject, now: Ms): void {
    const {lookers, holders, oid} = object;
    for (let i = 0; i < lookers.length; ) {
      const {session, ticket} = lookers[i]!;
      const writers = holders.filter((h) => h.mode === WRITE && h.session !== session);
      if (writers.length === 0) {
        lookers.splice(i, 1);
        waited(session, object);
        this.#effects.push({do: 'grant', session: session.id, oid, mode: NONE, ticket});
      } else {
        for (const writer of writers) this.#recall(writer, READ, EVERYTHING, now);
        i++;
      }
    }
  }

  /** False: that was asked for already. */
  #recall(holder: Holder, keep: Mode, range: ByteRange, now: Ms): boolean {
    if (holder.session.fencing) return false;
    const again = holder.recalledTo >= 0;
    if (again && holder.recalledTo <= keep && includes([holder.recallRange], range)) return false;
    holder.recallRange = again ? hull(holder.recallRange, range) : range;
    // Ranges are for writing only.
    const all = isWhole(holder.ranges) && isEverything(holder.recallRange);
    const lowest = all ? keep : NONE;
    holder.recalledTo = again ? Math.min(holder.recalledTo, lowest) : lowest;
    this.#deadlines.add(holder, now);
    this.#recallEffect(holder);
    return true;
  }

  #recallEffect({session, object, recalledTo, recallRange}: Holder): void {
    const recall = {do: 'recall', session: session.id, oid: object.oid} as const;
    this.#effects.push({...recall, keep: recalledTo as Mode, range: recallRange});
  }

  #fence({session, object}: Holder, now: Ms): void {
    if (session.fencing) return;
    session.fencing = true;
    this.#effects.push({do: 'fence', session: session.id, oid: object.oid});
    for (const other of leaveQueues(session)) this.#pump(other, now);
  }

  #hold(object: LeaseObject, session: Session, mode: Mode, ranges: Ranges, now: Ms): void {
    let holder = find(object, session);
    const before = holder?.mode ?? NONE;
    if (holder === null) {
      holder = newHolder(object, session, mode, ranges);
    } else {
      // For reading: nobody else holds anything for writing.
      if (mode < before) holder.ranges = WHOLE;
      else if (before === WRITE) for (const one of ranges) holder.ranges = plus(holder.ranges, one);
      else holder.ranges = ranges;
      holder.mode = Math.max(before, mode) as Mode;
      this.#touch(holder);
    }
    if (holder.mode === WRITE && before !== WRITE) session.writeCount++;
    this.#trim(session, holder, now);
  }

  /** One lease more may cost one recall; only the oldest few are looked at, so that a grant stays cheap. */
  #trim(session: Session, granted: Holder, now: Ms): void {
    if (this.#grace || session.leases.size <= this.#options.leasesPerSessionMax) return;
    let looked = 0;
    for (const holder of session.leases.values()) {
      if (holder.recalledTo < 0 && holder !== granted) {
        this.#recall(holder, NONE, EVERYTHING, now);
        return;
      }
      if (++looked === 16) return;
    }
  }

  #lower(holder: Holder, keep: Mode, stays: Ranges): void {
    const left = holder.mode === WRITE ? common(holder.ranges, stays) : NOTHING;
    if (left.length > 0) {
      holder.ranges = left;
      // Of parts nothing can stay for reading.
      if (!isWhole(left)) holder.recalledTo = Math.min(holder.recalledTo, NONE);
      if (obeyed(holder)) holder.recalledTo = -1;
      return;
    }
    if (holder.mode === WRITE) holder.session.writeCount--;
    holder.mode = isWhole(holder.ranges) ? keep : NONE;
    holder.ranges = WHOLE;
    if (obeyed(holder)) holder.recalledTo = -1;
    if (holder.mode !== NONE) return;
    remove(holder.object.holders, holder);
    holder.session.leases.delete(holder.object.oid);
  }

  #out(): LeaseEffect[] {
    const effects = this.#effects;
    if (effects.length > 0) this.#effects = [];
    return effects;
  }
}
