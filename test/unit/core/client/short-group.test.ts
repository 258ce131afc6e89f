// Goal: a mount that is asked for a lease while its servers are away loses nothing by it, neither of this object nor of others; who waits for it is
// not left without an answer. Method: whole servers and clients in simulation; two of five servers (4+1) are killed, and come back.
import {expect, test} from '@jest/globals';
import {RealCluster} from '../../../support/real-cluster.js';

const BYTES = 64 * 1024;
const LOST = [1, 3];
const old = Buffer.alloc(BYTES, 1);
const news = Buffer.alloc(BYTES, 2);

/** Two files that were synced and then written anew by `a`, which has not written back. */
async function written(cluster: RealCluster, wait: boolean) {
  const a = await cluster.client('a', 0, {waitOnFailure: wait});
  await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: 4096});
  const files: number[] = [];
  for (const name of ['f', 'g']) {
    const oid = await a.create(name);
    await a.write(oid, 0, old);
    await a.client.fsync(oid);
    files.push(oid);
  }
  await cluster.meta.pass(3000);
  for (const oid of files) await a.write(oid, 0, news);
  return {a, f: files[0]!, g: files[1]!};
}

const outcome = (read: Promise<Buffer>): Promise<string> =>
  read.then(
    (bytes) => (bytes.equals(news) ? 'new' : bytes.equals(old) ? 'old' : 'wrong'),
    (error: {errno?: string}) => error.errno ?? String(error),
  );

test.each([
  [12_000, false],
  [18_000, false],
  [18_000, true],
  [90_000, true],
])('servers are away for %i ms while a lease is recalled (on-failure=wait: %s)', (ms, wait) =>
  RealCluster.run(async (cluster) => {
    const {a, f, g} = await written(cluster, wait);
    const b = await cluster.client('b', 0, {waitOnFailure: wait});
    for (const index of LOST) cluster.kill(index, false);
    const read = outcome(b.read(f, 0, BYTES));
    await cluster.pause(ms);
    await cluster.back(LOST);
    expect(await read).toBe('new');
    // And what nobody else had asked for. Writes wait for 30 s; then they are tried again, and fsync says once that it was late.
    for (const oid of [f, g]) await a.client.fsync(oid).catch(() => a.client.fsync(oid));
    expect(await outcome(b.read(g, 0, BYTES))).toBe('new');
    await a.close();
    await b.close();
    await cluster.meta.pass(40_000);
    cluster.audit({k: 4, m: 1});
  }),
);

test('servers that do not come back: who waits hears so in time, and so does who wrote; nothing else is lost', () =>
  RealCluster.run(async (cluster) => {
    const {a, f, g} = await written(cluster, false);
    const b = await cluster.client('b');
    const begun = cluster.meta.land.scheduler.now;
    for (const index of LOST) cluster.kill(index, false);
    expect(await outcome(b.read(f, 0, BYTES))).toBe('EIO');
    expect(cluster.meta.land.scheduler.now - begun).toBeLessThan(60_000);
    // A minute later the one who wrote has given up, or waits: it was not put out.
    await cluster.meta.pass(60_000);
    await cluster.back(LOST);
    await cluster.meta.pass(5000);
    // What was given up was told; the other file was only late.
    await expect(a.client.fsync(f)).rejects.toMatchObject({errno: 'EIO'});
    await a.client.fsync(g).catch(() => a.client.fsync(g));
    expect(await outcome(b.read(g, 0, BYTES))).toBe('new');
    expect(await outcome(b.read(f, 0, BYTES))).toBe('old');
    await a.close();
    await b.close();
  }));
