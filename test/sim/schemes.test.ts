// Goal: schemes at the edges of what may be (issue 5, item 6) survive the loss of any m servers, and of the disk of one. Method: whole
// servers and clients in simulation, a group as wide as the scheme.
import {expect, test} from '@jest/globals';
import {pattern} from '../support/frames.js';
import {RealCluster} from '../support/real-cluster.js';

const BLOCK = 4096;
const SEED = 1;
/** Two stripes and a bit of each scheme, so that the last one is not whole. */
const STRIPES = 2.3;

test.each([
  [16, 4, 20],
  [1, 4, 5],
  [10, 2, 12],
])('%i+%i on %i servers: m are away, others take writes, one loses its disk', (k, m, count) =>
  RealCluster.run(
    async (cluster) => {
      const all = Array.from({length: count}, (_, i) => i);
      await cluster.allAre(all, 'R');
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k, m, unitBytes: BLOCK, chunkBytes: k * BLOCK * 4});
      const oid = await a.create('f');
      const bytes = Buffer.from(pattern(Math.floor(k * BLOCK * STRIPES), 1));
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      await cluster.meta.pass(5000);
      const reads = async (): Promise<void> => {
        const b = await cluster.client(`b${cluster.meta.land.scheduler.events}`);
        expect((await b.read(oid, 0, 2 * bytes.length)).equals(bytes)).toBe(true);
        await b.close();
      };
      const change = async (at: number, length: number, seed: number): Promise<void> => {
        const some = pattern(length, seed);
        bytes.set(some, at);
        await a.write(oid, at, some);
        await a.client.fsync(oid);
      };
      // The first m columns, in whichever servers they are; then the last ones, with the redundancy.
      const slots = (from: number): number[] =>
        all.slice(0, m).map((i) => (oid + from + i) % count);
      for (const away of [slots(0), slots(k)]) {
        await cluster.lose(away);
        await reads();
        await change(BLOCK - 5, 10, away[0]! + 2);
        await change(0, Math.min(bytes.length, k * BLOCK), away[0]! + 3);
        await reads();
        await cluster.back(away);
      }
      const [wiped, ...others] = slots(0) as [number, ...number[]];
      await cluster.lose([wiped]);
      cluster.machines[wiped]!.disk.wipe();
      await cluster.back([wiped]);
      await cluster.meta.pass(5000);
      cluster.audit({k, m});
      // It has to be right without as many others as may go.
      await cluster.lose(others.length > 0 ? [...others, (wiped + m) % count] : slots(1));
      await reads();
      await a.close();
    },
    SEED,
    undefined,
    Array.from({length: count}, () => 1),
  ),
);
