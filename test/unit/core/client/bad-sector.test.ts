import {expect, test} from '@jest/globals';
import {SLOT} from '../../../../src/core/cluster/map.js';
import type {SimFile} from '../../../../src/core/sim/sim-file.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots. A disk says of a sector that it cannot be read: what lay there is damaged, which is not the same as a server that
// does not answer.

const BLOCK = 4096;
const BYTES = Buffer.from(Array.from({length: 32_768}, (_, i) => (i * 7) % 251));
const HEADER_PAGE = 2 ** 40 / BLOCK;
const SUMS_PAGE = HEADER_PAGE + 1;

/** A file whose columns lie in slots 0, 1 and 2, in this order; settled. */
async function file(cluster: RealCluster, a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: BLOCK});
  for (let i = 0; ; i++) {
    const oid = await a.create(`f${i}`);
    if (oid % 5 !== 0) continue;
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    await cluster.meta.pass(5000);
    return oid;
  }
}

function column(cluster: RealCluster, slot: number, oid: number): SimFile {
  const {disk} = cluster.machines[slot]!;
  return disk.file(disk.paths.find((path) => path.endsWith(`/${oid.toString(16)}.0.0`))!)!;
}

async function badBlocks(cluster: RealCluster, slot: number): Promise<number> {
  await cluster.meta.pass(1500);
  return (await cluster.meta.status()).map!.groups[0]!.slots[slot]!.server!.badBlocks;
}

/** Every byte, whichever server is away. */
async function readsWithoutAny(cluster: RealCluster, a: TestClient, oid: number): Promise<void> {
  for (const lost of [0, 1, 2]) {
    cluster.kill(lost, false);
    await cluster.until('RRRRR'.replace(/./g, (_, at) => (at === lost ? 'a' : 'R')));
    expect((await a.read(oid, 0, 100_000)).equals(BYTES)).toBe(true);
    await cluster.start(lost);
    await cluster.until('RRRRR');
  }
}

test.each([
  ['a data block', 0, 2],
  ['sums', 1, SUMS_PAGE],
  ['a header', 0, HEADER_PAGE],
])(
  '%s that cannot be read is made again from the others, written back and counted',
  (_, slot, page) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await file(cluster, a);
      await cluster.servers[slot]!.stop();
      cluster.kill(slot, false);
      await cluster.start(slot);
      await cluster.until('RRRRR');
      const spoilt = column(cluster, slot, oid);
      spoilt.spoil(page);
      const start = cluster.meta.clock.now();
      expect((await a.read(oid, 0, 100_000)).equals(BYTES)).toBe(true);
      expect(cluster.meta.clock.now() - start).toBeLessThan(1000);
      if (page !== HEADER_PAGE) expect(await badBlocks(cluster, slot)).toBeGreaterThan(0);
      // Written, it is there again.
      await a.write(oid, 0, BYTES);
      await a.client.fsync(oid);
      expect(spoilt.unreadable(page * BLOCK, BLOCK)).toBe(false);
      expect(await cluster.meta.states()).toBe('RRRRR');
      await readsWithoutAny(cluster, a, oid);
      await a.close();
    }),
);

test('a read alone mends a block', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    const spoilt = column(cluster, 1, oid);
    spoilt.spoil(2);
    expect((await a.read(oid, 0, 100_000)).equals(BYTES)).toBe(true);
    await cluster.meta.pass(1000);
    expect(spoilt.unreadable(0, 4 * BLOCK)).toBe(false);
    expect(await badBlocks(cluster, 1)).toBe(1);
    await readsWithoutAny(cluster, a, oid);
    await a.close();
  }));

test.each([0, 2])('a resync is carried out though a block cannot be read (column %i)', (slot) =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    await a.write(oid, 0, BYTES.subarray(0, 10));
    await a.client.fsync(oid);
    const spoilt = column(cluster, slot, oid);
    spoilt.spoil(0);
    spoilt.spoil(3);
    a.machine.kill(false);
    await cluster.meta.pass(40_000);
    expect(spoilt.unreadable(0, 4 * BLOCK)).toBe(false);
    const doubts = (await cluster.meta.status()).recoveryLeft;
    expect(doubts).toBe(0);
    const b = await cluster.client('b');
    await readsWithoutAny(cluster, b, oid);
    await b.close();
  }),
);

test('a recovery ends though what it needs cannot be read: that block is EIO, and nothing else', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    cluster.kill(2, false);
    await cluster.until('RRaRR');
    const changed = Buffer.from(BYTES).reverse();
    await a.write(oid, 0, changed);
    await a.client.fsync(oid);
    await cluster.meta.pass(2000);
    column(cluster, 1, oid).spoil(1);
    await cluster.start(2);
    await cluster.until('RRRRR');
    const {map} = a.client.parts.path.columns;
    expect(map.groups[0]!.slots.every(({state}) => state === SLOT.ready)).toBe(true);
    // Column 1 has every second block.
    for (let block = 0; block < 8; block++) {
      const read = a.read(oid, block * BLOCK, BLOCK);
      const wanted = changed.subarray(block * BLOCK, (block + 1) * BLOCK);
      if (block === 3) await expect(read).rejects.toMatchObject({errno: 'EIO'});
      else expect((await read).equals(wanted)).toBe(true);
    }
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    await readsWithoutAny(cluster, a, oid);
    await a.close();
  }));
