import {describe, expect, test} from '@jest/globals';
import {sleep} from '../../../../src/core/env/clock.js';
import {LEASE, OPS, SET} from '../../../../src/core/protocol/ops.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {ToyClient} from '../../../support/meta-cluster.js';

// What a client had under way when the meta server went, and what it says when it is back.

/** The meta server dies, and comes back with its data servers. */
async function restart({meta}: ClientCluster, power = false): Promise<void> {
  meta.crash(power);
  await meta.boot();
  for (const server of meta.servers) await server.connect();
}

async function until(cluster: ClientCluster, done: () => boolean): Promise<void> {
  while (!done()) await cluster.meta.pass(0.02);
}

/** Written and closed, unlinked: only what the meta server counts as open keeps it. */
async function exists(c: TestClient, oid: number): Promise<boolean> {
  return await c.client.getattr(oid).then(
    () => true,
    () => false,
  );
}

describe('a client whose meta server restarts', () => {
  test('a yield with a size was under way: the next holder sees the size', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b] = [await cluster.client('a'), await cluster.client('b')];
      const oid = await a.create('f');
      // Else nobody else can know its number.
      await a.client.parts.flusher.tellNames();
      const bytes = Buffer.alloc(70_000, 7);
      await a.write(oid, 0, bytes);
      const reading = b.read(oid, 0, 100_000);
      // What is told when the writing back begins does not come either.
      await until(cluster, () => a.client.parts.holder.get(oid).dirty.flushing.count > 0);
      cluster.meta.crash(false);
      while (a.client.parts.holder.get(oid).mode === LEASE.write) await sleep(a.env.clock, 1);
      await restart(cluster);
      expect((await reading).equals(bytes)).toBe(true);
      expect((await b.client.getattr(oid)).size).toBe(70_000);
      await a.close();
      await b.close();
    }));

  test('a close was under way: it counts once', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.open('f', false);
      await a.client.unlink(1, Buffer.from('f'));
      a.client.release(oid);
      // It has left by then, and has not come.
      await cluster.meta.pass(0.01);
      await restart(cluster);
      await cluster.meta.pass(8_000);
      expect(await exists(a, oid)).toBe(true);
      a.client.release(oid);
      await cluster.meta.pass(2_000);
      expect(await exists(a, oid)).toBe(false);
      await a.close();
    }));

  test('a close while there is no connection counts, once', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.open('f', false);
      await a.open('f', false);
      await a.client.unlink(1, Buffer.from('f'));
      cluster.meta.crash(false);
      await sleep(a.env.clock, 100);
      a.client.release(oid);
      await restart(cluster);
      a.client.release(oid);
      await cluster.meta.pass(8_000);
      expect(await exists(a, oid)).toBe(true);
      a.client.release(oid);
      await cluster.meta.pass(2_000);
      expect(await exists(a, oid)).toBe(false);
      await a.close();
    }));

  test('its machine loses power while the client says hello: it is back before the grace period is over', () =>
    ClientCluster.run(async (cluster) => {
      const {meta} = cluster;
      const a = await cluster.client('a');
      const {session} = a.client.parts;
      const {id} = session;
      // A client that is gone: the grace period is not over before it has to be.
      await cluster.client('b');
      // A map that is not acknowledged keeps the hello waiting.
      meta.servers[0]!.deaf = true;
      meta.servers.pop()!.kill();
      await meta.pass(800);
      // Its session on another connection: that is the end of its own.
      const other = new ToyClient(meta.land.machine('other'), 'other');
      other.session = id;
      await other.connect(false);
      await meta.pass(200);
      await restart(cluster, true);
      meta.servers[0]!.deaf = false;
      await meta.pass(9_000);
      expect(session.valid).toBe(true);
      expect(session.id).toBe(id);
      await a.close();
    }));

  test('its session is gone: a close of before does not count against an open of after', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const oid = await a.create('f');
      await a.client.parts.flusher.tellNames();
      a.client.parts.session.fencedByServer();
      // The server learns by its silence that the first session is gone.
      await cluster.meta.pass(20_000);
      await a.open('f', false);
      await b.client.unlink(1, Buffer.from('f'));
      a.client.release(oid);
      await cluster.meta.pass(2_000);
      expect(await exists(a, oid)).toBe(true);
      a.client.release(oid);
      await cluster.meta.pass(2_000);
      expect(await exists(b, oid)).toBe(false);
      await a.close();
      await b.close();
    }));

  test('a power cut takes a size that had been told: fsync tells it again', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.client.fsync(oid);
      await a.write(oid, 0, Buffer.alloc(70_000, 7));
      await a.client.parts.flusher.flushAll();
      await until(cluster, () => a.client.parts.holder.get(oid).news() === null);
      await restart(cluster, true);
      await a.client.fsync(oid);
      // The client dies with what it knows.
      a.machine.kill(false);
      const b = await cluster.client('b');
      expect((await b.client.getattr(oid)).size).toBe(70_000);
      expect((await b.read(oid, 0, 100_000)).length).toBe(70_000);
      await b.close();
    }));
});

test.each([0, 16_384])(
  'yields leave though as many requests as may be are waiting (inline: %i)',
  (inlineBytesMax) =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', {inlineBytesMax});
      const b = await cluster.client('b');
      const toy = await cluster.meta.client('toy');
      toy.stubborn = true;
      const {oid: stuck} = (await toy.create('stuck')).attr;
      const oid = await a.create('f');
      await a.client.parts.flusher.tellNames();
      await a.write(oid, 0, Buffer.alloc(1000, 7));
      const {session} = a.client.parts;
      const waiting = Array.from({length: 140}, () =>
        session.call(OPS.setattr, {oid: stuck, mask: SET.mtimeNow}),
      );
      await cluster.meta.pass(100);
      const before = cluster.meta.clock.now();
      expect((await b.read(oid, 0, 2000)).length).toBe(1000);
      expect(cluster.meta.clock.now() - before).toBeLessThan(1000);
      await Promise.all(waiting);
      await a.close();
      await b.close();
    }),
);
