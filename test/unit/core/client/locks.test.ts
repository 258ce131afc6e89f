import {describe, expect, test} from '@jest/globals';
import {sleep} from '../../../../src/core/env/clock.js';
import {
  EXCLUSIVE,
  LAST_BYTE,
  type LockType,
  RANGE,
  SHARED,
  UNLOCKED,
} from '../../../../src/core/lock/range-locks.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';

// Locks over reconnects, restarts and the end of sessions, and what they cost.

const all = (type: LockType, owner = 1) =>
  ({kind: RANGE, type, start: 0n, end: LAST_BYTE, owner, pid: owner}) as const;

const lock = (c: TestClient, oid: number, type: LockType, owner = 1): Promise<string> =>
  c.client.lock(oid, all(type, owner), null).then(
    () => 'ok',
    (error: {errno: string}) => error.errno,
  );

/** A lock that is waited for; `ended` is what came of it, null as long as it waits. */
function waiting(c: TestClient, oid: number, owner = 1) {
  const stop = new AbortController();
  const wait = {ended: null as string | null, stop: () => stop.abort()};
  c.client.lock(oid, all(EXCLUSIVE, owner), stop.signal).then(
    () => {
      wait.ended = 'ok';
    },
    (error: {errno: string}) => {
      wait.ended = error.errno;
    },
  );
  return wait;
}

async function restart({meta}: ClientCluster): Promise<void> {
  meta.crash(false);
  await sleep(meta.servers[0]!.env.clock, 300);
  await meta.boot();
  for (const server of meta.servers) await server.connect();
}

/** Two clients, and a file that both know. */
async function pair(cluster: ClientCluster): Promise<[TestClient, TestClient, number]> {
  const [a, b] = [await cluster.client('a'), await cluster.client('b')];
  const oid = await a.create('f');
  await a.client.fsync(oid);
  return [a, b, oid];
}

describe('locks', () => {
  test('a client that is alone with a file locks it without a message, and closes it without one', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      const before = a.client.stats.metaCalls;
      for (let i = 0; i < 100; i++) {
        expect(await lock(a, oid, i % 2 === 0 ? SHARED : EXCLUSIVE)).toBe('ok');
        expect(await lock(a, oid, EXCLUSIVE, 2)).toBe('EAGAIN');
        expect((await a.client.testLock(oid, all(EXCLUSIVE, 2)))?.own).toBe(true);
      }
      await a.client.unlockAll(oid, 1, RANGE);
      expect(await lock(a, oid, EXCLUSIVE, 2)).toBe('ok');
      await a.client.unlockAll(oid, 2, RANGE);
      // Who never locked anything has nothing to give back.
      await a.client.unlockAll(oid, 3, RANGE);
      expect(a.client.stats.metaCalls).toBe(before);
      // Another one costs it nothing but the question.
      expect(await lock(b, oid, EXCLUSIVE)).toBe('ok');
      expect(await lock(a, oid, SHARED)).toBe('EAGAIN');
      expect((await a.client.testLock(oid, all(SHARED)))?.own).toBe(false);
      await a.close();
      await b.close();
    }));

  test('they are held over a restart of the meta server, kept here or there; who waited waits on', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      const other = await a.create('g');
      await a.client.fsync(other);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      expect(await lock(a, other, EXCLUSIVE)).toBe('ok');
      // Now the one of `oid` is kept by the meta server, the other one by the client.
      const next = waiting(b, oid);
      await cluster.meta.pass(100);
      await restart(cluster);
      expect(await lock(b, other, EXCLUSIVE)).toBe('EAGAIN');
      expect(await lock(b, oid, SHARED, 2)).toBe('EAGAIN');
      expect(next.ended).toBeNull();
      expect(await lock(a, oid, UNLOCKED)).toBe('ok');
      await cluster.meta.pass(1000);
      expect(next.ended).toBe('ok');
      await a.close();
      await b.close();
    }));

  test('a client that cannot reach the meta server after its restart: nobody gets its lock while it still trusts in it', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      cluster.meta.crash(false);
      cluster.meta.land.network.partition('a', 'meta');
      await restart(cluster);
      await b.client.lock(oid, all(EXCLUSIVE), new AbortController().signal);
      expect(a.client.parts.session.valid).toBe(false);
      cluster.meta.land.network.heal();
      await cluster.meta.pass(3000);
      expect(a.client.holdsLocks(oid, 1)).toBe(false);
      await a.close();
      await b.close();
    }));

  test('what is given back while the meta server is away is free when it is back, and needs no wait', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, SHARED)).toBe('ok');
      expect(await lock(b, oid, SHARED)).toBe('ok');
      cluster.meta.crash(false);
      await sleep(a.env.clock, 100);
      const begun = a.env.clock.now();
      expect(await lock(a, oid, UNLOCKED)).toBe('ok');
      expect(a.env.clock.now() - begun).toBeLessThan(1);
      await cluster.meta.boot();
      for (const server of cluster.meta.servers) await server.connect();
      expect(await lock(b, oid, EXCLUSIVE)).toBe('ok');
      await a.close();
      await b.close();
    }));

  test('a signal ends a wait, also while the meta server is away, and leaves nothing held', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      const first = waiting(b, oid);
      await cluster.meta.pass(50);
      first.stop();
      await cluster.meta.pass(50);
      expect(first.ended).toBe('EINTR');
      const second = waiting(b, oid);
      await cluster.meta.pass(50);
      cluster.meta.crash(false);
      await sleep(b.env.clock, 100);
      second.stop();
      await sleep(b.env.clock, 10);
      expect(second.ended).toBe('EINTR');
      await cluster.meta.boot();
      for (const server of cluster.meta.servers) await server.connect();
      expect(await lock(a, oid, UNLOCKED)).toBe('ok');
      await cluster.meta.pass(1000);
      expect(await lock(a, oid, EXCLUSIVE, 2)).toBe('ok');
      await a.close();
      await b.close();
    }));

  test('a session that ends loses them, and the next one gets what it waits for then', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      const next = waiting(b, oid);
      await cluster.meta.pass(50);
      a.machine.kill(false);
      await cluster.meta.pass(10_000);
      expect(next.ended).toBeNull();
      await cluster.meta.pass(12_000);
      expect(next.ended).toBe('ok');
      await b.close();
    }));

  test('a client that holds an object and does not answer is fenced after the recall time', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      // It goes on to live, but hears nothing of locks.
      a.client.parts.locks.recall = () => {
        throw new Error('deaf');
      };
      const begun = cluster.meta.clock.now();
      await b.client.lock(oid, all(EXCLUSIVE), new AbortController().signal);
      expect(cluster.meta.clock.now() - begun).toBeGreaterThan(9_000);
      expect(cluster.meta.clock.now() - begun).toBeLessThan(13_000);
      // It hears of it with its next message.
      await cluster.meta.pass(2000);
      expect(a.client.holdsLocks(oid, 1)).toBe(false);
      await b.close();
      await a.client.close(1000);
    }));

  test('a client that was heard just before it is fenced, and not since: its lock is free when it trusts in it no more', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      expect(await lock(a, oid, EXCLUSIVE)).toBe('ok');
      a.client.parts.locks.recall = () => {
        throw new Error('deaf');
      };
      const next = b.client.lock(oid, all(EXCLUSIVE), new AbortController().signal);
      await cluster.meta.pass(9_000);
      cluster.meta.land.network.partition('a', 'meta');
      await next;
      expect(a.client.parts.session.valid).toBe(false);
      cluster.meta.land.network.heal();
      await cluster.meta.pass(3_000);
      await a.close();
      await b.close();
    }));

  test('thousands of ranges of one file are given up to another client and told again after a restart', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b, oid] = await pair(cluster);
      const range = (i: number) => ({...all(EXCLUSIVE), start: BigInt(2 * i), end: BigInt(2 * i)});
      for (let i = 0; i < 6000; i++) await a.client.lock(oid, range(i), null);
      const busy = (i: number): Promise<string> =>
        b.client.lock(oid, {...range(i), owner: 2}, null).then(
          () => 'ok',
          (error: {errno: string}) => error.errno,
        );
      expect([await busy(0), await busy(5999), await busy(6000)]).toEqual([
        'EAGAIN',
        'EAGAIN',
        'ok',
      ]);
      await restart(cluster);
      expect([await busy(0), await busy(5999)]).toEqual(['EAGAIN', 'EAGAIN']);
      await a.client.unlockAll(oid, 1, RANGE);
      expect(await busy(3000)).toBe('ok');
      await a.close();
      await b.close();
    }));

  test('a listing of more than a message takes comes in parts', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      for (let i = 0; i < 1500; i++) await a.create(`${i} ${'long name '.repeat(20)}`);
      await a.client.parts.flusher.tellNames();
      const admin = await cluster.meta.admin();
      const seen = new Set<number>();
      let parts = 0;
      for (let total = 1; seen.size < total; parts++) {
        const request = {session: 0, oid: 0, max: 10_000, skip: seen.size};
        const {message} = await admin.call(OPS.leases, request);
        expect(message.leases.length).toBeGreaterThan(0);
        for (const {oid, path} of message.leases) {
          seen.add(oid);
          expect(path.length).toBeGreaterThan(0);
        }
        total = message.total;
      }
      expect(parts).toBeGreaterThan(3);
      expect(seen.size).toBeGreaterThan(1500);
      admin.close('done');
      await a.close();
    }));
});
