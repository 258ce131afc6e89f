// Goal: what a file got beyond its size before a crash is gone after it, from every column, however the crash tore them.
// Method: the real servers on simulated disks; a client dies that could not tell the size, then columns lose the sums of what was written last.
import {expect, test} from '@jest/globals';
import {auditColumns} from '../../../../src/core/sim/audit.js';
import type {SimFile} from '../../../../src/core/sim/sim-file.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {pattern} from '../../../support/frames.js';
import {RealCluster} from '../../../support/real-cluster.js';

const BLOCK = 4096;
const SUMS = 2 ** 40 + BLOCK;
/** 2+1, one block of each column in a stripe. */
const STRIPE = 2 * BLOCK;
const [FIRST, SECOND, REDUNDANCY] = [0, 1, 2] as const;
const ALL = [0, 1, 2, 3, 4];

/** A file of one stripe whose columns lie in slots 0, 1 and 2, in this order. */
async function file(a: TestClient): Promise<{oid: number; name: string}> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: BLOCK});
  for (let i = 0; ; i++) {
    const oid = await a.create(`f${i}`);
    if (oid % 5 !== 0) continue;
    await a.write(oid, 0, pattern(STRIPE, 1));
    await a.client.fsync(oid);
    return {oid, name: `f${i}`};
  }
}

function column(cluster: RealCluster, slot: number, oid: number): SimFile {
  const {disk} = cluster.machines[slot]!;
  return disk.file(disk.paths.find((one) => one.endsWith(`/${oid.toString(16)}.0.0`))!)!;
}

/** A power cut that came between the bytes of the second stripe and their sums. */
function tear(cluster: RealCluster, slot: number, oid: number): void {
  column(cluster, slot, oid).truncate(SUMS + (slot === REDUNDANCY ? 12 : 4));
}

/** The columns get bytes of which the meta server hears nothing; then the client is dead. */
async function dies(cluster: RealCluster, a: TestClient, oid: number, at: number): Promise<void> {
  cluster.meta.land.network.partition('a', 'meta');
  await a.write(oid, at, pattern(2 * STRIPE - at, 2));
  void a.client.fsync(oid).catch(() => {});
  await cluster.meta.pass(1000);
  a.machine.kill(false);
}

/** Redundancy is that of the data, and nothing is behind the size. */
async function ends(cluster: RealCluster, oid: number, name: string): Promise<Buffer> {
  // The session ends after 15 s of silence; then the order is carried out.
  await cluster.meta.pass(40_000);
  const disks = cluster.machines.map(({disk}) => disk);
  auditColumns(disks, {k: 2, m: 1});
  const b = await cluster.client('b');
  await b.open(name, true);
  await b.client.setattr(oid, {size: 2 * STRIPE});
  await b.close();
  // Who did not let the file grow looks at what columns have there.
  const c = await cluster.client('c');
  const seen = await c.read(oid, 0, 2 * STRIPE);
  expect(seen.subarray(STRIPE).every((byte) => byte === 0)).toBe(true);
  await c.close();
  return seen.subarray(0, STRIPE);
}

test.each([
  ['no column', []],
  ['a column that the redundancy makes up', [SECOND]],
  ['columns that nobody makes up', [FIRST, SECOND]],
  ['all columns', [FIRST, SECOND, REDUNDANCY]],
])('a crash tore %s behind the size: new space reads as zeros', (_, torn) =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const {oid, name} = await file(a);
    await cluster.meta.pass(10_000);
    await dies(cluster, a, oid, STRIPE);
    for (const slot of ALL) cluster.kill(slot, false);
    for (const slot of torn) tear(cluster, slot, oid);
    await Promise.all(ALL.map((slot) => cluster.start(slot)));
    await cluster.until('RRRRR');
    const seen = await ends(cluster, oid, name);
    expect(seen.equals(Buffer.from(pattern(STRIPE, 1)))).toBe(true);
  }),
);

test('a recovery that has to compare the columns leaves what is behind the size to a resync', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const {oid, name} = await file(a);
    await cluster.meta.pass(10_000);
    const redundancy = column(cluster, REDUNDANCY, oid);
    const [block, sums] = [new Uint8Array(BLOCK), new Uint8Array(12)];
    redundancy.read(0, block);
    redundancy.read(SUMS, sums);
    await dies(cluster, a, oid, 0);
    // Of the first stripe it has not got what the others have, so nobody can make them up from it.
    redundancy.write(0, block);
    redundancy.write(SUMS, sums);
    cluster.kill(FIRST, false);
    await cluster.until('aRRRR');
    await cluster.start(FIRST);
    await cluster.until('RRRRR');
    const seen = await ends(cluster, oid, name);
    expect(seen.equals(Buffer.from(pattern(2 * STRIPE, 2)).subarray(0, STRIPE))).toBe(true);
  }));
