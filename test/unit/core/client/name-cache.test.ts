import {describe, expect, test} from '@jest/globals';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';

// Goal: what a lease on a directory covers is told without a message, and never after somebody else has changed it.

const ROOT = 1;
const bytes = (name: string): Buffer => Buffer.from(name);
const caller = {uid: 0, gid: 0};

/** Requests to the meta server that `run` costs; heartbeats are not counted. */
async function calls(c: TestClient, run: () => Promise<unknown>): Promise<number> {
  const before = c.client.stats.metaCalls;
  await run();
  return c.client.stats.metaCalls - before;
}

async function errnoOf(run: Promise<unknown>): Promise<string> {
  return run.then(
    () => 'none',
    (error: {errno?: string}) => error.errno ?? String(error),
  );
}

async function names(c: TestClient, oid: number): Promise<string[]> {
  const all: string[] = [];
  for (let cookie = 0; ; ) {
    const page = await c.client.readdir(oid, cookie, 3, false);
    all.push(...page.entries.map((entry) => Buffer.from(entry.name).toString()));
    if (page.end) return all;
    cookie = page.entries.at(-1)!.cookie;
  }
}

const pair = (story: (a: TestClient, b: TestClient) => Promise<void>): Promise<void> =>
  ClientCluster.run(async (cluster) => {
    const a = await cluster.client('a');
    const b = await cluster.client('b');
    await story(a, b);
    await a.close();
    await b.close();
  });

describe('names and attributes under a lease', () => {
  test('a client that is alone looks up, lists and asks without a message (P15)', () =>
    pair(async (a) => {
      const d = await a.client.mkdir(ROOT, bytes('d'), 0o755, caller);
      for (let i = 0; i < 10; i++) await a.client.mknod(d.oid, bytes(`f${i}`), 0o100644, 0, caller);
      const look = async () => {
        for (let i = 0; i < 10; i++) {
          const attr = await a.client.lookup(d.oid, bytes(`f${i}`));
          expect((await a.client.getattr(attr.oid)).nlink).toBe(1);
        }
        expect(await errnoOf(a.client.lookup(d.oid, bytes('none')))).toBe('ENOENT');
        expect(await names(a, d.oid)).toHaveLength(10);
        expect((await a.client.getattr(d.oid)).nlink).toBe(2);
      };
      expect(await calls(a, look)).toBe(0);
    }));

  test('attributes of a file whose name was never asked for go with the lease of its directory, too', () =>
    pair(async (a, b) => {
      const d = await a.client.mkdir(ROOT, bytes('d'), 0o755, caller);
      const [f, g] = await Promise.all(
        ['f', 'g'].map((name) => a.client.mknod(d.oid, bytes(name), 0o100644, 0, caller)),
      );
      await b.client.lookup(d.oid, bytes('g'));
      await b.client.getattr(f!.oid);
      expect(await calls(b, () => b.client.getattr(f!.oid))).toBe(0);
      // It has lost the lease, and gets it again.
      await a.client.setattr(f!.oid, {mode: 0o600});
      await a.client.parts.flusher.tellNames();
      expect((await b.client.lookup(d.oid, bytes('g'))).oid).toBe(g!.oid);
      for (let i = 0; i < 5 && b.client.parts.holder.peek(d.oid)?.mode !== 1; i++) {
        await new Promise<void>((resolve) => b.env.clock.timer(100, resolve));
        await b.client.getattr(d.oid);
      }
      expect(b.client.parts.holder.peek(d.oid)?.mode).toBe(1);
      expect((await b.client.getattr(f!.oid)).mode).toBe(0o100600);
    }));

  test('attributes of a file do not stay with a directory that it has left, though its name was not known there (world 5125 --metas)', () =>
    pair(async (a, b) => {
      const [d, e] = await Promise.all(
        ['d', 'e'].map((name) => a.client.mkdir(ROOT, bytes(name), 0o755, caller)),
      );
      const f = await a.client.mknod(d!.oid, bytes('f'), 0o100644, 0, caller);
      await a.client.mknod(d!.oid, bytes('other'), 0o100644, 0, caller);
      await a.client.mknod(e!.oid, bytes('g'), 0o100644, 0, caller);
      await a.client.syncAll();
      await b.client.lookup(e!.oid, bytes('g'));
      await b.client.lookup(d!.oid, bytes('other'));
      // Its attributes are known, and its name is not.
      await b.client.getattr(f.oid);
      expect(await calls(b, () => b.client.getattr(f.oid))).toBe(0);
      const exchange = 2;
      await b.client.rename(e!.oid, bytes('g'), d!.oid, bytes('f'), exchange);
      await a.client.setattr(f.oid, {mode: 0o600});
      await a.client.syncAll();
      expect((await b.client.getattr(f.oid)).mode & 0o777).toBe(0o600);
    }));

  test('a listing fills the cache: one message a page, none for what is in it', () =>
    pair(async (a, b) => {
      const d = await a.client.mkdir(ROOT, bytes('d'), 0o755, caller);
      for (let i = 0; i < 7; i++) await a.client.mknod(d.oid, bytes(`f${i}`), 0o100644, 0, caller);
      await b.client.lookup(ROOT, bytes('d'));
      expect(await calls(b, () => names(b, d.oid))).toBe(3);
      const look = async () => {
        await names(b, d.oid);
        for (let i = 0; i < 7; i++) await b.client.lookup(d.oid, bytes(`f${i}`));
        expect(await errnoOf(b.client.lookup(d.oid, bytes('none')))).toBe('ENOENT');
      };
      expect(await calls(b, look)).toBe(0);
    }));

  test('own changes are seen at once, still without a message', () =>
    pair(async (a) => {
      const d = await a.client.mkdir(ROOT, bytes('d'), 0o755, caller);
      await a.client.mknod(d.oid, bytes('x'), 0o100644, 0, caller);
      const y = await a.client.mknod(d.oid, bytes('y'), 0o100644, 0, caller);
      await a.client.rename(d.oid, bytes('y'), d.oid, bytes('z'), 0);
      await a.client.unlink(d.oid, bytes('x'));
      await a.client.setattr(y.oid, {mode: 0o600});
      const look = async () => {
        expect(await names(a, d.oid)).toEqual(['z']);
        expect((await a.client.lookup(d.oid, bytes('z'))).oid).toBe(y.oid);
        expect(await errnoOf(a.client.lookup(d.oid, bytes('x')))).toBe('ENOENT');
        expect(await errnoOf(a.client.lookup(d.oid, bytes('y')))).toBe('ENOENT');
      };
      // One: the time of the renamed file is not known here.
      expect(await calls(a, look)).toBeLessThanOrEqual(1);
      expect((await a.client.getattr(y.oid)).mode & 0o777).toBe(0o600);
    }));

  test('size and times that were flushed stay known', () =>
    pair(async (a) => {
      const oid = await a.create('f');
      await a.write(oid, 0, Buffer.alloc(5000, 1));
      await a.client.fsync(oid);
      expect(
        await calls(a, async () =>
          expect((await a.client.lookup(ROOT, bytes('f'))).size).toBe(5000),
        ),
      ).toBe(0);
    }));

  test('every change by another is seen by the next question (P20)', () =>
    pair(async (a, b) => {
      const d = await a.client.mkdir(ROOT, bytes('d'), 0o755, caller);
      const f = await a.client.mknod(d.oid, bytes('f'), 0o100644, 0, caller);
      await names(a, d.oid);
      const b2 = await b.client.lookup(d.oid, bytes('f'));
      expect(b2.oid).toBe(f.oid);
      await b.client.setattr(f.oid, {mode: 0o640});
      expect((await a.client.getattr(f.oid)).mode & 0o777).toBe(0o640);
      await b.client.mknod(d.oid, bytes('g'), 0o100644, 0, caller);
      expect(await names(a, d.oid)).toEqual(['f', 'g']);
      await b.client.rename(d.oid, bytes('f'), ROOT, bytes('f'), 0);
      expect(await errnoOf(a.client.lookup(d.oid, bytes('f')))).toBe('ENOENT');
      expect((await a.client.lookup(ROOT, bytes('f'))).oid).toBe(f.oid);
      await b.client.link(f.oid, d.oid, bytes('h'));
      expect((await a.client.lookup(ROOT, bytes('f'))).nlink).toBe(2);
      await b.client.setxattr(f.oid, bytes('user.a'), bytes('1'), 0);
      expect(Buffer.from(await a.client.getxattr(f.oid, bytes('user.a'))).toString()).toBe('1');
      await b.client.unlink(ROOT, bytes('f'));
      expect((await a.client.lookup(d.oid, bytes('h'))).nlink).toBe(1);
      const own = await b.create('w');
      expect((await a.client.lookup(ROOT, bytes('w'))).size).toBe(0);
      await b.write(own, 0, Buffer.alloc(300, 2));
      expect((await a.client.lookup(ROOT, bytes('w'))).size).toBe(300);
      await b.write(own, 300, Buffer.alloc(300, 2));
      expect((await a.client.getattr(own)).size).toBe(600);
    }));

  test('a directory that two clients change is not handed to and fro without end', () =>
    pair(async (a, b) => {
      const d = await a.client.mkdir(ROOT, bytes('d'), 0o755, caller);
      await b.client.lookup(ROOT, bytes('d'));
      const before = a.client.stats.recalls + b.client.stats.recalls;
      for (let i = 0; i < 20; i++) {
        const [one, other] = i % 2 === 0 ? [a, b] : [b, a];
        await one.client.mknod(d.oid, bytes(`f${i}`), 0o100644, 0, caller);
        expect((await other.client.lookup(d.oid, bytes(`f${i}`))).nlink).toBe(1);
      }
      expect(a.client.stats.recalls + b.client.stats.recalls - before).toBeLessThan(8);
    }));
});

test('who has had no connection for so long that others may have its leases gives up what the kernel keeps (C61)', () =>
  ClientCluster.run(async (cluster) => {
    let voided = 0;
    const cacheOwner = {
      invalidate: () => Promise.resolve(),
      fenced: () => {},
      voidNames: () => {
        voided++;
        return Promise.resolve();
      },
    };
    const a = await cluster.client('a', {cacheOwner});
    await names(a, ROOT);
    const {land} = cluster.meta;
    voided = 0;
    land.network.partition('a', 'meta');
    await cluster.meta.pass(5000);
    const before = voided;
    await cluster.meta.pass(6000);
    expect(a.client.parts.session.valid).toBe(false);
    expect([before, voided]).toEqual([0, 1]);
    land.network.heal();
    await a.close();
  }));

test('so does who was stopped for as long, as soon as it finds the connection gone', () =>
  ClientCluster.run(async (cluster) => {
    let voided = 0;
    const cacheOwner = {
      invalidate: () => Promise.resolve(),
      fenced: () => {},
      voidNames: () => {
        voided++;
        return Promise.resolve();
      },
    };
    const a = await cluster.client('a', {cacheOwner});
    await names(a, ROOT);
    const {land} = cluster.meta;
    land.network.partition('a', 'meta');
    a.machine.freeze();
    voided = 0;
    await cluster.meta.pass(30_000);
    expect(voided).toBe(0);
    a.machine.thaw();
    await cluster.meta.pass(5000);
    expect(a.client.parts.session.valid).toBe(false);
    expect(voided).toBeGreaterThan(0);
    land.network.heal();
    await a.close();
  }));
