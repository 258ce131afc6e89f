import {describe, expect, test} from '@jest/globals';
import {Refusal} from '../../../../src/core/base/errors.js';
import {CLUSTER_TIMING} from '../../../../src/core/cluster/control-api.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {noise} from '../../../support/noise.js';

// Real clients and a real meta server over the simulated network; data servers are toys with real bytes.

async function same(c: TestClient, oid: number, wanted: Buffer): Promise<void> {
  const seen = await c.read(oid, 0, wanted.length + 100);
  expect(seen.length).toBe(wanted.length);
  const at = seen.findIndex((byte, i) => byte !== wanted[i]);
  expect(at).toBe(-1);
}

describe('client', () => {
  test('what one client wrote the other reads, with its size (P20)', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const bytes = noise(300_001);
      const oid = await a.create('f');
      await a.write(oid, 0, bytes);
      await same(a, oid, bytes);
      expect((await b.client.getattr(oid)).size).toBe(300_001);
      await b.open('f', false);
      await same(b, oid, bytes);
      await b.write(oid, 100_000, noise(10, 9));
      noise(10, 9).copy(bytes, 100_000);
      await same(a, oid, bytes);
      await a.client.fsync(oid);
      await a.close();
      await b.close();
    }));

  test("two writers take turns: every byte is the last writer's (100 rounds)", () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const oid = await a.create('f');
      await b.open('f', true);
      const bytes = Buffer.alloc(200_000);
      const random = new SeededRandom(3);
      for (let round = 0; round < 100; round++) {
        const part = noise(1 + random.below(9000), round);
        const at = random.below(bytes.length - part.length);
        await (round % 2 === 0 ? a : b).write(oid, at, part);
        part.copy(bytes, at);
      }
      await a.write(oid, bytes.length - 1, Buffer.from([7]));
      bytes[bytes.length - 1] = 7;
      await same(b, oid, bytes);
      await same(a, oid, bytes);
      await a.close();
      await b.close();
    }));

  test('truncate: what was cut off reads as zeros when the file grows again', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const oid = await a.create('f');
      const bytes = noise(600_000);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      for (const size of [500_123, 262_144, 70_000, 4096, 10]) {
        await a.client.setattr(oid, {size});
        expect((await a.client.getattr(oid)).size).toBe(size);
        await b.client.setattr(oid, {size: 600_000});
        bytes.fill(0, size);
        await same(b, oid, bytes);
        await same(a, oid, bytes);
      }
      await a.write(oid, 599_990, noise(10));
      noise(10).copy(bytes, 599_990);
      await same(b, oid, bytes);
      await a.client.setattr(oid, {size: 0});
      await same(b, oid, Buffer.alloc(0));
      await a.close();
      await b.close();
    }));

  test('who writes a file cuts it without waiting for who died with a lease of its directory', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const oid = await a.create('f');
      await a.write(oid, 0, noise(100_000));
      await a.client.fsync(oid);
      await b.client.readdir(1, 0, 100, true);
      b.machine.kill(false);
      const begun = a.env.clock.now();
      expect((await a.client.setattr(oid, {size: 10})).size).toBe(10);
      expect(a.env.clock.now() - begun).toBeLessThan(1000);
      await a.close();
    }));

  test('blocks of what was synced into a hole survive its writer', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.client.setattr(oid, {size: 1 << 20});
      await a.client.fsync(oid);
      await a.write(oid, 8192, Buffer.alloc(4096, 1));
      await a.client.fsync(oid, true);
      a.machine.kill(false);
      await cluster.meta.pass(60_000);
      const b = await cluster.client('b');
      expect(await b.client.getattr(oid)).toMatchObject({size: 1 << 20, blocks: 24});
      await b.close();
    }));

  test('blocks (st_blocks): up to where it was written, the same for all, never none where bytes are', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const oid = await a.create('f');
      const of = async (c: TestClient) => (await c.client.getattr(oid)).blocks;
      // Who writes, then who does not; and the other way about, when the other one has it open to write.
      const both = async (blocks: number) => {
        for (const c of [a, b, a]) expect(await of(c)).toBe(blocks);
      };
      await a.client.setattr(oid, {size: 2 ** 40});
      await both(0);
      await a.write(oid, 4096, noise(5000));
      await both(18);
      await b.open('f', true);
      await b.write(oid, 100, noise(10));
      await both(18);
      await b.write(oid, 1_000_000, noise(24));
      await both(1954);
      await a.client.fsync(oid);
      await a.client.setattr(oid, {size: 1000});
      await both(2);
      await b.client.setattr(oid, {size: 10_000});
      await both(2);
      await b.write(oid, 4096, noise(10));
      await b.client.setattr(oid, {size: 100_000});
      for (const c of [b, a, b]) expect(await of(c)).toBe(9);
      await a.close();
      await b.close();
    }));

  test('a server is killed: reads and writes go on, and nothing is lost (DESIGN 9)', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const oid = await a.create('f');
      const bytes = noise(400_000);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      const before = cluster.meta.clock.now();
      cluster.meta.servers[2]!.kill();
      await same(b, oid, bytes);
      const part = noise(50_000, 8);
      await a.write(oid, 123_456, part);
      part.copy(bytes, 123_456);
      await a.client.fsync(oid);
      await same(b, oid, bytes);
      expect(cluster.meta.clock.now() - before).toBeLessThan(10_000);
      await a.close();
      await b.close();
    }));

  test('the meta server restarts: leases are taken back, nothing is lost', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(50_000);
      await a.write(oid, 0, bytes);
      cluster.meta.crash(false);
      await cluster.meta.boot();
      await a.write(oid, 50_000, bytes);
      const both = Buffer.concat([bytes, bytes]);
      await same(a, oid, both);
      await a.client.fsync(oid);
      const b = await cluster.client('b');
      await b.open('f', false);
      await same(b, oid, both);
      await a.close();
      await b.close();
    }));

  test('a client that does not yield is fenced: it learns of it, and what it had dirty is said to be lost', () =>
    ClientCluster.run(async (cluster) => {
      let fenced = 0;
      const owner = {
        invalidate: () => new Promise<void>(() => {}),
        fenced: () => {
          fenced++;
        },
        voidNames: () => Promise.resolve(),
      };
      const a = await cluster.client('a', {cacheOwner: owner});
      const b = await cluster.client('b');
      const oid = await a.create('f');
      await a.write(oid, 0, noise(1000));
      const first = a.client.session;
      await b.open('f', true);
      await b.write(oid, 0, Buffer.from('b'));
      // It comes back under a new session.
      await cluster.meta.pass(3000);
      await a.client.getattr(oid);
      expect(fenced).toBe(1);
      expect(a.client.session).not.toBe(first);
      expect(a.client.held(oid)).toBe(0);
      await b.close();
      await a.client.close(1000);
    }));

  test('a flipped bit is mended, healed and counted; after it the column is whole again', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(262_144);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      const column = cluster.columns.flatMap((c) => [...c.columns.values()])[0]!;
      column.data[5]! ^= 1;
      await same(a, oid, bytes);
      await same(a, oid, bytes);
      const counted = cluster.columns.reduce((sum, c) => sum + c.badBlocks, 0);
      const {stats} = a.client;
      expect([stats.badBlocks, stats.healedBlocks, counted]).toEqual(
        counted === 0 ? [0, 0, 0] : [1, 1, 1],
      );
      await a.close();
    }));

  test('a block that is written while a reader mends it is not healed with what it was', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b] = [await cluster.client('a'), await cluster.client('b')];
      const oid = await b.create('f');
      const bytes = noise(262_144);
      await b.write(oid, 0, bytes);
      await b.client.fsync(oid);
      const columns = cluster.columns.flatMap((c) => [...c.columns.values()]);
      const column = columns.find(({data}) => data[0] === bytes[0] && data[1] === bytes[1])!;
      column.data[5]! ^= 1;
      let busy = true;
      for (const one of cluster.columns)
        one.before = (op) => {
          if (busy && ['write', 'delta'].includes(op)) throw new Refusal('Busy');
        };
      // The reader has found what was there, and waits; the write comes to the columns; then it is the reader's turn to heal.
      await a.write(oid, 0, Buffer.alloc(2048, 1));
      const {flusher, holder} = a.client.parts;
      const flushed = flusher.flush(holder.get(oid));
      await cluster.meta.pass(100);
      // More than is kept of what was read.
      const read = a.read(oid, 3000, 200_000);
      await cluster.meta.pass(100);
      busy = false;
      await flushed;
      expect(await read).toEqual(bytes.subarray(3000, 203_000));
      expect(a.client.stats.badBlocks).toBe(2);
      const wanted = Buffer.concat([Buffer.alloc(2048, 1), bytes.subarray(2048)]);
      await same(b, oid, wanted);
      await a.close();
      await b.close();
    }));

  test('a full server says so to the writer, and the next one can write again', () =>
    ClientCluster.run(async (cluster) => {
      const {FsError} = await import('../../../../src/core/base/errors.js');
      const a = await cluster.client('a', {dirtyBytesMax: 300_000});
      const oid = await a.create('f');
      for (const columns of cluster.columns.slice(1)) {
        columns.before = (op) => {
          if (op === 'write') throw new FsError('ENOSPC');
        };
      }
      await expect(a.write(oid, 0, noise(1000))).rejects.toMatchObject({errno: 'ENOSPC'});
      expect((await a.client.getattr(oid)).size).toBe(0);
      for (const columns of cluster.columns) columns.before = () => {};
      await a.write(oid, 0, noise(1000));
      await a.client.fsync(oid);
      await same(a, oid, noise(1000));
      await a.close();
    }));

  test('a holder that is too late for its recall writes nothing behind the next one', () =>
    ClientCluster.run(
      async (cluster) => {
        const a = await cluster.client('a');
        const b = await cluster.client('b');
        const oid = await a.create('f');
        const old = noise(300_000, 1);
        await a.write(oid, 0, old);
        await a.client.fsync(oid);
        await b.open('f', true);
        await cluster.meta.pass(3000);
        cluster.meta.land.network.partition('a', `d${oid % 5}`);
        await a.write(oid, 0, noise(50_000, 2));
        // Recalled; its flush waits for a column that it does not reach.
        const bytes = noise(300_000, 3);
        const written = b.write(oid, 0, bytes).then(() => b.client.fsync(oid));
        await cluster.meta.pass(12_000);
        cluster.meta.land.network.heal();
        await written;
        await cluster.meta.pass(20_000);
        await same(b, oid, bytes);
        await expect(a.client.fsync(oid)).rejects.toThrow('EIO');
        await b.close();
        await a.close();
      },
      1,
      {timing: {...CLUSTER_TIMING, columnTimeoutMs: 60_000}},
    ));
});
