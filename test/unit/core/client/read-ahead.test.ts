// Goal: who reads an object through a writable handle, or at even distances, finds the next bytes here, and never old ones. Method: a
// simulated cluster, requests counted.
import {expect, test} from '@jest/globals';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {pattern} from '../../../support/frames.js';

const BYTES = 800_000;
const BLOCK = 4096;

async function written(
  cluster: ClientCluster,
): Promise<{a: TestClient; oid: number; bytes: Buffer}> {
  const a = await cluster.client('a');
  const oid = await a.create('f');
  const bytes = Buffer.from(pattern(BYTES, 3));
  await a.write(oid, 0, bytes);
  await a.client.fsync(oid);
  return {a, oid, bytes};
}

/** As through a handle that may write. */
async function direct(c: TestClient, oid: number, offset: number, length: number): Promise<Buffer> {
  const segments = await c.client.read(oid, offset, length, {exclusive: true, direct: true});
  const parts = segments.map((s) => Buffer.from(c.env.pool.view(s.offset, s.length)));
  for (const {slot} of segments) c.env.pool.release(slot);
  return Buffer.concat(parts);
}

test('a stream of short reads: hardly any of them is asked for', () =>
  ClientCluster.run(async (cluster) => {
    const {a, oid, bytes} = await written(cluster);
    const b = await cluster.client('b');
    await b.open('f', true);
    const {stats} = b.client;
    for (let at = 0; at < BYTES; at += BLOCK)
      expect((await direct(b, oid, at, BLOCK)).equals(bytes.subarray(at, at + BLOCK))).toBe(true);
    expect(stats.aheadBytes).toBeGreaterThan(0.95 * BYTES);
    expect(stats.dataCalls).toBeLessThan(40);
    // Nothing is read beyond the end, and nothing twice.
    expect(stats.dataBytesIn).toBeLessThan(1.1 * BYTES);
    await b.close();
    await a.close();
  }));

test('records at even distances, also through the kernel cache', () =>
  ClientCluster.run(async (cluster) => {
    const {a, oid, bytes} = await written(cluster);
    const b = await cluster.client('b');
    await b.open('f', false);
    for (let at = 100; at + 1000 < BYTES; at += 20_000)
      expect((await b.read(oid, at, 1000)).equals(bytes.subarray(at, at + 1000))).toBe(true);
    expect(b.client.stats.aheadBytes).toBeGreaterThan(30_000);
    await b.close();
    await a.close();
  }));

test('for a stream through the kernel cache the kernel reads ahead; and nobody does if nobody is to', () =>
  ClientCluster.run(async (cluster) => {
    const {a, oid} = await written(cluster);
    const b = await cluster.client('b', {readaheadBytes: 0});
    await b.open('f', true);
    for (const c of [a, b]) {
      for (let at = 0; at < BYTES / 2; at += BLOCK) {
        if (c === a) await c.read(oid, at, BLOCK);
        else await direct(c, oid, at, BLOCK);
      }
      expect(c.client.stats.aheadBytes).toBe(0);
    }
    await b.close();
    await a.close();
  }));

test.each(['here', 'elsewhere', 'here and cut'])(
  'what is changed %s behind what was read ahead is read as it is then',
  (where) =>
    ClientCluster.run(async (cluster) => {
      const {a, oid, bytes} = await written(cluster);
      const b = await cluster.client('b');
      await b.open('f', true);
      const check = async (from: number, to: number): Promise<void> => {
        for (let at = from; at < to; at += BLOCK) {
          const got = await direct(b, oid, at, BLOCK);
          expect(got.equals(bytes.subarray(at, Math.min(at + BLOCK, bytes.length)))).toBe(true);
        }
      };
      const middle = 96 * BLOCK;
      await check(0, middle);
      await cluster.meta.pass(100);
      // There is something ahead.
      expect(b.env.pool.used).toBeGreaterThan(1);
      const part = Buffer.from(pattern(3 * BLOCK, 5));
      if (where === 'here and cut') {
        await b.client.setattr(oid, {size: middle + 100});
        await b.client.setattr(oid, {size: BYTES});
        bytes.fill(0, middle + 100);
        // From now on columns have something up to the end.
        await b.write(oid, BYTES - 10, part.subarray(0, 10));
        part.copy(bytes, BYTES - 10, 0, 10);
        await b.client.fsync(oid);
      } else {
        const writer = where === 'here' ? b : a;
        await writer.write(oid, middle + BLOCK, part);
        part.copy(bytes, middle + BLOCK);
        await writer.client.fsync(oid);
      }
      const before = b.client.stats.aheadBytes;
      await check(middle, BYTES);
      expect(b.client.stats.aheadBytes).toBeGreaterThan(before);
      await b.close();
      await a.close();
    }),
);

test('it is bounded, and given back to those who need memory, and when nobody reads any more', () =>
  ClientCluster.run(async (cluster) => {
    const {a, oid} = await written(cluster);
    const b = await cluster.client('b');
    await b.open('f', true);
    const {pool} = b.env;
    for (let at = 0; at < BYTES / 4; at += BLOCK) await direct(b, oid, at, BLOCK);
    await cluster.meta.pass(100);
    expect(pool.used).toBeGreaterThan(0);
    await cluster.meta.pass(10_000);
    expect(pool.used).toBeLessThanOrEqual(1);
    await b.close();
    await a.close();
  }));
