// Goal: what goes wrong while a recovery is under way is nothing special, who hangs is not waited for, and what was removed stays so.
// Method: whole servers and clients in simulation. SEEDS 6.4, points 12, 13 and 19.
import {describe, expect, test} from '@jest/globals';
import type {TestClient} from '../support/client-cluster.js';
import {pattern} from '../support/frames.js';
import {RealCluster} from '../support/real-cluster.js';

const BLOCK = 4096;
const ALL = [0, 1, 2, 3, 4];
const SETTLED_MS = 7000;

class Files {
  readonly bytes = new Map<number, Buffer>();
  readonly #cluster: RealCluster;
  readonly #a: TestClient;

  constructor(cluster: RealCluster, a: TestClient) {
    this.#cluster = cluster;
    this.#a = a;
  }

  async make(count: number, length: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const bytes = Buffer.from(pattern(length, i));
      const oid = await this.#a.create(`f${this.bytes.size}`);
      this.bytes.set(oid, bytes);
      await this.#a.write(oid, 0, bytes);
    }
    await this.sync();
  }

  /** Changes a part of each. */
  async change(at: number, length: number, seed: number): Promise<void> {
    for (const [oid, bytes] of this.bytes) {
      bytes.set(pattern(length, seed + oid), at);
      await this.#a.write(oid, at, pattern(length, seed + oid));
    }
    await this.sync();
  }

  async sync(): Promise<void> {
    for (const oid of this.bytes.keys()) await this.#a.client.fsync(oid);
  }

  /** By a client that has nothing of them in its memory. */
  async check(): Promise<void> {
    const b = await this.#cluster.client(`b${this.#cluster.meta.land.scheduler.events}`);
    const wrong: number[] = [];
    for (const [oid, bytes] of this.bytes)
      if (!(await b.read(oid, 0, 2 * bytes.length)).equals(bytes)) wrong.push(oid);
    expect(wrong).toEqual([]);
    await b.close();
  }
}

/** Runs `accident` when half of the recovery of server 0, which was away or has lost its disk, is done. */
async function halfWay(
  cluster: RealCluster,
  accident: () => Promise<void>,
): Promise<{happened: boolean}> {
  let most = 0;
  let under: Promise<void> | null = null;
  await cluster.start(0, (left) => {
    most = Math.max(most, left);
    if (left <= most / 2 && most > 1) under ??= accident();
  });
  for (let waited = 0; under === null && waited < 30_000; waited += 10) await cluster.pause(10);
  await under;
  return {happened: under !== null};
}

describe('6.4 point 12: a second failure while recovering from the first', () => {
  type Accident = (cluster: RealCluster) => Promise<void>;
  const restart =
    (index: number, power: boolean): Accident =>
    async (cluster) => {
      cluster.kill(index, power);
      await cluster.meta.pass(3000);
      await cluster.start(index);
    };
  const meta =
    (power: boolean): Accident =>
    async (cluster) => {
      cluster.meta.crash(power);
      await cluster.meta.boot();
    };
  const accidents: [string, number, number, boolean, Accident][] = [
    ['the same server is killed', 4, 1, false, restart(0, false)],
    ['the same server, which was empty, loses power', 4, 1, true, restart(0, true)],
    ['another server is killed', 4, 1, false, restart(1, false)],
    ['another server loses power, the first was empty', 3, 2, true, restart(2, true)],
    ['the meta server is killed', 4, 1, true, meta(false)],
    ['the meta server loses power', 3, 2, false, meta(true)],
    [
      'everything loses power',
      4,
      1,
      false,
      async (cluster) => {
        for (const index of ALL) cluster.kill(index, true);
        await meta(true)(cluster);
        for (const index of ALL) await cluster.start(index);
      },
    ],
  ];
  test.each(accidents)('%s (%i+%i)', (_, k, m, empty, accident) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
      const files = new Files(cluster, a);
      await files.make(20, 40_000);
      await cluster.meta.pass(SETTLED_MS);
      await cluster.lose([0]);
      if (empty) cluster.machines[0]!.disk.wipe();
      await files.change(5000, 20_000, 100);
      await cluster.meta.pass(SETTLED_MS);
      expect(await halfWay(cluster, () => accident(cluster))).toEqual({happened: true});
      // With what is left over, or as soon as it is back; programs wait, and get no error.
      await files.change(12_000, 9000, 200);
      await files.check();
      await cluster.until('RRRRR');
      await cluster.meta.pass(20_000);
      cluster.audit({k, m});
      await cluster.lose(m === 1 ? [1] : [1, 3]);
      await files.check();
      await a.close();
    }),
  );

  test('two are away, one comes back, then the other one: never more than what is gone is asked for (3+2)', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k: 3, m: 2, unitBytes: BLOCK});
      const files = new Files(cluster, a);
      await files.make(12, 40_000);
      await cluster.meta.pass(SETTLED_MS);
      await cluster.lose([0]);
      await files.change(5000, 20_000, 100);
      const {happened} = await halfWay(cluster, async () => {
        cluster.kill(1, true);
        await cluster.allAre([1], 'a');
      });
      expect(happened).toBe(true);
      // Programs go on without it.
      await files.change(0, 9000, 300);
      await files.check();
      await cluster.allAre([0], 'R');
      await cluster.lose([2]);
      await files.check();
      await cluster.back([1, 2]);
      await cluster.meta.pass(20_000);
      cluster.audit({k: 3, m: 2});
      await a.close();
    }));
});

describe('6.4 point 13: a server hangs, and is not dead (U90)', () => {
  const BOUND_MS = 10_000;

  test.each([
    [4, 1],
    [3, 2],
    [1, 1],
  ])('%i+%i: writes and reads are late once, at most 10 s; then they do without it', (k, m) =>
    RealCluster.run(async (cluster) => {
      const {clock} = cluster.meta;
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
      const files = new Files(cluster, a);
      await files.make(6, 60_000);
      await cluster.meta.pass(SETTLED_MS);
      const hung = ALL.slice(1, 1 + m);
      for (const index of hung) cluster.machines[index]!.freeze();
      const took = async (what: () => Promise<void>): Promise<number> => {
        const start = clock.now();
        await what();
        return clock.now() - start;
      };
      expect(await took(() => files.change(3000, 9000, 50))).toBeLessThan(BOUND_MS);
      expect(await took(() => files.check())).toBeLessThan(BOUND_MS);
      expect(await took(() => files.change(20_000, 9000, 60))).toBeLessThan(1000);
      expect(await took(() => files.check())).toBeLessThan(1000);
      for (const index of hung) cluster.machines[index]!.thaw();
      await cluster.until('RRRRR');
      await cluster.meta.pass(SETTLED_MS);
      cluster.audit({k, m});
      const others = ALL.filter((index) => !hung.includes(index));
      await cluster.lose(others.slice(0, m));
      await files.check();
      await a.close();
    }),
  );

  test('a disk that is a thousand times slower delays reads and writes by a bounded time, and nothing fails', () =>
    RealCluster.run(async (cluster) => {
      const {clock} = cluster.meta;
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: BLOCK});
      const files = new Files(cluster, a);
      await files.make(2, 60_000);
      await cluster.meta.pass(SETTLED_MS);
      const {disk} = cluster.machines[2]!;
      const {shape} = disk;
      disk.shape = {...shape, latencyMin: 20, latencyMax: 300};
      for (const seed of [70, 71]) {
        const start = clock.now();
        await files.change(3000, 9000, seed);
        await files.check();
        expect(clock.now() - start).toBeLessThan(BOUND_MS);
      }
      disk.shape = shape;
      await cluster.until('RRRRR');
      await a.close();
    }));
});

test.each([
  ['comes back', false, false],
  ['comes back after a power cut, while the meta server restarts', true, true],
])(
  '6.4 point 19: a server that %s does not raise deleted objects; their space is free (B14)',
  (_, power, again) =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      await a.client.layoutSet(1, {k: 3, m: 2, unitBytes: BLOCK});
      const files = new Files(cluster, a);
      await files.make(3, 60_000);
      await cluster.meta.pass(SETTLED_MS);
      const doomed: number[] = [];
      for (let i = 0; i < 8; i++) {
        const oid = await a.create(`doomed${i}`);
        doomed.push(oid);
        await a.write(oid, 0, pattern(100_000, i));
        await a.client.fsync(oid);
        a.client.release(oid);
      }
      await cluster.meta.pass(SETTLED_MS);
      const holders = (index: number): number[] =>
        doomed.filter((oid) => cluster.column(index, oid) !== undefined);
      expect(holders(2)).toEqual(doomed);
      await cluster.lose([2], power);
      for (let i = 0; i < doomed.length; i++) await a.client.unlink(1, Buffer.from(`doomed${i}`));
      await a.client.syncAll();
      await cluster.meta.pass(20_000);
      for (const index of [0, 1, 3, 4]) expect(holders(index)).toEqual([]);
      if (again) {
        cluster.meta.crash(true);
        await cluster.meta.boot();
      }
      await cluster.back([2]);
      await cluster.meta.pass(30_000);
      for (const index of ALL) expect(holders(index)).toEqual([]);
      for (let i = 0; i < doomed.length; i++)
        await expect(a.client.lookup(1, Buffer.from(`doomed${i}`))).rejects.toMatchObject({
          errno: 'ENOENT',
        });
      await files.check();
      // Three files of five columns, a third of their bytes in each; and logs.
      for (const {disk} of cluster.machines) expect(disk.usedBytes).toBeLessThan(250_000);
      cluster.audit({k: 3, m: 2});
      await a.close();
    }),
);
