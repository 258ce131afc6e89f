import {describe, expect, test} from '@jest/globals';
import {ClientCluster} from '../../../support/client-cluster.js';

// What clients that keep less, or wait for less, ask of the servers.

const syncs = (cluster: ClientCluster): number =>
  cluster.columns.reduce((sum, {calls}) => sum + (calls.get('sync') ?? 0), 0);
const writes = (cluster: ClientCluster): number =>
  cluster.columns.reduce((sum, {calls}) => sum + (calls.get('write') ?? 0), 0);

describe('a client', () => {
  test('with replicated durability does not wait for disks; they are asked soon after', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', {replicated: true});
      const oid = await a.create('f');
      await a.write(oid, 0, Buffer.alloc(20_000, 1));
      await a.client.fsync(oid);
      expect(writes(cluster)).toBeGreaterThan(0);
      expect(syncs(cluster)).toBe(0);
      // Others see what was told.
      const b = await cluster.client('b');
      expect((await b.client.lookup(1, Buffer.from('f'))).size).toBe(20_000);
      await cluster.meta.pass(10_000);
      expect(syncs(cluster)).toBeGreaterThan(0);
      await a.close();
      await b.close();
    }));

  test('that writes through has its bytes with the servers when a write returns', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', {writeThrough: true});
      const oid = await a.create('f');
      for (let i = 1; i <= 3; i++) {
        const before = writes(cluster);
        await a.write(oid, i * 5000, Buffer.alloc(5000, i));
        expect(writes(cluster)).toBeGreaterThan(before);
        expect(a.client.parts.holder.get(oid).unwritten).toBe(false);
      }
      await a.close();
    }));

  test('that caches no names asks for each', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', {cacheNames: false, writeback: false});
      await a.create('f');
      const before = a.client.stats.metaCalls;
      for (let i = 0; i < 5; i++) await a.client.lookup(1, Buffer.from('f'));
      const {oid} = await a.client.lookup(1, Buffer.from('f'));
      expect(a.client.stats.metaCalls - before).toBe(6);
      expect(a.client.attrValid(oid).ms).toBe(0);
      expect(a.client.nameValid(1, Buffer.from('f'), oid)).toBe(0);
      await a.close();
    }));
});
