import {expect, test} from '@jest/globals';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {LEASE} from '../../../../src/core/protocol/ops.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

const BYTES = Buffer.alloc(50_000, 7);

/** Files of three columns on five slots; finds one that has a column on slot 0, and on slot 1, or has none there. */
async function files(a: TestClient): Promise<(on0: boolean, on1: boolean) => number> {
  // Fewer columns than slots: the group goes on without two servers, the chunks that have columns on both do not.
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
  const made: number[] = [];
  for (let i = 0; i < 10; i++) {
    const oid = await a.create(`f${i}`);
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    made.push(oid);
  }
  return (on0, on1) =>
    made.find((oid) => {
      const slots = [0, 1, 2].map((column) => columnSlot(oid, 0, column, 5));
      return slots.includes(0) === on0 && slots.includes(1) === on1;
    })!;
}

test('a recovery asks for the lease of an object that lacks nothing: its holder can write back, and nothing is lost', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const find = await files(a);
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

test('a recovery asks for the lease of an object that is being read: its reader trusts what lacks nothing', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const find = await files(a);
    const oid = find(true, true);
    await cluster.meta.pass(10_000);
    for (const other of [find(true, false), find(false, true)]) {
      await a.write(other, 0, BYTES);
      await a.client.parts.flusher.flush(a.client.parts.holder.get(other));
    }
    for (const index of [0, 1]) cluster.kill(index, false);
    await cluster.until('aaRRR');
    const {session} = a.client.parts;
    const {id} = session;
    const read = a.read(oid, 0, 100_000);
    await cluster.meta.pass(100);
    for (const index of [0, 1]) await cluster.start(index);
    const begun = cluster.meta.clock.now();
    expect((await read).equals(BYTES)).toBe(true);
    await cluster.until('RRRRR');
    expect(cluster.meta.clock.now() - begun).toBeLessThan(8_000);
    expect(session.id).toBe(id);
    await a.close();
  }));

test('a read that waits for servers gives its lease to whoever wants it, and is made again', () =>
  RealCluster.run(async (cluster) => {
    const [a, b] = [await cluster.client('a'), await cluster.client('b')];
    const find = await files(a);
    const oid = find(true, true);
    await cluster.meta.pass(10_000);
    for (const index of [0, 1]) cluster.kill(index, false);
    await cluster.until('aaRRR');
    const {session} = a.client.parts;
    const {id} = session;
    const read = a.read(oid, 0, 100_000);
    await cluster.meta.pass(100);
    const begun = cluster.meta.clock.now();
    await b.client.parts.holder.use(oid, LEASE.write, () => Promise.resolve());
    expect(cluster.meta.clock.now() - begun).toBeLessThan(2_000);
    for (const index of [0, 1]) await cluster.start(index);
    expect((await read).equals(BYTES)).toBe(true);
    expect(session.id).toBe(id);
    await a.close();
    await b.close();
  }));
