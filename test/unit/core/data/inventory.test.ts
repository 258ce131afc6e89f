// Goal: columns that are nobody's go, all others stay. Method: an inventory over a list, with a meta server that is a set of numbers.
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {ColumnId} from '../../../../src/core/data/format.js';
import {Inventory} from '../../../../src/core/data/inventory.js';
import {silentLog} from '../../../../src/core/env/log.js';
import type {ExistsRequest, ObjectPart} from '../../../../src/core/protocol/gen/wire.js';
import {ManualClock} from '../../../support/manual-clock.js';

const GRACE_MS = 60_000;
const SETTLED_MS = 20_000;
/** From the end of a look to the end of the next one; a tenth of the grace time, and some. */
const LOOK_MS = 8_000;

let clock: ManualClock;
let columns: ColumnId[];
let objects: Set<number>;
let idsBelow: number;
let moved: ObjectPart[];
let asked: number;
let inventory: Inventory;

beforeEach(() => {
  clock = new ManualClock();
  objects = new Set([1, 2]);
  columns = [column(1), column(2), column(3), column(3, 1)];
  idsBelow = 1000;
  moved = [];
  asked = 0;
  const call = async (_op: unknown, {oids}: ExistsRequest) => {
    asked++;
    return {message: {missing: oids.filter((oid) => !objects.has(oid)), idsBelow, parts: moved}};
  };
  const parts = {
    meta: async () => ({call}) as never,
    // Two at a time, so that a look has several pages.
    store: {
      list: async (cursor: string) => {
        const from = Number(cursor === '' ? 0 : cursor);
        const ids = columns.slice(from, from + 2);
        return {ids, cursor: String(from + 2), end: from + 2 >= columns.length};
      },
    },
    remove: async (ids: readonly ColumnId[]) => {
      columns = columns.filter((one) => !ids.includes(one));
    },
  };
  inventory = new Inventory({clock, log: silentLog}, parts, GRACE_MS);
  inventory.restarted(7);
});
afterEach(async () => {
  await inventory.close();
  expect(clock.timers).toBe(0);
});

const column = (oid: number, chunk = 0): ColumnId => ({oid, chunk, generation: 0});
const left = (): number[] => [...new Set(columns.map(({oid}) => oid))];

test('what is missing for the grace time goes, all of it, and nothing else (issue 5, item 9)', async () => {
  await clock.advance(SETTLED_MS + GRACE_MS - 1);
  expect(left()).toEqual([1, 2, 3]);
  await clock.advance(2 * LOOK_MS);
  expect(left()).toEqual([1, 2]);
  expect(inventory.removed).toBe(2);
  await clock.advance(10 * GRACE_MS);
  expect(left()).toEqual([1, 2]);
});

test('nothing is asked before the clients of a restarted meta server are back', async () => {
  await clock.advance(SETTLED_MS - 1);
  expect(asked).toBe(0);
  await clock.advance(GRACE_MS - LOOK_MS);
  inventory.restarted(8);
  const before = asked;
  await clock.advance(SETTLED_MS - 1);
  // A page that was planned before may ask, but is not believed.
  expect(asked - before).toBeLessThanOrEqual(1);
  await clock.advance(GRACE_MS - LOOK_MS);
  // In the life of the meta server that found it missing first it would be due by now.
  expect(left()).toEqual([1, 2, 3]);
  await clock.advance(3 * LOOK_MS);
  expect(left()).toEqual([1, 2]);
});

test('a meta server that has never given an id does not know what is gone', async () => {
  idsBelow = 3;
  await clock.advance(10 * GRACE_MS);
  expect(left()).toEqual([1, 2, 3]);
});

test('an object that is removed later waits for its own grace time', async () => {
  await clock.advance(SETTLED_MS + GRACE_MS / 2);
  objects.delete(2);
  await clock.advance(GRACE_MS / 2 + 2 * LOOK_MS);
  expect(left()).toEqual([1, 2]);
  await clock.advance(GRACE_MS);
  expect(left()).toEqual([1]);
});

test('what an object was moved from goes after the grace time; what it has, and what was never given, stays (U37, B13)', async () => {
  columns = [0, 1, 2, 3].flatMap((generation) =>
    [0, 1].map((chunk) => ({oid: 1, chunk, generation})),
  );
  columns.push(column(2));
  // Chunk 0 has been moved to generation 2, the others are in 0; there is no 3.
  moved = [
    {oid: 1, generation: 2, from: 0, to: 1},
    {oid: 1, generation: 0, from: 1, to: 9},
    {oid: 1, generation: 2, from: 0, to: 0},
  ];
  await clock.advance(SETTLED_MS + GRACE_MS / 2);
  expect(columns).toHaveLength(9);
  // What goes shifts the pages of that look: the next ones see the rest.
  await clock.advance(4 * GRACE_MS);
  const names = columns.map(({oid, chunk, generation}) => `${oid}.${chunk}.${generation}`);
  expect(names).toEqual(['1.1.0', '1.0.2', '1.0.3', '1.1.3', '2.0.0']);
});
