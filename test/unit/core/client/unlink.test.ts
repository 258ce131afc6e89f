import {expect, test} from '@jest/globals';
import {LEASE, OPS} from '../../../../src/core/protocol/ops.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

const ROOT = 1;
const NAME = Buffer.from('f');

/** A file that is closed, and whose name the client knows. */
async function closed(a: TestClient, bytes: number): Promise<number> {
  await a.client.readdir(ROOT, 0, 100, true);
  const oid = await a.create('f');
  await a.write(oid, 0, Buffer.alloc(bytes, 7));
  a.client.release(oid);
  return oid;
}

const requests = async (a: TestClient, run: () => Promise<unknown>): Promise<number> => {
  const before = a.client.stats.metaCalls;
  await run();
  return a.client.stats.metaCalls - before;
};

test('a file that nobody has open goes with one request, and nothing is asked or recalled then', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await closed(a, 5000);
    await cluster.meta.pass(8_000);
    const count = await requests(a, async () => {
      await a.client.unlink(ROOT, NAME);
      await cluster.meta.pass(5000);
    });
    expect(count).toBe(1);
    await expect(a.client.getattr(oid)).rejects.toThrow('ENOENT');
    expect((await cluster.meta.status()).sessions).toMatchObject([{opens: 0}]);
    await a.close();
  }));

test('what was not written back by then is never written', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    await closed(a, 50_000);
    await cluster.meta.pass(60); // The close is told.
    await a.client.unlink(ROOT, NAME);
    await cluster.meta.pass(5000);
    expect(a.client.stats.dataBytesOut).toBe(0);
    await a.close();
  }));

test('one that is open lives on, with its lease and its bytes', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await closed(a, 5000);
    await a.client.open(oid, {write: true});
    await cluster.meta.pass(15_000);
    await a.client.unlink(ROOT, NAME);
    await a.write(oid, 5000, Buffer.alloc(100, 8));
    await cluster.meta.pass(5000);
    expect(await a.read(oid, 4999, 200)).toEqual(
      Buffer.concat([Buffer.alloc(1, 7), Buffer.alloc(100, 8)]),
    );
    expect(a.client.held(oid)).toBe(LEASE.write);
    a.client.release(oid);
    await cluster.meta.pass(5000);
    await expect(a.client.getattr(oid)).rejects.toThrow('ENOENT');
    await a.close();
  }));

test('one that another client has open lives on there', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const b = await cluster.client('b');
    const oid = await closed(a, 5000);
    await cluster.meta.pass(15_000);
    await b.client.open(oid, {write: false});
    await a.client.unlink(ROOT, NAME);
    await cluster.meta.pass(5000);
    expect((await b.read(oid, 0, 5000)).equals(Buffer.alloc(5000, 7))).toBe(true);
    b.client.release(oid);
    await a.close();
    await b.close();
  }));

test('another name that came under it meanwhile takes no lease of the old one', () =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await closed(a, 5000);
    await a.client.link(oid, ROOT, Buffer.from('g'));
    await cluster.meta.pass(15_000);
    await a.client.unlink(ROOT, NAME);
    const {message} = await a.client.parts.session.call(OPS.getattr, {oid});
    expect(message.attr.nlink).toBe(1);
    expect(a.client.held(oid)).toBe(LEASE.write);
    await a.close();
  }));

/** Opens that the meta server knows of. */
async function told(cluster: RealCluster): Promise<number> {
  return (await cluster.meta.status()).sessions.reduce((sum, {opens}) => sum + opens, 0);
}

test('an open under a lease is told to nobody, until the lease goes: a file that another client removes lives on', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const b = await cluster.client('b');
    const oid = await closed(a, 5000);
    await cluster.meta.pass(15_000);
    expect(await requests(a, () => a.client.open(oid, {write: false}))).toBe(0);
    expect(await told(cluster)).toBe(0);
    await b.client.unlink(ROOT, NAME);
    await cluster.meta.pass(5000);
    expect(await told(cluster)).toBe(1);
    expect((await a.read(oid, 0, 5000)).equals(Buffer.alloc(5000, 7))).toBe(true);
    a.client.release(oid);
    await cluster.meta.pass(5000);
    expect(await told(cluster)).toBe(0);
    await expect(a.client.getattr(oid)).rejects.toThrow(/ENOENT|ESTALE/);
    await a.close();
    await b.close();
  }));

test('two opens and closes under one lease, which goes in between, leave nothing counted', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const b = await cluster.client('b');
    const oid = await closed(a, 5000);
    await cluster.meta.pass(15_000);
    await a.client.open(oid, {write: false});
    await a.client.open(oid, {write: false});
    await b.client.open(oid, {write: true});
    await b.write(oid, 0, Buffer.from('b'));
    expect(await told(cluster)).toBe(2);
    a.client.release(oid);
    await cluster.meta.pass(1000);
    expect(await told(cluster)).toBe(2);
    a.client.release(oid);
    b.client.release(oid);
    await cluster.meta.pass(1000);
    expect(await told(cluster)).toBe(0);
    await a.close();
    await b.close();
  }));

test('a file that was opened under a lease and removed by its own client outlives the meta server', () =>
  RealCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const oid = await closed(a, 5000);
    await cluster.meta.pass(15_000);
    await a.client.open(oid, {write: true});
    await a.client.unlink(ROOT, NAME);
    cluster.meta.crash(false);
    await cluster.meta.boot();
    await cluster.meta.pass(15_000);
    expect((await a.read(oid, 0, 5000)).equals(Buffer.alloc(5000, 7))).toBe(true);
    a.client.release(oid);
    await cluster.meta.pass(5000);
    await expect(a.client.getattr(oid)).rejects.toThrow(/ENOENT|ESTALE/);
    await a.close();
  }));
