import {expect, test} from '@jest/globals';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {RealCluster} from '../../../support/real-cluster.js';

const BYTES = Buffer.alloc(50_000, 7);

test('a recovery asks for the lease of an object that lacks nothing: its holder can write back, and nothing is lost', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    // Fewer columns than slots: the group goes on without two servers, the chunks that have columns on both do not.
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
    const files: number[] = [];
    for (let i = 0; i < 10; i++) {
      const oid = await a.create(`f${i}`);
      await a.write(oid, 0, BYTES);
      await a.client.fsync(oid);
      files.push(oid);
    }
    const find = (on0: boolean, on1: boolean): number =>
      files.find((oid) => {
        const slots = [0, 1, 2].map((column) => columnSlot(oid, 0, column, 5));
        return slots.includes(0) === on0 && slots.includes(1) === on1;
      })!;
    const oid = find(true, true);
    // The servers forget what may differ, but for neighbours of it, which are in the same entry of their logs.
    await cluster.meta.pass(10_000);
    for (const other of [find(true, false), find(false, true)]) {
      await a.write(other, 0, BYTES);
      await a.client.parts.flusher.flush(a.client.parts.holder.get(other));
    }
    for (const index of [0, 1]) cluster.kill(index, false);
    await cluster.until('aaRRR');
    await a.write(oid, 30_000, BYTES);
    await a.write(oid, 0, Buffer.from('new'));
    const synced = a.client.fsync(oid);
    for (const index of [0, 1]) await cluster.start(index);
    await synced;
    await cluster.until('RRRRR');
    const wanted = Buffer.alloc(80_000, 7);
    wanted.write('new');
    for (const lost of [0, 1, 2, 3, 4]) {
      expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
      cluster.kill(lost, false);
      await cluster.until('RRRRR'.replace(/./g, (_, at) => (at === lost ? 'a' : 'R')));
      expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
      await cluster.start(lost);
      await cluster.until('RRRRR');
    }
    await a.close();
  }));
