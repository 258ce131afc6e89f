import {afterEach, beforeEach, expect, test} from '@jest/globals';
import type {Intents} from '../../../../src/core/data/intents.js';
import {removeObjects} from '../../../../src/core/data/ops/remove.js';
import {DataBench} from '../../../support/data.js';

let bench: DataBench;
let intents: Intents;
beforeEach(async () => {
  bench = await DataBench.open();
  intents = bench.context.intents;
});
afterEach(() => bench.close());

const SHARE = {column: 0, k: 2, m: 1};
const id = (oid: number, chunk = 0) => ({oid, chunk, generation: 0});
const wrote = async (oid: number, chunk = 0): Promise<void> => {
  await intents.enter(id(oid, chunk), SHARE);
  intents.leave(id(oid, chunk));
};
const settled = (oid: number, chunk = 0, checked = false): void => {
  intents.synced(id(oid, chunk), intents.mark);
  intents.settle(id(oid, chunk), checked);
};
const chunks = async (): Promise<string[]> =>
  (await intents.chunks()).map(({oid, chunk}) => `${oid}.${chunk}`);

test('a bucket stays until the last of its chunks has settled; other chunks are their own', async () => {
  await wrote(64);
  await wrote(127);
  await wrote(64, 1);
  expect(bench.intentLog.size).toBe(2);
  settled(64);
  expect(await chunks()).toEqual(['127.0', '64.1']);
  settled(64, 1);
  settled(127);
  expect(bench.intentLog.size).toBe(0);
});

test('what was written after the last sync is not settled by whoever synced before', async () => {
  await wrote(64);
  const {mark} = intents;
  await wrote(64);
  intents.synced(id(64), mark);
  intents.settle(id(64), false);
  expect(await chunks()).toEqual(['64.0']);
  settled(64);
  expect(await chunks()).toEqual([]);
});

test('nor what is being written', async () => {
  await wrote(64);
  await intents.enter(id(64), SHARE);
  settled(64);
  intents.allSynced(intents.mark);
  intents.settle(id(64), false);
  expect(await chunks()).toEqual(['64.0']);
  intents.leave(id(64));
  intents.settle(id(64), false);
  expect(await chunks()).toEqual(['64.0']);
  intents.allSynced(intents.mark);
  expect(intents.unsynced).toBe(0);
  intents.settle(id(64), false);
  expect(await chunks()).toEqual([]);
});

test('a later life knows the bucket, and what of it is here; recovery looks at all of it', async () => {
  const shape = {column: 0, k: 4, m: 1, unitBytes: 65_536};
  await wrote(70);
  await wrote(71);
  await wrote(9, 5);
  await bench.context.store.use(id(70), shape, true, async () => {});
  await bench.end();
  await bench.start();
  intents = bench.context.intents;
  const start = intents.atStart();
  expect(start.filter(({chunk}) => chunk === 0).map(({oid}) => oid)).toEqual(
    Array.from({length: 64}, (_, i) => 64 + i),
  );
  expect(start).toContainEqual(id(9, 5));
  // Written while the bucket is being looked at: is not forgotten.
  const looking = chunks();
  await wrote(80);
  await looking;
  expect((await chunks()).sort()).toEqual(['70.0', '80.0', '9.5']);
  for (const oid of [70, 80]) settled(oid);
  settled(9, 5);
  // Whoever settled them wrote them after the crash; what was torn before it is still to be found.
  expect((await chunks()).sort()).toEqual(['70.0', '9.5']);
  expect(intents.doubts).toBe(2);
  settled(70, 0, true);
  settled(9, 5, true);
  expect(await chunks()).toEqual([]);
  expect(intents.doubts).toBe(0);
  expect(intents.atStart()).toEqual(start);
});

test('a bucket of which nothing is left here goes', async () => {
  await wrote(70);
  await bench.end();
  await bench.start();
  intents = bench.context.intents;
  expect(await chunks()).toEqual([]);
  expect(bench.intentLog.size).toBe(0);
});

test('a removed object leaves, synced or not', async () => {
  await wrote(70);
  intents.removed(id(70));
  expect(bench.intentLog.size).toBe(0);
  expect(intents.unsynced).toBe(0);
});

test('what is in doubt leaves when it was checked, not when somebody synced it', async () => {
  await wrote(70);
  await wrote(9, 5);
  intents.doubtAll();
  await wrote(71);
  await wrote(8, 5);
  intents.doubt(id(8, 5));
  expect(intents.doubts).toBe(3);
  for (const oid of [70, 71]) settled(oid);
  for (const oid of [8, 9]) settled(oid, 5);
  expect((await chunks()).sort()).toEqual(['70.0', '8.5', '9.5']);
  // The check itself does not settle what somebody writes.
  await wrote(70);
  intents.settle(id(70), true);
  expect(intents.doubts).toBe(2);
  expect((await chunks()).sort()).toEqual(['70.0', '8.5', '9.5']);
  settled(70);
  for (const oid of [8, 9]) settled(oid, 5, true);
  expect(bench.intentLog.size).toBe(0);
});

test('an object that is gone is in doubt no more, with a column here or without', async () => {
  await wrote(70);
  await wrote(9, 5);
  await bench.end();
  await bench.start();
  intents = bench.context.intents;
  await chunks();
  expect(intents.doubts).toBe(1);
  await removeObjects(bench.context, [9]);
  expect(intents.doubts).toBe(0);
  expect(bench.intentLog.size).toBe(0);
});
