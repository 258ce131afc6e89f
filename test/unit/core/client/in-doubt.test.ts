import {expect, test} from '@jest/globals';
import type {Errno} from '../../../../src/core/base/errno.js';
import {FsError} from '../../../../src/core/base/errors.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 2+1 in five slots, rows of 4096 bytes of each column. What is written of a row reaches some of its columns only; then a column
// is lost whose bytes in that row were fsynced long before.

const BYTES = Buffer.from(Array.from({length: 32_768}, (_, i) => i % 251));
const NEWER = Buffer.alloc(4096, 7);

/** A file whose columns lie in slots 1, 2 and 3, in this order; settled. */
async function file(cluster: RealCluster, a: TestClient): Promise<number> {
  await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096});
  for (let i = 0; ; i++) {
    const oid = await a.create(`f${i}`);
    if (oid % 5 !== 1) continue;
    await a.write(oid, 0, BYTES);
    await a.client.fsync(oid);
    await cluster.meta.pass(5000);
    return oid;
  }
}

/**
 * The redundancy's server cannot write columns until what is returned is called. It can take back what it began: else it would be
 * lost, and would miss the chunk like any other that is.
 */
function breakColumns(cluster: RealCluster, errno: Errno): () => void {
  const {disk} = cluster.machines[3]!;
  let failedAt = Number.NEGATIVE_INFINITY;
  disk.fault = (action, path) => {
    const now = cluster.meta.clock.now();
    if (action !== 'write' || !path.startsWith('columns/') || now - failedAt < 50) return null;
    failedAt = now;
    return errno;
  };
  return () => {
    disk.fault = () => null;
  };
}

/** Writes into the first row, of which column 0 gets its part only, and dies. Resolves when the session has been fenced. */
async function dieHalfWay(cluster: RealCluster, a: TestClient, oid: number): Promise<void> {
  const mend = breakColumns(cluster, 'EIO');
  await a.write(oid, 0, NEWER);
  void a.client.fsync(oid).catch(() => {});
  await cluster.meta.pass(200);
  a.machine.kill(false);
  mend();
}

async function fenced(cluster: RealCluster): Promise<void> {
  while ((await cluster.meta.status()).map!.fenced.length === 0) await cluster.meta.pass(10);
}

/** Loses the server of column 1 and reads what it had of the first row. */
async function readWithoutColumn1(cluster: RealCluster, a: TestClient, oid: number): Promise<void> {
  cluster.kill(2, false);
  await cluster.until('RRaRR');
  expect((await a.read(oid, 4096, 4096)).equals(BYTES.subarray(4096, 8192))).toBe(true);
}

test('a disk is full: what was there beside a write that failed can be read without its server', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    const mend = breakColumns(cluster, 'ENOSPC');
    await a.write(oid, 0, NEWER);
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'ENOSPC'});
    mend();
    await cluster.meta.pass(20_000);
    await readWithoutColumn1(cluster, a, oid);
    await a.close();
  }));

test('a client dies half way, and the next one settles the chunk before it was checked', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    const b = await cluster.client('b');
    await b.client.open(oid, {write: true});
    await dieHalfWay(cluster, a, oid);
    const written = b
      .write(oid, 8192, BYTES.subarray(8192, 12_288))
      .then(() => b.client.fsync(oid));
    await fenced(cluster);
    // The server that has the order is slow.
    cluster.machines[0]!.freeze();
    await cluster.meta.pass(3500);
    cluster.machines[0]!.thaw();
    await written;
    await cluster.meta.pass(20_000);
    await cluster.until('RRRRR');
    await readWithoutColumn1(cluster, b, oid);
    await b.close();
  }));

test('a client dies half way while a column is away: the chunk is checked when it is back', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    cluster.kill(2, false);
    await cluster.until('RRaRR');
    await dieHalfWay(cluster, a, oid);
    await fenced(cluster);
    await cluster.meta.pass(5000);
    await cluster.start(2);
    await cluster.until('RRRRR');
    await cluster.meta.pass(20_000);
    const b = await cluster.client('b');
    await b.client.open(oid, {write: false});
    await readWithoutColumn1(cluster, b, oid);
    await b.close();
  }));

test('what could not be written yet is not settled: its client may die', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    const mend = breakColumns(cluster, 'ENOSPC');
    await a.write(oid, 0, NEWER);
    // It was flushed in vain; what the others have got was synced after 5 s, and a second later it could be settled.
    await cluster.meta.pass(6100);
    a.machine.kill(false);
    mend();
    await fenced(cluster);
    await cluster.meta.pass(20_000);
    const b = await cluster.client('b');
    await b.client.open(oid, {write: false});
    await readWithoutColumn1(cluster, b, oid);
    await b.close();
  }));

test('a client that closes with a write half done is taken for dead', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    const mend = breakColumns(cluster, 'ENOSPC');
    await a.write(oid, 0, NEWER);
    await cluster.meta.pass(3000);
    await a.client.close(20_000);
    mend();
    await cluster.meta.pass(40_000);
    const b = await cluster.client('b');
    await b.client.open(oid, {write: false});
    await readWithoutColumn1(cluster, b, oid);
    await b.close();
  }));

test('a chunk that no server could be told of is not given on before its client was fenced', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const b = await cluster.client('b');
    const oid = await a.create('f');
    await a.write(oid, 0, NEWER);
    await a.client.fsync(oid);
    // They are toys, which know no doubts.
    for (const columns of cluster.columns.slice(2))
      columns.before = (op) => {
        if (op === 'write' || op === 'delta') throw new FsError('ENOSPC', 'by the test');
      };
    await a.write(oid, 0, Buffer.alloc(4096, 9));
    await expect(a.client.fsync(oid)).rejects.toMatchObject({errno: 'ENOSPC'});
    for (const columns of cluster.columns) columns.before = () => {};
    const {session} = a.client;
    await b.client.open(oid, {write: true});
    await b.write(oid, 0, NEWER);
    expect((await cluster.meta.status()).map!.fenced).toContain(session);
    await a.close();
    await b.close();
  }));

test('a cut that failed half way: what is left can be read without any server', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await file(cluster, a);
    const mend = breakColumns(cluster, 'ENOSPC');
    await expect(a.client.setattr(oid, {size: 8192})).rejects.toMatchObject({errno: 'ENOSPC'});
    mend();
    await cluster.meta.pass(20_000);
    await readWithoutColumn1(cluster, a, oid);
    expect((await a.read(oid, 8192, 24_576)).equals(Buffer.alloc(24_576))).toBe(true);
    await a.close();
  }));

test('a cut that failed has ended everywhere: it takes nothing of what is written next', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await a.client.layoutSet(1, {k: 2, m: 1, unitBytes: 4096, chunkBytes: 65_536});
    const oid = await a.create('f');
    await a.write(oid, 0, Buffer.alloc(262_144, 1));
    await a.client.fsync(oid);
    // The first chunk has columns in slots oid to oid + 2, the second in the next three: one cannot be cut yet, the other not at all.
    const failing = (slot: number, errno: Errno): void => {
      cluster.columns[slot % 5]!.before = (op) => {
        if (op === 'truncate') throw new FsError(errno, 'by the test');
      };
    };
    failing(oid, 'EIO');
    failing(oid + 3, 'ENOSPC');
    const refused = expect(a.client.setattr(oid, {size: 0})).rejects.toMatchObject({
      errno: 'ENOSPC',
    });
    await cluster.meta.pass(200);
    cluster.columns[oid % 5]!.before = () => {};
    await refused;
    const bytes = Buffer.alloc(16_384, 2);
    await a.write(oid, 0, bytes);
    await a.client.fsync(oid);
    await cluster.meta.pass(5000);
    expect((await a.read(oid, 0, 16_384)).equals(bytes)).toBe(true);
    await a.close();
  }));
