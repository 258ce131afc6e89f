import {describe, expect, test} from '@jest/globals';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';

// Whoever walks through a tree gets the listings that come next before asking for them, and the leases for changing them if it changes what
// it has listed (P27-P29).

const ROOT = 1;
const FOLDERS = 100;
const CALLER = {uid: 0, gid: 0};
const nameOf = (text: string): Buffer => Buffer.from(text);

/** 10 folders of 10 folders of two files each, made by somebody else, who has given everything back. */
async function prepared(cluster: ClientCluster): Promise<[TestClient, TestClient]> {
  const maker = await cluster.client('maker');
  for (let top = 0; top < 10; top++) {
    const {oid} = await maker.client.mkdir(ROOT, nameOf(`t${top}`), 0o755, CALLER);
    for (let i = 0; i < FOLDERS / 10; i++) {
      const folder = await maker.client.mkdir(oid, nameOf(`d${i}`), 0o755, CALLER);
      for (const file of ['x', 'y'])
        await maker.client.mknod(folder.oid, nameOf(file), 0o100644, 0, CALLER);
    }
  }
  await maker.client.syncAll();
  await maker.client.parts.holder.yieldAll();
  return [maker, await cluster.client('walker')];
}

/** Depth first; what is called on the way up, after all that is in it. */
async function walk(
  cluster: ClientCluster,
  {client}: TestClient,
  oid: number,
  visit: (parent: number, name: Uint8Array, isDirectory: boolean) => Promise<unknown>,
): Promise<number> {
  const {entries} = await client.readdir(oid, 0, 1000, false);
  await cluster.meta.pass(1);
  let found = 0;
  for (const {name, oid: child, type} of entries) {
    if (type === 4) found += await walk(cluster, {client} as TestClient, child, visit);
    await visit(oid, name, type === 4);
    found++;
  }
  return found;
}

const look =
  ({client}: TestClient) =>
  (parent: number, name: Uint8Array) =>
    client.lookup(parent, name);
const remove =
  ({client}: TestClient) =>
  (parent: number, name: Uint8Array, isDirectory: boolean) =>
    isDirectory ? client.rmdir(parent, name) : client.unlink(parent, name);
const calls = ({client}: TestClient): number => client.stats.metaCalls;

describe('walking through a tree', () => {
  test('costs a message for many directories', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, walker] = await prepared(cluster);
      const before = calls(walker);
      expect(await walk(cluster, walker, ROOT, look(walker))).toBe(10 + FOLDERS * 3);
      expect(calls(walker) - before).toBeLessThan(10);
      await walker.close();
      await maker.close();
    }));

  test('so it does when nothing is listed, and names are looked up only', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, walker] = await prepared(cluster);
      const {client} = walker;
      const before = calls(walker);
      for (let top = 0; top < 10; top++) {
        for (let i = 0; i < FOLDERS / 10; i++) {
          let at = ROOT;
          for (const name of [`t${top}`, `d${i}`, 'x'])
            at = (await client.lookup(at, nameOf(name))).oid;
          expect((await client.getattr(at)).mode).toBe(0o100644);
          await cluster.meta.pass(1);
        }
      }
      expect(calls(walker) - before).toBeLessThan(FOLDERS * 0.6);
      await walker.close();
      await maker.close();
    }));

  test('removing all of it does, too, and nothing of it is left', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, walker] = await prepared(cluster);
      const before = calls(walker);
      await walk(cluster, walker, ROOT, remove(walker));
      await walker.client.fsync(ROOT);
      expect(calls(walker) - before).toBeLessThan(24);
      expect((await maker.client.readdir(ROOT, 0, 100, false)).entries).toEqual([]);
      await walker.close();
      await maker.close();
    }));

  test('what others do in a directory that came ahead is seen, and what is done there at once is not lost', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, walker] = await prepared(cluster);
      const tops = (await walker.client.readdir(ROOT, 0, 100, false)).entries;
      const [first, second, third] = tops.map(({oid}) => oid) as [number, number, number];
      await walker.client.readdir(first, 0, 100, false);
      await walker.client.readdir(second, 0, 100, false);
      // Both change the third one while its listing is on the way.
      await Promise.all([
        maker.client.mknod(third, nameOf('maker'), 0o100644, 0, CALLER),
        walker.client.mknod(third, nameOf('walker'), 0o100644, 0, CALLER),
      ]);
      for (const {client} of [maker, walker]) {
        const names = (await client.readdir(third, 0, 100, false)).entries.map(({name}) =>
          Buffer.from(name).toString(),
        );
        expect(names.filter((name) => name.length > 2).sort()).toEqual(['maker', 'walker']);
        expect(names).toHaveLength(12);
      }
      await maker.client.unlink(third, nameOf('walker'));
      await expect(walker.client.lookup(third, nameOf('walker'))).rejects.toMatchObject({
        errno: 'ENOENT',
      });
      await walker.close();
      await maker.close();
    }));

  test('is not taken for granted: directories that are listed now and then are asked for one by one', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, walker] = await prepared(cluster);
      const held = (): number => [...walker.client.parts.holder.all()].length;
      for (const {oid} of (await walker.client.readdir(ROOT, 0, 100, false)).entries.slice(0, 4)) {
        await cluster.meta.pass(2000);
        await walker.client.readdir(oid, 0, 100, false);
      }
      await cluster.meta.pass(100);
      // The root, its folders, those in the four: none of what is in those.
      expect(held()).toBeLessThanOrEqual(1 + 10 + 4 * 10);
      await walker.close();
      await maker.close();
    }));

  test('a directory that somebody is changing is left to him', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, walker] = await prepared(cluster);
      const tops = (await maker.client.readdir(ROOT, 0, 100, false)).entries;
      const busy = tops[5]!.oid;
      await cluster.meta.pass(10_000);
      await maker.client.mkdir(busy, nameOf('new'), 0o755, CALLER);
      expect(maker.client.parts.holder.peek(busy)?.mode).toBe(2);
      await walker.client.readdir(ROOT, 0, 100, false);
      await walker.client.readdir(tops[4]!.oid, 0, 100, false);
      await cluster.meta.pass(100);
      expect(maker.client.parts.holder.peek(busy)?.mode).toBe(2);
      expect((await walker.client.readdir(busy, 0, 100, false)).entries).toHaveLength(11);
      await walker.close();
      await maker.close();
    }));
});
