import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {ChunkLog, type LogEntry} from '../../../../src/core/data/chunk-log.js';
import {IsalCodec} from '../../../../src/core/os/codec-isal.js';
import {openBufferedDisk} from '../../../../src/core/os/disk-buffered.js';
import {noSpace, WatchedDisk} from '../../../support/data.js';

const RECORD = 32;
const SHAPE = {small: 1, medium: 0, large: 0};
const pool = new BufferPool(new IsalCodec().createMemory(poolBytes(SHAPE)), SHAPE);
const entry = (oid: number, slot = 0): LogEntry => ({slot, oid, chunk: 3, generation: 1});
const oids = (log: ChunkLog): number[] => [...log.entries()].map(({oid}) => oid);

let folder: string;
let disk: WatchedDisk;
let failures: unknown[];
const open = () => ChunkLog.open(disk, 'log', (error) => void failures.push(error));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cpfs-chunk-log-'));
  disk = new WatchedDisk(openBufferedDisk(folder, pool));
  failures = [];
});
afterEach(async () => {
  await disk.close();
  rmSync(folder, {recursive: true});
});

test('C130: torn at any byte it holds what was whole, and goes on from there', async () => {
  const log = await open();
  for (let oid = 1; oid <= 4; oid++) await log.add([entry(2 ** 52 + oid)]);
  log.remove([entry(2 ** 52 + 2)]);
  await log.close();
  const whole = readFileSync(join(folder, 'log'));
  expect(whole.length).toBe(5 * RECORD);
  for (let size = 0; size <= whole.length; size++) {
    writeFileSync(join(folder, 'log'), whole.subarray(0, size));
    const torn = await open();
    const records = Math.floor(size / RECORD);
    const expected = [1, 2, 3, 4].slice(0, records).filter((oid) => records < 5 || oid !== 2);
    expect(oids(torn)).toEqual(expected.map((oid) => 2 ** 52 + oid));
    await torn.add([entry(77)]);
    await torn.close();
    const again = await open();
    expect(oids(again)).toEqual([...expected.map((oid) => 2 ** 52 + oid), 77]);
    await again.close();
  }
});

test('C130: a record with any byte changed ends the log', async () => {
  const log = await open();
  for (let oid = 1; oid <= 3; oid++) await log.add([entry(oid)]);
  await log.close();
  const whole = readFileSync(join(folder, 'log'));
  for (let at = RECORD; at < 2 * RECORD; at++) {
    const bad = Buffer.from(whole);
    bad[at]! ^= 0x10;
    writeFileSync(join(folder, 'log'), bad);
    const cut = await open();
    expect(oids(cut)).toEqual([1]);
    await cut.close();
  }
});

test('what is there already costs no sync; what is on its way is waited for', async () => {
  const log = await open();
  await log.add([entry(1)]);
  disk.calls.length = 0;
  await log.add([entry(1)]);
  expect(disk.calls).toEqual([]);
  const first = log.add([entry(2)]);
  const second = log.add([entry(2)]);
  await second;
  expect(disk.calls).toContain('synced log');
  await first;
  await log.close();
});

test('it is written anew when it has grown; adds of that moment are kept', async () => {
  const log = await open();
  await log.add([entry(1)]);
  const many = Array.from({length: 9000}, (_, i) => entry(10 + i));
  await log.add(many);
  log.remove(many);
  const late = log.add([entry(2), entry(3, 4)]);
  log.remove([entry(1)]);
  await late;
  await log.close();
  expect(disk.calls).toContain('writeFile log');
  expect(readFileSync(join(folder, 'log')).length).toBeLessThan(10 * RECORD);
  const again = await open();
  expect(oids(again)).toEqual([2, 3]);
  await again.close();
});

describe('failures', () => {
  test('an entry that cannot be appended is not there, and can be added later', async () => {
    const log = await open();
    disk.before = (step) => step.startsWith('append') && noSpace();
    await expect(log.add([entry(1)])).rejects.toMatchObject({errno: 'ENOSPC'});
    expect(log.has(entry(1))).toBe(false);
    disk.before = () => {};
    await log.add([entry(1)]);
    await log.close();
    const again = await open();
    expect(oids(again)).toEqual([1]);
    expect(failures).toEqual([]);
    await again.close();
  });

  test('C130: after a failed sync nothing is promised any more', async () => {
    const log = await open();
    disk.before = (step) => step.startsWith('sync') && noSpace();
    await expect(log.add([entry(1)])).rejects.toMatchObject({errno: 'ENOSPC'});
    disk.before = () => {};
    await expect(log.add([entry(1)])).rejects.toMatchObject({errno: 'ENOSPC'});
    expect(failures).toHaveLength(1);
    await log.close();
  });

  test('a rewrite that has no room leaves the old one', async () => {
    const log = await open();
    const many = Array.from({length: 9000}, (_, i) => entry(10 + i));
    await log.add([...many, entry(1)]);
    disk.before = (step) => step.startsWith('writeFile') && noSpace();
    log.remove(many);
    await log.add([entry(2)]);
    expect(failures).toEqual([]);
    await log.close();
    const again = await open();
    expect(oids(again)).toEqual([1, 2]);
    await again.close();
  });

  test('of several notes of an entry the smallest stays, in later lives too', async () => {
    const log = await open();
    await log.add([
      {...entry(1), note: 1},
      {...entry(2), note: 7},
    ]);
    disk.calls.length = 0;
    await log.add([{...entry(1), note: 0}]);
    expect(disk.calls).toContain('synced log');
    await log.add([{...entry(1), note: 1}]);
    await log.close();
    const again = await open();
    expect([...again.entries()].map(({oid, note}) => [oid, note])).toEqual([
      [1, 0],
      [2, 7],
    ]);
    await again.close();
  });
});
