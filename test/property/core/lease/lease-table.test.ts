import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {
  CHANGE,
  type LeaseEffect,
  type Mode,
  NONE,
  type Wanted,
  WRITE,
} from '../../../../src/core/lease/lease-object.js';
import {LeaseTable} from '../../../../src/core/lease/lease-table.js';

// Goal: whatever sessions do, a write lease is never held together with another one, and every request ends in a grant
// or in the fence of someone. Method: clients that know only what they were told (effects, in order), next to the table.

const SESSIONS = 4;
const OBJECTS = 3;
const RECALL_MS = 100;

type Step =
  | {do: 'request'; session: number; oid: number; mode: Wanted}
  | {do: 'look'; session: number; oid: number}
  | {do: 'try'; session: number; oid: number; mode: 1 | 2}
  | {do: 'changed'; nth: number}
  | {do: 'obey'; session: number}
  | {do: 'yield'; session: number; oid: number; keep: Mode}
  | {do: 'end'; session: number}
  | {do: 'tick'; ms: number};

class Twin {
  readonly table: LeaseTable;
  now = 0;
  /** `session/oid` -> mode, as the client sees it. */
  readonly held = new Map<string, Mode>();
  readonly recalls: {session: number; oid: number; keep: Mode}[] = [];
  readonly waiting = new Map<number, {session: number; oid: number; mode: Wanted | typeof NONE}>();
  /** Changes under way. */
  readonly changes: {session: number; oid: number; ticket: number}[] = [];
  readonly fenced = new Set<number>();
  #ticket = 0;

  constructor(leasesPerSessionMax: number) {
    this.table = new LeaseTable({recallMs: RECALL_MS, leasesPerSessionMax});
  }

  step(s: Step): void {
    if ('session' in s && this.fenced.has(s.session)) return;
    if (s.do === 'request') this.request(s.session, s.oid, s.mode);
    else if (s.do === 'look') this.look(s.session, s.oid);
    else if (s.do === 'try') {
      const {mode, effects} = this.table.tryRequest(s.session, s.oid, s.mode, this.now);
      if (mode !== NONE) this.#take(s.session, s.oid, mode);
      this.#run(effects);
    } else if (s.do === 'obey') this.obey(s.session);
    else if (s.do === 'yield') {
      // A client yields unasked only what it has no request out for.
      const busy = [...this.waiting.values()].some(
        (w) => w.session === s.session && w.oid === s.oid,
      );
      if (!busy) this.#lower(s.session, s.oid, s.keep);
    } else if (s.do === 'changed') this.changed(s.nth);
    else if (s.do === 'end') this.end(s.session);
    else {
      this.now += s.ms;
      this.#run(this.table.tick(this.now));
    }
    this.check();
  }

  changed(nth: number): void {
    const [change] = this.changes.splice(nth % Math.max(1, this.changes.length), 1);
    if (change !== undefined) this.#run(this.table.changed(change.oid, change.ticket, this.now));
  }

  request(session: number, oid: number, mode: Wanted): void {
    const ticket = ++this.#ticket;
    if (mode === CHANGE && this.table.tryChange(session, oid, ticket)) {
      this.changes.push({session, oid, ticket});
      return;
    }
    this.waiting.set(ticket, {session, oid, mode});
    this.#run(this.table.request(session, oid, mode, ticket, this.now));
  }

  look(session: number, oid: number): void {
    const ticket = ++this.#ticket;
    this.waiting.set(ticket, {session, oid, mode: NONE});
    this.#run(this.table.look(session, oid, ticket, this.now));
  }

  /** Does somebody else hold it for writing? */
  #written(session: number, oid: number): boolean {
    return [...this.held].some(([key, mode]) => {
      const [holder, object] = key.split('/').map(Number);
      return mode === WRITE && object === oid && holder !== session;
    });
  }

  obey(session: number): void {
    const mine = this.recalls.filter((r) => r.session === session);
    for (const recall of mine) {
      this.recalls.splice(this.recalls.indexOf(recall), 1);
      this.#lower(session, recall.oid, recall.keep);
    }
  }

  end(session: number): void {
    for (const key of [...this.held.keys()]) {
      if (key.startsWith(`${session}/`)) this.held.delete(key);
    }
    for (const [ticket, w] of this.waiting) if (w.session === session) this.waiting.delete(ticket);
    for (let i = this.recalls.length - 1; i >= 0; i--) {
      if (this.recalls[i]!.session === session) this.recalls.splice(i, 1);
    }
    this.fenced.delete(session);
    this.#run(this.table.end(session, this.now));
  }

  check(): void {
    this.table.check();
    for (let oid = 1; oid <= OBJECTS; oid++) {
      const modes: Mode[] = [];
      for (let session = 1; session <= SESSIONS; session++) {
        const mode = this.held.get(`${session}/${oid}`) ?? NONE;
        expect(this.table.held(session, oid)).toBe(mode);
        if (mode !== NONE) modes.push(mode);
      }
      expect(modes.includes(WRITE) && modes.length > 1).toBe(false);
      for (const change of this.changes) {
        for (let session = 1; session <= SESSIONS; session++) {
          if (change.oid !== oid || change.session === session) continue;
          expect(this.held.get(`${session}/${oid}`) ?? NONE).toBe(NONE);
        }
      }
    }
  }

  #lower(session: number, oid: number, keep: Mode): void {
    const key = `${session}/${oid}`;
    if ((this.held.get(key) ?? NONE) <= keep) return; // Not held: a late recall is ignored.
    if (keep === NONE) this.held.delete(key);
    else this.held.set(key, keep);
    this.#run(this.table.yield(session, oid, keep, this.now));
  }

  #take(session: number, oid: number, mode: Mode): void {
    const key = `${session}/${oid}`;
    this.held.set(key, Math.max(this.held.get(key) ?? NONE, mode) as Mode);
  }

  #run(effects: readonly LeaseEffect[]): void {
    for (const e of effects) {
      if (e.do === 'recall') this.recalls.push(e);
      else if (e.do === 'grant') {
        expect(this.fenced.has(e.session)).toBe(false);
        const request = this.waiting.get(e.ticket)!;
        this.waiting.delete(e.ticket);
        if (request.mode === CHANGE) {
          const {session, oid, ticket} = e;
          this.changes.push({session, oid, ticket});
          continue;
        }
        if (request.mode === NONE) {
          expect([e.mode, this.#written(e.session, e.oid)]).toEqual([NONE, false]);
          continue;
        }
        expect(e.mode).toBeGreaterThanOrEqual(request.mode);
        this.#take(e.session, e.oid, e.mode);
      } else {
        this.fenced.add(e.session);
        for (const [ticket, w] of this.waiting)
          if (w.session === e.session) this.waiting.delete(ticket);
      }
    }
  }
}

const session = fc.integer({min: 1, max: SESSIONS});
const oid = fc.integer({min: 1, max: OBJECTS});
const wanted = fc.constantFrom<1 | 2>(1, 2);
const asked = fc.constantFrom<Wanted>(1, 2, CHANGE);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({do: fc.constant('request' as const), session, oid, mode: asked}),
  },
  {
    weight: 3,
    arbitrary: fc.record({do: fc.constant('changed' as const), nth: fc.nat(5)}),
  },
  {weight: 2, arbitrary: fc.record({do: fc.constant('look' as const), session, oid})},
  {weight: 2, arbitrary: fc.record({do: fc.constant('try' as const), session, oid, mode: wanted})},
  {weight: 4, arbitrary: fc.record({do: fc.constant('obey' as const), session})},
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('yield' as const),
      session,
      oid,
      keep: fc.constantFrom<Mode>(0, 1),
    }),
  },
  {weight: 1, arbitrary: fc.record({do: fc.constant('end' as const), session})},
  {
    weight: 2,
    arbitrary: fc.record({do: fc.constant('tick' as const), ms: fc.integer({min: 1, max: 60})}),
  },
);

test('a write lease excludes all others, a change the leases of all others; clients and table agree; every request ends (P20)', () => {
  const seed = Date.now() % 0x7fffffff;
  const law = fc.property(
    fc.array(step, {maxLength: 120}),
    fc.constantFrom(1, 2, 100),
    (steps, max) => {
      const twin = new Twin(max);
      for (const s of steps) twin.step(s);
      // Those who obey get on; those who do not are fenced; then nobody waits.
      for (let round = 0; twin.waiting.size > 0; round++) {
        expect(round).toBeLessThan(1_000);
        if (round % 2 === 0)
          for (let s = 2; s <= SESSIONS; s++) twin.step({do: 'obey', session: s});
        else twin.step({do: 'tick', ms: RECALL_MS});
        for (const fenced of [...twin.fenced]) twin.end(fenced);
        // Changes do not wait for anybody.
        while (twin.changes.length > 0) twin.step({do: 'changed', nth: 0});
        twin.check();
      }
    },
  );
  fc.assert(law, {numRuns: 1_500, seed});
});

test('who only looks waits for a writer and for nobody else, whatever queues', () => {
  const twin = new Twin(100);
  twin.request(1, 1, 2);
  twin.request(2, 1, 2);
  twin.look(3, 1);
  expect(twin.waiting.size).toBe(2);
  // 1 goes; 3 has looked before 2 begins to write.
  twin.obey(1);
  expect(twin.waiting.size).toBe(0);
  expect(twin.held).toEqual(new Map([['2/1', WRITE]]));
  twin.look(2, 1);
  expect(twin.waiting.size).toBe(0);
  twin.step({do: 'yield', session: 2, oid: 1, keep: NONE});
  twin.request(1, 1, CHANGE);
  expect(twin.changes).toHaveLength(1);
  twin.look(3, 1);
  expect(twin.waiting.size).toBe(0);
});

test('first come, first served: a reader that comes after a waiting writer waits behind it', () => {
  const twin = new Twin(100);
  twin.request(1, 1, 1);
  twin.request(2, 1, 2);
  twin.request(3, 1, 1);
  expect([...twin.waiting.values()].map((w) => w.session)).toEqual([2, 3]);
  twin.obey(1);
  expect([...twin.waiting.values()].map((w) => w.session)).toEqual([3]);
  expect(twin.recalls).toEqual([{do: 'recall', session: 2, oid: 1, keep: 1}]);
});

test('memory is bounded: above the limit the lease that was asked for longest ago is recalled', () => {
  const twin = new Twin(2);
  for (const oid of [1, 2]) twin.request(1, oid, 1);
  twin.request(1, 1, 1);
  twin.request(1, 3, 1);
  expect(twin.recalls).toEqual([{do: 'recall', session: 1, oid: 2, keep: 0}]);
});
