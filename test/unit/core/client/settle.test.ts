import {expect, test} from '@jest/globals';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots. Chunks leave the intent logs 1 s after a sync, under the object's lease.

const BYTES = Buffer.alloc(8192, 1);

test.each(['hangs', 'is not heard'])(
  'a lease goes in time though a server %s that is to settle',
  (how) =>
    RealCluster.run(async (cluster) => {
      const {clock, land} = cluster.meta;
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
      let oid = 0;
      for (let i = 0; oid % 5 !== 1; i++) oid = await a.create(`f${i}`);
      await a.write(oid, 0, BYTES);
      await a.client.fsync(oid);
      if (how === 'hangs') cluster.machines[1]!.freeze();
      else land.network.partition('a', 'data1');
      while (a.client.parts.holder.get(oid).users === 0) await cluster.meta.pass(10);
      const start = clock.now();
      await b.client.open(oid, {write: false});
      const {holder} = b.client.parts;
      await holder.use(oid, 1, () => Promise.resolve());
      expect(clock.now() - start).toBeLessThan(3000);
      expect((await cluster.meta.status()).map!.fenced).toEqual([]);
      cluster.machines[1]!.thaw();
      land.network.heal();
      await cluster.until('RRRRR');
      await a.close();
      await b.close();
    }),
);

test('what a late server did not settle is settled another time', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    const oid = await a.create('f');
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    cluster.machines[oid % 5]!.freeze();
    await cluster.meta.pass(3300);
    cluster.machines[oid % 5]!.thaw();
    await cluster.meta.pass(10_000);
    expect(await cluster.meta.states()).toBe('RRRRR');
    const {columns} = a.client.parts.path;
    const left = [];
    for (let slot = 0; slot < 5; slot++) {
      const request = {cursor: '', max: 100, kind: 'intents', slot: 0};
      left.push(...(await columns.call(1, slot, OPS.list, request)).message.chunks);
    }
    expect(left).toEqual([]);
    await a.close();
  }));
