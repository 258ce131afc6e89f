import {expect, test} from '@jest/globals';
import {columnOids} from '../../src/core/sim/audit.js';
import {SimCluster} from '../../src/core/sim/cluster.js';
import {History} from '../../src/core/sim/history.js';
import {swarm} from '../../src/core/sim/swarm.js';
import {defer, play} from '../support/sim.js';

// The machine of the meta server loses power under a client that is at work.

const ROOT = 1;
const NEW = {exclusive: true, truncate: false};

async function story(seed: number, run: (cluster: SimCluster) => Promise<void>): Promise<void> {
  // Every byte goes to columns, and names are asked for at once: else they are safe before the columns are written.
  const shape = {...swarm(seed), faults: [], inlineBytesMax: 0, writeback: false};
  const cluster = new SimCluster(shape, defer, new History(), null);
  await play(cluster.land, async () => {
    await cluster.start();
    await run(cluster);
  });
}

async function powerCut(cluster: SimCluster): Promise<void> {
  cluster.metas.kill(0, true);
  await cluster.pause(1000);
  cluster.metas.start(0);
  await cluster.pause(10_000);
}

/** Whether the cut takes a name that was not synced is up to the seed. */
const SEEDS = [1, 2, 3, 4];

test.each(SEEDS)('fsync of a file that is gone says so (seed %i)', (seed) =>
  story(seed, async (cluster) => {
    const {recorder} = await cluster.client(0);
    const {oid} = (await recorder.create(ROOT, 'f', NEW)).attr;
    await recorder.write(oid, 0, new Uint8Array(5000), false);
    await powerCut(cluster);
    const error = await recorder.fsync(oid).catch((reason: unknown) => String(reason));
    const there = await recorder.lookup(ROOT, 'f').catch(() => null);
    if (there !== null) expect(error).toBeUndefined();
    else {
      expect(error).toContain('ESTALE');
      await expect(recorder.fsync(oid)).rejects.toThrow('ESTALE');
    }
    recorder.release(oid);
  }),
);

test.each(SEEDS)('columns of a file that is gone go, also if they were synced (seed %i)', (seed) =>
  story(seed, async (cluster) => {
    const {recorder} = await cluster.client(0);
    const {oid} = (await recorder.create(ROOT, 'f', NEW)).attr;
    await recorder.write(oid, 0, new Uint8Array(5000), false);
    // Its columns are synced at once, its name is not: the meta server has no power any more.
    const synced = recorder.fsync(oid).catch(() => {});
    cluster.metas.kill(0, true);
    await cluster.pause(3000);
    expect(columnOids(cluster.disks).has(oid)).toBe(true);
    cluster.metas.start(0);
    await synced;
    await cluster.pause(30_000);
    const there = await recorder.lookup(ROOT, 'f').catch(() => null);
    expect(columnOids(cluster.disks).has(oid)).toBe(there !== null);
    recorder.release(oid);
  }),
);
