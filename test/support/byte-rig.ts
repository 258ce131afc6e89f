import {expect} from '@jest/globals';
import {LazyMap, LazySet} from '../../src/core/base/lazy.js';
import {BufferPool, poolBytes, type Segment} from '../../src/core/base/pool.js';
import type {BytePath} from '../../src/core/client/columns.js';
import {Copies} from '../../src/core/client/copies.js';
import {DirtyCache, DirtyObject} from '../../src/core/client/dirty-cache.js';
import {JointReads} from '../../src/core/client/joint-reads.js';
import {Slots} from '../../src/core/client/slots.js';
import {Stats} from '../../src/core/client/stats.js';
import {readStripes} from '../../src/core/client/stripe-reader.js';
import {writeStripes} from '../../src/core/client/stripe-writer.js';
import {Window} from '../../src/core/client/window.js';
import type {Clock} from '../../src/core/env/clock.js';
import {silentLog} from '../../src/core/env/log.js';
import {PlainCodec} from '../../src/core/sim/codec.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import {FakeColumns} from './fake-columns.js';
import {realClock} from './real-clock.js';

const shape = {small: 64, medium: 64, large: 24};
const codec = new PlainCodec();
export const OID = 77;

/** One object on `slots` data servers in memory, with a pool of 152 slots, and a plain array that says what must be read. */
export function rig(
  k: number,
  m: number,
  slots: number,
  unitBytes = 16_384,
  options: {stripes?: number; generation?: number; clock?: Clock; columnWaitMs?: number} = {},
) {
  const clock = options.clock ?? realClock;
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const layout = {
    k,
    m,
    unitBytes,
    chunkBytes: unitBytes * k * (options.stripes ?? 4),
    groups: [1],
    generation: options.generation ?? 0,
  };
  const columns = new FakeColumns(pool, codec, slots);
  const path: BytePath = {
    clock,
    random: new SeededRandom(7),
    codec,
    log: silentLog,
    pool,
    slots: new Slots(pool, clock),
    columns,
    stats: new Stats(),
    repair: false,
    columnWaitMs: options.columnWaitMs ?? 30_000,
    joint: new JointReads(),
    copies: new Copies(clock, new SeededRandom(7)),
    tooFewWaitMs: 0,
  };
  const cache = new DirtyCache(pool, {bytesMax: 8 * 1024 * 1024});
  const object = new DirtyObject(cache);
  const bytes = Buffer.alloc(layout.chunkBytes * 3);
  let flushedSize = 0;
  let size = 0;
  let value = 0;
  const self = {
    pool,
    layout,
    columns,
    path,
    bytes,
    write(at: number, length: number): void {
      const segments: Segment[] = [];
      for (let done = 0; done < length; ) {
        const part = Math.min(length - done, 1024 * 1024);
        const slot = pool.alloc(part);
        const offset = pool.payload(slot);
        for (let i = 0; i < part; i++) {
          value = (value * 31 + 7 + i) & 0xff;
          pool.bytes[offset + i] = value;
        }
        pool.view(offset, part).copy(bytes, at + done);
        segments.push({slot, offset, length: part});
        done += part;
      }
      if (!object.write(at, segments)) throw new Error('no room');
      size = Math.max(size, at + length);
    },
    async flush(): Promise<void> {
      object.take();
      const {end} = object.flushing;
      const target = {
        oid: OID,
        layout,
        heal: null,
        flushedSize,
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
      const window = new Window(4 * 1024 * 1024);
      try {
        await writeStripes(path, window, target, object.flushing, (a, b) => object.flushed(a, b));
      } catch (error) {
        object.failed();
        throw error;
      }
      flushedSize = Math.max(flushedSize, end);
    },
    async read(from: number, to: number): Promise<Buffer> {
      const segments = await readStripes(path, {oid: OID, layout, heal: null}, from, to);
      const parts = segments.map((s) => Buffer.from(pool.view(s.offset, s.length)));
      path.slots.releaseAll(segments);
      return Buffer.concat(parts);
    },
    async check(): Promise<void> {
      const seen = await self.read(0, size);
      if (!seen.equals(bytes.subarray(0, size))) {
        const at = seen.findIndex((byte, i) => byte !== bytes[i]);
        throw new Error(`byte ${at} of ${size} (length ${seen.length}) differs`);
      }
    },
    audit(): void {
      columns.audit(layout, OID, 3);
    },
    end(): void {
      object.truncate(0);
      cache.sealArena();
      path.slots.close();
      expect(pool.used).toBe(0);
    },
  };
  return self;
}
