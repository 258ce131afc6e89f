import {expect, test} from '@jest/globals';
import {LazyMap, LazySet} from '../../../../src/core/base/lazy.js';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import type {BytePath} from '../../../../src/core/client/columns.js';
import {Copies} from '../../../../src/core/client/copies.js';
import {DirtyCache, DirtyObject} from '../../../../src/core/client/dirty-cache.js';
import {JointReads} from '../../../../src/core/client/joint-reads.js';
import {Slots} from '../../../../src/core/client/slots.js';
import {Stats} from '../../../../src/core/client/stats.js';
import {writeStripes} from '../../../../src/core/client/stripe-writer.js';
import {Window} from '../../../../src/core/client/window.js';
import {silentLog} from '../../../../src/core/env/log.js';
import {PlainCodec} from '../../../../src/core/sim/codec.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {FakeColumns} from '../../../support/fake-columns.js';
import {realClock} from '../../../support/real-clock.js';

const SHAPE = {small: 4, medium: 24, large: 8};
const LAYOUT = {k: 4, m: 1, unitBytes: 65_536, chunkBytes: 4 * 65_536, groups: [1], generation: 0};
const MIB = 1024 * 1024;

test('many objects are written back at once from a pool that is too small for all of them', async () => {
  const pool = new BufferPool(new ArrayBuffer(poolBytes(SHAPE)), SHAPE);
  const codec = new PlainCodec();
  const path: BytePath = {
    clock: realClock,
    random: new SeededRandom(7),
    codec,
    log: silentLog,
    pool,
    slots: new Slots(pool, realClock),
    columns: new FakeColumns(pool, codec, 5),
    stats: new Stats(),
    repair: false,
    columnWaitMs: 30_000,
    joint: new JointReads(),
    copies: new Copies(realClock, new SeededRandom(7)),
    tooFewWaitMs: 0,
  };
  const cache = new DirtyCache(pool, {bytesMax: 64 * MIB});
  const window = new Window(64 * MIB);
  const flush = async (oid: number): Promise<void> => {
    const object = new DirtyObject(cache);
    // A part of each unit, from memory that is not the cache's to keep: all of it is copied, twice.
    for (let column = 0; column < LAYOUT.k; column++) {
      const slot = pool.alloc(30_000);
      if (slot === -1) throw new Error('the test needs a slot');
      const segment = {slot, offset: pool.payload(slot), length: 30_000};
      expect(object.write(column * LAYOUT.unitBytes + 5000, [segment])).toBe(true);
    }
    object.take();
    const target = {
      oid,
      layout: LAYOUT,
      heal: null,
      flushedSize: 0,
      touched: () => {},
      noted: new LazyMap<number, number>(),
      revoked: () => false,
      failed: () => {},
      halves: new LazySet<number>(),
      doubtful: () => {},
      owns: null,
      recent: null,
      synced: null,
      pending: [],
      refused: () => {},
    };
    await writeStripes(path, window, target, object.flushing, (a, b) => object.flushed(a, b));
  };
  await Promise.all(Array.from({length: 12}, (_, i) => flush(i + 1)));
  cache.sealArena();
  path.slots.close();
  expect(pool.used).toBe(0);
}, 20_000);

test('what is kept leaves slots to what passes', () => {
  const pool = new BufferPool(new ArrayBuffer(poolBytes(SHAPE)), SHAPE);
  let kept = 0;
  while (pool.allocToKeep(100_000) !== -1) kept++;
  expect(kept).toBe(16 + 4);
  expect(pool.passing).toBe(8);
  for (let i = 0; i < pool.passing; i++) expect(pool.alloc(100_000)).not.toBe(-1);
});
