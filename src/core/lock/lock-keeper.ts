import type {Ms} from '../base/ids.js';
import {deadlocks} from './deadlock.js';
import {LockTable} from './lock-table.js';
import {type Lock, UNLOCKED} from './range-locks.js';

/** try: at once or not at all; wait: when it is free; test: takes nothing. */
export type LockManner = 'try' | 'wait' | 'test';

export interface LockAsk {
  readonly session: number;
  /** The client's number of a request that it may take back. */
  readonly name: number;
  /** Names the request in its answer. */
  readonly ticket: number;
  readonly oid: number;
  readonly wanted: Lock;
  readonly manner: LockManner;
}

/** yours: the session keeps the locks of this object itself. full: it holds as many as it may. ended: it was taken back. */
export type LockResult = 'granted' | 'conflict' | 'yours' | 'deadlock' | 'full' | 'ended';

/** What the owner of the keeper must do, in this order. */
export type LockEffect =
  | {
      do: 'answer';
      ticket: number;
      result: LockResult;
      /** Not 0: from now on the session keeps the locks of this object itself, under this number. */
      delegation: number;
      /** What is in the way. */
      conflict: Lock | null;
    }
  /** Ask the session for the locks of the object, which it gives up with its answer (`gaveBack`). */
  | {do: 'recall'; session: number; oid: number; delegation: number}
  /** It has not answered in time. */
  | {do: 'fence'; session: number; oid: number};

/** What a session says of one object: the number under which it keeps its locks, and then nothing else matters; or (0) what it holds. */
export interface Statement {
  readonly delegation: number;
  readonly locks: readonly Lock[];
}

export interface KeeperOptions {
  /** A session that has not given an object back by then is fenced. */
  recallMs: Ms;
  locksPerSessionMax: number;
  delegatedPerSessionMax: number;
}

/** An object with more locks is kept here: they would not fit a message when it is recalled. */
const DELEGATED_LOCKS_MAX = 512;

const NOTHING: Statement = {delegation: 0, locks: []};

interface LockObject {
  readonly oid: number;
  /** The session that keeps its locks; 0: they are kept here. */
  delegate: number;
  delegation: number;
  /** When the delegate must have given it back; null: it was not asked. */
  recallBy: Ms | null;
  /** Those who wait for the delegate, or the end of the grace period. Empty unless there is one of these. */
  pending: LockAsk[];
  /** Those who wait for a lock, first come first. */
  queue: LockAsk[];
}

/**
 * Locks of all sessions. Owns no timer and sends nothing, as LeaseTable does.
 *
 * A session that is alone with an object keeps its locks itself (`delegated`): then they cost no message. It is asked for them when
 * another session wants one, and gives the object back when one of its own programs has to wait: so whoever waits for
 * whom is known here. Locks of a session outlive it until `end`, which comes when no data server takes anything from it any more.
 *
 * Invariants: of an object with a delegate no locks are kept here; the head of a queue conflicts with something.
 */
export class LockKeeper {
  readonly #options: KeeperOptions;
  readonly #table = new LockTable();
  /** Those with a delegate or somebody who waits. */
  readonly #objects = new Map<number, LockObject>();
  readonly #asks = new Map<number, Set<LockAsk>>();
  readonly #delegated = new Map<number, Set<number>>();
  readonly #recalled = new Set<LockObject>();
  readonly #ending = new Set<number>();
  #grace = false;
  #delegation = 0;
  #effects: LockEffect[] = [];

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** After a restart sessions say what they held (`restate`); requests wait. */
  startGrace(): void {
    this.#grace = true;
  }

  endGrace(now: Ms): LockEffect[] {
    this.#grace = false;
    for (const object of [...this.#objects.values()]) this.#goOn(object, now);
    return this.#out();
  }

  /** The `answer` with the ticket comes now or later. */
  request(ask: LockAsk, now: Ms): LockEffect[] {
    if (this.#ending.has(ask.session)) this.#answer(ask, 'ended');
    else {
      const object = this.#object(ask.oid);
      if (!this.#grace && object.delegate === 0) this.#serve(object, ask);
      else if (!this.#grace && object.delegate === ask.session) this.#answer(ask, 'yours');
      else {
        object.pending.push(ask);
        this.#asksOf(ask.session).add(ask);
        this.#goOn(object, now);
      }
      this.#drop(object);
    }
    return this.#out();
  }

  /** Whoever asked does not wait any more: it gets `ended`, unless its answer is on its way. */
  cancel(session: number, name: number, now: Ms): LockEffect[] {
    for (const ask of this.#asks.get(session) ?? [])
      if (ask.name === name) this.#takeBack(ask, now);
    return this.#out();
  }

  /** Its connection is gone, and with it the answers that it waits for. */
  cancelAll(session: number, now: Ms): LockEffect[] {
    for (const ask of [...(this.#asks.get(session) ?? [])]) this.#takeBack(ask, now);
    return this.#out();
  }

  /** The session keeps the object's locks no longer: here they are. Nothing happens if it has said so before. */
  gaveBack(session: number, oid: number, {delegation, locks}: Statement, now: Ms): LockEffect[] {
    const object = this.#objects.get(oid);
    if (object?.delegate !== session || object.delegation !== delegation) return [];
    this.#undelegate(object);
    for (const lock of locks) this.#table.put(oid, lock);
    this.#goOn(object, now);
    this.#drop(object);
    return this.#out();
  }

  /**
   * What a session holds and keeps is this and nothing else: it has said so after a reconnect. False: others hold what it
   * says that it does.
   */
  restate(session: number, said: ReadonlyMap<number, Statement>, now: Ms): LockEffect[] | null {
    for (const [oid, statement] of said) if (!this.#possible(session, oid, statement)) return null;
    const before = [...this.#table.oids].filter((oid) =>
      this.#table.of(oid).some((lock) => lock.session === session),
    );
    const touched = new Set([...before, ...(this.#delegated.get(session) ?? []), ...said.keys()]);
    for (const oid of touched) {
      const object = this.#object(oid);
      const {delegation, locks} = said.get(oid) ?? NOTHING;
      this.#table.releaseSession(oid, session);
      if (delegation === 0 && object.delegate === session) this.#undelegate(object);
      if (delegation > 0) this.#delegate(object, session, delegation);
      else for (const lock of locks) this.#table.put(oid, lock);
      // The recall may have been lost with the connection.
      if (object.recallBy !== null) this.#effects.push({do: 'recall', session, oid, delegation});
      this.#goOn(object, now);
      this.#drop(object);
    }
    return this.#out();
  }

  /** Nothing more is granted to the session; what it holds stays held. */
  fencing(session: number, now: Ms): LockEffect[] {
    this.#ending.add(session);
    return this.cancelAll(session, now);
  }

  /** The session is over: what it held is free. */
  end(session: number, now: Ms): LockEffect[] {
    const effects = [
      ...this.cancelAll(session, now),
      ...(this.restate(session, new Map(), now) ?? []),
    ];
    this.#ending.delete(session);
    this.#delegated.delete(session);
    this.#asks.delete(session);
    return effects;
  }

  /** Fences those who were asked for an object and have not given it back in time. */
  tick(now: Ms): LockEffect[] {
    for (const object of this.#recalled) {
      if (object.recallBy === null || object.recallBy > now) continue;
      this.#recalled.delete(object);
      this.#effects.push({do: 'fence', session: object.delegate, oid: object.oid});
    }
    return this.#out();
  }

  /** The sessions that keep locks of objects themselves. */
  *delegates(): Iterable<number> {
    for (const [session, oids] of this.#delegated) if (oids.size > 0) yield session;
  }

  *held(): Iterable<{oid: number; lock: Lock}> {
    for (const oid of this.#table.oids) for (const lock of this.#table.of(oid)) yield {oid, lock};
  }

  *waiting(): Iterable<LockAsk> {
    for (const asks of this.#asks.values()) yield* asks;
  }

  count(session: number): number {
    return this.#table.count(session);
  }

  // --------------------------------------------------------------

  #serve(object: LockObject, ask: LockAsk): void {
    const {oid, wanted, session, manner} = ask;
    if (manner === 'test') {
      const conflict = this.#table.conflict(oid, wanted);
      this.#answer(ask, conflict === null ? 'granted' : 'conflict', conflict);
      return;
    }
    const takes = wanted.type !== UNLOCKED;
    if (takes && this.#table.count(session) >= this.#options.locksPerSessionMax) {
      this.#answer(ask, 'full');
      return;
    }
    const before = this.#table.of(oid);
    const conflict = this.#table.set(oid, wanted);
    if (conflict === null) this.#granted(object, ask);
    else if (manner === 'try') this.#answer(ask, 'conflict', conflict);
    else if (deadlocks(this.#table, ask, (s, o) => this.#waitsOf(s, o)))
      this.#answer(ask, 'deadlock');
    else {
      object.queue.push(ask);
      this.#asksOf(session).add(ask);
    }
    // A lock that was given back, or lowered, may be what others wait for.
    if (this.#table.of(oid) !== before) this.#pump(object);
  }

  /** Gives those who wait what has become free. What one is given may lower what he had, and so be what an earlier one waits for. */
  #pump(object: LockObject): void {
    for (let waited = -1; waited !== object.queue.length; ) {
      waited = object.queue.length;
      for (const ask of [...object.queue]) {
        if (this.#table.conflict(object.oid, ask.wanted) !== null) continue;
        this.#table.put(object.oid, ask.wanted);
        this.#remove(object, ask);
        this.#granted(object, ask);
      }
    }
  }

  #granted(object: LockObject, ask: LockAsk): void {
    const {session, oid, wanted} = ask;
    const alone =
      wanted.type !== UNLOCKED &&
      object.queue.length === 0 &&
      object.pending.length === 0 &&
      this.#table.of(oid).length <= DELEGATED_LOCKS_MAX &&
      (this.#delegated.get(session)?.size ?? 0) < this.#options.delegatedPerSessionMax &&
      this.#table.of(oid).every((lock) => lock.session === session);
    if (alone) {
      this.#table.releaseSession(oid, session);
      this.#delegate(object, session, this.#delegation + 1);
    }
    this.#answer(ask, 'granted', null, alone ? object.delegation : 0);
  }

  /** Something has changed for those who wait for the delegate, the grace period, or a lock. */
  #goOn(object: LockObject, now: Ms): void {
    if (this.#grace) return;
    while (object.delegate === 0 && object.pending.length > 0) {
      const ask = object.pending[0]!;
      this.#remove(object, ask);
      this.#serve(object, ask);
    }
    if (object.delegate === 0) this.#pump(object);
    else if (object.pending.length > 0 && object.recallBy === null) {
      object.recallBy = now + this.#options.recallMs;
      this.#recalled.add(object);
      const {delegate: session, delegation, oid} = object;
      this.#effects.push({do: 'recall', session, oid, delegation});
    }
  }

  #takeBack(ask: LockAsk, now: Ms): void {
    const object = this.#object(ask.oid);
    this.#remove(object, ask);
    this.#answer(ask, 'ended');
    this.#goOn(object, now);
    this.#drop(object);
  }

  #possible(session: number, oid: number, {delegation, locks}: Statement): boolean {
    const delegate = this.#objects.get(oid)?.delegate ?? 0;
    if (delegate !== 0 && delegate !== session) return false;
    if (delegation > 0) return this.#table.of(oid).every((lock) => lock.session === session);
    return locks.every((lock) => this.#table.conflict(oid, lock) === null);
  }

  #waitsOf(session: number, owner: number): LockAsk[] {
    return [...(this.#asks.get(session) ?? [])].filter(
      (ask) => ask.manner === 'wait' && ask.wanted.owner === owner,
    );
  }

  #delegate(object: LockObject, session: number, delegation: number): void {
    object.delegate = session;
    object.delegation = delegation;
    // Also after a restart each is used once.
    this.#delegation = Math.max(this.#delegation, delegation);
    const oids = this.#delegated.get(session);
    if (oids === undefined) this.#delegated.set(session, new Set([object.oid]));
    else oids.add(object.oid);
  }

  #undelegate(object: LockObject): void {
    this.#delegated.get(object.delegate)?.delete(object.oid);
    this.#recalled.delete(object);
    object.delegate = object.delegation = 0;
    object.recallBy = null;
  }

  #remove(object: LockObject, ask: LockAsk): void {
    object.pending = object.pending.filter((one) => one !== ask);
    object.queue = object.queue.filter((one) => one !== ask);
    this.#asks.get(ask.session)?.delete(ask);
  }

  #asksOf(session: number): Set<LockAsk> {
    let asks = this.#asks.get(session);
    if (asks === undefined) {
      asks = new Set();
      this.#asks.set(session, asks);
    }
    return asks;
  }

  #object(oid: number): LockObject {
    let object = this.#objects.get(oid);
    if (object === undefined) {
      object = {oid, delegate: 0, delegation: 0, recallBy: null, pending: [], queue: []};
      this.#objects.set(oid, object);
    }
    return object;
  }

  #drop({oid, delegate, pending, queue}: LockObject): void {
    if (delegate === 0 && pending.length === 0 && queue.length === 0) this.#objects.delete(oid);
  }

  #answer(ask: LockAsk, result: LockResult, conflict: Lock | null = null, delegation = 0): void {
    this.#effects.push({do: 'answer', ticket: ask.ticket, result, delegation, conflict});
  }

  #out(): LockEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
