// Goal: a credential for a folder reaches nothing else, by whatever number, name or connection it asks (P10, U60). Method: the real servers in the simulator, with connections that have
// proved to be of such a credential, and the requests of an attacker who knows all numbers.
import {describe, expect, test} from '@jest/globals';
import {FsError, Refusal} from '../../../../src/core/base/errors.js';
import type {Identity, Limits} from '../../../../src/core/base/identity.js';
import type {ColumnRef} from '../../../../src/core/protocol/gen/wire.js';
import {OPS, type Op, opByCode, SET} from '../../../../src/core/protocol/ops.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {metaSamples} from '../../../support/fuzz-requests.js';
import {proving} from '../../../support/identities.js';
import type {ToyClient} from '../../../support/meta-cluster.js';
import {RealCluster} from '../../../support/real-cluster.js';

const NONE: Limits = {path: '', squash: null, bytes: 0};
const credential = (name: string, limits?: Partial<Limits>): Identity => ({
  kind: 'client',
  name,
  rights: 'rw',
  serial: '0'.repeat(12),
  until: 0,
  ...(limits === undefined ? {} : {limits: {...NONE, ...limits}}),
});
const WHO: Record<string, Identity> = {
  tenant: credential('tenant', {path: '/t'}),
  other: credential('other'),
  squashed: credential('squashed', {squash: {uid: 1000, gid: 1001}}),
  small: credential('small', {bytes: 1000}),
  nowhere: credential('nowhere', {path: '/not/there'}),
};

interface Tree {
  c: RealCluster;
  owner: ToyClient;
  tenant: ToyClient;
  mine: number;
  file: number;
  others: number;
  secret: number;
}

const bytes = (text: string): Buffer => Buffer.from(text);
const root = {uid: 0, gid: 0};

async function outcome(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'done';
  } catch (error) {
    if (error instanceof FsError) return error.errno;
    return error instanceof Refusal ? error.kind : String(error);
  }
}

async function entry(client: ToyClient, op: Op<never, never>, request: object): Promise<number> {
  const reply = (await client.call(op, request as never)) as unknown as {attr: {oid: number}};
  return reply.attr.oid;
}
const mkdir = (client: ToyClient, parent: number, name: string): Promise<number> =>
  entry(client, OPS.mkdir as never, {parent, name: bytes(name), mode: 0o40755, caller: root});
const create = (client: ToyClient, parent: number, name: string): Promise<number> =>
  entry(client, OPS.create as never, {parent, name: bytes(name), mode: 0o100644, caller: root});

/** /t/file of the tenant, /o/secret of others. */
function run(story: (t: Tree) => Promise<void>): Promise<void> {
  const c = new RealCluster(1);
  proving(c.meta.land, [c.meta.host], (host) => WHO[host] ?? null);
  return RealCluster.play(c, async () => {
    const owner = await c.meta.client('owner');
    const mine = await mkdir(owner, 1, 't');
    const file = await create(owner, mine, 'file');
    const others = await mkdir(owner, 1, 'o');
    const secret = await create(owner, others, 'secret');
    const tenant = await c.meta.client('tenant');
    await story({c, owner, tenant, mine, file, others, secret});
  });
}

describe('a credential for a folder', () => {
  test('reaches what is below, and makes, renames and links there', () =>
    run(async ({tenant, mine, file}) => {
      const made = await mkdir(tenant, mine, 'made');
      const deep = await create(tenant, made, 'deep');
      await tenant.call(OPS.rename, {
        parent: made,
        name: bytes('deep'),
        newParent: mine,
        newName: bytes('up'),
      });
      await tenant.call(OPS.link, {oid: deep, parent: made, name: bytes('again')});
      expect((await tenant.getattr(deep)).attr.nlink).toBe(2);
      await tenant.call(OPS.open, {oid: file, write: true});
      expect((await tenant.call(OPS.readdir, {oid: mine, maxEntries: 9})).entries.length).toBe(3);
    }));

  test('reaches nothing else by its number, with any request', () =>
    run(async ({tenant, mine, others, secret}) => {
      const without = [OPS.hello, OPS.heartbeat, OPS.getMap, OPS.report, OPS.goodbye, OPS.statfs];
      const harmless = [OPS.syncMeta, OPS.release, OPS.lockCancel, OPS.lockReturn, OPS.reserve];
      // It is answered, with nothing of these.
      const silent = [
        OPS.readdirMany,
        OPS.leaseMany,
        OPS.reclaim,
        OPS.lockReclaim,
        OPS.yieldLease,
        OPS.flush,
      ];
      const skipped = new Set([...without, ...harmless, ...silent].map(({code}) => code));
      for (const [directory, file] of [
        [others, secret],
        [1, secret],
        [mine, secret],
        [others, 1],
      ] as const) {
        for (const {op, request} of metaSamples(directory, file)) {
          if (skipped.has(op.code)) continue;
          const inside =
            directory === mine && !new RegExp(`\b${file}\b`).test(JSON.stringify(request));
          // It has no such name; the number is only what it believes that it has.
          if (inside || (directory === mine && op.code === OPS.unlink.code)) continue;
          const said = await outcome(tenant.call(op, request));
          if (!['EACCES', 'Lost: '].some((one) => said.startsWith(one)))
            throw new Error(`${op.name} of ${directory}, ${file}: ${said}`);
          if (tenant.peer.closed) await tenant.connect(false);
        }
      }
      expect((await tenant.call(OPS.leaseMany, {oids: [secret]})).leases).toEqual([]);
      expect((await tenant.call(OPS.readdirMany, {oids: [others, 1], max: 9})).listings).toEqual(
        [],
      );
    }));

  test('every request of the protocol has a place in the table, or is refused', () =>
    run(async ({tenant, mine}) => {
      for (const op of opByCode.values()) {
        if (op.code >= 0x0300 || op.code <= 0x0102 || op.code === OPS.goodbye.code) continue;
        const said = await outcome(
          tenant.call(op, {oid: 1, parent: 1, newParent: 1, caller: root}),
        );
        expect([op.name, said]).toEqual([
          op.name,
          expect.stringMatching(/done|EACCES|EINVAL|Lost|EOPNOTSUPP|OutOfState/),
        ]);
        if (tenant.peer.closed) await tenant.connect(false);
      }
      expect((await tenant.getattr(mine)).attr.oid).toBe(mine);
    }));

  test('tells nothing of what others have: sizes, times, inline bytes, changes of names', () =>
    run(async ({owner, tenant, others, secret}) => {
      const before = (await owner.getattr(secret)).attr;
      const time = {sec: 9, nsec: 9};
      const item = {
        oid: secret,
        size: 77,
        hasSize: true,
        hasAtime: true,
        atime: time,
        hasMtime: true,
        mtime: time,
      };
      await outcome(tenant.call(OPS.flush, {items: [item as never]}));
      await outcome(tenant.call(OPS.yieldLease, {oid: secret, keep: 0, attr: item as never}));
      const made = {
        parent: others,
        name: bytes('new'),
        mode: 0o100644,
        caller: root,
        exclusive: true,
      };
      const change = {
        code: OPS.create.code,
        request: OPS.create.request.encode(made),
        oid: 900,
        groups: [1],
        now: time,
      };
      expect(await outcome(tenant.call(OPS.flush, {changes: [change]}))).toBe('EACCES');
      expect((await owner.getattr(secret)).attr).toEqual(before);
      expect(
        (await tenant.call(OPS.reclaim, {oids: [secret], modes: [2], opens: [1], yielding: [true]}))
          .gone,
      ).toEqual([secret]);
    }));

  test('does not follow what is moved out, and reaches what is moved in', () =>
    run(async ({owner, tenant, mine, file, others, secret}) => {
      const dir = await mkdir(owner, mine, 'dir');
      const deep = await create(owner, dir, 'deep');
      expect(await outcome(tenant.getattr(deep))).toBe('done');
      const out = {parent: mine, name: bytes('dir'), newParent: others, newName: bytes('dir')};
      await owner.call(OPS.rename, out);
      for (const oid of [dir, deep]) expect(await outcome(tenant.getattr(oid))).toBe('EACCES');
      const back = {parent: mine, name: bytes('x'), newParent: others, newName: bytes('y')};
      expect(await outcome(tenant.call(OPS.rename, back))).toBe('EACCES');
      await owner.call(OPS.rename, {
        parent: others,
        name: bytes('secret'),
        newParent: mine,
        newName: bytes('s'),
      });
      expect(await outcome(tenant.getattr(secret))).toBe('done');
      expect(await outcome(tenant.getattr(file))).toBe('done');
    }));

  test('of a file with several names reaches it by one that it has seen below, for as long as there is that name', () =>
    run(async ({owner, tenant, mine, secret}) => {
      await owner.call(OPS.link, {oid: secret, parent: mine, name: bytes('linked')});
      expect(await outcome(tenant.getattr(secret))).toBe('EACCES');
      await tenant.call(OPS.lookup, {parent: mine, name: bytes('linked')});
      expect(await outcome(tenant.getattr(secret))).toBe('done');
      await tenant.call(OPS.yieldLease, {oid: mine, keep: 0});
      await owner.call(OPS.unlink, {parent: mine, name: bytes('linked')});
      expect(await outcome(tenant.getattr(secret))).toBe('EACCES');
    }));

  test('keeps what it has open when that loses its name, and its folder', () =>
    run(async ({c, owner, tenant, mine}) => {
      const dir = await mkdir(owner, mine, 'dir');
      const deep = await create(owner, dir, 'deep');
      const never = await create(owner, dir, 'never');
      await tenant.open(deep, false);
      await tenant.call(OPS.yieldLease, {oid: deep, keep: 0});
      for (const name of ['deep', 'never'])
        await owner.call(OPS.unlink, {parent: dir, name: bytes(name)});
      await owner.call(OPS.unlink, {parent: mine, name: bytes('dir'), directory: true, oid: dir});
      for (const oid of [dir, deep, never]) {
        await owner.call(OPS.yieldLease, {oid, keep: 0});
        await tenant.call(OPS.yieldLease, {oid, keep: 0});
      }
      await c.meta.pass(2_000);
      expect(await outcome(owner.getattr(dir))).toBe('ENOENT');
      expect(await outcome(tenant.getattr(deep))).toBe('done');
      expect(await outcome(tenant.getattr(never))).toBe('ENOENT');
      expect(await outcome(tenant.getattr(2 ** 40))).toBe('ENOENT');
    }));

  test('whose folder is not there gets no session', () =>
    run(async ({c}) => {
      expect(await outcome(c.meta.client('nowhere'))).toBe('ENOENT');
    }));

  test('data servers refuse it the columns of others, and serve it its own', () =>
    run(async ({c, owner, tenant, file, secret}) => {
      const server = c.servers[0]!;
      const ref = (oid: number): ColumnRef => ({
        ...{oid, chunk: 0, generation: 0, column: 0, k: 4, m: 1, unitBytes: 65_536},
        epoch: server.map!.epoch,
        repair: false,
      });
      const dial = async (client: ToyClient, session: number): Promise<Peer> => {
        const peer = new Peer(client.env, await client.env.net.connect('data0:7000', 1_000));
        await peer.hello({role: 'client', session, server: server.uuid});
        return peer;
      };
      const peer = await dial(tenant, tenant.session);
      const ranges = [{offset: 0, length: 4096}];
      const ask = (oid: number): Promise<string>[] =>
        [
          peer.call(OPS.read, {ref: ref(oid), ranges}),
          peer.call(OPS.write, {ref: ref(oid), ranges}),
          peer.call(OPS.truncate, {ref: ref(oid), bytes: 0}),
          peer.call(OPS.punch, {ref: ref(oid), ranges}),
          peer.call(OPS.stat, {ref: ref(oid)}),
          peer.call(OPS.doubt, {ref: ref(oid)}),
          peer.call(OPS.badBlock, {ref: ref(oid), ranges}),
          peer.call(OPS.sums, {items: [{ref: ref(oid), offset: 0, blocks: 1}]}),
          peer.call(OPS.settle, {epoch: ref(oid).epoch, chunks: [ref(oid)]}),
          peer.call(OPS.list, {kind: 'intents', oid}),
        ].map(outcome);
      expect([...new Set(await Promise.all(ask(secret)))]).toEqual(['EACCES']);
      expect(await Promise.all(ask(file))).not.toContain('EACCES');
      for (const kind of ['columns', 'missed', 'intents'])
        expect(await outcome(peer.call(OPS.list, {kind}))).toBe('EACCES');
      expect(await outcome(peer.call(OPS.remove, {oids: [file], epoch: 1}))).toBe('EACCES');
      // Nor does it come as somebody else.
      expect(await outcome(dial(tenant, owner.session))).toBe('NoSession');
    }));
});

test('nobody takes up the session of another credential, or says that it was lost', () =>
  run(async ({c, owner, tenant}) => {
    const other = await c.meta.client('other');
    for (const session of [tenant.session, owner.session]) {
      const peer = new Peer(other.env, await other.env.net.connect('meta:7400', 1_000));
      expect(await outcome(peer.hello({role: 'client', session}))).toBe('NoSession');
    }
    expect(tenant.peer.closed).toBe(false);
  }));

test('root is squashed: what it makes is not root’s, nothing is given to root, and it makes no devices', () =>
  run(async ({c}) => {
    const squashed = await c.meta.client('squashed');
    const oid = await create(squashed, 1, 'x');
    const {attr} = await squashed.getattr(oid);
    expect([attr.uid, attr.gid]).toEqual([1000, 1001]);
    expect(await outcome(squashed.call(OPS.setattr, {oid, mask: SET.uid, uid: 0}))).toBe('EPERM');
    expect(await outcome(squashed.call(OPS.setattr, {oid, mask: SET.gid, gid: 0}))).toBe('EPERM');
    expect(await outcome(squashed.call(OPS.setattr, {oid, mask: SET.uid, uid: 7}))).toBe('done');
    const device = {parent: 1, name: bytes('d'), mode: 0o60644, rdev: 5, caller: root};
    expect(await outcome(squashed.call(OPS.mknod, device))).toBe('EPERM');
    const lease = await squashed.call(OPS.lease, {oid: 1, mode: 2, directory: true});
    expect(lease.mode).not.toBe(2);
  }));

test('a size is what statfs says at most', () =>
  run(async ({c, owner}) => {
    const small = await c.meta.client('small');
    const [less, all] = [await small.call(OPS.statfs, {}), await owner.call(OPS.statfs, {})];
    expect([less.totalBytes, less.freeBytes]).toEqual([1000, 1000]);
    expect(all.totalBytes).toBeGreaterThan(1000);
  }));

test('a credential that is taken back: its session ends at once, and what it held for writing is others’', () => {
  let revoked = false;
  const c = new RealCluster(1);
  const why = (): string | null => (revoked ? 'the credential was revoked' : null);
  proving(c.meta.land, [c.meta.host], (host) => WHO[host] ?? null, why);
  return RealCluster.play(c, async () => {
    const other = await c.meta.client('other');
    const oid = await create(other, 1, 'x');
    expect(await other.lease(oid, 2)).toBe(2);
    const owner = await c.meta.client('owner');
    revoked = true;
    const begun = c.meta.clock.now();
    // It does not give it back: nobody waits for it as long as for one that is only slow.
    other.stubborn = true;
    await c.meta.pass(1_000);
    expect(other.peer.closed).toBe(true);
    expect(await outcome(other.connect(false))).toBe('Fenced');
    const {fenced} = (await c.meta.status()).map;
    expect(fenced).toContain(other.session);
    for (const server of c.servers) expect(server.map!.fenced).toContain(other.session);
    expect(c.meta.clock.now() - begun).toBeLessThan(5_000);
    expect(await outcome(owner.getattr(oid))).toBe('done');
  });
});
