// Goal: a recovery moves and looks at what was changed while a server was away, and does as it is told. Method: whole servers and clients in simulation.
import {describe, expect, test} from '@jest/globals';
import {BLOCK_BYTES} from '../../../../src/core/base/units.js';
import {SLOT} from '../../../../src/core/cluster/map.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {RealCluster} from '../../../support/real-cluster.js';

const LONG_MS = 6_000;
const noise = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({length}, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 255);

/** The server goes and comes back; `meanwhile` happens while it is away. Gives the most chunks that it had to look at. */
async function absence(
  cluster: RealCluster,
  index: number,
  meanwhile: () => Promise<void>,
): Promise<number> {
  await cluster.meta.pass(LONG_MS);
  await cluster.servers[index]!.stop();
  cluster.kill(index, false);
  await cluster.until('RRRRR'.replace(/./g, (ready, at) => (at === index ? 'a' : ready)));
  await meanwhile();
  await cluster.meta.pass(LONG_MS);
  let most = 0;
  await cluster.start(index, (left) => {
    most = Math.max(most, left);
  });
  await cluster.until('RRRRR');
  return most;
}

describe('recovery after an absence', () => {
  test('moves what was changed, and no more (6.4; bytes moved at most 1.2 of the bytes changed)', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(2_000_000, 1);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      const changes = [3, 100, 101, 102, 400];
      await absence(cluster, 0, async () => {
        for (const block of changes) {
          const some = noise(BLOCK_BYTES, block);
          bytes.set(some, block * BLOCK_BYTES);
          await a.write(oid, block * BLOCK_BYTES, some);
        }
        await a.client.fsync(oid);
      });
      const {bytesIn} = cluster.servers[0]!.stats;
      expect(bytesIn).toBeGreaterThan(0);
      expect(bytesIn).toBeLessThanOrEqual(1.2 * changes.length * BLOCK_BYTES);
      // What it has is what it should have: without another one it is needed.
      cluster.kill(3, false);
      await cluster.until('RRRaR');
      const b = await cluster.client('b');
      expect(Buffer.compare(await b.read(oid, 0, bytes.length), bytes)).toBe(0);
    }));

  test('looks at what was changed, not at everything', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oids: number[] = [];
      for (let i = 0; i < 300; i++) {
        const oid = await a.create(`f${i}`);
        await a.write(oid, 0, noise(20_000, i));
        oids.push(oid);
      }
      for (const oid of oids) await a.client.fsync(oid);
      const most = await absence(cluster, 2, async () => {
        for (const oid of oids.filter((_, i) => i % 20 === 0)) await a.write(oid, 0, noise(9, oid));
        for (const oid of oids) await a.client.fsync(oid);
      });
      expect(most).toBeGreaterThanOrEqual(10);
      expect(most).toBeLessThanOrEqual(15);
    }));

  test('keeps no program waiting for its rate that wants what it rebuilds, and says that it gives way', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.write(oid, 0, noise(12_000_000, 1));
      await a.client.fsync(oid);
      const admin = await cluster.meta.admin();
      await cluster.meta.pass(LONG_MS);
      cluster.kill(1, false);
      await cluster.until('RaRRR');
      await a.write(oid, 0, noise(12_000_000, 2));
      await a.client.fsync(oid);
      await admin.call(OPS.recovery, {paused: 0, rate: 16_000_000});
      await cluster.start(1);
      await cluster.until('RcRRR');
      let most = 0;
      let gaveWay = false;
      const {scheduler} = cluster.meta.land;
      for (let i = 0; i < 200; i++) {
        const begun = scheduler.now;
        await a.write(oid, (i % 100) * 120_000, noise(4096, i));
        await a.client.fsync(oid);
        most = Math.max(most, scheduler.now - begun);
        await cluster.meta.pass(20);
        const {message} = await admin.call(OPS.status, {});
        const info = message.map!.groups[0]!.slots[1]!;
        if (info.server!.givesWay && info.state === SLOT.recovering) gaveWay = true;
      }
      expect(most).toBeLessThan(400);
      expect(gaveWay).toBe(true);
      await cluster.until('RRRRR');
      cluster.audit({k: 4, m: 1});
      admin.close('done');
    }));

  test('waits while it is paused, and goes on', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      await a.write(oid, 0, noise(100_000, 1));
      await a.client.fsync(oid);
      const order = async (paused: number): Promise<void> => {
        const admin = await cluster.meta.admin();
        await admin.call(OPS.recovery, {paused});
        admin.close('done');
      };
      await cluster.meta.pass(LONG_MS);
      cluster.kill(1, false);
      await cluster.until('RaRRR');
      await a.write(oid, 0, noise(100_000, 2));
      await a.client.fsync(oid);
      await order(2);
      await cluster.meta.pass(LONG_MS);
      await cluster.start(1);
      await cluster.meta.pass(20_000);
      expect(await cluster.meta.states()).toBe('RcRRR');
      // Programs read and write all the time.
      await a.write(oid, 50_000, noise(100_000, 3));
      await a.client.fsync(oid);
      await order(1);
      await cluster.until('RRRRR');
    }));
});
