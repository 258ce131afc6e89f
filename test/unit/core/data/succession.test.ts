// Goal: a server that waits for a slot has what belongs there when it gets one, and nothing else. Method: whole servers and clients in simulation.
import {describe, expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {RealCluster} from '../../../support/real-cluster.js';

const noise = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({length}, (_, i) => 1 + ((i * 31 + seed * 7 + (i >> 8)) % 255));

const columns = (cluster: RealCluster, index: number): string[] =>
  cluster.machines[index]!.disk.paths.filter((path) => path.startsWith('columns/'));

async function admin(
  cluster: RealCluster,
  op: 'drain' | 'replace',
  request: object,
): Promise<void> {
  const peer = await cluster.meta.admin();
  try {
    await peer.call(OPS[op] as typeof OPS.drain, {group: 1, ...request});
  } finally {
    peer.close('done');
  }
}

async function written(cluster: RealCluster, count: number) {
  const a = await cluster.client('a');
  const files: {oid: number; bytes: Uint8Array}[] = [];
  for (let i = 0; i < count; i++) {
    const oid = await a.create(`f${i}`);
    const bytes = noise(70_000, i);
    await a.write(oid, 0, bytes);
    await a.client.fsync(oid);
    files.push({oid, bytes});
  }
  await cluster.meta.pass(7000);
  return {a, files};
}

describe('succession', () => {
  test('a drained server is not needed any more, and what changed meanwhile is there (6.4 point 20)', () =>
    RealCluster.run(async (cluster) => {
      const {a, files} = await written(cluster, 20);
      const spare = await cluster.spare();
      await admin(cluster, 'drain', {slot: 0});
      for (const {oid, bytes} of files.slice(0, 5)) {
        const change = noise(100, oid);
        bytes.set(change, 40_000);
        await a.write(oid, 40_000, change);
        await a.client.fsync(oid);
        await cluster.meta.pass(200);
      }
      await cluster.meta.pass(10_000);
      await cluster.until('RRRRR');
      const own = columns(cluster, 0);
      await cluster.servers[0]!.stop();
      expect(columns(cluster, spare)).toEqual(expect.arrayContaining(own));
      // Without another one each column of its is needed.
      cluster.kill(2, false);
      await cluster.until('RRaRR');
      const b = await cluster.client('b');
      for (const {oid, bytes} of files)
        expect(Buffer.compare(await b.read(oid, 0, bytes.length), bytes)).toBe(0);
    }));

  test('what was copied for one slot goes before another one is taken', () =>
    RealCluster.run(async (cluster) => {
      const {files} = await written(cluster, 20);
      const spare = await cluster.spare();
      // With one away nothing is handed over.
      await cluster.servers[4]!.stop();
      cluster.kill(4, false);
      await cluster.until('RRRRa');
      await admin(cluster, 'drain', {slot: 0});
      await cluster.meta.pass(3000);
      expect(columns(cluster, spare).length).toBeGreaterThan(5);
      // A restart forgets nothing, and begins anew.
      cluster.kill(spare, false);
      await cluster.start(spare, undefined, 0);
      await cluster.meta.pass(3000);
      await admin(cluster, 'drain', {slot: 0, stop: true});
      await cluster.meta.pass(3000);
      expect(columns(cluster, spare)).toEqual([]);
      await admin(cluster, 'replace', {slot: 4});
      await cluster.until('RRRRR');
      cluster.kill(1, false);
      await cluster.until('RaRRR');
      const b = await cluster.client('b');
      for (const {oid, bytes} of files)
        expect(Buffer.compare(await b.read(oid, 0, bytes.length), bytes)).toBe(0);
    }));

  test('a bad block of the drained server is made from the others', () =>
    RealCluster.run(async (cluster) => {
      const {files} = await written(cluster, 5);
      const path = columns(cluster, 0)[0]!;
      cluster.machines[0]!.disk.file(path)!.flip(100, 3);
      const spare = await cluster.spare();
      await admin(cluster, 'drain', {slot: 0});
      await cluster.meta.pass(10_000);
      await cluster.until('RRRRR');
      const all = cluster.machines[spare]!.disk;
      expect(all.peek(path, 0, 4096)).not.toEqual(cluster.machines[0]!.disk.peek(path, 0, 4096));
      cluster.kill(2, false);
      await cluster.until('RRaRR');
      const b = await cluster.client('b');
      for (const {oid, bytes} of files)
        expect(Buffer.compare(await b.read(oid, 0, bytes.length), bytes)).toBe(0);
    }));

  test('no folder with columns of another server is taken for an empty one', () =>
    RealCluster.run(async (cluster) => {
      await written(cluster, 3);
      await cluster.servers[0]!.stop();
      cluster.kill(0, false);
      const {disk} = cluster.machines[0]!;
      disk.unlink('server.json');
      await expect(cluster.start(0, undefined, 0)).rejects.toThrow(/columns of another server/);
      expect(columns(cluster, 0).length).toBeGreaterThan(0);
    }));
});
