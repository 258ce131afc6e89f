// Goal: what is read often lies on more servers for as long as nobody writes, and nobody ever reads what is old (the FreeBSD idea: N copies at
// least, more where they are used; F2, P33). Method: whole servers and clients in simulation.
import {describe, expect, test} from '@jest/globals';
import type * as wire from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

const SIZE = 300_000;
/** Whoever reads asks for every byte again. */
const FORGETFUL = {keepBlocks: false, readaheadBytes: 0};
const POLICY: wire.ReadCopyPolicy = {most: 1, weight: 4096, afterS: 2, share: 500, coldS: 10};

async function ask(
  cluster: RealCluster,
  request: Partial<wire.ReadCopiesRequest>,
): Promise<wire.ReadCopiesReply> {
  const admin = await cluster.meta.admin();
  const {message} = await admin.call(OPS.readCopies, request);
  admin.close('done');
  return message;
}

/** Reads all of it for so long, four times a second. */
async function readFor(cluster: RealCluster, b: TestClient, oid: number, ms: number) {
  let bytes: Buffer = Buffer.alloc(0);
  for (let passed = 0; passed < ms; passed += 250) {
    bytes = await b.read(oid, 0, SIZE);
    await cluster.meta.pass(250);
  }
  return bytes;
}

const copyFiles = (cluster: RealCluster): string[] =>
  cluster.machines.flatMap(({disk}) => disk.paths.filter((path) => path.startsWith('copies/')));

/** A file of one chunk that `a` has written and closed, and a client that reads it without end. */
async function hot(cluster: RealCluster, scheme = {k: 4, m: 1}, policy = POLICY, location = '') {
  await ask(cluster, {policy});
  const a = await cluster.client('a');
  await a.client.layoutSet(1, {unitBytes: 4096, ...scheme});
  const oid = await a.create('f');
  await a.write(oid, 0, Buffer.alloc(SIZE, 1));
  await a.client.fsync(oid);
  const b = await cluster.client('b', 0, {...FORGETFUL, location});
  await b.open('f', false);
  return {a, b, oid};
}

describe('read copies', () => {
  test('what is read often is read from one; who writes ends it, and his bytes are read at once', () =>
    RealCluster.run(async (cluster) => {
      const {a, b, oid} = await hot(cluster);
      await readFor(cluster, b, oid, 8000);
      expect((await ask(cluster, {oid})).copies).toHaveLength(1);
      const before = b.client.stats.copyReads;
      await readFor(cluster, b, oid, 1000);
      expect(b.client.stats.copyReads).toBeGreaterThan(before);

      await a.write(oid, 5000, Buffer.alloc(100, 2));
      expect((await ask(cluster, {oid})).copies).toEqual([]);
      const expected = Buffer.alloc(SIZE, 1).fill(2, 5000, 5100);
      expect((await b.read(oid, 0, SIZE)).equals(expected)).toBe(true);
      // And those of a new copy.
      await readFor(cluster, b, oid, 20_000);
      expect((await ask(cluster, {oid})).copies).toHaveLength(1);
      const after = b.client.stats.copyReads;
      expect((await readFor(cluster, b, oid, 1000)).equals(expected)).toBe(true);
      expect(b.client.stats.copyReads).toBeGreaterThan(after);
      await a.close();
      await b.close();
    }));

  test('one is made where the reader is, and read there alone', () =>
    RealCluster.run(async (cluster) => {
      // Two copies in the first two slots that the object gets, the reader beside another server.
      for (let index = 0; index < 5; index++) cluster.locations[index] = `room1/rack${index}`;
      for (let index = 0; index < 5; index++) {
        cluster.kill(index, false);
        await cluster.start(index);
        await cluster.until('RRRRR');
      }
      const far = {k: 1, m: 1};
      const {a, b, oid} = await hot(cluster, far, POLICY, 'room1/rack9/h');
      const slot = (oid + 3) % 5;
      await b.close();
      const c = await cluster.client('c', 0, {...FORGETFUL, location: `room1/rack${slot}/h`});
      await c.open('f', false);
      await readFor(cluster, c, oid, 8000);
      expect((await ask(cluster, {oid})).copies).toMatchObject([{slot}]);
      const calls = c.client.stats.dataCalls;
      const copied = c.client.stats.copyReads;
      await c.read(oid, 0, SIZE);
      expect(c.client.stats.copyReads - copied).toBe(c.client.stats.dataCalls - calls);
      await a.close();
      await c.close();
    }));

  test('when its server is lost everything is read as before, and it is not in the way of the next one', () =>
    RealCluster.run(async (cluster) => {
      const {a, b, oid} = await hot(cluster);
      await readFor(cluster, b, oid, 8000);
      const [copy] = (await ask(cluster, {oid})).copies;
      cluster.kill(copy!.slot, false);
      const bytes = await readFor(cluster, b, oid, 15_000);
      expect(bytes.equals(Buffer.alloc(SIZE, 1))).toBe(true);
      const [next] = (await ask(cluster, {oid})).copies;
      expect(next!.id).not.toBe(copy!.id);
      // A process that begins has none.
      await cluster.start(copy!.slot);
      await cluster.until('RRRRR');
      const {disk} = cluster.machines[copy!.slot]!;
      expect(disk.paths.filter((path) => path.includes(copy!.id.toString(16)))).toEqual([]);
      await a.close();
      await b.close();
    }));

  test('it goes when nobody reads it, and its space with it', () =>
    RealCluster.run(async (cluster) => {
      const {a, b, oid} = await hot(cluster);
      await readFor(cluster, b, oid, 8000);
      expect(copyFiles(cluster)).toHaveLength(4);
      await cluster.meta.pass(20_000);
      expect((await ask(cluster, {oid})).copies).toEqual([]);
      expect(copyFiles(cluster)).toEqual([]);
      expect((await ask(cluster, {})).servers.every(({count}) => count === 0)).toBe(true);
      await a.close();
      await b.close();
    }));

  test('none are made where there is no budget, and those that there are go when none are wanted', () =>
    RealCluster.run(async (cluster) => {
      const {a, b, oid} = await hot(cluster, {k: 4, m: 1}, {...POLICY, share: 0});
      await readFor(cluster, b, oid, 8000);
      expect((await ask(cluster, {oid})).copies).toEqual([]);
      expect(copyFiles(cluster)).toEqual([]);
      await ask(cluster, {policy: POLICY});
      await readFor(cluster, b, oid, 20_000);
      expect((await ask(cluster, {oid})).copies).toHaveLength(1);
      await ask(cluster, {policy: {...POLICY, most: 0}});
      await readFor(cluster, b, oid, 10_000);
      expect((await ask(cluster, {oid})).copies).toEqual([]);
      await a.close();
      await b.close();
    }));

  test('after a restart of the meta server nobody reads what is old, and what it does not know of goes', () =>
    RealCluster.run(async (cluster) => {
      const {a, b, oid} = await hot(cluster);
      await readFor(cluster, b, oid, 8000);
      cluster.meta.host.kill(false);
      await cluster.meta.boot();
      await a.write(oid, 0, Buffer.alloc(10, 3));
      const expected = Buffer.alloc(SIZE, 1).fill(3, 0, 10);
      expect((await readFor(cluster, b, oid, 3000)).equals(expected)).toBe(true);
      await cluster.meta.pass(10_000);
      const known = (await ask(cluster, {oid})).copies.map(({id}) => id.toString(16));
      const files = copyFiles(cluster);
      expect(files.filter((path) => !known.some((id) => path.includes(id)))).toEqual([]);
      await a.close();
      await b.close();
    }));
});
