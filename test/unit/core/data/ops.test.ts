// Goal: what data servers promise a client, operation by operation, on a real folder. Method: handlers without a network.
import {closeSync, openSync, readSync, writeSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {HEADER_OFFSET, pathOf, SUMS_OFFSET} from '../../../../src/core/data/format.js';
import {doubt} from '../../../../src/core/data/ops/doubt.js';
import {list} from '../../../../src/core/data/ops/list.js';
import {missedClear} from '../../../../src/core/data/ops/missed-clear.js';
import {punch} from '../../../../src/core/data/ops/punch.js';
import {read} from '../../../../src/core/data/ops/read.js';
import {remove} from '../../../../src/core/data/ops/remove.js';
import {settle} from '../../../../src/core/data/ops/settle.js';
import {stat} from '../../../../src/core/data/ops/stat.js';
import {sync} from '../../../../src/core/data/ops/sync.js';
import {truncate} from '../../../../src/core/data/ops/truncate.js';
import {write} from '../../../../src/core/data/ops/write.js';
import type {ColumnRef} from '../../../../src/core/protocol/gen/wire.js';
import {DataBench, FENCED, MAP_EPOCH} from '../../../support/data.js';

const BLOCK = 4096;
let bench: DataBench;
beforeEach(async () => {
  bench = await DataBench.open();
});
afterEach(() => bench.close());

const filled = (blocks: number, byte: number): Buffer => Buffer.alloc(blocks * BLOCK, byte);

async function put(ref: ColumnRef, offset: number, bytes: Buffer): Promise<void> {
  const q = bench.writing(ref, [{offset, length: bytes.length}], bytes);
  await write(q, bench.context, bench.payload(bytes));
}

/** Bytes and sums of a range, or 'hole'. */
async function get(ref: ColumnRef, offset: number, length: number, verify = false) {
  const q = {ref, ranges: [{offset, length}], covered: true, verify, copy: 0};
  const {message, payload} = await read(q, bench.context);
  if (message.hole === true) return {hole: true, bytes: Buffer.alloc(length), ...message};
  const [segment] = payload!;
  const bytes = Buffer.from(bench.pool.view(segment!.offset, segment!.length));
  bench.pool.release(segment!.slot);
  return {hole: false, bytes, ...message};
}

/** Turns one bit of a column file over, behind the server's back. */
function flip(ref: ColumnRef, at: number): void {
  const file = openSync(join(bench.folder, pathOf(ref)), 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, at);
  byte[0]! ^= 4;
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
}

describe('write and read', () => {
  test('bytes come back with their sums; what was never written is a hole', async () => {
    const ref = bench.ref(5);
    expect(await get(ref, 0, BLOCK)).toMatchObject({hole: true});
    await put(ref, 2 * BLOCK, filled(2, 9));
    const found = await get(ref, BLOCK, 3 * BLOCK);
    expect(found.bytes).toEqual(Buffer.concat([filled(1, 0), filled(2, 9)]));
    expect(Buffer.from(found.sums!)).toEqual(Buffer.from(bench.sums(found.bytes)));
    expect(await get(ref, 0, 2 * BLOCK)).toMatchObject({hole: true});
    expect(await get(ref, 4 * BLOCK, BLOCK)).toMatchObject({hole: true});
    const {message} = await stat({ref}, bench.context);
    expect(message).toMatchObject({present: true, bytes: 4 * BLOCK});
  });

  test('a redundancy column keeps the sums of what it covers', async () => {
    const ref = bench.ref(5, 3, 4);
    await put(ref, 0, filled(3, 1));
    const found = await get(ref, BLOCK, 2 * BLOCK);
    expect([...found.covered!]).toEqual(Array.from({length: 2 * 4 * 4}, (_, i) => 16 + i));
    await bench.end();
    await bench.start();
    expect((await get(ref, 0, 3 * BLOCK)).bytes).toEqual(filled(3, 1));
    expect((await get(ref, BLOCK, 2 * BLOCK)).covered).toEqual(found.covered);
  });

  test('many ranges in one request; neighbours are one step of the disk', async () => {
    const ref = bench.ref(6);
    const bytes = Buffer.concat([1, 2, 3, 4].map((byte) => filled(1, byte)));
    const ranges = [0, 1, 5, 9].map((block) => ({offset: block * BLOCK, length: BLOCK}));
    bench.disk.calls.length = 0;
    await write(bench.writing(ref, ranges, bytes), bench.context, bench.payload(bytes));
    // The header; three ranges of data and as many of sums.
    expect(bench.disk.calls.filter((call) => call === 'write')).toHaveLength(7);
    const q = {ref, ranges: [...ranges].reverse(), covered: false, verify: true, copy: 0};
    const {payload} = await read(q, bench.context);
    const found = bench.pool.view(payload![0]!.offset, 4 * BLOCK);
    expect([0, 1, 2, 3].map((block) => found[block * BLOCK])).toEqual([4, 3, 2, 1]);
    bench.pool.release(payload![0]!.slot);
  });

  test('C133: a payload that was changed on its way is refused, and nothing is written', async () => {
    const ref = bench.ref(5);
    await put(ref, 0, filled(1, 1));
    const bytes = filled(2, 2);
    const q = bench.writing(ref, [{offset: 0, length: 2 * BLOCK}], bytes);
    bytes[5000]! ^= 1;
    await expect(write(q, bench.context, bench.payload(bytes))).rejects.toMatchObject({
      errno: 'EIO',
    });
    expect(bench.context.stats.sumErrors).toBe(1);
    expect((await get(ref, 0, 2 * BLOCK)).bytes).toEqual(
      Buffer.concat([filled(1, 1), filled(1, 0)]),
    );
  });

  test.each([
    ['data', 0, BLOCK + 17],
    ['sums', 0, SUMS_OFFSET + 4],
    ['sums of redundancy', 4, SUMS_OFFSET + 20],
  ])('C133: a bit that rots in %s fails its sum, here and at the reader', async (_, column, at) => {
    const ref = bench.ref(5, 0, column);
    await put(ref, 0, filled(3, 3));
    await sync({epoch: MAP_EPOCH, chunks: [ref], all: false}, bench.context);
    flip(ref, at);
    await expect(get(ref, 0, 3 * BLOCK, true)).rejects.toMatchObject({
      errno: 'EIO',
      detail: '1 of 3 blocks fail their sums',
    });
    expect(bench.context.stats.badBlocks).toBe(1);
    const found = await get(ref, 0, 3 * BLOCK);
    const wrong = bench.sums(found.bytes).map((byte, i) => byte ^ found.sums![i]!);
    expect(wrong.findIndex((byte) => byte !== 0) >> 2).toBe(1);
  });

  test('a rotten header costs nothing; that of another column is EIO', async () => {
    const ref = bench.ref(5);
    await put(ref, 0, filled(3, 3));
    await bench.end();
    flip(ref, HEADER_OFFSET + 9);
    await bench.start();
    expect((await get(ref, 0, 3 * BLOCK, true)).bytes).toEqual(filled(3, 3));
    await expect(get({...ref, column: 1}, 0, BLOCK)).rejects.toMatchObject({errno: 'EIO'});
    await expect(put({...ref, column: 4}, 0, filled(1, 1))).rejects.toMatchObject({errno: 'EIO'});
  });

  test('C130: data whose sums a power cut took is not made visible by what is written behind it', async () => {
    const ref = bench.ref(5);
    await put(ref, 0, filled(1, 3));
    await bench.end();
    const file = openSync(join(bench.folder, pathOf(ref)), 'r+');
    writeSync(file, filled(3, 0xee), 0, 3 * BLOCK, BLOCK);
    closeSync(file);
    await bench.start();
    expect(await get(ref, BLOCK, 3 * BLOCK, true)).toMatchObject({hole: true});
    await put(ref, 5 * BLOCK, filled(1, 4));
    const found = await get(ref, 0, 6 * BLOCK, true);
    expect(found.bytes).toEqual(Buffer.concat([filled(1, 3), filled(4, 0), filled(1, 4)]));
  });

  test.each([
    ['no ranges', []],
    ['half a block', [{offset: 0, length: 2048}]],
    ['between blocks', [{offset: 100, length: BLOCK}]],
    ['beyond the largest chunk', [{offset: 2 ** 30, length: BLOCK}]],
    ['more than a frame holds', [{offset: 0, length: 2 ** 20 + BLOCK}]],
  ])('ranges that cannot be: %s', async (_, ranges) => {
    const q = {ref: bench.ref(5), ranges, covered: false, verify: false, copy: 0};
    await expect(read(q, bench.context)).rejects.toMatchObject({
      errno: expect.stringMatching(/EINVAL|EFBIG/),
    });
  });
});

test('truncate and punch give zeros that sum as zeros, and space', async () => {
  const ref = bench.ref(5);
  await put(ref, 0, filled(64, 8));
  const before = (await stat({ref}, bench.context)).message.allocated!;
  await punch({ref, ranges: [{offset: BLOCK, length: 30 * BLOCK}]}, bench.context);
  expect(await get(ref, BLOCK, 30 * BLOCK)).toMatchObject({hole: true});
  await truncate({ref, bytes: 40 * BLOCK}, bench.context);
  const found = await get(ref, 30 * BLOCK, 20 * BLOCK, true);
  expect(found.bytes).toEqual(Buffer.concat([filled(1, 0), filled(9, 8), filled(10, 0)]));
  const {message} = await stat({ref}, bench.context);
  expect(message.bytes).toBe(40 * BLOCK);
  expect(before - message.allocated!).toBeGreaterThanOrEqual(50 * BLOCK);
  await truncate({ref, bytes: 0}, bench.context);
  expect(await get(ref, 0, 64 * BLOCK)).toMatchObject({hole: true});
});

test('removal takes every column of an object, also one that is open; unknown objects are nothing', async () => {
  await put(bench.ref(5), 0, filled(1, 1));
  await put(bench.ref(5, 2, 1), 0, filled(1, 1));
  await put(bench.ref(261), 0, filled(1, 1)); // In the same folder.
  await remove({epoch: MAP_EPOCH, oids: [5, 999], parts: []}, bench.context);
  const {message} = await list(
    {kind: 'columns', cursor: '', max: 0, slot: 0, oid: 0},
    bench.context,
  );
  expect(message.chunks).toEqual([{oid: 261, chunk: 0, generation: 0}]);
  expect(await get(bench.ref(5), 0, BLOCK)).toMatchObject({hole: true});
  await put(bench.ref(5), 0, filled(1, 2));
  expect((await get(bench.ref(5), 0, BLOCK)).bytes[0]).toBe(2);
});

test('of an object that was moved only the parts that are named go, with what is in doubt of them (U37)', async () => {
  const columns = [0, 1, 2].flatMap((chunk) => [0, 1].map((generation) => ({chunk, generation})));
  for (const {chunk, generation} of columns)
    await put({...bench.ref(5, chunk), generation}, 0, filled(1, 1));
  const parts = [
    {oid: 5, generation: 0, from: 0, to: 2},
    {oid: 5, generation: 1, from: 2, to: 9},
  ];
  bench.context.intents.doubt({oid: 5, chunk: 2, generation: 1});
  bench.context.intents.doubt({oid: 5, chunk: 0, generation: 1});
  await remove({epoch: MAP_EPOCH, oids: [], parts}, bench.context);
  const {message} = await list(
    {kind: 'columns', cursor: '', max: 0, slot: 0, oid: 0},
    bench.context,
  );
  const names = message.chunks!.map(({chunk, generation}) => `${chunk}.${generation}`).sort();
  expect(names).toEqual(['0.1', '1.1', '2.0']);
  expect(bench.context.intents.doubts).toBe(1);
});

test('columns are listed in pages', async () => {
  for (let oid = 1; oid <= 20; oid++) await put(bench.ref(oid * 100), 0, filled(1, 1));
  const seen: number[] = [];
  for (let cursor = '', end = false; !end; ) {
    const {message} = await list({kind: 'columns', cursor, max: 3, slot: 0, oid: 0}, bench.context);
    expect(message.chunks!.length).toBeLessThanOrEqual(3);
    seen.push(...message.chunks!.map(({oid}) => oid));
    cursor = message.cursor!;
    end = message.end!;
  }
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({length: 20}, (_, i) => (i + 1) * 100));
});

describe('the order of things', () => {
  test('the intent is on stable storage before the column is touched; neighbours need no more', async () => {
    bench.disk.calls.length = 0;
    await put(bench.ref(64), 0, filled(1, 1));
    const {calls} = bench.disk;
    const opened = calls.findIndex((call) => call.startsWith('open columns/'));
    expect(calls.indexOf('append logs/intents')).toBe(0);
    expect(calls.indexOf('synced logs/intents')).toBeGreaterThan(0);
    expect(calls.indexOf('synced logs/intents')).toBeLessThan(opened);
    calls.length = 0;
    for (let oid = 65; oid < 128; oid++) await put(bench.ref(oid), 0, filled(1, 1));
    expect(calls.filter((call) => call.includes('logs/'))).toEqual([]);
    await put(bench.ref(65, 1), 0, filled(1, 1));
    expect(calls).toContain('synced logs/intents');
  });

  test('first writes at the same moment share syncs', async () => {
    bench.disk.calls.length = 0;
    await Promise.all([1, 2, 3, 4, 5].map((n) => put(bench.ref(n * 64), 0, filled(1, n))));
    expect(bench.disk.calls.filter((call) => call === 'sync logs/intents').length).toBeLessThan(3);
  });

  test('truncate and punch enter the log, too', async () => {
    await truncate({ref: bench.ref(64), bytes: 0}, bench.context);
    await punch({ref: bench.ref(640), ranges: [{offset: 0, length: BLOCK}]}, bench.context);
    expect(bench.intentLog.size).toBe(2);
  });

  test('no write when the log cannot take the intent', async () => {
    bench.disk.before = (step) => {
      if (step.startsWith('append')) throw Object.assign(new Error('full'), {errno: 'ENOSPC'});
    };
    await expect(put(bench.ref(64), 0, filled(1, 1))).rejects.toMatchObject({errno: 'ENOSPC'});
    bench.disk.before = () => {};
    expect(await get(bench.ref(64), 0, BLOCK)).toMatchObject({hole: true});
    bench.disk.calls.length = 0;
    await put(bench.ref(64), 0, filled(1, 1));
    expect(bench.disk.calls).toContain('synced logs/intents');
  });

  test('C130: a sync that fails ends the server', async () => {
    await put(bench.ref(64), 0, filled(1, 1));
    bench.disk.before = (step) => {
      if (step === 'fsync') throw Object.assign(new Error('lost'), {errno: 'EIO'});
    };
    const q = {epoch: MAP_EPOCH, chunks: [bench.ref(64)], all: false};
    await expect(sync(q, bench.context)).rejects.toMatchObject({errno: 'EIO'});
    expect(bench.failures).toHaveLength(1);
  });
});

describe('missed', () => {
  const missedOf = async (slot: number) =>
    (await list({kind: 'missed', cursor: '', max: 0, slot, oid: 0}, bench.context)).message.chunks!;

  test('only slots that are away and hold a column of the chunk', async () => {
    await bench.end();
    await bench.start('RRaRa');
    // 2+1 with own slot 0 as column 1: the columns lie in slots 4, 0, 1.
    const ref = {...bench.ref(9, 0, 1), k: 2, m: 1};
    bench.disk.calls.length = 0;
    await put(ref, 0, filled(1, 1));
    expect(await missedOf(4)).toEqual([{oid: 9, chunk: 0, generation: 0}]);
    expect(await missedOf(2)).toEqual([]);
    const {calls} = bench.disk;
    const opened = calls.findIndex((call) => call.startsWith('open columns/'));
    expect(calls.indexOf('synced logs/missed')).toBeLessThan(opened);
    await missedClear({slot: 4, chunks: [ref], epoch: MAP_EPOCH}, bench.context);
    expect(await missedOf(4)).toEqual([]);
  });

  test('a later life knows them', async () => {
    await bench.end();
    await bench.start('RaRRR');
    await put(bench.ref(9, 2), 0, filled(1, 1));
    await bench.end();
    await bench.start();
    expect(await missedOf(1)).toEqual([{oid: 9, chunk: 2, generation: 0}]);
  });
});

describe('space', () => {
  test('ENOSPC before the disk is full; what needs little goes on', async () => {
    await put(bench.ref(5), 0, filled(4, 5));
    await bench.end();
    await bench.start('RRRRR', Number.MAX_SAFE_INTEGER);
    // Nobody is refused by what was seen at the start.
    await bench.clock.advance(100);
    await expect(put(bench.ref(5), 0, filled(1, 6))).rejects.toMatchObject({errno: 'ENOSPC'});
    const ref = bench.ref(5);
    await punch({ref, ranges: [{offset: 0, length: BLOCK}]}, bench.context);
    await truncate({ref, bytes: 2 * BLOCK}, bench.context);
    expect((await get(ref, 0, 4 * BLOCK)).bytes).toEqual(
      Buffer.concat([filled(1, 0), filled(1, 5), filled(2, 0)]),
    );
    await remove({epoch: MAP_EPOCH, oids: [5], parts: []}, bench.context);
  });
});

describe('who may', () => {
  const requests: Record<string, (epoch: number, context: DataBench['context']) => unknown> = {
    write: (epoch, context) => {
      const bytes = filled(1, 1);
      const q = bench.writing(bench.ref(5, 0, 0, epoch), [{offset: 0, length: BLOCK}], bytes);
      return write(q, context, bench.payload(bytes));
    },
    read: (epoch, context) => {
      const ref = bench.ref(5, 0, 0, epoch);
      const ranges = [{offset: 0, length: BLOCK}];
      return read({ref, ranges, covered: false, verify: false, copy: 0}, context);
    },
    sync: (epoch, context) => sync({epoch, chunks: [], all: false}, context),
    settle: (epoch, context) => settle({epoch, chunks: [], checked: false}, context),
    truncate: (epoch, context) => truncate({ref: bench.ref(5, 0, 0, epoch), bytes: 0}, context),
    punch: (epoch, context) => {
      const ranges = [{offset: 0, length: BLOCK}];
      return punch({ref: bench.ref(5, 0, 0, epoch), ranges}, context);
    },
    remove: (epoch, context) => remove({epoch, oids: [], parts: []}, context),
    stat: (epoch, context) => stat({ref: bench.ref(5, 0, 0, epoch)}, context),
    doubt: (epoch, context) => doubt({ref: bench.ref(5, 0, 0, epoch)}, context),
    missedClear: (epoch, context) => missedClear({slot: 1, chunks: [], epoch}, context),
  };

  test.each(Object.keys(requests))('%s under an old, this, a newer epoch; fenced', async (name) => {
    const ask = (epoch: number, session = bench.context.session) =>
      Promise.resolve(requests[name]!(epoch, {...bench.context, session})).then(
        () => 'done',
        (error: {kind: string}) => error.kind,
      );
    const answers = [await ask(MAP_EPOCH - 1), await ask(MAP_EPOCH), await ask(MAP_EPOCH + 1)];
    expect(answers).toEqual(['StaleEpoch', 'done', 'BehindEpoch']);
    expect(await ask(MAP_EPOCH, FENCED)).toBe('Fenced');
    await bench.context.gate.shut();
    expect(await ask(MAP_EPOCH)).toBe('Busy');
  });
});
