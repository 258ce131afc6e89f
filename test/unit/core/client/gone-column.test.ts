// Goal: a column whose file is gone is never taken for zeros (C133). Method: whole servers and clients in simulation, a file removed behind their backs.
import {describe, expect, test} from '@jest/globals';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

const noise = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({length}, (_, i) => 1 + ((i * 31 + seed * 7 + (i >> 8)) % 255));

/** A settled file, and the slot of its column 0. */
async function written(
  cluster: RealCluster,
  a: TestClient,
  scheme: {k: number; m: number},
  bytes: Uint8Array,
): Promise<{oid: number; first: number}> {
  await a.client.layoutSet(1, {unitBytes: 4096, ...scheme});
  const oid = await a.create('f');
  await a.write(oid, 0, bytes);
  await a.client.fsync(oid);
  await cluster.meta.pass(7000);
  return {oid, first: oid % 5};
}

/** Its file is removed while the server does not run. */
async function lose(cluster: RealCluster, oid: number, slot: number): Promise<void> {
  await cluster.servers[slot]!.stop();
  cluster.kill(slot, false);
  const {disk} = cluster.machines[slot]!;
  const path = disk.paths.find((one) => one.endsWith(`/${oid.toString(16)}.0.0`))!;
  disk.file(path)!.truncate(0);
  await cluster.start(slot);
  await cluster.until('RRRRR');
}

describe('a column that is gone', () => {
  test.each([
    [0, {k: 4, m: 1}],
    [2, {k: 2, m: 2}],
    [1, {k: 2, m: 2}],
    [0, {k: 1, m: 1}],
    [1, {k: 1, m: 2}],
  ])('column %i of %j: reads and changes go by the others', (column, scheme) =>
    RealCluster.run(async (cluster) => {
      const bytes = noise(100_000, column);
      const a = await cluster.client('a');
      const {oid, first} = await written(cluster, a, scheme, bytes);
      await a.close();
      await lose(cluster, oid, (first + column) % 5);
      const b = await cluster.client('b');
      for (let i = 0; i < 4; i++)
        expect(Buffer.compare(await b.read(oid, 0, bytes.length), bytes)).toBe(0);
      const change = noise(100, 9);
      bytes.set(change, 50_000);
      await b.write(oid, 50_000, change);
      await b.client.fsync(oid);
      await b.close();
      const c = await cluster.client('c');
      expect(Buffer.compare(await c.read(oid, 0, bytes.length), bytes)).toBe(0);
    }),
  );

  test('holes stay zeros, and are no damage', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const {oid} = await written(cluster, a, {k: 4, m: 1}, noise(10, 1));
      await a.write(oid, 1_000_000, noise(10, 2));
      await a.client.fsync(oid);
      await a.close();
      const b = await cluster.client('b');
      expect((await b.read(oid, 10, 999_990)).every((byte) => byte === 0)).toBe(true);
      expect(b.client.parts.path.stats.badBlocks).toBe(0);
    }));
});
