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
      expect(reader.client.stats.metaCalls - before).toBeLessThan(20);
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
});
