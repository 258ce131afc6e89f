import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {
  type LockAsk,
  type LockEffect,
  LockKeeper,
  type Statement,
} from '../../../../src/core/lock/lock-keeper.js';
import {LockTable} from '../../../../src/core/lock/lock-table.js';
import {
  conflicts,
  LAST_BYTE,
  type Lock,
  type LockType,
  RANGE,
  UNLOCKED,
  WHOLE,
} from '../../../../src/core/lock/range-locks.js';

// Goal: two owners never hold what cannot be held together, wherever the locks are kept; who waits is waiting for somebody; a deadlock is
// found when it closes, and none is reported that is not one. Method: sessions that know only what they were told, next to the keeper,
// and one table of what all of them believe.

const SESSIONS = 3;
const OBJECTS = 2;
const RECALL_MS = 100;

type Step =
  | {do: 'lock'; session: number; owner: number; oid: number; wait: boolean; lock: Range}
  | {do: 'obey'; session: number}
  | {do: 'return'; session: number; oid: number}
  | {do: 'cancel'; session: number; nth: number}
  | {do: 'reconnect'; session: number}
  | {do: 'end'; session: number};

interface Range {
  whole: boolean;
  type: LockType;
  start: number;
  length: number;
}

let deadlocksFound = 0;

class Twin {
  readonly keeper = new LockKeeper({
    recallMs: RECALL_MS,
    locksPerSessionMax: 1000,
    delegatedPerSessionMax: 1000,
  });
  /** What owners believe that they hold. */
  readonly held = new LockTable();
  /** By session: objects whose locks it keeps, with the number. */
  readonly kept = new Map<number, Map<number, number>>();
  readonly recalls: {session: number; oid: number; delegation: number}[] = [];
  readonly waiting = new Map<number, LockAsk>();
  #ticket = 0;

  step(s: Step): void {
    if (s.do === 'lock') this.lock(s.session, s.owner, s.oid, s.wait, s.lock);
    else if (s.do === 'obey') this.obey(s.session);
    else if (s.do === 'return') this.giveBack(s.session, s.oid);
    else if (s.do === 'cancel') {
      const asks = [...this.waiting.values()].filter((ask) => ask.session === s.session);
      const ask = asks[s.nth % Math.max(1, asks.length)];
      if (ask !== undefined) this.#run(this.keeper.cancel(s.session, ask.name, 0));
    } else if (s.do === 'reconnect') this.reconnect(s.session);
    else {
      this.#forget(s.session);
      for (const oid of objects()) this.held.releaseSession(oid, s.session);
      this.#run(this.keeper.fencing(s.session, 0));
      this.#run(this.keeper.end(s.session, 0));
    }
  }

  lock(session: number, owner: number, oid: number, wait: boolean, range: Range): void {
    // One that waits asks for nothing else.
    for (const ask of this.waiting.values())
      if (ask.session === session && ask.wanted.owner === owner) return;
    const {whole, type} = range;
    const start = BigInt(range.start);
    const bytes = whole ? {start: 0n, end: LAST_BYTE} : {start, end: start + BigInt(range.length)};
    const kind = whole ? WHOLE : RANGE;
    const wanted: Lock = {kind, type, ...bytes, session, owner, pid: 0};
    if (this.#kept(session).has(oid)) {
      // Where nobody else has locks: here what is believed is what counts.
      if (this.held.set(oid, wanted) === null || !wait) return;
      this.giveBack(session, oid);
    }
    this.held.convert(oid, wanted);
    if (type === UNLOCKED) this.held.put(oid, wanted);
    const ticket = ++this.#ticket;
    const manner = wait ? 'wait' : 'try';
    const ask = {session, name: ticket, ticket, oid, wanted, manner} as const;
    this.waiting.set(ticket, ask);
    this.#run(this.keeper.request(ask, 0));
  }

  /** The oldest recall of a session. */
  obey(session: number): void {
    const index = this.recalls.findIndex((recall) => recall.session === session);
    if (index < 0) return;
    const [{oid, delegation}] = this.recalls.splice(index, 1) as [Twin['recalls'][number]];
    if (this.#kept(session).get(oid) === delegation) this.giveBack(session, oid);
  }

  giveBack(session: number, oid: number): void {
    const delegation = this.#kept(session).get(oid);
    if (delegation === undefined) return;
    this.#kept(session).delete(oid);
    const said = {delegation, locks: this.#own(session, oid)};
    this.#run(this.keeper.gaveBack(session, oid, said, 0));
  }

  /** What was on its way is lost; then it says what it has. */
  reconnect(session: number): void {
    this.#forget(session);
    this.#run(this.keeper.cancelAll(session, 0));
    const said = new Map<number, Statement>();
    for (const oid of objects()) {
      const delegation = this.#kept(session).get(oid) ?? 0;
      const locks = this.#own(session, oid);
      if (delegation > 0 || locks.length > 0) said.set(oid, {delegation, locks});
    }
    const effects = this.keeper.restate(session, said, 0);
    expect(effects).not.toBeNull();
    this.#run(effects!);
  }

  /** All who wait do so for somebody, and nobody for himself. */
  checkWaits(): void {
    for (const ask of this.waiting.values()) {
      expect(this.held.conflict(ask.oid, ask.wanted)).not.toBeNull();
      if (ask.wanted.kind === RANGE) expect(this.circle(ask)).toBe(false);
    }
  }

  /** Brute force: would this owner wait for himself? */
  circle(ask: LockAsk): boolean {
    const goes = (from: LockAsk, seen: ReadonlySet<LockAsk>): boolean =>
      this.held
        .of(from.oid)
        .filter((lock) => conflicts(lock, from.wanted))
        .some(
          (lock) =>
            (lock.session === ask.session && lock.owner === ask.wanted.owner) ||
            [...this.waiting.values()].some(
              (next) =>
                next !== ask &&
                !seen.has(next) &&
                next.wanted.kind === RANGE &&
                next.session === lock.session &&
                next.wanted.owner === lock.owner &&
                goes(next, new Set([...seen, next])),
            ),
        );
    return goes(ask, new Set());
  }

  #run(effects: readonly LockEffect[]): void {
    for (const effect of effects) {
      if (effect.do === 'recall') this.recalls.push(effect);
      else if (effect.do === 'answer') this.#answer(effect);
    }
  }

  #answer(effect: LockEffect & {do: 'answer'}): void {
    const ask = this.waiting.get(effect.ticket);
    if (ask === undefined) return; // Its session has lost the connection.
    const {session, oid, wanted, manner} = ask;
    if (effect.result === 'deadlock') {
      expect(this.circle(ask)).toBe(true);
      deadlocksFound++;
    }
    this.waiting.delete(effect.ticket);
    expect(effect.result).not.toBe('yours');
    if (effect.result !== 'granted' || manner === 'test') return;
    expect(this.held.conflict(oid, wanted)).toBeNull();
    this.held.put(oid, wanted);
    if (effect.delegation === 0) return;
    this.#kept(session).set(oid, effect.delegation);
    expect(this.held.of(oid).every((lock) => lock.session === session)).toBe(true);
  }

  /** Messages to it are lost, and what it waits for. */
  #forget(session: number): void {
    for (const [ticket, ask] of this.waiting)
      if (ask.session === session) this.waiting.delete(ticket);
    for (let i = this.recalls.length - 1; i >= 0; i--)
      if (this.recalls[i]!.session === session) this.recalls.splice(i, 1);
  }

  #own(session: number, oid: number): Lock[] {
    return this.held.of(oid).filter((lock) => lock.session === session);
  }

  #kept(session: number): Map<number, number> {
    let kept = this.kept.get(session);
    if (kept === undefined) {
      kept = new Map();
      this.kept.set(session, kept);
    }
    return kept;
  }
}

const objects = (): number[] => Array.from({length: OBJECTS}, (_, i) => i + 1);
const session = fc.integer({min: 1, max: SESSIONS});
const oid = fc.integer({min: 1, max: OBJECTS});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('lock' as const),
      session,
      owner: fc.integer({min: 1, max: 2}),
      oid,
      wait: fc.boolean(),
      lock: fc.record({
        whole: fc.integer({min: 0, max: 4}).map((n) => n === 0),
        type: fc.constantFrom<LockType>(0, 1, 2, 2),
        start: fc.integer({min: 0, max: 3}),
        length: fc.integer({min: 0, max: 2}),
      }),
    }),
  },
  {weight: 4, arbitrary: fc.record({do: fc.constant('obey' as const), session})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('return' as const), session, oid})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('cancel' as const), session, nth: fc.nat(9)})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('reconnect' as const), session})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('end' as const), session})},
);

test('locks exclude each other, who waits waits for somebody, and no circle stays', () => {
  fc.assert(
    fc.property(fc.array(step, {maxLength: 60, size: 'max'}), (steps) => {
      const twin = new Twin();
      for (const s of steps) {
        // A session that ended comes back as another one; here its number is used again.
        if (s.do === 'end') twin.kept.delete(s.session);
        twin.step(s);
        if (twin.recalls.length === 0) twin.checkWaits();
      }
      while (twin.recalls.length > 0) twin.obey(twin.recalls[0]!.session);
      twin.checkWaits();
    }),
    {numRuns: 3000},
  );
  expect(deadlocksFound).toBeGreaterThan(20);
});

test('a lock that is given late and lowers another wakes who waits for that one', () => {
  const twin = new Twin();
  const range = (type: LockType, start: number, length = 0): Range => ({
    whole: false,
    type,
    start,
    length,
  });
  twin.lock(1, 2, 1, false, range(2, 0));
  twin.lock(1, 1, 1, true, range(2, 0));
  twin.lock(3, 1, 1, false, range(2, 3));
  twin.lock(2, 1, 1, true, range(1, 3));
  twin.lock(1, 2, 1, false, range(2, 2));
  twin.lock(3, 1, 1, true, range(1, 2, 1));
  expect(twin.waiting.size).toBe(3);
  twin.step({do: 'end', session: 1});
  expect([...twin.waiting.values()]).toEqual([]);
});

test('a session that does not give an object back in time is fenced, once, and what it had is given on when it is over', () => {
  const {keeper} = new Twin();
  const lock = {kind: RANGE, type: 2, start: 0n, end: 9n, owner: 1, pid: 1} as const;
  const ask = (session: number, ticket: number): LockAsk => ({
    session,
    name: ticket,
    ticket,
    oid: 5,
    wanted: {...lock, session},
    manner: 'wait',
  });
  expect(keeper.request(ask(1, 1), 0)).toMatchObject([{do: 'answer', delegation: 1}]);
  expect(keeper.request(ask(2, 2), 10)).toEqual([
    {do: 'recall', session: 1, oid: 5, delegation: 1},
  ]);
  expect(keeper.tick(10 + RECALL_MS - 1)).toEqual([]);
  expect(keeper.tick(10 + RECALL_MS)).toEqual([{do: 'fence', session: 1, oid: 5}]);
  expect(keeper.tick(10 + RECALL_MS)).toEqual([]);
  expect(keeper.fencing(1, 200)).toEqual([]);
  expect(keeper.end(1, 200)).toMatchObject([{do: 'answer', ticket: 2, result: 'granted'}]);
});

test('after a restart nobody gets anything before all have said what they hold', () => {
  const {keeper} = new Twin();
  keeper.startGrace();
  const lock: Lock = {kind: RANGE, type: 2, start: 0n, end: 9n, owner: 1, pid: 1, session: 1};
  const wanted: Lock = {...lock, session: 2};
  const ask = {session: 2, name: 1, ticket: 1, oid: 5, wanted, manner: 'try'} as const;
  expect(keeper.request(ask, 0)).toEqual([]);
  expect(keeper.restate(1, new Map([[5, {delegation: 0, locks: [lock]}]]), 0)).toEqual([]);
  expect(keeper.restate(2, new Map([[5, {delegation: 3, locks: []}]]), 0)).toBeNull();
  expect(keeper.endGrace(0)).toMatchObject([{do: 'answer', ticket: 1, result: 'conflict'}]);
});
