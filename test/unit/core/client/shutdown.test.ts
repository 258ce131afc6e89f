// Goal: when a cluster may stop, everything that clients had in memory is on disks, and nothing is being written. Method: whole servers and clients in simulation; the clients' machines are lost then.
import {describe, expect, test} from '@jest/globals';
import type * as wire from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

async function life(
  cluster: RealCluster,
  request: Partial<wire.LifeRequest> = {},
): Promise<wire.LifeReply> {
  const admin = await cluster.meta.admin();
  try {
    return (await admin.call(OPS.life, request)).message;
  } finally {
    admin.close('done');
  }
}

async function closed(cluster: RealCluster): Promise<void> {
  for (let waited = 0; (await life(cluster)).phase !== 'closed'; waited += 100) {
    if (waited > 60_000) throw new Error(`not closed: ${JSON.stringify(await life(cluster))}`);
    await cluster.meta.pass(100);
  }
}

const bytes = (length: number): Buffer => Buffer.from(Array.from({length}, (_, i) => i % 251));
const lengths = [100, 300_000];

async function dirty(a: TestClient): Promise<number[]> {
  const oids: number[] = [];
  for (const length of lengths) {
    const oid = await a.create(`f${length}`);
    await a.write(oid, 0, bytes(length));
    oids.push(oid);
  }
  return oids;
}

describe('a cluster that is shut down', () => {
  test('has what clients had in memory, which may be lost then', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await dirty(a);
      const before = await life(cluster);
      expect(before).toMatchObject({phase: 'open', connected: 5});
      expect(before.writes).toBeGreaterThan(0);
      expect(before.holders).toMatchObject([{name: expect.stringContaining('a')}]);
      await life(cluster, {close: true});
      await closed(cluster);
      expect(await life(cluster)).toMatchObject({writes: 0, holders: [], maintenance: null});
      a.machine.kill(false);
      await life(cluster, {open: true});
      await cluster.meta.pass(20_000);
      const b = await cluster.client('b');
      for (const length of lengths) {
        const oid = await b.open(`f${length}`, false);
        expect((await b.read(oid, 0, length)).equals(bytes(length))).toBe(true);
      }
      await b.close();
    }));

  test('lets nobody write until it is opened; who tries waits', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const b = await cluster.client('b');
      const [, oid] = await dirty(a);
      await life(cluster, {close: true});
      await closed(cluster);
      let done = false;
      const later = a.write(oid!, 0, Buffer.from('later')).then(() => a.client.fsync(oid!));
      later.then(
        () => {
          done = true;
        },
        () => {},
      );
      await cluster.meta.pass(5000);
      expect(done).toBe(false);
      expect((await life(cluster)).writes).toBe(0);
      const seen = await b.open('f300000', false);
      expect((await b.read(seen, 0, 5)).equals(bytes(5))).toBe(true);
      await life(cluster, {open: true});
      await later;
      expect((await a.read(oid!, 0, 5)).toString()).toBe('later');
      expect((await life(cluster)).phase).toBe('open');
      await a.close();
      await b.close();
    }));

  test('does not wait without end for a client that does not answer: it is fenced', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await dirty(a);
      a.machine.kill(false);
      await life(cluster, {close: true});
      await closed(cluster);
      expect((await life(cluster)).writes).toBe(0);
    }));

  test('refuses a maintenance that makes no sense, and says what is left of one', () =>
    RealCluster.run(async (cluster) => {
      const order = {servers: [] as string[], forMs: 60_000, why: 'new disks', leftMs: 0};
      await expect(life(cluster, {begin: {...order, forMs: 0}})).rejects.toThrow(/EINVAL/);
      await expect(life(cluster, {begin: {...order, servers: ['nobody']}})).rejects.toThrow(
        /ENOENT/,
      );
      expect((await life(cluster)).maintenance).toBeNull();
      await life(cluster, {begin: order});
      await cluster.meta.pass(20_000);
      const {maintenance} = await life(cluster);
      expect(maintenance).toMatchObject({forMs: 60_000, why: 'new disks'});
      expect(maintenance!.leftMs).toBeLessThanOrEqual(40_000);
      expect(maintenance!.leftMs).toBeGreaterThan(30_000);
      await cluster.meta.pass(41_000);
      expect((await life(cluster)).maintenance).toBeNull();
    }));
});
