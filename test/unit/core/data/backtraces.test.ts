// Goal: a data server keeps what it is sent, in order, over restarts and torn files, and says what it lacks. Method: its store on a real folder.
import {appendFileSync, readdirSync, readFileSync, truncateSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {Backtraces} from '../../../../src/core/data/backtraces.js';
import {systemClock} from '../../../../src/core/os/clock.js';
import {
  type BacktraceEntry,
  encodeEntries,
  encodeSections,
  encodeShards,
  entriesOf,
} from '../../../../src/core/protocol/backtraces.js';
import type {BacktraceRequest} from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {DataBench} from '../../../support/data.js';
import {whole} from '../../../support/meta.js';

let bench: DataBench;
let kept: Backtraces;
const begin = (): void => {
  kept = new Backtraces({...bench.context.env, clock: systemClock});
};
beforeEach(async () => {
  bench = await DataBench.open();
  begin();
});
afterEach(async () => {
  await kept.close();
  await bench.close();
});
const restart = async (): Promise<void> => {
  await kept.close();
  begin();
};

type Rows = Record<string, string | null>;

const sections = (rows: Record<number, Rows>): Buffer =>
  encodeSections(
    Object.entries(rows).map(([shard, its]) => ({
      shard: Number(shard),
      entries: encodeEntries(
        Object.entries(its).map(
          ([key, value]): BacktraceEntry => [key, value === null ? null : Buffer.from(value)],
        ),
      ),
    })),
  );

function take(
  from: number,
  to: number,
  rows: Record<number, Rows>,
  more: Partial<BacktraceRequest> = {},
): Promise<number[]> {
  const shards = encodeShards(Object.keys(rows).map(Number));
  const q = {line: 0, from, to, atMs: to * 10, shards, records: sections(rows), last: true};
  return kept.take(whole(OPS.backtrace, {...q, ...more}));
}
const takeWhole = (to: number, rows: Record<number, Rows>): Promise<number[]> =>
  take(0, to, rows, {whole: true, first: true});

async function read(shard: number): Promise<Rows> {
  const found: Rows = {};
  for (let cursor: Uint8Array = new Uint8Array(0); ; ) {
    const page = await kept.read(shard, cursor);
    for (const entry of entriesOf(page.records)) {
      const [key, value] = entry!;
      expect(found[key]).toBe(undefined);
      found[key] = Buffer.from(value!).toString();
    }
    if (page.end) return found;
    cursor = page.cursor;
  }
}

const marks = async (): Promise<[number, number][]> =>
  [...(await kept.marks())]
    .map(([shard, {position}]): [number, number] => [shard, position])
    .sort();

describe('backtraces of a data server', () => {
  test('a shard must come whole first; then pieces bring it forward, and one that does not follow is refused', async () => {
    expect(await take(0, 5, {3: {a: '1'}})).toEqual([3]);
    expect(await marks()).toEqual([]);
    await takeWhole(5, {3: {a: '1', b: '1'}, 4: {z: '1'}});
    expect(await take(5, 8, {3: {a: '2'}, 4: {}})).toEqual([]);
    expect(await take(9, 10, {3: {a: 'x'}, 4: {z: 'x'}})).toEqual([3, 4]);
    expect(await take(5, 8, {3: {a: '2'}}, {line: 1})).toEqual([3]);
    // One that reaches further back than needed does no harm, and one of several with the same end advances nothing.
    expect(await take(2, 9, {3: {b: null, c: '3'}})).toEqual([]);
    expect(await take(8, 9, {4: {y: '3'}}, {last: false})).toEqual([]);
    expect(await marks()).toEqual([
      [3, 9],
      [4, 8],
    ]);
    expect(await read(3)).toEqual({a: '2', c: '3'});
    await restart();
    expect(await marks()).toEqual([
      [3, 9],
      [4, 8],
    ]);
    expect(await read(3)).toEqual({a: '2', c: '3'});
    await expect(read(5)).rejects.toMatchObject({errno: 'ENOENT'});
  });

  test('a shard that comes whole again replaces what there was, when its last part has come', async () => {
    await takeWhole(5, {3: {a: '1', b: '1'}, 4: {z: '1'}});
    await take(5, 6, {3: {a: '2'}, 4: {z: '2'}});
    await take(0, 9, {3: {b: '9'}}, {whole: true, first: true, last: false});
    expect(await read(3)).toEqual({a: '2', b: '1'});
    await take(0, 9, {3: {c: '9'}}, {whole: true});
    expect(await read(3)).toEqual({b: '9', c: '9'});
    expect(await read(4)).toEqual({z: '2'});
    // Begun and never ended: nothing of it is there after a restart.
    await take(0, 12, {3: {q: '9'}}, {whole: true, first: true, last: false});
    await restart();
    expect(await read(3)).toEqual({b: '9', c: '9'});
    expect(await marks()).toEqual([
      [3, 9],
      [4, 6],
    ]);
  });

  test('what a power cut leaves of the journal is used up to where it is torn', async () => {
    await takeWhole(5, {3: {a: '1'}});
    await take(5, 6, {3: {a: '2'}});
    await take(6, 7, {3: {a: '3'}});
    await kept.close();
    const journal = join(bench.folder, 'backtraces/journal');
    truncateSync(journal, readFileSync(journal).length - 1);
    begin();
    expect(await marks()).toEqual([[3, 6]]);
    expect(await take(7, 8, {3: {a: '4'}})).toEqual([3]);
    expect(await take(6, 8, {3: {a: '4'}})).toEqual([]);
    expect(await read(3)).toEqual({a: '4'});
    await restart();
    expect(await read(3)).toEqual({a: '4'});
  });

  test('what a shard file has behind its noted end is not used, and damage in it is told', async () => {
    await takeWhole(5, {3: {a: '1'}});
    const [name] = readdirSync(join(bench.folder, 'backtraces')).filter((one) => /^3\./.test(one));
    const path = join(bench.folder, 'backtraces', name!);
    appendFileSync(path, 'torn');
    await restart();
    await take(5, 6, {3: {b: '2'}});
    expect(await read(3)).toEqual({a: '1', b: '2'});
    const bytes = readFileSync(path);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path, bytes);
    await restart();
    await expect(read(3)).rejects.toMatchObject({errno: 'EIO'});
  });

  test('a file in which most is hidden is written anew, and long shards are read in pages', async () => {
    const value = (round: number): string => `${round}`.padEnd(1000, '.');
    const all = (round: number): Rows =>
      Object.fromEntries(Array.from({length: 600}, (_, i) => [`k${1000 + i}`, value(round)]));
    await takeWhole(1, {3: all(0)});
    const size = (): number =>
      readdirSync(join(bench.folder, 'backtraces')).reduce(
        (sum, name) => sum + readFileSync(join(bench.folder, 'backtraces', name)).length,
        0,
      );
    for (let round = 1; round <= 20; round++) await take(round, round + 1, {3: all(round)});
    expect(size()).toBeLessThan(8_000_000);
    expect(await read(3)).toEqual(all(20));
    await restart();
    expect(await read(3)).toEqual(all(20));
    expect(size()).toBeLessThan(3_000_000);
  });
});
