// Goal: what a file got beyond a size that was lost is never seen, though the next writer comes before the resync that cuts it.
// Method: the real servers on simulated disks; the size goes with its writer, or with a power cut of the meta server's machine, while another
// client waits for the lease, lets the file grow, and then somebody looks.
import {expect, test} from '@jest/globals';
import {auditColumns} from '../../../../src/core/sim/audit.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {pattern} from '../../../support/frames.js';
import {RealCluster} from '../../../support/real-cluster.js';

const BLOCK = 4096;
/** 2+1, one block of each column in a stripe, two stripes in a chunk. */
const STRIPE = 2 * BLOCK;
const CHUNK = 2 * STRIPE;
const SIZE = 5000;
const GROWN = 3 * CHUNK;

/** On stable storage up to SIZE. */
async function file(a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: BLOCK, chunkBytes: CHUNK});
  const oid = await a.create('f');
  await a.write(oid, 0, pattern(SIZE, 1));
  await a.client.fsync(oid);
  return oid;
}

/** Columns get bytes of which the meta server hears nothing; then their writer is dead. */
async function writerDies({meta}: RealCluster, a: TestClient, oid: number, to: number) {
  meta.land.network.partition('a', 'meta');
  await a.write(oid, SIZE, pattern(to - SIZE, 2));
  void a.client.fsync(oid).catch(() => {});
  await meta.pass(1000);
  a.machine.kill(false);
}

/** Columns and the meta server have all of it, and nobody holds it for writing any more, when the meta server loses the size. */
async function sizeIsLost(cluster: RealCluster, a: TestClient, oid: number, to: number) {
  const reader = await cluster.client('reader');
  await a.write(oid, SIZE, pattern(to - SIZE, 2));
  expect((await reader.read(oid, 0, GROWN)).length).toBe(to);
  cluster.meta.crash(true);
  await cluster.meta.boot();
}

const LOSSES = [
  ['its writer died', writerDies],
  ['the meta server lost power', sizeIsLost],
] as const;
const ENDS = [
  ['the block', BLOCK + BLOCK],
  ['the stripe', CHUNK],
  ['the chunk', 2 * CHUNK],
] as const;
const GROWTHS = [
  ['a size', (b: TestClient, oid: number) => b.client.setattr(oid, {size: GROWN})],
  ['a write further on', (b: TestClient, oid: number) => b.write(oid, GROWN - 1, Buffer.of(0))],
] as const;

const CASES = LOSSES.flatMap(([loss, lose]) =>
  ENDS.flatMap(([end, to]) => GROWTHS.map(([how, grow]) => ({loss, lose, end, to, how, grow}))),
);

test.each(CASES)(
  'what was written up to the end of $end when $loss is not in the file that grows by $how',
  ({lose, to, grow}) =>
    RealCluster.run(async (cluster) => {
      const [a, b] = [await cluster.client('a'), await cluster.client('b')];
      const oid = await file(a);
      await b.client.open(oid, {write: true});
      await lose(cluster, a, oid, to);
      await grow(b, oid);
      const seen = await b.read(oid, 0, GROWN);
      await b.client.fsync(oid);
      await b.close();
      const c = await cluster.client('c');
      for (const one of [seen, await c.read(oid, 0, GROWN)]) {
        expect(one.length).toBe(GROWN);
        expect(one.subarray(0, SIZE).equals(Buffer.from(pattern(SIZE, 1)))).toBe(true);
        expect(one.subarray(SIZE).every((byte) => byte === 0)).toBe(true);
      }
      await c.close();
      await cluster.meta.pass(30_000);
      auditColumns(
        cluster.machines.map(({disk}) => disk),
        {k: 2, m: 1},
      );
    }),
);
