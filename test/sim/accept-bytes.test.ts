// Goal: what is read is what was written, or EIO, whatever rots and whatever a disk held before. Method: whole servers and clients in
// simulation, disks that are damaged behind their backs. SEEDS 6.4, points 2, 3 and 20.
import {describe, expect, test} from '@jest/globals';
import {SeededRandom} from '../../src/core/sim/random.js';
import type {TestClient} from '../support/client-cluster.js';
import {pattern} from '../support/frames.js';
import {RealCluster} from '../support/real-cluster.js';

const BLOCK = 4096;
const HEADER = 2 ** 40;
const SUMS = HEADER + BLOCK;
const ALL = [0, 1, 2, 3, 4];
const SETTLED_MS = 7000;

describe('6.4 point 2: new space never shows bytes of deleted data (U80)', () => {
  /** In no other byte of the test, and in no run of headers and logs. */
  const SECRET = Buffer.alloc(64, 0xa7);
  const secrets = (bytes: Uint8Array): number => Buffer.from(bytes).indexOf(SECRET);

  /** Fills the memory of all servers and of this client with secrets, and removes them. */
  async function deleted(cluster: RealCluster, a: TestClient): Promise<void> {
    for (let i = 0; i < 6; i++) {
      const oid = await a.create(`old${i}`);
      await a.write(oid, 0, Buffer.alloc(300_000, 0xa7));
      await a.client.fsync(oid);
      await a.read(oid, 0, 300_000);
      a.client.release(oid);
      await a.client.unlink(1, Buffer.from(`old${i}`));
    }
    await a.client.syncAll();
    await cluster.meta.pass(SETTLED_MS);
  }

  const onDisks = (cluster: RealCluster): string[] =>
    cluster.machines.flatMap(({disk, name}) =>
      disk.paths
        .filter((path) => {
          const file = disk.file(path)!;
          return file.pages().some((page) => secrets(disk.peek(path, page * BLOCK, BLOCK)) >= 0);
        })
        .map((path) => `${name} ${path}`),
    );

  test.each([
    [4, 1],
    [1, 2],
  ])('%i+%i: beside what is written, behind a cut, without a server, after a power cut', (k, m) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
      await deleted(cluster, a);
      expect(onDisks(cluster)).toEqual([]);
      const oid = await a.create('new');
      const bytes = Buffer.alloc(200_000);
      const put = async (at: number, some: Uint8Array): Promise<void> => {
        bytes.set(some, at);
        await a.write(oid, at, some);
      };
      await put(50_000, pattern(4096, 1));
      await put(130_001, pattern(7, 2));
      await put(bytes.length - 1, pattern(1, 3));
      await a.client.fsync(oid);
      // What was cut off is deleted, too.
      await a.write(oid, 60_000, Buffer.alloc(30_000, 0xa7));
      await a.client.fsync(oid);
      await a.client.setattr(oid, {size: 60_000});
      bytes.fill(0, 60_000);
      await put(bytes.length - 1, pattern(1, 4));
      await a.client.fsync(oid);
      const check = async (): Promise<void> => {
        const b = await cluster.client(`b${cluster.meta.land.scheduler.events}`);
        const got = await b.read(oid, 0, 300_000);
        expect(secrets(got)).toBe(-1);
        expect(got.equals(bytes)).toBe(true);
        await b.close();
      };
      await check();
      for (const lost of [oid % 5, (oid + k) % 5]) {
        await cluster.lose([lost]);
        await check();
        await cluster.back([lost]);
      }
      await a.close();
      await cluster.lose(ALL, true);
      await cluster.back(ALL);
      await check();
      await cluster.meta.pass(SETTLED_MS);
      expect(onDisks(cluster)).toEqual([]);
      cluster.audit({k, m});
    }),
  );
});

describe('6.4 point 3: never a silently wrong byte (C133)', () => {
  const ROWS = 4;

  /** Where a flip hits a column: its bytes, its own sum, or a sum of the data that redundancy covers. */
  type Kind = 'bytes' | 'sum' | 'covered';

  function flip(
    cluster: RealCluster,
    {oid, k}: {oid: number; k: number},
    [column, row, kind]: readonly [number, number, Kind],
    random: SeededRandom,
  ): void {
    const file = cluster.column((oid + column) % 5, oid)!;
    const each = column < k ? 4 : 4 * (1 + k);
    const at =
      kind === 'bytes'
        ? row * BLOCK + random.below(BLOCK)
        : SUMS + row * each + (kind === 'sum' ? random.below(4) : 4 + random.below(4 * k));
    expect(file.flip(at, random.below(8))).toBe(true);
  }

  /** A settled file of four rows, damaged; who reads it has never seen it. What each block gives: '=', 'EIO' or 'wrong'. */
  async function reads(
    cluster: RealCluster,
    {k, m}: {k: number; m: number},
    flips: readonly (readonly [number, number, Kind])[],
    random: SeededRandom,
  ): Promise<string[]> {
    const a = await cluster.client(`a${cluster.meta.land.scheduler.events}`);
    await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
    const oid = await a.create(`f${cluster.meta.land.scheduler.events}`);
    const bytes = Buffer.from(pattern(ROWS * k * BLOCK, oid));
    await a.write(oid, 0, bytes);
    await a.client.fsync(oid);
    await cluster.meta.pass(SETTLED_MS);
    await a.close();
    for (const one of flips) flip(cluster, {oid, k}, one, random);
    const b = await cluster.client(`b${cluster.meta.land.scheduler.events}`);
    const found: string[] = [];
    for (let block = 0; block < ROWS * k; block++) {
      const wanted = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
      found.push(
        await b.read(oid, block * BLOCK, BLOCK).then(
          (got) => (got.equals(wanted) ? '=' : 'wrong'),
          (error: {errno?: string}) => String(error.errno ?? error),
        ),
      );
    }
    await b.close();
    return found;
  }

  const WELL = (k: number): string[] => Array.from({length: ROWS * k}, () => '=');

  test('one flip anywhere in a row: right', () =>
    RealCluster.run(async (cluster) => {
      const random = new SeededRandom(1);
      const flips = [
        [0, 0, 'bytes'],
        [2, 1, 'sum'],
        [4, 2, 'bytes'],
        [4, 3, 'sum'],
      ] as const;
      expect(await reads(cluster, {k: 4, m: 1}, flips, random)).toEqual(WELL(4));
      expect(await reads(cluster, {k: 4, m: 1}, [[4, 1, 'covered']], random)).toEqual(WELL(4));
    }));

  test.each<[string, Kind, number, Kind, number[]]>([
    ['two data blocks', 'bytes', 3, 'bytes', [1, 3]],
    ['a data block and the redundancy', 'bytes', 4, 'bytes', [1]],
    ['a data block and the sum of the redundancy', 'bytes', 4, 'sum', [1]],
    ['the sum of a data block and the bytes of another', 'sum', 3, 'bytes', [1, 3]],
  ])('4+1, two in one row: %s: EIO for exactly those', (_, first, other, second, lost) =>
    RealCluster.run(async (cluster) => {
      const random = new SeededRandom(2);
      const flips = [
        [1, 2, first],
        [other, 2, second],
      ] as const;
      const wanted = WELL(4);
      for (const column of lost) wanted[2 * 4 + column] = 'EIO';
      expect(await reads(cluster, {k: 4, m: 1}, flips, random)).toEqual(wanted);
    }),
  );

  test.each([
    [4, 1],
    [3, 2],
    [1, 2],
  ])('%i+%i, any number anywhere: right, or EIO where more than m of a row are hit', (k, m) =>
    RealCluster.run(async (cluster) => {
      const random = new SeededRandom(10 * k + m);
      for (let round = 0; round < 8; round++) {
        const flips: [number, number, Kind][] = [];
        const bad = Array.from({length: ROWS}, () => new Set<number>());
        for (let i = random.range(1, 9); i > 0; i--) {
          const [column, row] = [random.below(k + m), random.below(ROWS)];
          // One flip each: two may cancel out.
          if (bad[row]!.has(column)) continue;
          bad[row]!.add(column);
          // In a copy the sum that it covers is one of its own bytes: it is not needed to read them.
          const kinds: Kind[] = k > 1 ? ['bytes', 'sum', 'covered'] : ['bytes', 'sum'];
          flips.push([column, row, column < k ? 'bytes' : random.pick(kinds)]);
        }
        const wanted = WELL(k);
        for (const [row, columns] of bad.entries())
          if (columns.size > m)
            for (const column of columns) if (column < k) wanted[row * k + column] = 'EIO';
        const found = await reads(cluster, {k, m}, flips, random);
        expect({round, flips, found}).toEqual({round, flips, found: wanted});
      }
    }),
  );
});

test.each([
  [1, 1],
  [1, 2],
])(
  '6.4 point 20: copies really exist when fsync returns: the first one is killed (%i+%i; B4, 4c)',
  (k, m) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
      const files = new Map<number, Buffer>();
      for (let i = 0; i < 5; i++) {
        const oid = await a.create(`f${i}`);
        files.set(oid, Buffer.from(pattern(50_000, i)));
        await a.write(oid, 0, files.get(oid)!);
        await a.client.fsync(oid);
      }
      // Whoever answers for it later is of no use.
      const [oid] = [...files.keys()] as [number];
      for (let gone = 0; gone < m; gone++) cluster.kill((oid + gone) % 5, true);
      a.machine.kill(true);
      const copies = (one: number): number[] =>
        ALL.filter((index) => {
          const {disk} = cluster.machines[index]!;
          const path = disk.paths.find((name) => name.endsWith(`/${one.toString(16)}.0.0`));
          return path !== undefined && files.get(one)!.equals(disk.peek(path, 0, 50_000));
        });
      for (const one of files.keys()) expect(copies(one)).toHaveLength(1 + m);
      const b = await cluster.client('b');
      for (const [one, bytes] of files)
        expect((await b.read(one, 0, 100_000)).equals(bytes)).toBe(true);
      await b.close();
    }),
);
