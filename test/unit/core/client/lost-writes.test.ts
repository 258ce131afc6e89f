import {expect, test} from '@jest/globals';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots. What was written is at the data servers, unsynced, when they stop; then the program calls fsync.

const OLD = Buffer.alloc(8192, 1);
const NEW = Buffer.alloc(8192, 2);
const ALL = [0, 1, 2, 3, 4];

/** A file whose columns lie in slots 0, 1 and 2, in this order; `NEW` is written, and not synced, over `OLD`, which is. */
async function writtenOver(cluster: RealCluster, a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
  for (let i = 0; ; i++) {
    const oid = await a.create(`f${i}`);
    if (oid % 5 !== 0) continue;
    await a.write(oid, 0, OLD);
    await a.client.fsync(oid);
    await cluster.meta.pass(5000);
    await a.write(oid, 0, NEW);
    await flush(a, oid);
    return oid;
  }
}

function flush(a: TestClient, oid: number): Promise<unknown> {
  const {flusher, holder} = a.client.parts;
  return flusher.flush(holder.get(oid));
}

async function stop(
  cluster: RealCluster,
  indexes: readonly number[],
  power: boolean,
  killed = indexes,
): Promise<void> {
  for (const index of killed) cluster.kill(index, power);
  const gone = (states: string): boolean => indexes.every((index) => states[index] === 'a');
  while (!gone(await cluster.meta.states())) await cluster.meta.pass(100);
}

async function restart(cluster: RealCluster, indexes: readonly number[]): Promise<void> {
  for (const index of indexes) await cluster.start(index);
  await cluster.until('RRRRR');
}

test('fsync fails, once, when more servers lost power than the redundancy covers', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    await stop(cluster, ALL, true);
    await restart(cluster, ALL);
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'EIO'});
    await a.client.fsync(oid);
    // Written again it is there.
    await a.write(oid, 0, NEW);
    await a.client.fsync(oid);
    await stop(cluster, ALL, true);
    await restart(cluster, ALL);
    expect((await a.read(oid, 0, 8192)).equals(NEW)).toBe(true);
    await a.close();
  }));

test('fsync succeeds when they were only killed: their machines have what was written', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    await stop(cluster, ALL, false);
    await restart(cluster, ALL);
    await a.client.fsync(oid);
    await stop(cluster, ALL, true);
    await restart(cluster, ALL);
    expect((await a.read(oid, 0, 8192)).equals(NEW)).toBe(true);
    await a.close();
  }));

test('fsync succeeds when they were stopped in good order before their machines were', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    for (const server of cluster.servers) await server.stop();
    await stop(cluster, ALL, true);
    await restart(cluster, ALL);
    await a.client.fsync(oid);
    expect((await a.read(oid, 0, 8192)).equals(NEW)).toBe(true);
    await a.close();
  }));

test.each([0, 1, 2])(
  'fsync succeeds when one server lost power, which is made whole (column %i)',
  (lost) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await writtenOver(cluster, a);
      await stop(cluster, [lost], true);
      await cluster.start(lost);
      await a.client.fsync(oid);
      await cluster.until('RRRRR');
      const other = (lost + 1) % 3;
      await stop(cluster, [other], true);
      expect((await a.read(oid, 0, 8192)).equals(NEW)).toBe(true);
      await a.close();
    }),
);

test('what is written is synced as soon as a server is lost: fsync succeeds whoever loses power then', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    await stop(cluster, [3], false);
    await cluster.meta.pass(500);
    await stop(cluster, [0, 1, 2, 4], true);
    await restart(cluster, ALL);
    await a.client.fsync(oid);
    expect((await a.read(oid, 0, 8192)).equals(NEW)).toBe(true);
    await a.close();
  }));

test('a column that was cut off keeps what was written, but is made again from one that lost it: fsync fails', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    // The redundancy comes back as it was; a data column does not, and the others need it to make the redundancy whole.
    // The client cannot have it synced there before.
    cluster.meta.land.network.partition('a', 'data1');
    await stop(cluster, [2, 3, 4], false);
    await stop(cluster, [1], true);
    cluster.meta.land.network.heal();
    await restart(cluster, [2, 3, 4, 1]);
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'EIO'});
    await a.close();
  }));

const STRIPE = 4 * 65_536;

test.each([
  [0, 1],
  [4, 0],
])(
  'a server that lost power is made from one whose connection was broken meanwhile, which has everything (slots %i, %i)',
  (lossy, cut) =>
    RealCluster.run(async (cluster) => {
      const {network} = cluster.meta.land;
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      // 4+1: without two of five nothing can be written, so neither misses anything.
      const bytes = (value: number): Buffer => Buffer.alloc(STRIPE, value);
      const oid = await a.create('f');
      await a.write(oid, 0, bytes(1));
      await a.client.fsync(oid);
      await cluster.meta.pass(5000);
      await a.write(oid, 0, bytes(2));
      await flush(a, oid);
      // Another one might have written since: only what the servers have counts.
      expect((await b.read(oid, 0, 1)).length).toBe(1);
      for (const other of ['a', 'b', 'meta']) network.partition(other, `data${cut}`);
      await stop(cluster, [lossy, cut], true, [lossy]);
      await cluster.start(lossy);
      await cluster.meta.pass(2000);
      expect((await cluster.meta.states())[lossy]).toBe('a');
      network.heal();
      await cluster.until('RRRRR');
      await a.client.fsync(oid);
      for (const client of [a, b])
        expect((await client.read(oid, 0, STRIPE)).equals(bytes(2))).toBe(true);
      await a.close();
      await b.close();
    }),
);

test('what was lost before the background synced it is told by the next fsync', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    await stop(cluster, ALL, true);
    await restart(cluster, ALL);
    await cluster.meta.pass(20_000);
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'EIO'});
    await a.client.fsync(oid);
    await a.close();
  }));

test('each of two fsyncs that wait is told', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    await stop(cluster, ALL, true);
    const told = Promise.allSettled([a.client.fsync(oid), a.client.fsync(oid)]);
    await restart(cluster, ALL);
    const results = await told;
    expect(results.map(({status}) => status)).toEqual(['rejected', 'rejected']);
    await a.close();
  }));

test('a write that is under way while the background syncs is synced by fsync', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    const oid = await a.create('f');
    const {syncer, holder} = a.client.parts;
    for (const {disk} of cluster.machines) disk.shape = {...disk.shape, writeBackChance: 0};
    await a.write(oid, 0, OLD);
    await a.client.fsync(oid);
    await a.write(oid, 0, NEW);
    const flushed = flush(a, oid);
    // Sent, and not yet in the files.
    while (holder.get(oid).unsynced.size === 0) await Promise.resolve();
    await syncer.sync(holder.get(oid));
    await flushed;
    await a.client.fsync(oid);
    await stop(cluster, ALL, true);
    await restart(cluster, ALL);
    expect((await a.read(oid, 0, 8192)).equals(NEW)).toBe(true);
    await a.close();
  }));

test('a server that took the write while it was being made whole has it: fsync does not wait for another that stops then', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await writtenOver(cluster, a);
    await a.client.fsync(oid);
    await stop(cluster, [0], false);
    await a.write(oid, 0, OLD);
    await flush(a, oid);
    let other = oid;
    for (let i = 0; other === oid || other % 5 !== 0; i++) other = await a.create(`g${i}`);
    // Its recovery wants the lease of what it missed, and has to wait.
    let go = (): void => {};
    const busy = a.client.parts.holder.use(
      oid,
      2,
      () => new Promise<void>((resolve) => (go = resolve)),
    );
    await cluster.start(0);
    await cluster.until('cRRRR');
    await cluster.meta.pass(500);
    await a.write(other, 0, NEW);
    await flush(a, other);
    go();
    await busy;
    await cluster.until('RRRRR');
    await stop(cluster, [1], false);
    const before = cluster.meta.clock.now();
    await a.client.fsync(other);
    expect(cluster.meta.clock.now() - before).toBeLessThan(5000);
    await a.close();
  }));
