import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {
  CHANGE,
  type LeaseEffect,
  type Mode,
  NONE,
  READ,
  type Wanted,
  WRITE,
} from '../../../../src/core/lease/lease-object.js';
import {LeaseTable} from '../../../../src/core/lease/lease-table.js';
import {END, EVERYTHING, minus, NOTHING, WHOLE} from '../../../../src/core/lease/ranges.js';
import {counts, RECALL_MS, SESSIONS, Twin} from './twin.js';
import {ALL, CELLS, OBJECTS} from './twin-client.js';

// Goal: whatever sessions do, nobody holds what another one holds for writing, and every request ends in a grant or in the fence of someone.
// Method: a twin of table and clients (twin.ts).

const session = fc.integer({min: 1, max: SESSIONS});
const oid = fc.integer({min: 1, max: OBJECTS});
const keep = fc.constantFrom<Mode>(NONE, READ);
const cells = fc.oneof(fc.constantFrom(0, ALL), fc.nat(ALL));
const asked = fc.oneof(
  {weight: 5, arbitrary: fc.constant<Wanted>(WRITE)},
  {weight: 2, arbitrary: fc.constantFrom<Wanted>(READ, CHANGE)},
);
const range = fc.oneof(
  {weight: 1, arbitrary: fc.constant(EVERYTHING)},
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.nat(CELLS - 1), fc.integer({min: 1, max: CELLS}))
      .map(([from, count]) => ({from, to: from + count < CELLS ? from + count : END})),
  },
  {
    weight: 6,
    arbitrary: fc.nat(CELLS - 2).map((from) => ({from, to: from + 1})),
  },
);

interface Step {
  name: string;
  args: readonly unknown[];
  happens(twin: Twin): void;
}

function steps<A extends unknown[]>(
  weight: number,
  name: string,
  args: fc.Arbitrary<A>,
  happens: (twin: Twin, args: A) => void,
): {weight: number; arbitrary: fc.Arbitrary<Step>} {
  const arbitrary = args.map((a) => ({name, args: a, happens: (t: Twin) => happens(t, a)}));
  return {weight, arbitrary};
}

const none = fc.constant([] as []);
const step = fc.oneof(
  steps(30, 'request', fc.tuple(session, oid, asked, range), (t, a) => t.request(...a)),
  steps(6, 'changed', fc.tuple(fc.nat(5)), (t, a) => t.changed(...a)),
  steps(2, 'look', fc.tuple(session, oid), (t, a) => t.look(...a)),
  steps(2, 'try', fc.tuple(session, oid, fc.constantFrom<1 | 2>(1, 2)), (t, a) => t.try(...a)),
  steps(2, 'cancel', fc.tuple(fc.nat(20)), (t, a) => t.cancel(...a)),
  steps(12, 'obey', fc.tuple(session, cells, cells), (t, a) => t.obey(...a)),
  steps(16, 'obey', fc.tuple(session, cells), (t, a) => t.obey(...a)),
  steps(4, 'yield', fc.tuple(session, oid, keep, cells), (t, a) => t.yield(...a)),
  steps(1, 'end', fc.tuple(session), (t, a) => t.end(...a)),
  steps(3, 'tick', fc.tuple(fc.integer({min: 1, max: 60})), (t, a) => t.tick(...a)),
  steps(3, 'reconnect', fc.tuple(session), (t, a) => t.reconnect(...a)),
  steps(1, 'restart', fc.tuple(fc.nat(2 ** (SESSIONS + 1) - 1)), (t, a) => t.restart(...a)),
  steps(4, 'graceOver', none, (t) => t.graceOver()),
  steps(12, 'up', fc.tuple(session, fc.nat(3)), (t, a) => t.up(...a)),
  steps(12, 'down', fc.tuple(session, fc.nat(3)), (t, a) => t.down(...a)),
);

/** Until nobody waits: those who obey get on; those who do not are fenced. Session 1 obeys if all do. */
function goOn(twin: Twin, all: boolean, keeps: number): void {
  twin.step((t) => t.graceOver());
  const {fences} = counts;
  for (let round = 0; twin.waiting.size > 0 || twin.fenced.size > 0; round++) {
    expect(round).toBeLessThan(1_000);
    twin.settle();
    if (all || round % 2 === 0)
      for (let s = all ? 1 : 2; s <= SESSIONS; s++) twin.step((t) => t.obey(s, keeps));
    else twin.step((t) => t.tick(RECALL_MS));
    twin.settle();
    for (const fenced of [...twin.fenced]) twin.step((t) => t.end(fenced));
    // Changes do not wait for anybody.
    while (twin.changes.length > 0) twin.step((t) => t.changed(0));
  }
  twin.settle();
  twin.check();
  if (all) expect(counts.fences).toBe(fences);
}

test('what is held for writing excludes others, a change excludes all; clients and table agree; every request ends (P20)', () => {
  const seed = Date.now() % 0x7fffffff;
  const numRuns = 6_000;
  const law = fc.property(
    fc.array(step, {minLength: 20, maxLength: 200, size: 'max'}),
    fc.constantFrom(1, 2, 100),
    fc.boolean(),
    fc.boolean(),
    cells,
    fc.constantFrom(true, true, true, false),
    (all, max, lags, obedient, keeps, ranged) => {
      const twin = new Twin(max, {lags, ranged});
      for (const {happens} of all) twin.step(happens);
      goOn(twin, obedient, keeps);
    },
  );
  fc.assert(law, {numRuns, seed});
  // Or this test tells nothing about ranges.
  for (const [what, times] of Object.entries(counts))
    expect([what, times > numRuns / 20]).toEqual([what, true]);
});

test('who only looks waits for a writer and for nobody else, whatever queues', () => {
  const twin = new Twin(100);
  twin.step((t) => t.request(1, 1, WRITE));
  twin.step((t) => t.request(2, 1, WRITE));
  twin.step((t) => t.look(3, 1));
  expect(twin.waiting.size).toBe(2);
  // 1 goes; 3 has looked before 2 begins to write.
  twin.step((t) => t.obey(1));
  expect(twin.waiting.size).toBe(0);
  expect(twin.table.otherWriters(1, 0)).toEqual([2]);
  twin.step((t) => t.look(2, 1));
  expect(twin.waiting.size).toBe(0);
  twin.step((t) => t.yield(2, 1, NONE));
  twin.step((t) => t.request(1, 1, CHANGE));
  expect(twin.changes).toHaveLength(1);
  twin.step((t) => t.look(3, 1));
  expect(twin.waiting.size).toBe(0);
});

test('who looks at what several write has looked before another one begins to write', () => {
  const twin = new Twin(100);
  twin.step((t) => t.request(1, 1, WRITE));
  twin.step((t) => t.request(2, 1, WRITE, {from: 4, to: END}));
  twin.step((t) => t.obey(1));
  twin.step((t) => t.obey(2, 0b11110000));
  twin.step((t) => t.look(3, 1));
  expect([1, 2].map((s) => twin.clients[s]!.recalls.get(1))).toEqual(
    new Array(2).fill({keep: NONE, cells: ALL}),
  );
  twin.step((t) => t.obey(1));
  twin.step((t) => t.request(1, 1, WRITE, {from: 0, to: 1}));
  expect(twin.waiting.size).toBe(2);
  twin.step((t) => t.obey(2));
  expect(twin.waiting.size).toBe(0);
  expect(twin.table.otherWriters(1, 0)).toEqual([1]);
});

test('who has read an object gets it as a whole for writing: he may not hear of it, and say that he reads', () => {
  const twin = new Twin(100, {lags: true});
  for (const session of [1, 2]) twin.step((t) => t.request(session, 1, READ));
  twin.settle();
  twin.request(1, 1, WRITE, {from: 0, to: 1});
  twin.request(3, 1, READ);
  twin.request(4, 1, WRITE, {from: 4, to: 5});
  for (const session of [1, 3, 4]) twin.step((t) => t.up(session, 1));
  twin.settle();
  twin.obey(2);
  twin.step((t) => t.up(2, 1));
  expect(twin.table.ranges(1, 1)).toEqual(WHOLE);
  twin.step((t) => t.reconnect(1));
  expect(twin.table.held(1, 1)).toBe(READ);
});

test('first come, first served: a reader that comes after a waiting writer waits behind it', () => {
  const twin = new Twin(100);
  twin.step((t) => t.request(1, 1, READ));
  twin.step((t) => t.request(2, 1, WRITE));
  twin.step((t) => t.request(3, 1, READ));
  expect([...twin.waiting.values()].map((w) => w.session)).toEqual([2, 3]);
  twin.step((t) => t.obey(1));
  expect([...twin.waiting.values()].map((w) => w.session)).toEqual([3]);
  expect([...twin.clients[2]!.recalls]).toEqual([[1, {keep: READ, cells: ALL}]]);
});

test('memory is bounded: above the limit the lease that was asked for longest ago is recalled', () => {
  const table = new LeaseTable({recallMs: RECALL_MS, leasesPerSessionMax: 2});
  for (const oid of [1, 2]) table.request(1, oid, READ, oid, 0);
  table.request(1, 1, READ, 3, 0);
  const effects = table.request(1, 3, READ, 4, 0);
  expect(effects[0]).toEqual({do: 'recall', session: 1, oid: 2, keep: NONE, range: EVERYTHING});
});

test.each([
  // Who keeps the bytes in between has more and more ranges; else whoever writes every second byte.
  {keeps: true, recalled: 1},
  {keeps: false, recalled: 2},
])(
  'memory is bounded: above the limit of ranges all are recalled, after what was granted (%j)',
  ({keeps, recalled}) => {
    const table = new LeaseTable({recallMs: RECALL_MS, leasesPerSessionMax: 2});
    table.request(1, 1, WRITE, 0, 0);
    let effects: LeaseEffect[] = [];
    for (let ticket = 1; effects.length < 2; ticket++) {
      expect(ticket).toBeLessThan(1_100);
      const one = {from: 2 * ticket + 1, to: 2 * ticket + 2};
      expect(table.request(2, 1, WRITE, ticket, 0, one)).toHaveLength(1);
      const gone = {from: keeps ? one.from : 0, to: one.to};
      effects = table.yield(1, 1, NONE, 0, minus(table.ranges(1, 1), gone));
      table.check();
    }
    expect(effects.map((e) => [e.do, e.session])).toEqual([
      ['grant', 2],
      ['recall', recalled],
    ]);
    expect(effects[1]).toMatchObject({keep: NONE, range: EVERYTHING});
    expect(table.ranges(recalled, 1)).toHaveLength(1_025);
  },
);

test('what is claimed after a restart: nothing, what others hold, all for reading whatever else is said', () => {
  const table = new LeaseTable({recallMs: RECALL_MS, leasesPerSessionMax: 2});
  const some = [{from: 0, to: 4}];
  table.startGrace();
  expect(table.reclaim(1, 1, WRITE, 0, NOTHING)).toBe(true);
  expect(table.held(1, 1)).toBe(NONE);
  expect(table.reclaim(1, 1, WRITE, 0, some)).toBe(true);
  expect(table.reclaim(2, 1, WRITE, 0, [...some, {from: 6, to: 8}])).toBe(false);
  expect(table.reclaim(2, 1, READ, 0)).toBe(false);
  expect(table.ranges(2, 1)).toEqual(NOTHING);
  expect(table.reclaim(2, 2, READ, 0, some)).toBe(true);
  expect(table.lasting(2, 2)).toBe(READ);
  table.check();
});
