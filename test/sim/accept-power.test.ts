// Goal: what was synced outlives power cuts in the middle of writes, of all servers, and of those that are left when some are lost; what
// is lost is EIO, and nothing else is. Method: whole servers and clients in simulation, on disks that tear and lose what was not synced.
// SEEDS 6.4, points 4 and 17; issue 5, "Done when".
import {describe, expect, test} from '@jest/globals';
import {columnSlot, place} from '../../src/core/layout/stripe.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import type {TestClient} from '../support/client-cluster.js';
import {pattern} from '../support/frames.js';
import {RealCluster} from '../support/real-cluster.js';

const BLOCK = 4096;
const ALL = [0, 1, 2, 3, 4];
const SETTLED_MS = 7000;
const BLOCKS = 32;
const BYTES = BLOCKS * BLOCK;

const fresh = (cluster: RealCluster): Promise<TestClient> =>
  cluster.client(`b${cluster.meta.land.scheduler.events}`);

async function synced(cluster: RealCluster, a: TestClient, bytes: Uint8Array): Promise<number> {
  const oid = await a.create(`f${cluster.meta.land.scheduler.events}`);
  await a.write(oid, 0, bytes);
  await a.client.fsync(oid);
  return oid;
}

/** A sector is what a disk writes as a whole. */
const SECTOR = 512;

/** Each block: 'old', 'new', 'torn' if each of its sectors is one of both, 'EIO' or 'wrong'. */
async function blocks(
  b: TestClient,
  oid: number,
  old: Uint8Array,
  now: Uint8Array,
): Promise<string[]> {
  const found: string[] = [];
  const {clock} = b.env;
  for (let block = 0; block < old.length / BLOCK; block++) {
    const start = clock.now();
    const [from, to] = [block * BLOCK, (block + 1) * BLOCK];
    const is = (got: Buffer): string => {
      if (got.equals(old.subarray(from, to))) return 'old';
      if (got.equals(now.subarray(from, to))) return 'new';
      for (let at = 0; at < BLOCK; at += SECTOR) {
        const sector = got.subarray(at, at + SECTOR);
        const may = [old, now].some((bytes) =>
          sector.equals(bytes.subarray(from + at, from + at + SECTOR)),
        );
        if (!may) return 'wrong';
      }
      return 'torn';
    };
    found.push(
      await b.read(oid, from, BLOCK).then(is, (error: {errno?: string}) => String(error.errno)),
    );
    // Nothing is waited for without a bound, also where servers may yet come back.
    expect(clock.now() - start).toBeLessThan(25_000);
  }
  return found;
}

/** Which blocks a client was writing when it died. */
const CHANGED = new Set([0, 1, 2, 3, 5, 9, 10, 16, 17, 18, 19, 27]);

/** `CHANGED` in `now` differ from `old`; of them some are under way to the columns after `afterMs`. */
async function midWrite(
  cluster: RealCluster,
  a: TestClient,
  oid: number,
  now: Uint8Array,
  afterMs: number,
): Promise<void> {
  for (const block of CHANGED)
    await a.write(oid, block * BLOCK, now.subarray(block * BLOCK, (block + 1) * BLOCK));
  void a.client.fsync(oid).catch(() => {});
  await cluster.meta.pass(afterMs);
  a.machine.kill(true);
}

/** What was never synced may be in part what it was before, as on any disk. */
const MAY = ['old', 'new', 'torn'];

function changed(old: Buffer): Buffer {
  const now = Buffer.from(old);
  for (const block of CHANGED) now.set(pattern(BLOCK, 1000 + block), block * BLOCK);
  return now;
}

describe('6.4 point 4: the write hole is closed: power cut in mid-write, then a server is lost (C134)', () => {
  test.each([
    [0.3, 'all servers', 1],
    [0.6, 'all servers', 2],
    [1.3, 'all servers', 4],
    [0.6, 'one server', 12],
  ])('%d ms after the beginning, %s (seed %i)', (ms, who, seed) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: BLOCK});
      const old = Buffer.from(pattern(BYTES, seed));
      const now = changed(old);
      const oid = await synced(cluster, a, old);
      await cluster.meta.pass(SETTLED_MS);
      await midWrite(cluster, a, oid, now, ms);
      const victims = who === 'all servers' ? ALL : [(oid + seed) % 5];
      await cluster.lose(victims, true);
      await cluster.back(victims);
      // The session of the client ends, what it may have left half done is checked.
      await cluster.meta.pass(40_000);
      cluster.audit({k: 4, m: 1});
      // A column of data; another one, or the redundancy.
      for (const lost of [(oid + 1) % 5, (oid + 3 + (seed % 2)) % 5]) {
        await cluster.lose([lost]);
        const b = await fresh(cluster);
        const found = await blocks(b, oid, old, now);
        await b.close();
        await cluster.back([lost]);
        const bad = found.flatMap((is, block) => {
          if (is === 'old') return [];
          return MAY.includes(is) && CHANGED.has(block) ? [] : [{lost, block, is}];
        });
        expect(bad).toEqual([]);
      }
    }, seed),
  );
});

describe('6.4 point 17: all are killed at once, and restart (C77)', () => {
  test.each([
    ['killed', 1],
    ['without power', 2],
    ['without power', 3],
  ])('data servers, meta server and a client, %s (seed %i)', (how, seed) =>
    RealCluster.run(async (cluster) => {
      const power = how === 'without power';
      const a = await cluster.client('a');
      const c = await cluster.client('c');
      await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: BLOCK});
      const random = new SeededRandom(seed);
      const files: {name: string; oid: number; bytes: Buffer}[] = [];
      for (let i = 0; i < 12; i++) {
        const bytes = Buffer.from(pattern(random.range(1, 200_000), i));
        const oid = await a.create(`f${i}`);
        files.push({name: `f${i}`, oid, bytes});
        await a.write(oid, 0, bytes);
        await a.client.fsync(oid);
        // Some are settled by then, some are not.
        await cluster.meta.pass(700);
      }
      const torn = await c.create('torn');
      await c.write(torn, 0, pattern(300_000, 99));
      await cluster.meta.pass(random.float() * 2000);
      a.machine.kill(power);
      for (const index of ALL) cluster.kill(index, power);
      cluster.meta.crash(power);
      await cluster.pause(3000);
      await cluster.meta.boot();
      for (const index of ALL) await cluster.start(index);
      // Nobody has to type anything.
      await cluster.until('RRRRR');
      // Who was not killed goes on. It is told, once, if what it has not synced is lost.
      const told = await c.client.fsync(torn).catch((error: {errno?: string}) => error.errno);
      expect(power ? [undefined, 'EIO'] : [undefined]).toContain(told);
      if (told === 'EIO') await c.write(torn, 0, pattern(300_000, 99));
      await c.client.fsync(torn);
      const b = await cluster.client('b');
      for (const {name, oid, bytes} of files) {
        expect(await b.open(name, false)).toBe(oid);
        expect((await b.read(oid, 0, 300_000)).equals(bytes)).toBe(true);
      }
      expect(Buffer.compare(await b.read(torn, 0, 400_000), pattern(300_000, 99))).toBe(0);
      await cluster.meta.pass(40_000);
      cluster.audit({k: 4, m: 1});
      await b.close();
      await c.close();
    }, seed),
  );
});

describe('m servers are lost, and then the power: never a wrong byte (issue 5)', () => {
  test.each([
    [4, 1, 1],
    [4, 1, 2],
    [3, 2, 3],
    [1, 2, 5],
  ])('%i+%i, in mid-write (seed %i)', (k, m, seed) =>
    RealCluster.run(async (cluster) => {
      const random = new SeededRandom(seed);
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
      const old = Buffer.from(pattern(BYTES, seed));
      const now = changed(old);
      const oid = await synced(cluster, a, old);
      await cluster.meta.pass(SETTLED_MS);
      const lost = ALL.slice(0, m).map((i) => (oid + i) % 5);
      const left = ALL.filter((index) => !lost.includes(index));
      await cluster.lose(lost);
      // What is synced while they are away counts as what was there before.
      const later = pattern(BLOCK, 7);
      old.set(later, 7 * BLOCK);
      now.set(later, 7 * BLOCK);
      await a.write(oid, 7 * BLOCK, later);
      await a.client.fsync(oid);
      await midWrite(cluster, a, oid, now, 0.3 + random.float());
      await cluster.lose(left, true);
      const check = async (): Promise<void> => {
        const b = await fresh(cluster);
        const found = await blocks(b, oid, old, now);
        await b.close();
        // A row that was being written may have lost what only its redundancy knew of.
        const rows = new Set([...CHANGED].map((block) => Math.floor(block / k)));
        const bad = found.flatMap((is, block) => {
          if (is === 'old' || (MAY.includes(is) && CHANGED.has(block))) return [];
          if (is === 'EIO' && rows.has(Math.floor(block / k))) return [];
          return [{block, is}];
        });
        expect(bad).toEqual([]);
      };
      for (const index of left) await cluster.start(index);
      await cluster.allAre(left, 'R');
      await cluster.meta.pass(40_000);
      await check();
      for (const index of lost) await cluster.start(index);
      await cluster.until('RRRRR');
      await cluster.meta.pass(40_000);
      await check();
      // And without others.
      await cluster.lose(ALL.slice(0, m).map((i) => (oid + m + i) % 5));
      await check();
    }, seed),
  );
});

test.each([
  [2, 1],
  [1, 1],
  [3, 1],
])(
  'm + 1 are lost: EIO for exactly what is gone, other chunks and groups go on (%i+%i, issue 5; C88, 6.4 point 15)',
  (k, m) =>
    RealCluster.run(
      async (cluster) => {
        const a = await cluster.client('a');
        const chunkBytes = 4 * k * BLOCK;
        await a.client.layoutSet(1, {k, m, unitBytes: BLOCK, chunkBytes, groupCount: 2});
        const bytes = Buffer.from(pattern(10 * chunkBytes, k));
        const oid = await synced(cluster, a, bytes);
        await cluster.meta.pass(SETTLED_MS);
        const {layout} = await a.client.layoutGet(oid);
        expect([...layout.groups].sort()).toEqual([1, 2]);
        await a.client.layoutSet(1, {groupCount: 1});
        const inOther = async (one: number): Promise<boolean> =>
          (await a.client.layoutGet(one)).layout.groups[0] === 2;
        let healthy = 0;
        do healthy = await synced(cluster, a, pattern(20_000, 3));
        while (!(await inOther(healthy)));
        const gone = [1, 2];
        await cluster.lose(gone);
        const b = await fresh(cluster);
        const found = await blocks(b, oid, bytes, bytes);
        const wanted = found.map((_, block) => {
          const at = place(layout, block * BLOCK);
          if (layout.groups[at.chunk % 2] !== 1) return 'old';
          const slots = Array.from({length: k + m}, (__, i) => columnSlot(oid, at.chunk, i, 5));
          const missing = slots.filter((slot) => gone.includes(slot));
          return missing.length > m && missing.includes(slots[at.column]!) ? 'EIO' : 'old';
        });
        expect(wanted).toContain('EIO');
        expect(found).toEqual(wanted);
        // A program that uses the other group does not notice.
        const began = cluster.meta.clock.now();
        await a.write(healthy, 5000, pattern(9000, 5));
        await a.client.fsync(healthy);
        expect(cluster.meta.clock.now() - began).toBeLessThan(1000);
        await cluster.back(gone);
        expect((await b.read(oid, 0, bytes.length)).equals(bytes)).toBe(true);
        await a.close();
        await b.close();
      },
      1,
      undefined,
      [1, 1, 1, 1, 1, 2, 2, 2, 2, 2],
    ),
);
