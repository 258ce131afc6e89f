// Goal: a client that is alone changes names without asking, others see everything that it has completed, and what its death leaves
// is what it had done up to some moment. Method: clients in a simulated world, counted requests, deaths at drawn moments.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {LEASE} from '../../../../src/core/protocol/ops.js';
import {ClientCluster, type TestClient} from '../../../support/client-cluster.js';
import {errnoOf} from '../../../support/meta.js';

const ROOT = 1;
const caller = {uid: 0, gid: 0};
const bytes = (text: string): Uint8Array => Buffer.from(text);
const INLINE = {inlineBytesMax: 16_384};

async function names(c: TestClient, oid: number): Promise<string[]> {
  const {entries} = await c.client.readdir(oid, 0, 10_000, false);
  return entries.map(({name}) => Buffer.from(name).toString()).sort();
}

async function requests(c: TestClient, run: () => Promise<unknown>): Promise<number> {
  const before = c.client.stats.metaCalls;
  await run();
  return c.client.stats.metaCalls - before;
}

const mkdir = async (c: TestClient, parent: number, name: string): Promise<number> =>
  (await c.client.mkdir(parent, bytes(name), 0o755, caller)).oid;

async function create(c: TestClient, parent: number, name: string, text = ''): Promise<number> {
  const how = {exclusive: true, truncate: false};
  const {attr} = await c.client.create(parent, bytes(name), 0o644, caller, how);
  if (text !== '') await c.write(attr.oid, 0, bytes(text));
  c.client.release(attr.oid);
  return attr.oid;
}

describe('a client that is alone', () => {
  test('a tree of files costs next to nothing, and nothing at the time', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      const first = await mkdir(a, ROOT, 'first');
      const tree = async (): Promise<void> => {
        for (let d = 0; d < 10; d++) {
          const dir = await mkdir(a, first, `d${d}`);
          for (let i = 0; i < 50; i++) {
            const oid = await create(a, dir, `f${i}`, `text ${d} ${i}`);
            await a.client.setattr(oid, {mtime: {sec: 1000, nsec: i}, mode: 0o600});
          }
          await a.client.symlink(dir, bytes('link'), bytes('f0'), caller);
          await a.client.rename(dir, bytes('f1'), dir, bytes('renamed'), 0);
          await a.client.unlink(dir, bytes('f2'));
        }
      };
      // Some leave while it goes on, when half a message is full.
      expect(await requests(a, tree)).toBeLessThanOrEqual(3);
      expect(await requests(a, () => cluster.meta.pass(6000))).toBeLessThanOrEqual(4);
      const b = await cluster.client('b', INLINE);
      const seen = await b.client.lookup(ROOT, bytes('first'));
      expect(seen.nlink).toBe(12);
      const dir = await b.client.lookup(first, bytes('d7'));
      expect(await names(b, dir.oid)).toHaveLength(50);
      const file = await b.client.lookup(dir.oid, bytes('renamed'));
      expect([file.mode & 0o777, file.mtime]).toEqual([0o600, {sec: 1000, nsec: 1}]);
      expect((await b.read(file.oid, 0, 100)).toString()).toBe('text 7 1');
      await a.close();
      await b.close();
    }));

  test('rm -r and a deep mkdir -p are a few messages (P28, P29)', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      await mkdir(a, ROOT, 'first');
      const dirs: number[] = [];
      const deep = async (): Promise<void> => {
        for (let at = ROOT, i = 0; i < 30; i++) {
          at = await mkdir(a, at, `deep${i}`);
          dirs.push(at);
          await create(a, at, 'file', 'text');
        }
        await a.client.syncAll();
      };
      expect(await requests(a, deep)).toBeLessThanOrEqual(4);
      const remove = async (): Promise<void> => {
        for (let i = 29; i >= 0; i--) {
          await a.client.unlink(dirs[i]!, bytes('file'));
          await a.client.rmdir(dirs[i - 1] ?? ROOT, bytes(`deep${i}`));
        }
        await cluster.meta.pass(5000);
      };
      expect(await requests(a, remove)).toBeLessThanOrEqual(2);
      expect(await names(a, ROOT)).toEqual(['first']);
      expect((await cluster.meta.status()).files).toBe(2);
      await a.close();
    }));

  test('changes with long names and targets leave in messages that are not too long', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      const dir = await mkdir(a, ROOT, 'dir');
      for (let i = 0; i < 500; i++) {
        const name = bytes(`${i}`.padEnd(255, 'n'));
        await a.client.symlink(dir, name, bytes('t'.repeat(4000)), caller);
      }
      await a.client.fsync(dir);
      const b = await cluster.client('b', INLINE);
      expect(await names(b, dir)).toHaveLength(500);
      await a.close();
      await b.close();
    }));

  test('errors are those that the meta server would give', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      const dir = await mkdir(a, ROOT, 'dir');
      const file = await create(a, dir, 'file');
      await mkdir(a, dir, 'sub');
      const before = a.client.stats.metaCalls;
      expect(await errnoOf(() => mkdir(a, dir, 'file'))).toBe('EEXIST');
      expect(await errnoOf(() => create(a, dir, 'file'))).toBe('EEXIST');
      expect(await errnoOf(() => a.client.unlink(dir, bytes('none')))).toBe('ENOENT');
      expect(await errnoOf(() => a.client.unlink(dir, bytes('sub')))).toBe('EISDIR');
      expect(await errnoOf(() => a.client.rmdir(dir, bytes('file')))).toBe('ENOTDIR');
      expect(await errnoOf(() => a.client.rmdir(ROOT, bytes('dir')))).toBe('ENOTEMPTY');
      expect(await errnoOf(() => a.client.link(file, dir, bytes('sub')))).toBe('EEXIST');
      expect(await errnoOf(() => mkdir(a, dir, 'x'.repeat(256)))).toBe('ENAMETOOLONG');
      expect(a.client.stats.metaCalls - before).toBe(0);
      await a.close();
    }));

  test('what was renamed is known by its new name: looked at, renamed on and removed without a message', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      const dir = await mkdir(a, ROOT, 'dir');
      for (let i = 0; i < 20; i++) await create(a, dir, `f${i}`, 'text');
      await cluster.meta.pass(6000);
      const work = async (): Promise<void> => {
        for (let i = 0; i < 20; i++) {
          await a.client.rename(dir, bytes(`f${i}`), dir, bytes(`g${i}`), 0);
          expect((await a.client.lookup(dir, bytes(`g${i}`))).size).toBe(4);
          await a.client.rename(dir, bytes(`g${i}`), dir, bytes('one'), 0);
          await a.client.unlink(dir, bytes('one'));
        }
      };
      expect(await requests(a, work)).toBe(0);
      expect(await names(a, dir)).toEqual([]);
      await a.close();
    }));

  test('link and unlink in one directory, as git makes its objects, stay here', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      const dir = await mkdir(a, ROOT, 'dir');
      const run = async (): Promise<void> => {
        for (let i = 0; i < 20; i++) {
          const oid = await create(a, dir, 'tmp', `object ${i}`);
          await a.client.link(oid, dir, bytes(`object${i}`));
          await a.client.unlink(dir, bytes('tmp'));
        }
      };
      expect(await requests(a, run)).toBe(0);
      await a.client.syncAll();
      const b = await cluster.client('b', INLINE);
      expect(await names(b, dir)).toHaveLength(20);
      const one = await b.client.lookup(dir, bytes('object3'));
      expect([one.nlink, (await b.read(one.oid, 0, 100)).toString()]).toEqual([1, 'object 3']);
      await a.close();
      await b.close();
    }));
});

describe('clients that meet', () => {
  test('what one has completed the other sees at once, and takes the directory from it', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b] = [await cluster.client('a', INLINE), await cluster.client('b', INLINE)];
      const dir = await mkdir(a, ROOT, 'dir');
      await b.client.lookup(ROOT, bytes('dir'));
      for (let round = 0; round < 20; round++) {
        const [w, r] = round % 3 === 0 ? [b, a] : [a, b];
        const oid = await create(w, dir, `f${round}`, `text ${round}`);
        await w.client.setattr(oid, {mode: 0o600 + round});
        const seen = await r.client.lookup(dir, bytes(`f${round}`));
        expect([seen.oid, seen.mode & 0o777, seen.size]).toEqual([
          oid,
          0o600 + round,
          `text ${round}`.length,
        ]);
        expect((await r.client.getattr(dir)).mtime).toEqual((await w.client.getattr(dir)).mtime);
        await cluster.meta.pass(round * 10);
      }
      expect(await names(a, dir)).toEqual(await names(b, dir));
      await a.close();
      await b.close();
    }));

  test('with a directory the closed files in it go down to reading: who lists it may keep what he sees', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b] = [await cluster.client('a', INLINE), await cluster.client('b', INLINE)];
      const dir = await mkdir(a, ROOT, 'dir');
      const oids: number[] = [];
      for (let i = 0; i < 30; i++) oids.push(await create(a, dir, `f${i}`, 'text'));
      await cluster.meta.pass(3000);
      const written = await create(a, dir, 'busy', 'text');
      await a.client.open(written, {write: true});
      const {oid} = await b.client.lookup(ROOT, bytes('dir'));
      await b.client.readdir(oid, 0, 100, true);
      const modes = (of: readonly number[]) => of.map((one) => a.client.held(one));
      expect(modes(oids)).toEqual(oids.map(() => LEASE.read));
      expect(modes([written])).toEqual([LEASE.write]);
      const look = async (): Promise<void> => {
        for (let i = 0; i < 30; i++) await b.client.lookup(oid, bytes(`f${i}`));
      };
      expect(await requests(b, look)).toBe(0);
      await a.close();
      await b.close();
    }));

  test('who takes turns at short intervals does not hand the directory to and fro', () =>
    ClientCluster.run(async (cluster) => {
      const [a, b] = [await cluster.client('a', INLINE), await cluster.client('b', INLINE)];
      const dir = await mkdir(a, ROOT, 'dir');
      await cluster.meta.pass(2000);
      const before = a.client.stats.recalls + b.client.stats.recalls;
      for (let i = 0; i < 200; i++) {
        await mkdir(a, dir, `a${i}`);
        await mkdir(b, dir, `b${i}`);
        await cluster.meta.pass(5);
      }
      expect(a.client.stats.recalls + b.client.stats.recalls - before).toBeLessThan(100);
      expect(await names(a, dir)).toHaveLength(400);
      await a.close();
      await b.close();
    }));
});

test('a directory that nothing is done in any more is kept for reading: who dies later holds nobody up there', () =>
  ClientCluster.run(async (cluster) => {
    const [a, b] = [await cluster.client('a', INLINE), await cluster.client('b', INLINE)];
    const dir = await mkdir(a, ROOT, 'dir');
    await create(a, dir, 'f', 'text');
    expect(a.client.held(dir)).toBe(LEASE.write);
    await cluster.meta.pass(20_000);
    expect([a.client.held(dir), a.client.held(ROOT)]).toEqual([LEASE.read, LEASE.read]);
    // What is known stays known.
    expect(await requests(a, () => a.client.lookup(dir, bytes('f')))).toBe(0);
    a.machine.kill(false);
    const before = cluster.meta.clock.now();
    expect((await b.client.lookup(ROOT, bytes('dir'))).oid).toBe(dir);
    expect(await names(b, dir)).toEqual(['f']);
    // Who wrote the file is asked for its size, and is not waited for longer than 2 s.
    expect(cluster.meta.clock.now() - before).toBeLessThan(3_000);
    await b.close();
  }));

describe('what a failure leaves', () => {
  test('the meta server dies while changes are on their way: each happens once, in order', () =>
    ClientCluster.run(async (cluster) => {
      for (let round = 0; round < 6; round++) {
        const a = await cluster.client(`a${round}`, INLINE);
        const dir = await mkdir(a, ROOT, `dir${round}`);
        for (let i = 0; i < 40; i++) await create(a, dir, `f${i}`, `text ${i}`);
        const told = a.client.syncAll();
        await cluster.meta.pass(round * 0.2);
        cluster.meta.crash(round % 2 === 0);
        await cluster.meta.boot();
        for (const server of cluster.meta.servers) await server.connect();
        for (let i = 0; i < 20; i++) await a.client.unlink(dir, bytes(`f${i}`));
        await told;
        await a.client.syncAll();
        const b = await cluster.client(`b${round}`, INLINE);
        expect(await names(b, dir)).toEqual(
          Array.from({length: 20}, (_, i) => `f${i + 20}`).sort(),
        );
        const {oid} = await b.client.lookup(dir, bytes('f33'));
        expect((await b.read(oid, 0, 100)).toString()).toBe('text 33');
        await a.close();
        await b.close();
      }
    }));

  test.each(['the meta server restarts', 'the connection breaks'])(
    '%s: a directory that was removed with what was in it stays removed',
    (what) =>
      ClientCluster.run(async (cluster) => {
        const a = await cluster.client('a', INLINE);
        const dir = await mkdir(a, ROOT, 'dir');
        for (let i = 0; i < 20; i++) await create(a, dir, `f${i}`, 'text');
        await a.client.syncAll();
        for (let i = 0; i < 20; i++) await a.client.unlink(dir, bytes(`f${i}`));
        await a.client.rmdir(ROOT, bytes('dir'));
        if (what === 'the connection breaks') {
          while (cluster.meta.land.network.resetOne()) await cluster.meta.pass(0.01);
        } else {
          cluster.meta.crash(false);
          await cluster.meta.boot();
          for (const server of cluster.meta.servers) await server.connect();
        }
        await a.client.syncAll();
        expect(await names(a, ROOT)).toEqual([]);
        const b = await cluster.client('b', INLINE);
        expect(await names(b, ROOT)).toEqual([]);
        await a.close();
        await b.close();
      }),
  );

  test('the session is gone: what was not told is gone with it, and somebody is told', () =>
    ClientCluster.run(async (cluster) => {
      const a = await cluster.client('a', INLINE);
      const dir = await mkdir(a, ROOT, 'dir');
      await a.client.syncAll();
      await create(a, dir, 'lost', 'text');
      a.client.parts.session.fencedByServer();
      await cluster.meta.pass(20_000);
      expect(await errnoOf(() => a.client.fsync(dir))).toBe('EIO');
      // Once.
      await a.client.fsync(dir);
      expect(await names(a, dir)).toEqual([]);
      // And whoever syncs everything, for he may be another one.
      expect(await errnoOf(() => a.client.syncAll())).toBe('EIO');
      await create(a, dir, 'next', 'text');
      await a.client.syncAll();
      expect(await names(a, dir)).toEqual(['next']);
      await a.close();
    }));

  test('a crash of the client leaves a prefix of what it did, with all that was synced (P30)', async () => {
    const act = fc.constantFrom('create', 'mkdir', 'unlink', 'rename', 'fsync', 'pass', 'links');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(act, fc.nat(5)), {minLength: 5, maxLength: 60, size: 'max'}),
        fc.nat(3),
        (story, late) => ClientCluster.run((cluster) => crashStory(cluster, story, late)),
      ),
      {numRuns: 60},
    );
  });
});

/** Two directories, as lists of names with the contents of files. */
type Tree = Record<string, Record<string, string>>;

async function crashStory(
  cluster: ClientCluster,
  story: readonly [string, number][],
  late: number,
): Promise<void> {
  const a = await cluster.client('a', INLINE);
  const dirs: Record<string, number> = {x: await mkdir(a, ROOT, 'x'), y: await mkdir(a, ROOT, 'y')};
  await a.client.syncAll();
  let now: Tree = {x: {}, y: {}};
  const states = [JSON.stringify(now)];
  let safe = 0;
  const did = (change: (tree: Tree) => void): void => {
    now = structuredClone(now);
    change(now);
    states.push(JSON.stringify(now));
  };
  for (const [index, [what, n]] of story.entries()) {
    const [d, other] = n % 2 === 0 ? ['x', 'y'] : ['y', 'x'];
    const name = Object.keys(now[d]!)[n >> 1];
    if (what === 'create') {
      const fresh = `f${index}`;
      // Its content may come later than its name, and comes before whatever is done after both.
      await create(a, dirs[d]!, fresh);
      did((tree) => Object.assign(tree[d]!, {[fresh]: ''}));
    } else if (what === 'mkdir') {
      await mkdir(a, dirs[d]!, `d${index}`);
      did((tree) => Object.assign(tree[d]!, {[`d${index}`]: ''}));
    } else if (what === 'fsync') {
      await a.client.fsync(dirs[d]!);
      safe = states.length - 1;
    } else if (what === 'pass') await cluster.meta.pass(n * 400);
    else if (name === undefined) continue;
    else if (what === 'rename') {
      const directory = name.startsWith('d');
      const fresh = `${name}r${index}`;
      const to = directory ? d : other;
      await a.client.rename(dirs[d]!, bytes(name), dirs[to]!, bytes(fresh), 0);
      did((tree) => {
        delete tree[d]![name];
        tree[to]![fresh] = '';
      });
    } else if (what === 'unlink') {
      if (name.startsWith('d')) await a.client.rmdir(dirs[d]!, bytes(name));
      else await a.client.unlink(dirs[d]!, bytes(name));
      did((tree) => delete tree[d]![name]);
    } else if (what === 'links' && !name.startsWith('d')) {
      const {oid} = await a.client.lookup(dirs[d]!, bytes(name));
      await a.client.link(oid, dirs[d]!, bytes(`${name}l`)).catch(() => {});
      if (!(`${name}l` in now[d]!)) did((tree) => Object.assign(tree[d]!, {[`${name}l`]: ''}));
    }
  }
  // At any moment of a message that is on its way.
  if (late > 0) a.client.syncAll().catch(() => {});
  await cluster.meta.pass(late * 0.4);
  a.machine.kill(false);
  const b = await cluster.client('b', INLINE);
  const left: Tree = {};
  for (const d of ['x', 'y']) {
    const {oid} = await b.client.lookup(ROOT, bytes(d));
    left[d] = Object.fromEntries((await names(b, oid)).map((name) => [name, '']));
  }
  const sorted = (tree: Tree): string =>
    JSON.stringify(Object.values(tree).map((names) => Object.keys(names).sort()));
  const found = states.findLastIndex((state) => sorted(JSON.parse(state) as Tree) === sorted(left));
  expect([found >= safe, sorted(left)]).toEqual([true, sorted(left)]);
  expect(await errnoOf(() => mkdir(b, ROOT, 'x'))).toBe('EEXIST');
  expect(b.client.held(ROOT)).toBeGreaterThanOrEqual(LEASE.none);
  await b.close();
}
