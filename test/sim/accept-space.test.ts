// Goal: full disks say so, lose nothing and are usable again when something was deleted; who fails does not stop others. Method: whole
// servers and clients in simulation, on small disks. SEEDS 6.4, points 15 and 16.
import {describe, expect, test} from '@jest/globals';
import type {TestClient} from '../support/client-cluster.js';
import {pattern} from '../support/frames.js';
import {RealCluster} from '../support/real-cluster.js';

const BLOCK = 4096;
const MIB = 2 ** 20;

describe('6.4 point 15: disks are full everywhere at once (C91)', () => {
  const CAPACITY = 2 * MIB;
  /** Logs take some of it; half is for what a repair writes at a time. */
  const RESERVE = MIB / 2;
  const LENGTH = 300_000;

  /** Writes files until one fails; those that were synced. */
  async function fill(
    cluster: RealCluster,
    a: TestClient,
    prefix: string,
  ): Promise<Map<string, Buffer>> {
    const synced = new Map<string, Buffer>();
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.from(pattern(LENGTH, i));
      const name = `${prefix}${i}`;
      const oid = await a.create(name).catch((error: {errno?: string}) => error.errno);
      if (oid === 'ENOSPC') return synced;
      const told = await a
        .write(oid as number, 0, bytes)
        .then(() => a.client.fsync(oid as number))
        .catch((error: {errno?: string}) => error.errno);
      // As close(2) does, which may be told once more.
      await a.client.flush(oid as number).catch(() => {});
      a.client.release(oid as number);
      if (told !== undefined) {
        expect(told).toBe('ENOSPC');
        return synced;
      }
      synced.set(name, bytes);
      await cluster.meta.pass(500);
    }
    throw new Error('it is never full');
  }

  async function check(cluster: RealCluster, files: ReadonlyMap<string, Buffer>): Promise<void> {
    const b = await cluster.client(`b${cluster.meta.land.scheduler.events}`);
    for (const [name, bytes] of files) {
      const {oid} = await b.client.lookup(1, Buffer.from(name));
      expect({name, is: (await b.read(oid, 0, 2 * LENGTH)).equals(bytes)}).toEqual({
        name,
        is: true,
      });
    }
    await b.close();
  }

  test.each([
    [4, 1],
    [3, 2],
    [1, 1],
  ])(
    '%i+%i: ENOSPC, then a deletion, then on; what was synced is there, redundancy is right',
    (k, m) =>
      RealCluster.run(
        async (cluster) => {
          for (const {disk} of cluster.machines)
            disk.shape = {...disk.shape, capacityBytes: CAPACITY};
          const a = await cluster.client('a');
          await a.client.layoutSet(1, {k, m, unitBytes: BLOCK});
          await cluster.meta.pass(5000);
          const files = await fill(cluster, a, 'f');
          expect(files.size).toBeGreaterThan(6);
          expect(await cluster.meta.states()).toBe('RRRRR');
          await check(cluster, files);
          // Overwriting needs no room: nothing of what is there is lost by trying.
          const [first, ...others] = [...files.keys()] as [string, ...string[]];
          const oid = await a.open(first, true);
          await a.write(oid, 0, pattern(BLOCK, 77));
          const told = await a.client.fsync(oid).catch((error: {errno?: string}) => error.errno);
          expect([undefined, 'ENOSPC']).toContain(told);
          const now = Buffer.from(files.get(first)!);
          now.set(pattern(BLOCK, 77));
          a.client.release(oid);
          const b = await cluster.client('b');
          const is = await b.read(oid, 0, LENGTH);
          await b.close();
          expect(
            (told === undefined ? [now] : [now, files.get(first)!]).some((may) => may.equals(is)),
          ).toBe(true);
          files.set(first, is);
          // A server dies and comes back all the same.
          await cluster.lose([3], true);
          await cluster.back([3]);
          await check(cluster, files);
          // One after the other, for they lie on other servers each.
          for (const name of others.slice(0, 5)) {
            await a.client.unlink(1, Buffer.from(name));
            files.delete(name);
          }
          await a.client.syncAll();
          await cluster.meta.pass(20_000);
          const more = await fill(cluster, a, 'g');
          expect(more.size).toBeGreaterThan(0);
          const all = new Map([...files, ...more]);
          await check(cluster, all);
          await cluster.meta.pass(40_000);
          cluster.audit({k, m});
          await cluster.lose([1]);
          await check(cluster, all);
          a.machine.kill(false);
        },
        1,
        undefined,
        undefined,
        RESERVE,
      ),
  );
});

describe('6.4 point 16: a client is killed with dirty leases (P20)', () => {
  /** What a client keeps to itself: younger bytes than this may go with it. */
  const AGE_MS = 2000;
  /** Its session ends after 15 s; then it is fenced everywhere. */
  const BOUND_MS = 20_000;

  test.each([
    ['killed', false, 1],
    ['stopped with its machine', true, 2],
  ])(
    '%s: what is older than two seconds is there, others wait at most 20 s, and redundancy is right',
    (_, power, seed) =>
      RealCluster.run(async (cluster) => {
        const {clock} = cluster.meta;
        const a = await cluster.client('a');
        const b = await cluster.client('b');
        await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: BLOCK});
        await b.client.mkdir(1, Buffer.from('other'), 0o40755, {uid: 0, gid: 0});
        const mine = await b.create('mine');
        const made: {name: string; at: number; length: number}[] = [];
        const oid = await a.create('log');
        await a.client.fsync(oid);
        // A log that grows, file after file beside it: nothing is ever synced.
        const length = 3000;
        let written = 0;
        const end = clock.now() + 8000;
        let old = 0;
        while (clock.now() < end) {
          await a.write(oid, written, pattern(length, written));
          written += length;
          if (clock.now() < end - AGE_MS) old = written;
          const name = `f${made.length}`;
          const one = await a.create(name);
          await a.write(one, 0, pattern(length, one));
          a.client.release(one);
          made.push({name, at: clock.now(), length});
          await cluster.meta.pass(400);
        }
        a.machine.kill(power);
        const died = clock.now();
        // Who wants nothing of it does not notice.
        await b.write(mine, 0, pattern(9000, 1));
        await b.client.fsync(mine);
        expect(clock.now() - died).toBeLessThan(1000);
        const log = await b.open('log', true);
        await b.write(log, 0, pattern(length, 0));
        const got = await b.read(log, 0, 2 * written);
        expect(clock.now() - died).toBeLessThan(BOUND_MS);
        expect(got.length).toBeGreaterThanOrEqual(old);
        for (let at = 0; at + length <= got.length && at < old; at += length)
          expect(Buffer.compare(got.subarray(at, at + length), pattern(length, at))).toBe(0);
        for (const {name, at} of made) {
          const entry = await b.client.lookup(1, Buffer.from(name)).catch(() => null);
          if (at >= died - AGE_MS && entry === null) continue;
          expect({name, there: entry !== null}).toEqual({name, there: true});
          const bytes = await b.read(entry!.oid, 0, 2 * length);
          if (at < died - AGE_MS) expect(bytes.equals(pattern(length, entry!.oid))).toBe(true);
          else
            expect(
              bytes.every((byte, i) => byte === 0 || byte === pattern(length, entry!.oid)[i]),
            ).toBe(true);
        }
        await b.client.fsync(log);
        await cluster.meta.pass(40_000);
        cluster.audit({k: 4, m: 1});
        await b.close();
      }, seed),
  );
});
