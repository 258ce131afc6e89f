import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import {
  CHANGE,
  compatible,
  covers,
  find,
  type Holder,
  type LeaseEffect,
  type LeaseObject,
  type LeaseOptions,
  lasting,
  type Mode,
  NONE,
  READ,
  remove,
  type Session,
  type Wanted,
  WRITE,
  waited,
} from './lease-object.js';

/**
 * Leases on whole objects: `read` is shared, `write` is exclusive. Owns no timer and sends nothing: the owner
 * passes the time in and carries the effects out. Requests for one object are served first come, first served.
 *
 * A change by the meta server (`change`, until `changed`) is compatible with other changes and with what the session
 * that asks for it holds, and with nothing that others hold. A session that holds `write` need not queue for it: those
 * in the queue wait for what it holds.
 *
 * Between owner and client, grants and recalls of one session arrive in the order of the effects. So a client obeys
 * a recall by what it holds at that moment (even while a request of its own waits), ignores a recall of what it does
 * not hold, takes a grant as `max(held, granted)`, and yields unasked only what it has no request out for.
 *
 * Invariants: a `write` holder is the only holder; the head of a queue cannot be granted as things stand (or the
 * table is in its grace period), and every holder in its way has been recalled or is being fenced; objects
 * without holders and waiters are not kept.
 */
export class LeaseTable {
  readonly #options: LeaseOptions;
  readonly #objects = new Map<number, LeaseObject>();
  readonly #sessions = new Map<number, Session>();
  /** Recalls in the order of their deadlines; those that were obeyed are skipped. */
  #deadlines: {holder: Holder; by: Ms}[] = [];
  #grace = false;
  #effects: LeaseEffect[] = [];

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** In the grace period after a restart only `reclaim` gives leases; requests wait. */
  get grace(): boolean {
    return this.#grace;
  }

  startGrace(): void {
    assert(this.#objects.size === 0, 'grace begins with an empty table');
    this.#grace = true;
  }

  endGrace(now: Ms): LeaseEffect[] {
    this.#grace = false;
    for (const object of [...this.#objects.values()]) this.#pump(object, now);
    return this.#out();
  }

  /**
   * Begins a change at once if nothing is in its way: true, and `changed` must follow. Else false: `request` it with the
   * mode CHANGE.
   */
  tryChange(sessionId: number, oid: number, ticket: number): boolean {
    const session = this.#session(sessionId);
    const object = this.#object(oid);
    const own = find(object, session);
    const free =
      own?.mode === WRITE ||
      (object.queue.length === 0 && !this.#grace && compatible(object, session, CHANGE));
    if (free && !session.fencing) object.changers.push({session, ticket});
    this.#drop(object);
    return free && !session.fencing;
  }

  /** The change with this ticket is over. */
  changed(oid: number, ticket: number, now: Ms): LeaseEffect[] {
    const object = this.#objects.get(oid);
    const index = object?.changers.findIndex((changer) => changer.ticket === ticket) ?? -1;
    if (object === undefined || index < 0) return [];
    object.changers.splice(index, 1);
    if (object.queue.length === 0) this.#drop(object);
    else this.#pump(object, now);
    return this.#out();
  }

  /** Asks for a lease; the `grant` with this ticket comes now or later, or never if the session ends. */
  request(sessionId: number, oid: number, mode: Wanted, ticket: number, now: Ms): LeaseEffect[] {
    const session = this.#session(sessionId);
    if (session.fencing) return [];
    const object = this.#object(oid);
    const holder = find(object, session);
    if (holder !== null && covers(holder, mode)) {
      this.#touch(holder);
      this.#effects.push({do: 'grant', session: sessionId, oid, mode: lasting(holder), ticket});
      return this.#out();
    }
    object.queue.push({session, mode, ticket});
    session.waits.set(object, (session.waits.get(object) ?? 0) + 1);
    this.#pump(object, now);
    return this.#out();
  }

  /**
   * Waits until no other session holds the object for writing, and gets nothing: the `grant` with this ticket says so. Queues and changes
   * do not matter to it. A writer is asked to go down to reading.
   */
  look(sessionId: number, oid: number, ticket: number, now: Ms): LeaseEffect[] {
    const session = this.#session(sessionId);
    if (session.fencing) return [];
    const object = this.#object(oid);
    object.lookers.push({session, mode: READ, ticket});
    session.waits.set(object, (session.waits.get(object) ?? 0) + 1);
    this.#pump(object, now);
    return this.#out();
  }

  /**
   * Grants without waiting and without recalling anyone, or answers what the session holds already (maybe NONE).
   * `effects` are trims of the session's other leases.
   */
  tryRequest(
    sessionId: number,
    oid: number,
    mode: 1 | 2,
    now: Ms,
  ): {mode: Mode; effects: LeaseEffect[]} {
    const session = this.#session(sessionId);
    const object = this.#object(oid);
    let holder = find(object, session);
    if (holder !== null && covers(holder, mode)) {
      this.#touch(holder);
      return {mode: lasting(holder), effects: []};
    }
    const possible =
      !session.fencing && object.queue.length === 0 && this.#grantable(object, session, mode);
    if (possible) {
      this.#hold(object, session, mode, now);
      holder = find(object, session);
    }
    this.#drop(object);
    return {mode: holder === null ? NONE : lasting(holder), effects: this.#out()};
  }

  /** Takes a lease that was held before the restart; false if another holder's is in its way. */
  reclaim(sessionId: number, oid: number, mode: 1 | 2, now: Ms): boolean {
    assert(this.#grace, 'leases are reclaimed in the grace period only');
    const session = this.#session(sessionId);
    if (session.fencing) return false;
    const object = this.#object(oid);
    const holder = find(object, session);
    const possible = (holder !== null && holder.mode >= mode) || compatible(object, session, mode);
    if (possible && mode > (holder?.mode ?? NONE)) this.#hold(object, session, mode, now);
    this.#drop(object);
    return possible;
  }

  /** The session goes down to `keep`; nothing happens if it holds no more than that. */
  yield(sessionId: number, oid: number, keep: Mode, now: Ms): LeaseEffect[] {
    const object = this.#objects.get(oid);
    const session = this.#sessions.get(sessionId);
    if (object === undefined || session === undefined) return [];
    const holder = find(object, session);
    if (holder === null || holder.mode <= keep) return [];
    this.#lower(holder, keep);
    this.#pump(object, now);
    return this.#out();
  }

  /** After a reconnect the session says what it holds: it keeps no more than that, and what is recalled is recalled again. */
  reconcile(sessionId: number, listed: ReadonlyMap<number, Mode>, now: Ms): LeaseEffect[] {
    for (const holder of [...(this.#sessions.get(sessionId)?.leases.values() ?? [])]) {
      const {object, mode, recalledTo} = holder;
      const keep = listed.get(object.oid) ?? NONE;
      if (keep < mode) {
        this.#lower(holder, keep);
        this.#pump(object, now);
      } else if (recalledTo >= 0) {
        const again = {session: sessionId, oid: object.oid, keep: recalledTo as Mode};
        this.#effects.push({do: 'recall', ...again});
      }
    }
    return this.#out();
  }

  /** Removes a waiting request, when whoever asked does not wait any more. */
  cancel(sessionId: number, oid: number, ticket: number, now: Ms): LeaseEffect[] {
    const object = this.#objects.get(oid);
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
    const session = this.#sessions.get(sessionId);
    if (session === undefined) return [];
    session.fencing = true;
    for (const object of this.#leaveQueues(session)) this.#pump(object, now);
    return this.#out();
  }

  /** The session is over (after its fence was acknowledged, if it needed one): everything it held is free. */
  end(sessionId: number, now: Ms): LeaseEffect[] {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) return [];
    const touched: LeaseObject[] = [];
    for (const holder of session.leases.values()) {
      remove(holder.object.holders, holder);
      holder.mode = NONE;
      holder.recalledTo = -1;
      touched.push(holder.object);
    }
    for (const object of this.#leaveQueues(session)) touched.push(object);
    this.#sessions.delete(sessionId);
    for (const object of touched) this.#pump(object, now);
    return this.#out();
  }

  /** Fences holders whose recall time is over. */
  tick(now: Ms): LeaseEffect[] {
    let done = 0;
    for (const {holder, by} of this.#deadlines) {
      if (holder.recalledTo >= 0 && holder.recallBy === by) {
        if (by > now) break;
        this.#fence(holder, now);
      }
      done++;
    }
    if (done > 0) this.#deadlines.splice(0, done);
    return this.#out();
  }

  /** When `tick` has something to do at the earliest; null: nothing is recalled. */
  nextDeadline(): Ms | null {
    return this.#deadlines[0]?.by ?? null;
  }

  /** The session that holds the object for writing, 0 if there is none. */
  writer(oid: number): number {
    const holder = this.#objects.get(oid)?.holders[0];
    return holder !== undefined && holder.mode === WRITE ? holder.session.id : 0;
  }

  /** What a session may count on: what it holds, or what a recall under way leaves of it. */
  lasting(sessionId: number, oid: number): Mode {
    const holder = this.#sessions.get(sessionId)?.leases.get(oid);
    return holder === undefined ? NONE : lasting(holder);
  }

  held(sessionId: number, oid: number): Mode {
    return this.#sessions.get(sessionId)?.leases.get(oid)?.mode ?? NONE;
  }

  count(sessionId: number): number {
    return this.#sessions.get(sessionId)?.leases.size ?? 0;
  }
  /** Everything that is held. */
  *all(): Iterable<Holder> {
    for (const {leases} of this.#sessions.values()) yield* leases.values();
  }
  /** Does it hold anything for writing? */
  writes(sessionId: number): boolean {
    return (this.#sessions.get(sessionId)?.writeCount ?? 0) > 0;
  }

  /** Every invariant over everything; dear, for tests and the simulator. */
  check(): void {
    for (const object of this.#objects.values()) this.#checkObject(object);
    for (const session of this.#sessions.values()) {
      let writes = 0;
      for (const [oid, holder] of session.leases) {
        assert(
          holder.object.oid === oid && holder.object.holders.includes(holder),
          'a lease is in both lists',
        );
        if (holder.mode === WRITE) writes++;
      }
      assert(writes === session.writeCount, 'write leases are counted');
      for (const [object, count] of session.waits) {
        const all = [...object.queue, ...object.lookers];
        const stands = all.filter((waiter) => waiter.session === session).length;
        assert(stands === count, 'a session knows where it waits');
      }
    }
  }

  #session(id: number): Session {
    let session = this.#sessions.get(id);
    if (session === undefined) {
      session = {id, leases: new Map(), writeCount: 0, waits: new Map(), fencing: false};
      this.#sessions.set(id, session);
    }
    return session;
  }

  #object(oid: number): LeaseObject {
    let object = this.#objects.get(oid);
    if (object === undefined) {
      object = {oid, holders: [], queue: [], lookers: [], changers: []};
      this.#objects.set(oid, object);
    }
    return object;
  }

  #drop(object: LeaseObject): void {
    const {holders, queue, lookers, changers} = object;
    if (holders.length + queue.length + lookers.length + changers.length === 0)
      this.#objects.delete(object.oid);
  }

  #touch(holder: Holder): void {
    const {leases} = holder.session;
    leases.delete(holder.object.oid);
    leases.set(holder.object.oid, holder);
  }

  #grantable(object: LeaseObject, session: Session, mode: Wanted): boolean {
    if (this.#grace) return false;
    const own = find(object, session);
    // Its own recalled lease must come back first: the client may have a recall of it on its table.
    if (own !== null && own.recalledTo >= 0 && mode !== CHANGE) return false;
    return compatible(object, session, mode);
  }

  /** Grants what can be granted, in order; recalls whoever stands in the way of the first that cannot. */
  #pump(object: LeaseObject, now: Ms): void {
    this.#serveLookers(object, now);
    for (let head = object.queue[0]; head !== undefined; head = object.queue[0]) {
      const {session, ticket} = head;
      const own = find(object, session);
      if (head.mode !== CHANGE && own !== null && covers(own, head.mode)) this.#touch(own);
      else if (!this.#grantable(object, session, head.mode)) break;
      else if (head.mode === CHANGE) object.changers.push({session, ticket});
      else this.#hold(object, session, head.mode, now);
      object.queue.shift();
      waited(session, object);
      const holder = find(object, session);
      const mode = holder === null ? NONE : lasting(holder);
      this.#effects.push({
        do: 'grant',
        session: session.id,
        oid: object.oid,
        mode,
        ticket,
      });
    }
    const head = object.queue[0];
    if (head !== undefined && !this.#grace) {
      const keep = head.mode === READ ? READ : NONE;
      for (const holder of object.holders) {
        if (holder.session !== head.session && holder.mode > keep) this.#recall(holder, keep, now);
      }
    }
    this.#checkObject(object);
    this.#drop(object);
  }

  #serveLookers(object: LeaseObject, now: Ms): void {
    const {lookers, holders, oid} = object;
    for (let i = 0; i < lookers.length; ) {
      const {session, ticket} = lookers[i]!;
      const writer = holders.find((holder) => holder.mode === WRITE && holder.session !== session);
      if (writer === undefined) {
        lookers.splice(i, 1);
        waited(session, object);
        this.#effects.push({do: 'grant', session: session.id, oid, mode: NONE, ticket});
      } else {
        this.#recall(writer, READ, now);
        i++;
      }
    }
  }

  #recall(holder: Holder, keep: Mode, now: Ms): void {
    if (holder.session.fencing) return;
    if (holder.recalledTo >= 0 && holder.recalledTo <= keep) return;
    holder.recalledTo = keep;
    holder.recallBy = now + this.#options.recallMs;
    this.#deadlines.push({holder, by: holder.recallBy});
    this.#effects.push({do: 'recall', session: holder.session.id, oid: holder.object.oid, keep});
  }

  #fence({session, object}: Holder, now: Ms): void {
    if (session.fencing) return;
    session.fencing = true;
    this.#effects.push({do: 'fence', session: session.id, oid: object.oid});
    for (const other of this.#leaveQueues(session)) this.#pump(other, now);
  }

  #hold(object: LeaseObject, session: Session, mode: Mode, now: Ms): void {
    let holder = find(object, session);
    if (holder === null) {
      holder = {object, session, mode, recalledTo: -1, recallBy: 0};
      object.holders.push(holder);
      session.leases.set(object.oid, holder);
    } else {
      holder.mode = mode;
      this.#touch(holder);
    }
    if (mode === WRITE) session.writeCount++;
    this.#trim(session, holder, now);
  }

  /** One lease more may cost one recall; only the oldest few are looked at, so that a grant stays cheap. */
  #trim(session: Session, granted: Holder, now: Ms): void {
    if (this.#grace || session.leases.size <= this.#options.leasesPerSessionMax) return;
    let looked = 0;
    for (const holder of session.leases.values()) {
      if (holder.recalledTo < 0 && holder !== granted) {
        this.#recall(holder, NONE, now);
        return;
      }
      if (++looked === 16) return;
    }
  }

  #lower(holder: Holder, keep: Mode): void {
    if (holder.mode === WRITE) holder.session.writeCount--;
    holder.mode = keep;
    if (holder.recalledTo >= keep) holder.recalledTo = -1;
    if (keep !== NONE) return;
    remove(holder.object.holders, holder);
    holder.session.leases.delete(holder.object.oid);
  }

  /** Takes the session out of every queue; the objects whose queues changed. */
  #leaveQueues(session: Session): LeaseObject[] {
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

  #out(): LeaseEffect[] {
    const effects = this.#effects;
    if (effects.length > 0) this.#effects = [];
    return effects;
  }

  #checkObject(object: LeaseObject): void {
    const {holders, queue, lookers, changers} = object;
    for (const {session} of lookers) {
      const writer = holders.find((holder) => holder.mode === WRITE && holder.session !== session);
      assert(writer !== undefined, 'who waits to look waits for a writer');
      assert(writer.recalledTo >= 0 || writer.session.fencing, 'a writer knows who waits to look');
    }
    for (const holder of holders) {
      assert(holder.mode !== NONE, 'a holder holds something');
      assert(holder.mode !== WRITE || holders.length === 1, 'a write lease is exclusive');
      assert(holder.recalledTo < holder.mode, 'a recall asks for less than is held');
    }
    for (const changer of changers) {
      const alone = holders.every((holder) => holder.session === changer.session);
      assert(alone, 'nobody else holds what is being changed');
    }
    const head = queue[0];
    if (head === undefined || this.#grace) return;
    assert(
      !this.#grantable(object, head.session, head.mode),
      'the head of the queue waits for someone',
    );
    for (const holder of holders) {
      if (holder.session === head.session || (head.mode === READ && holder.mode === READ)) continue;
      assert(
        holder.recalledTo >= 0 || holder.session.fencing,
        'whoever is in the way was recalled',
      );
    }
  }
}
