// Goal: of a small object that is read here and there all is soon here, what is read is never old, and what is read in vain is bounded.
// Method: a simulated cluster, requests counted; the pattern alone.
import {expect, test} from '@jest/globals';
import {Pattern} from '../../../../src/core/client/read-pattern.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {ClientCluster} from '../../../support/client-cluster.js';
import {pattern} from '../../../support/frames.js';

const BLOCK = 4096;
const BLOCKS = 500;
const BYTES = BLOCKS * BLOCK + 100;
const MIB = 1 << 20;

test('an object that is read here and there is soon here as a whole, and read anew when somebody else has changed it', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await a.create('f');
    const bytes = Buffer.from(pattern(BYTES, 3));
    await a.write(oid, 0, bytes);
    await a.client.fsync(oid);
    const b = await cluster.client('b');
    await b.open('f', false);
    const random = new SeededRandom(1);
    const {stats} = b.client;
    const round = async (reads: number): Promise<number> => {
      const before = stats.dataCalls;
      for (let i = 0; i < reads; i++) {
        const at = random.below(BYTES - 1);
        const length = Math.min(BYTES - at, 1 + random.below(2 * BLOCK));
        expect((await b.read(oid, at, length)).equals(bytes.subarray(at, at + length))).toBe(true);
      }
      return stats.dataCalls - before;
    };
    expect(await round(300)).toBeLessThan(75);
    expect(await round(100)).toBeLessThan(3);
    expect(stats.dataBytesIn).toBeLessThan(1.3 * BYTES);
    for (let i = 0; i < 20; i++) {
      const at = random.below(BYTES - 100);
      const part = Buffer.from(pattern(100, i));
      await a.write(oid, at, part);
      part.copy(bytes, at);
      await round(10);
    }
    await b.client.setattr(oid, {size: 9 * BLOCK + 7});
    expect(
      (await b.read(oid, 9 * BLOCK, BLOCK)).equals(bytes.subarray(9 * BLOCK, 9 * BLOCK + 7)),
    ).toBe(true);
    await b.close();
    await a.close();
  }));

test('what is read all over is soon here as a whole, and comes no faster than it is read', () =>
  ClientCluster.run(async (cluster) => {
    const size = 16 * MIB;
    const a = await cluster.client('a');
    const oid = await a.create('f');
    const bytes = Buffer.from(pattern(size, 3));
    for (let at = 0; at < size; at += MIB) await a.write(oid, at, bytes.subarray(at, at + MIB));
    await a.client.fsync(oid);
    const b = await cluster.client('b');
    await b.open('f', false);
    const random = new SeededRandom(4);
    const {stats} = b.client;
    const reads = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const at = BLOCK * random.below(size / BLOCK);
        const seen = await b.read(oid, at, BLOCK);
        expect(seen.equals(bytes.subarray(at, at + BLOCK))).toBe(true);
      }
    };
    await reads(19);
    expect(stats.dataBytesIn).toBeLessThan(2 * MIB);
    await reads(250);
    expect(stats.dataBytesIn).toBeGreaterThanOrEqual(0.98 * size);
    expect(stats.dataBytesIn).toBeLessThan(1.1 * size);
    const before = stats.dataCalls;
    await reads(100);
    expect(stats.dataCalls - before).toBeLessThan(5);
    // Nothing of it is kept when another one writes, and what was on its way then is not either.
    await a.write(oid, 5 * MIB, bytes.subarray(0, BLOCK));
    bytes.copy(bytes, 5 * MIB, 0, BLOCK);
    await reads(30);
    await a.write(oid, 7 * MIB, bytes.subarray(0, BLOCK));
    bytes.copy(bytes, 7 * MIB, 0, BLOCK);
    expect((await b.read(oid, 7 * MIB, BLOCK)).equals(bytes.subarray(0, BLOCK))).toBe(true);
    await reads(200);
    await b.close();
    await a.close();
  }));

/** A client that has read so much here and there of its own file that the next read asks for a piece of the rest. */
async function readAllOver(cluster: ClientCluster, seed: number) {
  const size = 16 * MIB;
  const c = await cluster.client('c');
  const oid = await c.create('f');
  const bytes = Buffer.from(pattern(MIB, 3));
  for (let at = 0; at < size; at += MIB) await c.write(oid, at, bytes);
  await c.client.fsync(oid);
  const random = new SeededRandom(seed);
  const read = () => c.read(oid, BLOCK * random.below(size / BLOCK), BLOCK);
  for (let i = 0; i < 22; i++) await read();
  await cluster.meta.pass(10);
  return {c, oid, size, random, read};
}

test.each([3, 4, 5])(
  'what is read while the object is cut is not found when it grows again (seed %i)',
  (seed) =>
    ClientCluster.run(async (cluster) => {
      const {c, oid, size, read} = await readAllOver(cluster, seed);
      // As it ends, the next piece of the rest is asked for: of columns that are being cut.
      const reading = read();
      await c.client.setattr(oid, {size: 10});
      await reading;
      await c.write(oid, size - 1, Buffer.from([1]));
      await c.client.fsync(oid);
      for (let i = 0; i < 400; i++) {
        const found = await read();
        expect(found.subarray(10, -1).findIndex((byte) => byte !== 0)).toBe(-1);
      }
      await c.close();
    }, seed),
);

test.each([1, 2, 3, 4])(
  'what is read when the session has been lost is not found under the next one (seed %i)',
  (seed) =>
    ClientCluster.run(async (cluster) => {
      const {c, oid, size, random, read} = await readAllOver(cluster, seed);
      const reading = read();
      await cluster.meta.pass(0.1);
      c.client.parts.session.fencedByServer();
      await reading;
      const other = await cluster.client('other');
      await other.open('f', true);
      const bytes = Buffer.from(pattern(MIB, 4));
      for (let at = 0; at < size; at += MIB) await other.write(oid, at, bytes);
      await other.client.fsync(oid);
      for (let i = 0; i < 400; i++) {
        const at = BLOCK * random.below(size / BLOCK);
        const found = await c.read(oid, at, BLOCK);
        expect(found.compare(bytes, at % MIB, (at % MIB) + BLOCK)).toBe(0);
      }
      await other.close();
      await c.close();
    }, seed),
);

test('one or two reads are read alone, so are those of large objects and of streams', () => {
  const lone = new Pattern();
  expect(lone.around(5 * MIB, 5 * MIB + BLOCK, 9 * MIB)).toBe(0);
  lone.next(5 * MIB, 5 * MIB + BLOCK, MIB, false);
  expect(lone.around(3 * MIB, 3 * MIB + BLOCK, 9 * MIB)).toBe(0);
  const stream = new Pattern();
  for (let at = 0; at < 100 * BLOCK; at += BLOCK) {
    expect(stream.around(at, at + BLOCK, 9 * MIB)).toBe(0);
    stream.next(at, at + BLOCK, MIB, true);
  }
  const wild = new Pattern();
  const random = new SeededRandom(2);
  for (let i = 0; i < 100; i++) {
    const at = BLOCK * random.below(10_000);
    expect(wild.around(at, at + BLOCK, 0)).toBe(0);
    wild.next(at, at + BLOCK, MIB, false);
  }
  expect(wild.loose).toBe(true);
});

test('if nothing is ever found again, no more than twice the object is read in vain', () => {
  const reads = new Pattern();
  const random = new SeededRandom(3);
  const size = 8 * MIB;
  let bytes = 0;
  const read = () => {
    const at = BLOCK * random.below(size / BLOCK);
    bytes += reads.around(at, at + BLOCK, size);
    const [from, to] = reads.rest(size, () => false) ?? [0, 0];
    bytes += to - from;
    reads.next(at, at + BLOCK, MIB, false);
  };
  for (let i = 0; i < 2000; i++) read();
  expect(bytes).toBeGreaterThan(size);
  expect(bytes).toBeLessThanOrEqual(2 * size);
  for (let i = 0; i < 100; i++) reads.hit();
  for (let i = 0; i < 2000; i++) read();
  expect(bytes).toBeGreaterThan(2 * size);
  expect(bytes).toBeLessThanOrEqual(2 * size + 100 * 64 * 1024);
});
