// Goal: a scrub finds and mends what is damaged, invents nothing, and raises no alarm about what is being written (U84, C133). Method: whole
// servers and clients in simulation, whose disks are damaged behind their backs.
import {describe, expect, test} from '@jest/globals';
import type * as wire from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import type {SimFile} from '../../../../src/core/sim/sim-file.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

const BLOCK = 4096;
const SUMS = 2 ** 40 + BLOCK;
const NONE = {bad: 0, repaired: 0, lost: 0, skipped: 0};

async function ask(
  cluster: RealCluster,
  request: Partial<wire.ScrubRequest> = {},
): Promise<wire.ScrubReply> {
  const admin = await cluster.meta.admin();
  const {message} = await admin.call(OPS.scrub, request);
  admin.close('done');
  return message;
}

/** A pass over everything; what all servers together have found. */
async function scrub(cluster: RealCluster, deep = false) {
  const {order} = await ask(cluster, {start: true, deep});
  for (let waited = 0; waited < 120_000; waited += 500) {
    await cluster.meta.pass(500);
    const {servers} = await ask(cluster);
    const all = servers.map(({figures}) => figures);
    if (!all.every((one) => one?.order === order.order && one.state === 0)) continue;
    const sum = (of: (one: wire.ScrubFigures) => number): number =>
      all.reduce((total, one) => total + of(one!), 0);
    return {
      blocks: sum(({blocks}) => blocks),
      bad: sum(({bad}) => bad),
      repaired: sum(({repaired}) => repaired),
      lost: sum(({lost}) => lost),
      skipped: sum(({skipped}) => skipped),
      ranges: all.flatMap((one) => one!.lostRanges),
    };
  }
  throw new Error('the scrub does not end');
}

/** A file that is settled, with its columns in the slots from `first` on. */
async function file(
  cluster: RealCluster,
  a: TestClient,
  bytes: Buffer,
  scheme: {k: number; m: number; unitBytes?: number} = {k: 4, m: 1},
): Promise<{oid: number; first: number}> {
  await a.client.layoutSet(1, {unitBytes: BLOCK, ...scheme});
  const oid = await a.create(`f${cluster.meta.land.scheduler.events}`);
  await a.write(oid, 0, bytes);
  await a.client.fsync(oid);
  await cluster.meta.pass(7000);
  return {oid, first: oid % 5};
}

function column(cluster: RealCluster, oid: number, first: number, at: number): SimFile {
  const {disk} = cluster.machines[(first + at) % 5]!;
  return disk.file(disk.paths.find((path) => path.endsWith(`/${oid.toString(16)}.0.0`))!)!;
}

/** Every byte, whichever server is away. */
async function readsWithoutAny(
  cluster: RealCluster,
  oid: number,
  bytes: Buffer,
  slots = [0, 1, 2, 3, 4],
): Promise<void> {
  for (const lost of slots) {
    cluster.kill(lost, false);
    await cluster.until('RRRRR'.replace(/./g, (_, at) => (at === lost ? 'a' : 'R')));
    const b = await cluster.client(`b${cluster.meta.land.scheduler.events}`);
    expect((await b.read(oid, 0, 2_000_000)).equals(bytes)).toBe(true);
    await b.close();
    await cluster.start(lost);
    await cluster.until('RRRRR');
  }
}

describe('scrub', () => {
  test('what is well is left alone, every block of it is seen, and nobody loses a lease', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid} = await file(cluster, a, noise(300_000, 1));
      await file(cluster, a, noise(10, 2));
      // 74 data blocks, the redundancy of 19 rows; one block and its redundancy.
      expect(await scrub(cluster)).toMatchObject({...NONE, blocks: 74 + 19 + 2});
      expect(await scrub(cluster, true)).toMatchObject({...NONE, blocks: 74 + 19 + 2});
      expect(a.client.held(oid)).toBe(2);
      await a.close();
    }));

  test.each([
    ['data', 0, 5000],
    ['the sums of data', 1, SUMS + 5],
    ['redundancy', 4, 2 * BLOCK + 7],
    ['its own sum', 4, SUMS + 20 + 2],
    ['a sum that it covers', 4, SUMS + 20 + 6],
    ['a header', 0, 2 ** 40 + 1],
  ])('a bit of %s is found and repaired, once (C133)', (_, at, offset) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(300_000, 3);
      const {oid, first} = await file(cluster, a, bytes);
      await a.close();
      // Files that are open have been looked at.
      for (const index of [0, 1, 2, 3, 4]) {
        cluster.kill(index, false);
        await cluster.start(index);
        await cluster.until('RRRRR');
      }
      column(cluster, oid, first, at).flip(offset, 3);
      const {bad, repaired, lost, skipped} = await scrub(cluster);
      // Whoever opens a file to compare it makes its header anew, and says nothing.
      expect(offset === 2 ** 40 + 1 ? 1 : bad).toBe(1);
      expect({repaired, lost, skipped}).toEqual({repaired: bad, lost: 0, skipped: 0});
      expect(await scrub(cluster)).toMatchObject(NONE);
      await readsWithoutAny(cluster, oid, bytes);
    }),
  );

  test('two blocks of one row: both are lost, EIO, and nothing is made from them; the rest is there', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(300_000, 4);
      const {oid, first} = await file(cluster, a, bytes);
      // Row 2: blocks 8 and 9 of the file; and another damage in the same column that can be mended.
      column(cluster, oid, first, 0).flip(2 * BLOCK, 0);
      column(cluster, oid, first, 1).flip(2 * BLOCK, 0);
      column(cluster, oid, first, 1).flip(5 * BLOCK, 0);
      const {ranges, ...counts} = await scrub(cluster);
      expect(counts).toMatchObject({bad: 3, repaired: 1, lost: 2, skipped: 0});
      expect(ranges.sort((x, y) => x.offset - y.offset)).toEqual([
        {oid, offset: 8 * BLOCK, length: BLOCK},
        {oid, offset: 9 * BLOCK, length: BLOCK},
      ]);
      expect(await scrub(cluster, true)).toMatchObject({bad: 2, repaired: 0, lost: 2});
      const b = await cluster.client('b');
      await expect(b.read(oid, 8 * BLOCK, BLOCK)).rejects.toThrow('EIO');
      await expect(b.read(oid, 9 * BLOCK, BLOCK)).rejects.toThrow('EIO');
      expect((await b.read(oid, 0, 8 * BLOCK)).equals(bytes.subarray(0, 8 * BLOCK))).toBe(true);
      const rest = bytes.subarray(10 * BLOCK);
      expect((await b.read(oid, 10 * BLOCK, 300_000)).equals(rest)).toBe(true);
      // Turned back they are what they were: nobody has touched them.
      column(cluster, oid, first, 0).flip(2 * BLOCK, 0);
      column(cluster, oid, first, 1).flip(2 * BLOCK, 0);
      expect(await scrub(cluster)).toMatchObject(NONE);
      await a.close();
      await b.close();
      await readsWithoutAny(cluster, oid, bytes);
    }));

  test('a block and the redundancy of its row: lost, and the redundancy stays as it is', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(100_000, 5);
      const {oid, first} = await file(cluster, a, bytes);
      column(cluster, oid, first, 2).flip(0, 0);
      column(cluster, oid, first, 4).flip(0, 0);
      expect(await scrub(cluster)).toMatchObject({bad: 2, repaired: 0, lost: 1});
      column(cluster, oid, first, 2).flip(0, 0);
      expect(await scrub(cluster)).toMatchObject({bad: 1, repaired: 1, lost: 0});
      await a.close();
      await readsWithoutAny(cluster, oid, bytes);
    }));

  test('copies: each from the other; if both are bad both stay', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(100_000, 6);
      const {oid, first} = await file(cluster, a, bytes, {k: 1, m: 1});
      column(cluster, oid, first, 0).flip(3, 0);
      column(cluster, oid, first, 1).flip(BLOCK + 3, 0);
      column(cluster, oid, first, 0).flip(7 * BLOCK, 0);
      column(cluster, oid, first, 1).flip(7 * BLOCK, 0);
      const {ranges, ...counts} = await scrub(cluster);
      expect(counts).toMatchObject({bad: 4, repaired: 2, lost: 1});
      expect(ranges).toEqual([{oid, offset: 7 * BLOCK, length: BLOCK}]);
      column(cluster, oid, first, 1).flip(7 * BLOCK, 0);
      expect(await scrub(cluster)).toMatchObject({bad: 1, repaired: 1, lost: 0});
      await a.close();
      await readsWithoutAny(cluster, oid, bytes, [first, (first + 1) % 5]);
    }));

  test.each([
    [0, {k: 4, m: 1}],
    [4, {k: 4, m: 1}],
    [0, {k: 1, m: 1}],
    [1, {k: 1, m: 1}],
    [1, {k: 2, m: 2}],
    [3, {k: 2, m: 2}],
  ])(
    'column %i of %j has become zeros, sums and all: it is made again, not the others from it',
    (at, scheme) =>
      RealCluster.run(async (cluster) => {
        const a = await cluster.client('a');
        const bytes = noise(100_000, 7);
        const {oid, first} = await file(cluster, a, bytes, scheme);
        await a.close();
        column(cluster, oid, first, at).punch(0, 2 ** 41);
        const {bad, repaired, lost} = await scrub(cluster);
        expect(repaired).toBeGreaterThan(5);
        expect({bad, lost}).toEqual({bad: repaired, lost: 0});
        expect(await scrub(cluster)).toMatchObject(NONE);
        await readsWithoutAny(cluster, oid, bytes);
      }),
  );

  test('right sums of old bytes: two columns of redundancy know better than the data', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(100_000, 8);
      const {oid, first} = await file(cluster, a, bytes, {k: 2, m: 2});
      const old = column(cluster, oid, first, 0);
      const before = Buffer.alloc(BLOCK);
      const sum = Buffer.alloc(4);
      old.read(0, before);
      old.read(SUMS, sum);
      await a.write(oid, 0, noise(BLOCK, 9));
      await a.client.fsync(oid);
      await cluster.meta.pass(7000);
      old.write(0, before);
      old.write(SUMS, sum);
      expect(await scrub(cluster)).toMatchObject({...NONE, bad: 1, repaired: 1});
      noise(BLOCK, 9).copy(bytes, 0);
      await a.close();
      await readsWithoutAny(cluster, oid, bytes);
    }));

  test('redundancy that was computed wrongly is found by a deep scrub only', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(300_000, 10);
      const {oid, first} = await file(cluster, a, bytes);
      await a.close();
      // The bytes and the sum of another row, which fit together.
      const redundancy = column(cluster, oid, first, 4);
      const block = Buffer.alloc(BLOCK);
      const sum = Buffer.alloc(4);
      redundancy.read(BLOCK, block);
      redundancy.read(SUMS + 20, sum);
      redundancy.write(0, block);
      redundancy.write(SUMS, sum);
      expect(await scrub(cluster)).toMatchObject(NONE);
      expect(await scrub(cluster, true)).toMatchObject({...NONE, bad: 1, repaired: 1});
      expect(await scrub(cluster, true)).toMatchObject(NONE);
      await readsWithoutAny(cluster, oid, bytes);
    }));

  test('under full load nothing is found and nothing is taken for damage (U84, acceptance point 10)', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const {oid} = await file(cluster, a, noise(100_000, 11));
      let over = false;
      const random = new SeededRandom(5);
      const load = async (who: TestClient): Promise<void> => {
        while (!over) {
          const at = random.below(25) * BLOCK;
          await who.write(oid, at, noise(1 + random.below(3 * BLOCK), random.below(1e6)));
          if (random.below(3) === 0) await who.client.fsync(oid);
          else await cluster.meta.pass(random.below(20));
        }
      };
      const work = Promise.all([load(a), load(b)]);
      for (const deep of [false, true]) expect(await scrub(cluster, deep)).toMatchObject(NONE);
      over = true;
      await work;
      await cluster.meta.pass(10_000);
      expect(await scrub(cluster, true)).toMatchObject(NONE);
      await a.close();
      await b.close();
    }));

  test('what a client has left half written is no damage, nor made from: that is the business of the resync', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const bytes = noise(100_000, 13);
      const {oid, first} = await file(cluster, a, bytes);
      const {network} = cluster.meta.land;
      network.partition('a', `data${(first + 4) % 5}`);
      const half = a.write(oid, 0, noise(BLOCK, 14)).then(() => a.client.fsync(oid));
      half.catch(() => {});
      await cluster.meta.pass(1500);
      a.machine.kill(true);
      network.heal();
      await cluster.until('RRRRR');
      // The data is new, the redundancy is not, and the dead client holds the lease.
      const written = Buffer.alloc(BLOCK);
      column(cluster, oid, first, 0).read(0, written);
      expect(written.equals(noise(BLOCK, 14))).toBe(true);
      expect(await scrub(cluster)).toMatchObject({bad: 0, repaired: 0, lost: 0});
      await cluster.meta.pass(30_000);
      expect(await scrub(cluster, true)).toMatchObject(NONE);
      noise(BLOCK, 14).copy(bytes, 0);
      await readsWithoutAny(cluster, oid, bytes);
    }));

  test('rot in a file that is written all the time is repaired, too', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid, first} = await file(cluster, a, noise(300_000, 12));
      column(cluster, oid, first, 1).flip(15 * BLOCK, 0);
      column(cluster, oid, first, 4).flip(16 * BLOCK, 0);
      let over = false;
      const load = async (): Promise<void> => {
        for (let i = 0; !over; i++) {
          await a.write(oid, 0, noise(100, i));
          await a.client.fsync(oid);
          await cluster.meta.pass(10);
        }
      };
      const work = load();
      expect(await scrub(cluster)).toMatchObject({bad: 2, repaired: 2, lost: 0});
      over = true;
      await work;
      await a.close();
    }));

  test('a killed server goes on where it was; a pause holds; the order survives the meta server', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {unitBytes: BLOCK});
      const oids: number[] = [];
      for (let i = 0; i < 120; i++) {
        oids.push(await a.create(`g${i}`));
        await a.write(oids[i]!, 0, noise(5 * BLOCK, i));
      }
      await a.client.syncAll();
      await cluster.meta.pass(7000);
      // A column each 64 KiB of the rate: 120 of them take 30 s.
      await ask(cluster, {start: true, settings: {paused: 0, rate: 256 * 1024, interval: 0}});
      await cluster.meta.pass(15_000);
      const half = (await ask(cluster)).servers[2]!.figures!;
      expect(half.state).toBe(1);
      const scrubs = async () =>
        (await cluster.meta.status()).sessions.filter(({name}) => name === 'scrub of 1.2').length;
      expect(await scrubs()).toBe(1);
      cluster.kill(2, false);
      await cluster.meta.pass(3000);
      // Nobody waits for it, least of all the next lives of the meta server.
      expect(await scrubs()).toBe(0);
      await cluster.start(2);
      await cluster.until('RRRRR');
      await cluster.meta.pass(2000);
      const again = (await ask(cluster)).servers[2]!.figures!;
      expect(again.blocks).toBeGreaterThan(half.blocks / 2);
      await ask(cluster, {settings: {paused: 2, rate: 0, interval: 0}});
      await cluster.meta.pass(2500);
      const held = (await ask(cluster)).servers.map(({figures}) => figures!.blocks);
      cluster.meta.crash(true);
      await cluster.meta.boot();
      await cluster.until('RRRRR');
      await cluster.meta.pass(20_000);
      const after = await ask(cluster);
      expect(after.order).toMatchObject({order: 1, paused: true, rate: 256 * 1024});
      expect(after.servers.map(({figures}) => figures!.blocks)).toEqual(held);
      expect(after.servers.map(({figures}) => figures!.state)).toEqual([2, 2, 2, 2, 2]);
      await ask(cluster, {settings: {paused: 1, rate: 0, interval: 0}});
      await cluster.meta.pass(40_000);
      const done = (await ask(cluster)).servers.map(({figures}) => figures!);
      expect(done.map(({state}) => state)).toEqual([0, 0, 0, 0, 0]);
      expect(done.reduce((sum, {bad}) => sum + bad, 0)).toBe(0);
      await a.close();
    }));

  test('a pass begins by itself, each server at its own time', () =>
    RealCluster.run(async (cluster) => {
      await ask(cluster, {settings: {paused: 0, rate: 0, interval: 1 + 1500}});
      await cluster.meta.pass(1_900_000);
      const {servers} = await ask(cluster);
      const ends = servers.map(({figures}) => figures!.lastS);
      expect(ends.every((end) => end > 0)).toBe(true);
      expect(new Set(ends).size).toBe(5);
    }));
});
