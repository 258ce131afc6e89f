import {expect, test} from '@jest/globals';
import {columnRef, locate} from '../../../../src/core/client/place.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots: two servers make the group writable, but not each of its chunks.

const BYTES = Buffer.from(Array.from({length: 30_000}, (_, i) => i % 251));

/** A file whose columns lie in slots 0, 1 and 2, in this order. */
async function fileInFirst(a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
  for (let i = 0; ; i++) {
    const oid = await a.create(`f${i}`);
    if (oid % 5 !== 0) continue;
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    return oid;
  }
}

async function killAll(cluster: RealCluster, power: boolean): Promise<void> {
  for (let index = 0; index < 5; index++) cluster.kill(index, power);
  await cluster.meta.pass(1000);
}

async function readsWithoutAny(cluster: RealCluster, a: TestClient, oid: number): Promise<void> {
  for (const lost of [0, 1, 2]) {
    cluster.kill(lost, false);
    await cluster.until('RRRRR'.replace(/./g, (_, at) => (at === lost ? 'a' : 'R')));
    expect((await a.read(oid, 0, 100_000)).equals(BYTES)).toBe(true);
    await cluster.start(lost);
    await cluster.until('RRRRR');
  }
}

test('all servers die, and those that come back first cannot read a chunk: the others lack nothing of it', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    // Not settled: it is an intent everywhere.
    const oid = await fileInFirst(a);
    await killAll(cluster, true);
    for (const index of [0, 3, 4]) {
      await cluster.start(index);
      await cluster.meta.pass(1000);
    }
    await cluster.until('RaaRR');
    for (const index of [1, 2]) await cluster.start(index);
    await cluster.until('RRRRR');
    expect((await a.read(oid, 0, 100_000)).equals(BYTES)).toBe(true);
    await cluster.meta.pass(5000);
    await readsWithoutAny(cluster, a, oid);
    await a.close();
  }));

test('redundancy that a power cut tore proves nothing against a column that comes back later', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await fileInFirst(a);
    await cluster.meta.pass(10_000);
    // Slot 2 has the redundancy; what it was being written when the power went fails its sum.
    const {path, holder, pool} = {...a.client.parts, pool: a.env.pool};
    const place = locate(path.columns.map, holder.get(oid).layout!, oid, 0);
    const slot = pool.alloc(4096);
    await path.columns.call(
      1,
      2,
      OPS.write,
      {
        ref: columnRef(place, 2),
        ranges: [{offset: 0, length: 4096}],
        sums: new Uint8Array(4).fill(0xff),
        covered: new Uint8Array(8).fill(0xff),
        lost: true,
      },
      {payload: [{slot, offset: pool.payload(slot), length: 4096}]},
    );
    await killAll(cluster, false);
    for (const index of [0, 2, 3, 4]) {
      await cluster.start(index);
      await cluster.meta.pass(1000);
    }
    await cluster.until('RaRRR');
    await cluster.start(1);
    await cluster.until('RRRRR');
    expect((await a.read(oid, 0, 100_000)).equals(BYTES)).toBe(true);
    await readsWithoutAny(cluster, a, oid);
    await a.close();
  }));

/** Writes the second unit of the first stripe: a data column, and the redundancy. */
async function writeSecond(a: TestClient, oid: number): Promise<Buffer> {
  const wanted = Buffer.from(BYTES);
  wanted.fill(255, 4096, 8192);
  await a.write(oid, 4096, wanted.subarray(4096, 8192));
  await a.client.fsync(oid);
  return wanted;
}

test('what only a lost server was written is not read as it was, when others come back (notes)', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await fileInFirst(a);
    await cluster.meta.pass(10_000);
    cluster.kill(2, false);
    await cluster.until('RRaRR');
    const wanted = await writeSecond(a, oid);
    await cluster.meta.pass(10_000);
    cluster.kill(1, false);
    await cluster.until('RaaRR');
    await cluster.start(2);
    await cluster.meta.pass(10_000);
    // Slot 0 knows that slot 2 lacks it, though it was not written itself.
    expect(await cluster.meta.states()).toBe('RacRR');
    const seen = await a.read(oid, 0, 100_000).catch((error: Error) => error.message);
    expect(seen).toContain('EIO');
    await cluster.start(1);
    await cluster.until('RRRRR');
    expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
    cluster.kill(1, false);
    await cluster.until('RaRRR');
    expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
    await a.close();
  }));

test('nor when all are away that could have noted it', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await fileInFirst(a);
    await cluster.meta.pass(10_000);
    cluster.kill(2, false);
    await cluster.until('RRaRR');
    const wanted = await writeSecond(a, oid);
    await cluster.meta.pass(10_000);
    for (const index of [0, 1]) cluster.kill(index, false);
    await cluster.until('aaaRR');
    await cluster.start(2);
    await cluster.meta.pass(10_000);
    expect(await cluster.meta.states()).toBe('aacRR');
    await cluster.start(0);
    await cluster.meta.pass(10_000);
    const seen = await a.read(oid, 0, 100_000).catch((error: Error) => error.message);
    expect(seen).toContain('EIO');
    await cluster.start(1);
    await cluster.until('RRRRR');
    expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
    cluster.kill(1, false);
    await cluster.until('RaRRR');
    expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
    await a.close();
  }));

test('a column that does not answer for a moment is not taken for lost', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await fileInFirst(a);
    await cluster.meta.pass(10_000);
    cluster.kill(2, false);
    await cluster.until('RRaRR');
    const wanted = await writeSecond(a, oid);
    await cluster.meta.pass(10_000);
    const {network} = cluster.meta.land;
    network.partition('data2', 'data0');
    await cluster.start(2);
    await cluster.meta.pass(4000);
    network.heal();
    await cluster.until('RRRRR');
    cluster.kill(1, false);
    await cluster.until('RaRRR');
    expect((await a.read(oid, 0, 100_000)).equals(wanted)).toBe(true);
    await a.close();
  }));
