import {expect, test} from '@jest/globals';
import {locate} from '../../../../src/core/client/place.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots. A data server is well as far as the meta server hears, but calls of a client get no answer: each is late only after
// seconds. The slot is given up in time for what waits for it, which would be EIO after 30 s.

const BYTES = Buffer.alloc(8192, 1);

/** A file whose first column lies in slot 1; settled. */
async function file(cluster: RealCluster, a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
  for (let i = 0; ; i++) {
    const oid = await a.create(`f${i}`);
    if (oid % 5 !== 1) continue;
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    await cluster.meta.pass(5000);
    return oid;
  }
}

const takes = {
  fsync: async (a: TestClient, oid: number) => {
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
  },
  'a truncation': (a: TestClient, oid: number) => a.client.setattr(oid, {size: 100}),
  'a write that finds no room': async (a: TestClient, oid: number) => {
    for (let at = 0; at < 30; at++) await a.write(oid, at * 65_536, Buffer.alloc(65_536, 3));
  },
};

test.each(Object.entries(takes))(
  'a network drops what a client sends to one server: %s',
  (_, run) =>
    RealCluster.run(async (cluster) => {
      const {clock, land} = cluster.meta;
      const a = await cluster.client('a');
      const oid = await file(cluster, a);
      land.network.partition('a', 'data1');
      const start = clock.now();
      await run(a, oid);
      expect(clock.now() - start).toBeLessThan(15_000);
      land.network.heal();
      await a.client.fsync(oid);
      await a.close();
    }),
);

test('a disk hangs when it is to sync: fsync does without it', () =>
  RealCluster.run(async (cluster) => {
    const {clock} = cluster.meta;
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    await a.write(oid, 0, Buffer.alloc(8192, 2));
    await a.client.parts.flusher.flush(a.client.parts.holder.get(oid));
    const {disk} = cluster.machines[1]!;
    const {shape} = disk;
    disk.shape = {...shape, latencyMin: 60_000, latencyMax: 60_000};
    const start = clock.now();
    await a.client.fsync(oid);
    expect(clock.now() - start).toBeLessThan(25_000);
    disk.shape = shape;
    cluster.kill(1, true);
    await cluster.until('RaRRR');
    expect((await a.read(oid, 0, 8192)).equals(Buffer.alloc(8192, 2))).toBe(true);
    await cluster.start(1);
    await cluster.until('RRRRR');
    await a.close();
  }));

test('a server to which there is no connection yet delays only what is written to it', () =>
  RealCluster.run(async (cluster) => {
    const {clock, land} = cluster.meta;
    const b = await cluster.client('b');
    await b.client.layoutSet(1, {k: 4, m: 1, unitBytes: 4096});
    const oid = await b.create('f');
    await b.write(oid, 0, Buffer.alloc(16_384, 1));
    await b.client.fsync(oid);
    const {layout} = b.client.parts.holder.get(oid);
    await b.close();
    const a = await cluster.client('a');
    // Columns 0 and 4 change; column 2 has no part in it.
    const slot = locate(a.client.parts.path.columns.map, layout!, oid, 0).slots[2]!;
    land.network.partition('a', `data${slot}`);
    const start = clock.now();
    await a.write(oid, 0, Buffer.alloc(4096, 2));
    await a.client.parts.flusher.flush(a.client.parts.holder.get(oid));
    expect(clock.now() - start).toBeLessThan(1000);
    land.network.heal();
    const expected = Buffer.concat([Buffer.alloc(4096, 2), Buffer.alloc(12_288, 1)]);
    expect((await a.read(oid, 0, 16_384)).equals(expected)).toBe(true);
    await a.close();
  }));
