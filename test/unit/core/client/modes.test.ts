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

  test('whose names are not leased is not asked before others change them, and they do not wait for it', () =>
    ClientCluster.run(async (cluster) => {
      const [leased, unleased] = [
        await cluster.client('leased'),
        await cluster.client('unleased', {unleasedNames: true}),
      ];
      const writer = await cluster.client('writer');
      const one = await writer.create('one');
      const look = async (c: typeof leased): Promise<void> => {
        await c.client.readdir(1, 0, 100, false);
        expect((await c.client.lookup(1, Buffer.from('one'))).mode & 0o777).toBe(mode);
        await c.client.getattr(1);
      };
      let mode = 0o644;
      for (let i = 0; i < 3; i++) {
        for (const c of [leased, unleased]) await look(c);
        await writer.create(`more${i}`);
        mode ^= 0o011;
        await writer.client.setattr(one, {mode});
        await writer.client.syncAll();
        await cluster.meta.pass(3000);
      }
      await look(unleased);
      expect(leased.client.stats.recalls).toBeGreaterThan(2);
      expect(unleased.client.stats.recalls).toBe(0);
      expect(unleased.client.attrValid(one).ms).toBe(0);
      // What it changes itself it may be lent.
      await unleased.create('mine');
      expect(unleased.client.parts.holder.peek(1)!.mode).toBe(2);
      for (const c of [leased, unleased, writer]) await c.close();
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
