import {describe, expect, test} from '@jest/globals';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';

// Whoever reads several files of a directory gets the next ones before asking for them.

const FILES = 120;
const INLINE = {inlineBytesMax: 16_384};
const name = (i: number): string => `f${String(i).padStart(3, '0')}`;
const bytesOf = (i: number): Buffer => Buffer.alloc(100 + i, i);

/** A directory of small files, made by somebody else; and a client that has seen their names. */
async function prepared(cluster: ClientCluster): Promise<[TestClient, TestClient]> {
  const maker = await cluster.client('maker', INLINE);
  for (let i = 0; i < FILES; i++) {
    const oid = await maker.create(name(i));
    await maker.write(oid, 0, bytesOf(i));
    maker.client.release(oid);
  }
  await maker.client.syncAll();
  await maker.client.parts.holder.yieldAll();
  const reader = await cluster.client('reader', INLINE);
  await reader.client.readdir(1, 0, 1000, true);
  return [maker, reader];
}

async function readOne(c: TestClient, i: number): Promise<Buffer> {
  const oid = await c.open(name(i), false);
  const bytes = await c.read(oid, 0, 10_000);
  c.client.release(oid);
  return bytes;
}

describe('reading the files of a directory', () => {
  test('in order costs a message for many of them', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, reader] = await prepared(cluster);
      const before = reader.client.stats.metaCalls;
      for (let i = 0; i < FILES; i++) {
        expect((await readOne(reader, i)).equals(bytesOf(i))).toBe(true);
        await cluster.meta.pass(2);
      }
      // Four opens that are asked for, and batches of 16, 32, 64 and what is left, before those that came are used up.
      expect(reader.client.stats.metaCalls - before).toBeLessThan(12);
      await reader.close();
      await maker.close();
    }));

  test('at random asks for few that are not wanted', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, reader] = await prepared(cluster);
      const leases = (): number =>
        [...reader.client.parts.holder.all()].filter((held) => held.mode > 0).length;
      for (let i = 0; i < 24; i++) {
        await readOne(reader, (i * 53) % FILES);
        await cluster.meta.pass(2);
      }
      // Those that were read, the directory, and what was fetched before that turned out to be of no use.
      expect(leases()).toBeLessThan(24 + 1 + 2 * 16 + 8);
      await reader.close();
      await maker.close();
    }));

  test('what others write to one that came ahead is seen', () =>
    ClientCluster.run(async (cluster) => {
      const [maker, reader] = await prepared(cluster);
      for (let i = 0; i < 5; i++) await readOne(reader, i);
      await cluster.meta.pass(5);
      const oid = await maker.open(name(9), true);
      await maker.write(oid, 0, Buffer.from('new'));
      maker.client.release(oid);
      expect((await readOne(reader, 9)).subarray(0, 3).toString()).toBe('new');
      await reader.close();
      await maker.close();
    }));

  test('begins at once in the next directory, unless the one before turned out to be another case', () =>
    ClientCluster.run(async (cluster) => {
      const owner = {uid: 0, gid: 0};
      const how = {exclusive: true, truncate: false};
      const maker = await cluster.client('maker', INLINE);
      const directories: {oid: number; files: number[]}[] = [];
      for (let d = 0; d < 12; d++) {
        const {oid} = await maker.client.mkdir(1, Buffer.from(`d${d}`), 0o755, owner);
        const files: number[] = [];
        for (let i = 0; i < 40; i++) {
          const made = await maker.client.create(oid, Buffer.from(name(i)), 0o100644, owner, how);
          await maker.write(made.attr.oid, 0, bytesOf(i));
          maker.client.release(made.attr.oid);
          files.push(made.attr.oid);
        }
        directories.push({oid, files});
      }
      await maker.client.syncAll();
      await maker.client.parts.holder.yieldAll();
      const reader = await cluster.client('reader', INLINE);
      const {stats} = reader.client;
      /** Messages that reading so many files of a directory costs. */
      const read = async (d: number, count: number): Promise<number> => {
        const {oid, files} = directories[d]!;
        await reader.client.readdir(oid, 0, 1000, true);
        const before = stats.metaCalls;
        for (const [i, file] of files.slice(0, count).entries()) {
          await reader.client.open(file, {write: false});
          expect((await reader.read(file, 0, 10_000)).equals(bytesOf(i))).toBe(true);
          reader.client.release(file);
          await cluster.meta.pass(60);
        }
        return stats.metaCalls - before;
      };
      const leases = (): number =>
        [...reader.client.parts.holder.all()].filter((held) => held.mode > 0).length;
      const first = await read(0, 40);
      expect(await read(1, 40)).toBeLessThan(first);
      expect(await read(2, 40)).toBeLessThan(first);
      // One file of each: what comes with the first one is the last that comes in vain.
      const had = leases();
      for (let d = 3; d < 12; d++) await read(d, 1);
      expect(leases() - had).toBeLessThan(2 * 9 + 65);
      await reader.close();
      await maker.close();
    }));

  test('goes on from one directory to the next where each has few', () =>
    ClientCluster.run(async (cluster) => {
      const owner = {uid: 0, gid: 0};
      const how = {exclusive: true, truncate: false};
      const maker = await cluster.client('maker', INLINE);
      const put = async (parent: number, i: number): Promise<number> => {
        const made = await maker.client.create(parent, Buffer.from(name(i)), 0o100644, owner, how);
        await maker.write(made.attr.oid, 0, bytesOf(i));
        maker.client.release(made.attr.oid);
        return made.attr.oid;
      };
      const directories: number[] = [];
      const files: number[] = [];
      for (let d = 0; d < 60; d++) {
        const {oid} = await maker.client.mkdir(1, Buffer.from(`d${d}`), 0o755, owner);
        const below = await maker.client.mkdir(oid, Buffer.from('below'), 0o755, owner);
        directories.push(oid, below.oid);
        files.push(await put(oid, 2 * d), await put(directories.at(-1)!, 2 * d + 1));
      }
      await maker.client.syncAll();
      await maker.client.parts.holder.yieldAll();
      const read = async (reader: TestClient, order: number[]): Promise<number> => {
        for (const oid of [1, ...directories]) await reader.client.readdir(oid, 0, 1000, true);
        const before = reader.client.stats.metaCalls;
        for (const i of order) {
          await reader.client.open(files[i]!, {write: false});
          expect((await reader.read(files[i]!, 0, 10_000)).equals(bytesOf(i))).toBe(true);
          reader.client.release(files[i]!);
          await cluster.meta.pass(5);
        }
        return reader.client.stats.metaCalls - before;
      };
      const all = files.map((_, i) => i);
      const leases = (c: TestClient): number =>
        [...c.client.parts.holder.all()].filter((held) => held.mode > 0).length;
      const inOrder = await cluster.client('in order', INLINE);
      expect(await read(inOrder, all)).toBeLessThan(30);
      const here = await cluster.client('here and there', INLINE);
      await read(here, all.filter((i) => i % 24 === 5).reverse());
      expect(leases(here)).toBeLessThan(1 + directories.length + 5 + 17);
      for (const one of [inOrder, here, maker]) await one.close();
    }));
});
