// Goal: columns that are nobody's go, all others stay. Method: an inventory over a list, with a meta server that is a set of numbers.
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {ColumnId} from '../../../../src/core/data/format.js';
import {Inventory} from '../../../../src/core/data/inventory.js';
import {silentLog} from '../../../../src/core/env/log.js';
import type {ExistsRequest} from '../../../../src/core/protocol/gen/wire.js';
import {ManualClock} from '../../../support/manual-clock.js';

const GRACE_MS = 60_000;
const SETTLED_MS = 20_000;
/** From the end of a look to the end of the next one; a tenth of the grace time, and some. */
const LOOK_MS = 8_000;

let clock: ManualClock;
let columns: ColumnId[];
let objects: Set<number>;
let idsBelow: number;
let asked: number;
let inventory: Inventory;

beforeEach(() => {
  clock = new ManualClock();
  objects = new Set([1, 2]);
  columns = [column(1), column(2), column(3), column(3, 1)];
  idsBelow = 1000;
  asked = 0;
  const call = async (_op: unknown, {oids}: ExistsRequest) => {
    asked++;
    return {message: {missing: oids.filter((oid) => !objects.has(oid)), idsBelow}};
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
