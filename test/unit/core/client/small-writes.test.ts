// Goal: what databases do, small writes and reads through handles that may write, with fsync after each, costs few messages, and is as safe as
// with more of them. Method: the real servers on simulated disks, requests counted, power cut.
import {describe, expect, test} from '@jest/globals';
import {sleep} from '../../../../src/core/env/clock.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {pattern} from '../../../support/frames.js';
import {RealCluster} from '../../../support/real-cluster.js';

const BLOCK = 4096;
/** More than a stripe of 4+1 and 64 KiB, and two chunks of columns' ends. */
const BYTES = 100 * BLOCK;
const ALL = [0, 1, 2, 3, 4];
const ROOT = 1;

interface Spent {
  meta: number;
  data: number;
}

async function spent(a: TestClient, run: () => Promise<unknown>): Promise<Spent> {
  const {metaCalls, dataCalls} = a.client.stats;
  await run();
  const {stats} = a.client;
  return {meta: stats.metaCalls - metaCalls, data: stats.dataCalls - dataCalls};
}

async function file(cluster: RealCluster, a: TestClient): Promise<{oid: number; bytes: Buffer}> {
  const oid = await a.create('db');
  const bytes = Buffer.from(pattern(BYTES, 7));
  await a.write(oid, 0, bytes);
  await a.client.fsync(oid);
  await cluster.meta.pass(10_000);
  return {oid, bytes};
}

/** As through a handle that may write. */
async function read(a: TestClient, oid: number, offset: number, length: number): Promise<Buffer> {
  const segments = await a.client.read(oid, offset, length, {exclusive: true, direct: true});
  const parts = segments.map((s) => Buffer.from(a.env.pool.view(s.offset, s.length)));
  for (const {slot} of segments) a.env.pool.release(slot);
  return Buffer.concat(parts);
}

async function put(a: TestClient, oid: number, bytes: Buffer, at: number, seed: number) {
  const block = Buffer.from(pattern(BLOCK, seed));
  block.copy(bytes, at);
  await a.write(oid, at, block);
}

async function powerCut(cluster: RealCluster, a: TestClient): Promise<void> {
  for (const index of ALL) cluster.kill(index, true);
  cluster.meta.crash(true);
  await sleep(a.env.clock, 500);
  await cluster.meta.boot();
  await Promise.all(ALL.map((index) => cluster.start(index)));
  await cluster.until('RRRRR');
}

async function outlives(cluster: RealCluster, a: TestClient, oid: number, bytes: Buffer) {
  await powerCut(cluster, a);
  const b = await cluster.client('b');
  expect((await b.read(oid, 0, bytes.length)).equals(bytes)).toBe(true);
  await b.close();
}

describe('fsync of what one batch writes', () => {
  test('one request to each server that writes, one to the meta server; nothing is read that was written a moment ago', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      const fsync = async (at: number, seed: number): Promise<Spent> => {
        await put(a, oid, bytes, at, seed);
        return spent(a, () => a.client.fsync(oid));
      };
      // Data and redundancy are written, what was there before is read for the second.
      expect(await fsync(8 * BLOCK, 1)).toEqual({meta: 1, data: 3});
      expect(await fsync(8 * BLOCK, 2)).toEqual({meta: 1, data: 2});
      expect(await fsync(8 * BLOCK, 3)).toEqual({meta: 1, data: 2});
      expect((await read(a, oid, 0, BYTES)).equals(bytes)).toBe(true);
      await a.close();
    }));

  test('fdatasync of what was there before tells the meta server nothing; times come within a second', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      const held = a.client.parts.holder.get(oid);
      for (let i = 0; i < 3; i++) {
        await put(a, oid, bytes, 8 * BLOCK, i);
        const {meta} = await spent(a, () => a.client.fsync(oid, true));
        expect(meta).toBe(0);
        expect(held.unsynced.size).toBe(0);
      }
      expect(held.mtime).not.toBeNull();
      const later = await spent(a, () => cluster.meta.pass(900));
      expect(later.meta).toBeLessThanOrEqual(1);
      await cluster.meta.pass(300);
      expect(held.mtime).toBeNull();
      // What makes it longer is told, and so are the first bytes of a new one.
      await a.write(oid, BYTES, Buffer.alloc(10, 3));
      expect((await spent(a, () => a.client.fsync(oid, true))).meta).toBe(1);
      const fresh = await a.create('fresh');
      await a.write(fresh, 0, Buffer.alloc(10, 4));
      await a.client.fsync(fresh, true);
      await put(a, oid, bytes, 20 * BLOCK, 9);
      await a.client.fsync(oid, true);
      await powerCut(cluster, a);
      const b = await cluster.client('b');
      const all = Buffer.concat([bytes, Buffer.alloc(10, 3)]);
      expect((await b.read(oid, 0, BYTES + 10)).equals(all)).toBe(true);
      expect((await b.read(fresh, 0, 10)).equals(Buffer.alloc(10, 4))).toBe(true);
      await b.close();
    }));

  test('all of it outlives a power cut of everything', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      for (let i = 0; i < 6; i++) {
        await put(a, oid, bytes, (i % 4) * 20 * BLOCK, i);
        await a.client.fsync(oid);
        expect(a.client.parts.holder.get(oid).unsynced.size).toBe(0);
      }
      await outlives(cluster, a, oid, bytes);
    }));

  test('what was flushed and not synced before is synced with it', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      const {flusher, holder} = a.client.parts;
      for (const at of [0, 40, 99]) await put(a, oid, bytes, at * BLOCK, at + 1);
      await flusher.flush(holder.get(oid));
      await put(a, oid, bytes, 8 * BLOCK, 50);
      await a.client.fsync(oid);
      await outlives(cluster, a, oid, bytes);
    }));

  test('a disk that is slow to sync is waited for, and its server not given up', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      const {shape} = cluster.machines[0]!.disk;
      for (const {disk} of cluster.machines)
        disk.shape = {...shape, slowSyncChance: 1, slowSyncMs: 6000};
      await put(a, oid, bytes, 8 * BLOCK, 1);
      const {clock} = cluster.meta;
      const start = clock.now();
      await a.client.fsync(oid);
      expect(clock.now() - start).toBeGreaterThan(2000);
      expect(await cluster.meta.states()).toBe('RRRRR');
      for (const {disk} of cluster.machines) disk.shape = shape;
      await a.close();
    }));
});

describe('blocks that were read a moment ago', () => {
  test('are read again without a message, also in pieces', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      const again = async (offset: number, length: number): Promise<number> =>
        (
          await spent(a, async () => {
            const got = await read(a, oid, offset, length);
            expect(got.equals(bytes.subarray(offset, offset + length))).toBe(true);
          })
        ).data;
      expect(await again(60 * BLOCK + 24, 16)).toBe(1);
      expect(await again(60 * BLOCK, BLOCK)).toBe(0);
      expect(await again(60 * BLOCK + 100, 200)).toBe(0);
      expect(await again(60 * BLOCK, 2 * BLOCK)).toBe(1);
      expect(await again(61 * BLOCK + 5, 10)).toBe(0);
      await a.close();
    }));

  test('are what the last write made of them: here, of a part, elsewhere, by a cut', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const {oid, bytes} = await file(cluster, a);
      await b.open('db', true);
      const check = async (): Promise<void> => {
        for (let at = 0; at < 12; at++) {
          const block = bytes.subarray(at * BLOCK, (at + 1) * BLOCK);
          expect((await read(a, oid, at * BLOCK, BLOCK)).equals(block)).toBe(true);
        }
      };
      await check();
      await put(a, oid, bytes, 3 * BLOCK, 1);
      await check();
      await a.client.fsync(oid);
      await check();
      const few = Buffer.from('few');
      few.copy(bytes, 4 * BLOCK + 9);
      await a.write(oid, 4 * BLOCK + 9, few);
      await check();
      await a.client.fsync(oid);
      await check();
      await put(b, oid, bytes, 5 * BLOCK, 2);
      await check();
      await a.client.setattr(oid, {size: 6 * BLOCK + 7});
      await a.client.setattr(oid, {size: BYTES});
      bytes.fill(0, 6 * BLOCK + 7);
      await check();
      await b.close();
      await a.close();
    }));

  test('that servers have lost since are read from those that have them', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, bytes} = await file(cluster, a);
      await put(a, oid, bytes, 8 * BLOCK, 1);
      const {flusher, holder} = a.client.parts;
      await flusher.flush(holder.get(oid));
      for (const index of ALL) cluster.kill(index, true);
      while ((await cluster.meta.states()) !== 'aaaaa') await cluster.meta.pass(100);
      for (const index of ALL) await cluster.start(index);
      await cluster.until('RRRRR');
      await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'EIO'});
      const seen = await read(a, oid, 8 * BLOCK, BLOCK);
      const b = await cluster.client('b');
      await b.open('db', false);
      expect((await b.read(oid, 8 * BLOCK, BLOCK)).equals(seen)).toBe(true);
      await b.close();
      await a.close();
    }));
});

describe('fsync of a directory', () => {
  test('costs nothing where everything that was done is on stable storage, and a message where something is not', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a', 16_384);
      const oid = await a.create('journal');
      await a.write(oid, 0, Buffer.alloc(600, 1));
      await a.client.fsync(oid);
      expect(await spent(a, () => a.client.fsync(ROOT))).toEqual({meta: 0, data: 0});
      await a.client.unlink(ROOT, Buffer.from('journal'));
      expect(await spent(a, () => a.client.fsync(ROOT))).toEqual({meta: 1, data: 0});
      expect(await spent(a, () => a.client.fsync(ROOT))).toEqual({meta: 0, data: 0});
      // Asked for at once, and answered before it is synced.
      const kept = await a.create('kept');
      await a.client.fsync(ROOT);
      await a.client.setxattr(kept, Buffer.from('user.a'), Buffer.from('b'), 0);
      expect((await spent(a, () => a.client.fsync(ROOT))).meta).toBe(1);
      await powerCut(cluster, a);
      const b = await cluster.client('b', 16_384);
      expect(String(await b.client.getxattr(kept, Buffer.from('user.a')))).toBe('b');
      await expect(b.client.lookup(ROOT, Buffer.from('journal'))).rejects.toMatchObject({
        errno: 'ENOENT',
      });
      await b.close();
    }));

  test('asks where others may have changed it', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a', 16_384);
      const b = await cluster.client('b', 16_384);
      await a.create('mine');
      await a.client.fsync(ROOT);
      await b.create('theirs');
      await b.client.flush(await b.open('theirs', false));
      await a.client.lookup(ROOT, Buffer.from('theirs'));
      expect((await spent(a, () => a.client.fsync(ROOT))).meta).toBe(1);
      await b.close();
      await a.close();
    }));
});
