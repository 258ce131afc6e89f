// Goal: redundancy that is told changes only is what an encode of the data gives, however often they come and in whatever order;
// where it cannot be, it says so. Method: the handler on a real folder, beside a model of the data columns.
import {createHash} from 'node:crypto';
import {closeSync, openSync, readSync, writeSync} from 'node:fs';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {FsError} from '../../../../src/core/base/errors.js';
import type {Segment} from '../../../../src/core/base/pool.js';
import {pathOf, SUMS_OFFSET} from '../../../../src/core/data/format.js';
import {delta} from '../../../../src/core/data/ops/delta.js';
import {punch} from '../../../../src/core/data/ops/punch.js';
import {read} from '../../../../src/core/data/ops/read.js';
import {stat} from '../../../../src/core/data/ops/stat.js';
import {write} from '../../../../src/core/data/ops/write.js';
import type {ColumnRef, DeltaRequest, Range} from '../../../../src/core/protocol/gen/wire.js';
import {DataBench, FENCED, MAP_EPOCH, mapOf, noSpace} from '../../../support/data.js';

const BLOCK = 4096;
const MIB = 1 << 20;
/** Of each column. */
const ALL = [0, 1, 2, 3, 4, 5];
const ZEROS = Buffer.alloc(BLOCK);
/** One block of one data column takes other bytes. */
type Change = {column: number; before: Buffer; after: Buffer};
/** What happens to one row of blocks. */
type Row = {block: number; changes: Change[]};
type Sent = {q: DeltaRequest; bytes: Buffer | null};

let bench: DataBench;
beforeEach(async () => {
  bench = await DataBench.open();
});
afterEach(() => bench.close());
const restart = (): Promise<void> => bench.end().then(() => bench.start());
const writes = (): number => bench.disk.calls.filter((call) => call === 'write').length;
const words = (...all: number[]): Uint8Array => new Uint8Array(Uint32Array.from(all).buffer);
const at = (block: number, count = 1): Range => ({offset: block * BLOCK, length: count * BLOCK});
const noise = (seed: number): Buffer =>
  createHash('shake256', {outputLength: BLOCK}).update(String(seed)).digest();

/** Changes bytes of a column file behind the server's back. */
function spoil(ref: ColumnRef, from: number, length: number, to: (byte: number) => number): void {
  const file = openSync(join(bench.folder, pathOf(ref)), 'r+');
  const bytes = Buffer.alloc(length);
  readSync(file, bytes, 0, length, from);
  writeSync(file, bytes.map(to), 0, length, from);
  closeSync(file);
}

function encode(data: readonly Buffer[], m: number): Buffer[] {
  const {pool, codec} = bench;
  const length = data[0]!.length;
  const slot = pool.alloc((data.length + m) * length);
  const places = Array.from({length: data.length + m}, (_, i) => pool.payload(slot) + i * length);
  for (const [i, bytes] of data.entries()) pool.bytes.set(bytes, places[i]!);
  const parities = places.slice(-m);
  codec.encode(pool.memory, data.length, m, places.slice(0, -m), parities, length);
  const made = parities.map((place) => Buffer.from(pool.view(place, length)));
  pool.release(slot);
  return made;
}

/** Data as the model has it, redundancy at the server. A server has one column of an object: each has its own here. */
class Chunk {
  /** Of each data column its blocks. */
  readonly data: Buffer[][];
  readonly m: number;
  readonly oid: number;

  constructor(k: number, m: number, oid = 5) {
    this.data = Array.from({length: k}, () => ALL.map(() => ZEROS));
    this.m = m;
    this.oid = oid;
  }

  ref(r = 0, epoch = MAP_EPOCH): ColumnRef {
    const k = this.data.length;
    return {...bench.ref(this.oid + r, 0, k + r, epoch), k, m: this.m};
  }

  /** What the redundancy column is to have of these blocks. */
  expected(r: number, blocks: readonly number[] = ALL) {
    const columns = this.data.map((own) => Buffer.concat(blocks.map((block) => own[block]!)));
    const bytes = encode(columns, this.m)[r]!;
    const rows = blocks.flatMap((block) => this.data.map((own) => own[block]!));
    const covered = Buffer.from(bench.sums(Buffer.concat(rows)));
    return {bytes, sums: Buffer.from(bench.sums(bytes)), covered};
  }

  /** A full write of the redundancy of these blocks. */
  async store(blocks: readonly number[]): Promise<void> {
    for (let r = 0; blocks.length > 0 && r < this.m; r++) {
      const {bytes, covered} = this.expected(r, blocks);
      const ranges = blocks.map((block) => at(block));
      const q = {...bench.writing(this.ref(r), ranges, bytes), covered};
      await write(q, bench.context, bench.payload(bytes));
    }
  }

  change(column: number, block: number, after: Buffer): Change {
    const before = this.data[column]![block]!;
    this.data[column]![block] = after;
    return {column, before, after};
  }

  /** Each of these columns changes in each of these blocks, to what is nowhere else. */
  rows(blocks: readonly number[], columns: readonly number[], seed = 1000): Row[] {
    const changes = (block: number): Change[] =>
      columns.map((column) => this.change(column, block, noise(seed + 10 * block + column)));
    return blocks.map((block) => ({block, changes: changes(block)}));
  }

  asking(r: number, rows: readonly Row[], epoch = MAP_EPOCH): Sent {
    const ranges: Range[] = [];
    for (const {block} of rows) {
      const last = ranges.at(-1);
      if (last !== undefined && last.offset + last.length === block * BLOCK) last.length += BLOCK;
      else ranges.push(at(block));
    }
    const added = rows.map(({changes}) => {
      const xor = this.data.map(() => Buffer.alloc(BLOCK));
      for (const {column, before, after} of changes)
        for (let i = 0; i < BLOCK; i++) xor[column]![i] = before[i]! ^ after[i]!;
      return encode(xor, this.m)[r]!;
    });
    const bytes = Buffer.concat(added);
    const masks = rows.map(({changes}) => changes.reduce((mask, c) => mask | (1 << c.column), 0));
    const inOrder = rows.flatMap(({changes}) => changes.toSorted((a, b) => a.column - b.column));
    const before = bench.sums(Buffer.concat(inOrder.map((change) => change.before)));
    const after = bench.sums(Buffer.concat(inOrder.map((change) => change.after)));
    const own = {ref: this.ref(r, epoch), ranges, sums: bench.sums(bytes)};
    return {q: {...own, changed: words(...masks), before, after, sync: false}, bytes};
  }

  /** To all redundancy; what the columns refuse, which must be the same. */
  async tell(rows: readonly Row[], epoch = MAP_EPOCH): Promise<number[]> {
    const refused: number[][] = [];
    for (let r = 0; r < this.m; r++) refused.push(await send(this.asking(r, rows, epoch)));
    for (const one of refused) expect(one).toEqual(refused[0]);
    return refused[0]!;
  }

  async check(): Promise<void> {
    const {epoch} = bench.context.gate.map!;
    for (let r = 0; r < this.m; r++) {
      const {bytes, ...sums} = this.expected(r);
      const found = await get(this.ref(r, epoch));
      expect(found).toMatchObject(sums);
      expect(found.bytes.equals(bytes)).toBe(true);
    }
  }
}

/** A chunk whose redundancy was written in full. */
async function full(k: number, m: number, oid = 5, blocks = ALL): Promise<Chunk> {
  const chunk = new Chunk(k, m, oid);
  chunk.rows(blocks, [...chunk.data.keys()], 1);
  await chunk.store(blocks);
  return chunk;
}

async function send({q, bytes}: Sent, context = bench.context): Promise<number[]> {
  const payload = bytes === null ? null : bench.payload(bytes);
  return (await delta(q, context, payload)).message.refused!;
}

/** Blocks as they are, without a judgement; zeros where nothing was ever written. */
async function get(ref: ColumnRef, blocks: readonly number[] = ALL) {
  const q = {ref, ranges: blocks.map((block) => at(block)), covered: true, verify: false, copy: 0};
  const {message, payload} = await read(q, bench.context);
  const views = (payload ?? []).map(({offset, length}) => bench.pool.view(offset, length));
  const bytes = Buffer.concat([Buffer.alloc(0), ...views], blocks.length * BLOCK);
  for (const {slot} of payload ?? []) bench.pool.release(slot);
  const sums = Buffer.concat([message.sums!], blocks.length * 4);
  return {bytes, sums, covered: Buffer.concat([message.covered!], blocks.length * 4 * ref.k)};
}

/** 'bad' if the block fails its sum. */
async function look(ref: ColumnRef, block: number) {
  const found = await get(ref, [block]);
  return found.sums.equals(bench.sums(found.bytes)) ? found : 'bad';
}

describe('redundancy is that of the data', () => {
  const story = (k: number) =>
    fc.array(
      fc.record({
        /** Of columns and blocks; 0 makes zeros. */
        steps: fc.uniqueArray(fc.tuple(fc.nat(k - 1), fc.constantFrom(...ALL), fc.nat(6)), {
          minLength: 1,
          maxLength: 8,
          size: 'max',
          selector: ([column, block]) => `${column} ${block}`,
        }),
        twice: fc.constantFrom('no', 'no', 'at once', 'after a restart'),
      }),
      {minLength: 1, maxLength: 8, size: 'max'},
    );

  test.each(['4+2', '1+1', '4+1'])('%s: changes of any blocks, some told twice', async (scheme) => {
    const [k, m] = scheme.split('+').map(Number) as [number, number];
    let oid = 64;
    const law = fc.asyncProperty(fc.subarray(ALL), story(k), async (written, requests) => {
      oid += m;
      const chunk = await full(k, m, oid, written);
      for (const {steps, twice} of requests) {
        const rows = new Map<number, Row>();
        for (const [column, block, seed] of steps) {
          const row = rows.get(block) ?? {block, changes: []};
          rows.set(block, row);
          row.changes.push(chunk.change(column, block, seed === 0 ? ZEROS : noise(seed)));
        }
        for (const _ of twice === 'no' ? ['once'] : ['once', 'again']) {
          expect(await chunk.tell([...rows.values()])).toEqual([]);
          await chunk.check();
          if (twice === 'after a restart') await restart();
        }
      }
    });
    await fc.assert(law, {numRuns: 50});
  });

  test('a column that was never written: what lies before the change stays a hole', async () => {
    const chunk = new Chunk(4, 2);
    expect(await chunk.tell(chunk.rows([3], [2]))).toEqual([]);
    await chunk.check();
    const {message} = await stat({ref: chunk.ref(1)}, bench.context);
    expect(message).toMatchObject({present: true, bytes: 4 * BLOCK});
    // Back to zeros: nothing is to be seen of it.
    expect(await chunk.tell([{block: 3, changes: [chunk.change(2, 3, ZEROS)]}])).toEqual([]);
    await restart();
    await chunk.check();
  });

  test('over the end of the column; where it was punched; over what a power cut left behind the end', async () => {
    const chunk = await full(4, 1, 5, [0, 1, 2]);
    expect(await chunk.tell(chunk.rows([2, 3], [1]))).toEqual([]);
    await punch({ref: chunk.ref(), ranges: [at(1)]}, bench.context);
    for (const own of chunk.data) own[1] = ZEROS;
    expect(await chunk.tell(chunk.rows([1], [0, 2]))).toEqual([]);
    await chunk.check();
    await bench.end();
    spoil(chunk.ref(), 4 * BLOCK, 2 * BLOCK, () => 0xee);
    await bench.start();
    expect(await chunk.tell(chunk.rows([5, 0], [3], 2000))).toEqual([]);
    await chunk.check();
  });
});

describe('exactly once', () => {
  test('at the same moment; later nothing is written, nor after a restart, nor under a newer map', async () => {
    const chunk = await full(4, 2);
    const rows = chunk.rows([4, 1, 2], [3, 0]);
    const told = [1, 2, 3].map(() => chunk.tell(rows));
    expect(await Promise.all(told)).toEqual([[], [], []]);
    const again = async (epoch: number): Promise<void> => {
      bench.disk.calls.length = 0;
      expect(await chunk.tell(rows, epoch)).toEqual([]);
      expect(writes()).toBe(0);
      await chunk.check();
    };
    await again(MAP_EPOCH);
    await restart();
    await again(MAP_EPOCH);
    await bench.context.gate.obey(mapOf('RRRRR', MAP_EPOCH + 1), async () => {});
    await again(MAP_EPOCH + 1);
  });
});

describe('order', () => {
  test('a change that comes before the one it follows is refused alone, and taken after it', async () => {
    const chunk = await full(4, 2);
    const [first] = chunk.rows([2], [1], 50);
    const [second, ...others] = chunk.rows([2, 3, 0], [1], 90);
    const rows = [others[0]!, second!, others[1]!];
    const old = await get(chunk.ref(1), [2]);
    expect(await chunk.tell(rows)).toEqual([1]);
    expect(await get(chunk.ref(1), [2])).toEqual(old);
    expect(await get(chunk.ref(1), [0, 3])).toEqual(chunk.expected(1, [0, 3]));
    expect(await chunk.tell([first!])).toEqual([]);
    expect(await chunk.tell(rows)).toEqual([]);
    await chunk.check();
    // Too late: what is there is neither its before nor its after.
    expect(await chunk.tell([first!])).toEqual([0]);
    await chunk.check();
  });

  test('of the columns in one row all change or none', async () => {
    const chunk = await full(4, 2);
    const [row] = chunk.rows([1], [0, 2]);
    const [left, right] = row!.changes.map((change) => [{block: 1, changes: [change]}]);
    expect(await chunk.tell(right!)).toEqual([]);
    const half = await get(chunk.ref(1));
    expect(await chunk.tell([row!])).toEqual([0]);
    expect(await get(chunk.ref(1))).toEqual(half);
    expect(await chunk.tell(left!)).toEqual([]);
    expect(await chunk.tell([row!])).toEqual([]);
    await chunk.check();
  });

  test.each(['0123', '3210', '2031', 'in one request', 'at the same moment'])(
    'changes of other columns of the same row commute: %s',
    async (order) => {
      const chunk = await full(4, 2);
      const [row] = chunk.rows([1], [0, 1, 2, 3]);
      const told = (column: number) => chunk.tell([{block: 1, changes: [row!.changes[column]!]}]);
      if (order === 'in one request') expect(await chunk.tell([row!])).toEqual([]);
      else if (order === 'at the same moment') await Promise.all([3, 1, 0, 2].map(told));
      else for (const column of order) expect(await told(Number(column))).toEqual([]);
      await chunk.check();
    },
  );
});

describe('a block that is not what it was', () => {
  const SUMS_OF_2 = SUMS_OFFSET + 2 * 4 * (1 + 4);
  const places: [string, number][] = [
    ['data', 2 * BLOCK + 17],
    ['own sum', SUMS_OF_2 + 1],
  ];

  test.each(places)('%s: refused alone, and not blessed', async (_, place) => {
    const chunk = await full(4, 1);
    spoil(chunk.ref(), place, 1, (byte) => byte ^ 4);
    const old = await get(chunk.ref(), [2]);
    const rows = chunk.rows([1, 2, 3], [3]);
    for (const _ of ['first', 'again']) {
      expect(await chunk.tell(rows)).toEqual([1]);
      expect(await look(chunk.ref(), 2)).toBe('bad');
      expect(await get(chunk.ref(), [2])).toEqual(old);
      expect(await get(chunk.ref(), [1, 3])).toEqual(chunk.expected(0, [1, 3]));
      await restart();
    }
    await chunk.store([2]);
    expect(await chunk.tell(rows)).toEqual([]);
    await chunk.check();
  });

  test.each(places)('%s: refused, too, if it had the change before', async (_, place) => {
    const chunk = await full(4, 1);
    const rows = chunk.rows([1, 2, 3], [3]);
    expect(await chunk.tell(rows)).toEqual([]);
    spoil(chunk.ref(), place, 1, (byte) => byte ^ 4);
    expect(await look(chunk.ref(), 2)).toBe('bad');
    expect(await chunk.tell(rows)).toEqual([1]);
    expect(await look(chunk.ref(), 2)).toBe('bad');
  });

  test('a covered sum that rotted is something else; that of another column is not asked', async () => {
    const chunk = await full(4, 1);
    spoil(chunk.ref(), SUMS_OF_2 + 4 * (1 + 3), 1, (byte) => byte ^ 4);
    const old = await get(chunk.ref());
    expect(await chunk.tell(chunk.rows([2], [3]))).toEqual([0]);
    expect(await get(chunk.ref())).toEqual(old);
    expect(await chunk.tell(chunk.rows([2], [1]))).toEqual([]);
  });

  test('what the disk cannot read is EIO, and all stays as it was', async () => {
    const chunk = await full(4, 1);
    const old = await get(chunk.ref());
    const rows = chunk.rows([1, 2], [3]);
    bench.disk.before = (step, range) => {
      if (step === 'read' && range!.fileOffset === BLOCK) throw new FsError('EIO');
    };
    await expect(chunk.tell(rows)).rejects.toMatchObject({errno: 'EIO'});
    bench.disk.before = () => {};
    expect(await get(chunk.ref())).toEqual(old);
    expect(await chunk.tell(rows)).toEqual([]);
    await chunk.check();
  });
});

describe('requests that cannot be', () => {
  const cut = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, -4);
  const more = (bytes: Uint8Array, by = 4): Buffer => Buffer.concat([bytes, Buffer.alloc(by)]);
  const wrong = (bytes: Uint8Array): Buffer => Buffer.from(bytes.map((b, i) => b ^ +(i === 5)));
  /** In place of the request's fields, or of the payload. It has one change, of column 1, in each of the blocks 1, 2 and 3. */
  const bad: Record<string, (sent: Sent) => Partial<DeltaRequest> | Buffer | null> = {
    'EINVAL: a data column': ({q}) => ({ref: {...q.ref, column: 3}}),
    'EINVAL: overlapping': () => ({ranges: [at(1, 2), at(2)]}),
    'EINVAL: overlapping, last first': () => ({ranges: [at(3), at(2, 2)]}),
    'EINVAL: a range twice': () => ({ranges: [at(1), at(3), at(1)]}),
    'EINVAL: a block more in the ranges': () => ({ranges: [at(1, 4)]}),
    'EINVAL: no payload': () => null,
    'EINVAL: too little payload': ({bytes}) => bytes!.subarray(BLOCK),
    'EINVAL: too much payload': ({bytes}) => more(bytes!, BLOCK),
    'EINVAL: the mask of column k': () => ({changed: words(2, 16, 2)}),
    'EINVAL: the mask of column 31': () => ({changed: words(2, 2, 0x80000000)}),
    'EINVAL: a mask of nothing': () => ({changed: words(6, 0, 2)}),
    'EINVAL: a mask too few': () => ({changed: words(2, 2)}),
    'EINVAL: a mask too many': () => ({changed: words(2, 2, 2, 2)}),
    'EINVAL: too few sums': ({q}) => ({sums: cut(q.sums)}),
    'EINVAL: too many sums': ({q}) => ({sums: more(q.sums)}),
    'EINVAL: too few before': ({q}) => ({before: cut(q.before)}),
    'EINVAL: too many before': ({q}) => ({before: more(q.before)}),
    'EINVAL: too few after': ({q}) => ({after: cut(q.after)}),
    'EINVAL: too many after': ({q}) => ({after: more(q.after)}),
    'EIO: C133: bytes that changed on their way': ({bytes}) => wrong(bytes!),
    'EIO: C133: sums that changed on their way': ({q}) => ({sums: wrong(q.sums)}),
  };

  test.each(Object.keys(bad))('%s', async (name) => {
    const chunk = await full(4, 1);
    const old = await get(chunk.ref());
    const sent = chunk.asking(0, chunk.rows([1, 2, 3], [1]));
    const other = bad[name]!(sent);
    const payload = other === null || Buffer.isBuffer(other);
    const asked = payload ? {q: sent.q, bytes: other} : {...sent, q: {...sent.q, ...other}};
    const free = () => [BLOCK, MIB / 8, MIB].map((size) => bench.pool.freeCount(size));
    const before = free();
    bench.disk.calls.length = 0;
    const [errno] = name.split(':');
    await expect(send(asked)).rejects.toMatchObject({errno});
    expect(bench.context.stats.sumErrors).toBe(errno === 'EIO' ? 1 : 0);
    expect(free()).toEqual(before);
    expect(writes()).toBe(0);
    expect(await get(chunk.ref())).toEqual(old);
    // It was that alone.
    expect(await send(sent)).toEqual([]);
    await chunk.check();
  });
});

describe('a write that fails half-way', () => {
  /** Three ranges of data, in the order of the request, and as many of sums. */
  const STEPS = [1, 2, 3, 4, 5, 6];
  const cases = ['alone', 'and all that follow'].flatMap((how) =>
    STEPS.map((step) => [step, how] as const),
  );

  test.each(cases)('ENOSPC at step %i %s', async (last, how) => {
    const now = await full(4, 1, 5, [0, 1, 3]);
    const old = ALL.map((block) => now.expected(0, [block]));
    const rows = now.rows([3, 1, 2, 4, 5], [0, 3]);
    const alone = how === 'alone';
    const used = bench.pool.used;
    let step = 0;
    bench.disk.before = (what) => {
      if (!(alone ? /^write$/ : /write|punch|truncate/).test(what)) return;
      if (++step === last || (step > last && !alone)) noSpace();
    };
    await expect(now.tell(rows)).rejects.toMatchObject({errno: 'ENOSPC'});
    if (!alone) await expect(now.tell(rows)).rejects.toMatchObject({errno: 'EIO'});
    expect(bench.pool.used).toBe(used);
    // Zeros can be had back, and what was not begun was not lost; a server that ended could do nothing for them.
    const lost = alone ? [3, 1].slice(0, last - 1) : ALL;
    let looks: Awaited<ReturnType<typeof look>>[] = [];
    for (const life of alone ? ['this', 'the next'] : ['the next']) {
      if (life === 'the next') await restart();
      looks = await Promise.all(ALL.map((block) => look(now.ref(), block)));
      for (const block of ALL) {
        const may = [old[block], ...(alone ? [] : [now.expected(0, [block])])];
        if (looks[block] !== 'bad' || !lost.includes(block))
          expect(may).toContainEqual(looks[block]);
      }
    }
    // Sent again: what is refused are the blocks that fail their sums, the others have it.
    const bad = [...rows.keys()].filter((i) => looks[rows[i]!.block] === 'bad');
    expect(await now.tell(rows)).toEqual(bad);
    for (const [i, {block}] of rows.entries()) {
      const wanted = bad.includes(i) ? 'bad' : now.expected(0, [block]);
      expect(await look(now.ref(), block)).toEqual(wanted);
    }
    await now.store(bad.map((i) => rows[i]!.block));
    await now.check();
  });
});

test('an old, this, a newer epoch; fenced; shut', async () => {
  const chunk = new Chunk(4, 1);
  const rows = chunk.rows([0], [1]);
  const ask = (epoch: number, session = bench.context.session) =>
    send(chunk.asking(0, rows, epoch), {...bench.context, session}).then(
      () => 'done',
      (error: {kind: string}) => error.kind,
    );
  expect(await ask(MAP_EPOCH - 1)).toBe('StaleEpoch');
  expect(await ask(MAP_EPOCH + 1)).toBe('BehindEpoch');
  expect(await ask(MAP_EPOCH, FENCED)).toBe('Fenced');
  expect((await stat({ref: chunk.ref()}, bench.context)).message.present).toBe(false);
  expect(await ask(MAP_EPOCH)).toBe('done');
  await chunk.check();
  await bench.context.gate.shut();
  expect(await ask(MAP_EPOCH)).toBe('Busy');
});

test('the intent is on stable storage before the column is touched', async () => {
  const chunk = new Chunk(4, 1);
  const {calls} = bench.disk;
  await chunk.tell(chunk.rows([0], [1]));
  const opened = calls.findIndex((call) => call.startsWith('open columns/'));
  expect(calls.slice(0, opened)).toContain('synced logs/intents');
});

test('requests whose payloads fill the pool come to their end', async () => {
  const {pool} = bench;
  // With this one, given back, they do in any case.
  const spare = pool.alloc(MIB);
  const bytes = Buffer.alloc(MIB);
  const [before, after] = [Buffer.alloc(MIB / 1024), Buffer.alloc(MIB / 1024, 1)];
  const changed = words(...Array<number>(MIB / BLOCK).fill(1));
  const own = {ranges: [at(0, MIB / BLOCK)], sums: bench.sums(bytes), sync: false};
  const q = {...own, changed, before, after};
  const payloads = Array.from({length: pool.freeCount(MIB)}, () => bench.payload(bytes));
  const busy: number[] = [];
  const send = (i: number, payload: Segment) =>
    delta({...q, ref: bench.ref(64 + i, 0, 4)}, bench.context, payload).catch(
      (error: {kind: string}) => {
        expect(error.kind).toBe('Busy');
        busy.push(i);
      },
    );
  const all = Promise.all(payloads.map((payload, i) => send(i, payload)));
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, 10_000, 'stuck');
  });
  const end = await Promise.race([all.then(() => 'done'), late]);
  clearTimeout(timer);
  pool.release(spare);
  await all;
  expect(pool.used).toBe(0);
  // Who was refused finds room later.
  const again = busy.splice(0);
  for (const i of again) await send(i, bench.payload(bytes));
  expect(busy).toEqual([]);
  expect(end).toBe('done');
});
