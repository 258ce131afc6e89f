import {describe, expect, test} from '@jest/globals';
import {OPS, SET} from '../../../../src/core/protocol/ops.js';
import {MetaCluster, refusal} from '../../../support/meta-cluster.js';

const {run} = MetaCluster;

describe('leases between clients', () => {
  test('create brings a write lease; another reader gets it after a recall, with the size (P20)', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {attr, lease, layout, created} = await a.create('f');
      expect({lease, created, k: layout?.k}).toEqual({lease: 2, created: true, k: 4});
      a.sizes.set(attr.oid, 4711);
      expect(await b.lease(attr.oid, 1)).toBe(1);
      expect(a.recalls).toEqual([{oid: attr.oid, keep: 1}]);
      expect((await b.getattr(attr.oid)).attr.size).toBe(4711);
      expect(a.held.get(attr.oid)).toBe(1);
    }));

  test('two clients that both want to write take turns', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      for (let round = 1; round <= 50; round++) {
        for (const [one, other] of [[a, b] as const, [b, a] as const]) {
          await one.lease(oid, 2);
          expect(other.held.get(oid) ?? 0).toBe(0);
          const {attr} = await one.getattr(oid);
          one.sizes.set(oid, attr.size + 1);
        }
      }
      await b.yield(oid, 0);
      expect((await a.getattr(oid)).attr.size).toBe(100);
    }));

  test('a stat asks the holder, once for all who ask at the same time, and never the holder itself', () =>
    run(async (c) => {
      const [a, b, d] = [await c.client('a'), await c.client('b'), await c.client('d')];
      const {oid} = (await a.create('f')).attr;
      a.sizes.set(oid, 10);
      const all = await Promise.all([b.getattr(oid), b.getattr(oid), d.getattr(oid)]);
      expect(all.map(({attr}) => attr.size)).toEqual([10, 10, 10]);
      expect(a.reports).toBe(1);
      expect((await a.getattr(oid)).attr.size).toBe(10);
      expect(a.reports).toBe(1);
      a.sizes.set(oid, 20);
      const {attr} = await b.call(OPS.lookup, {parent: 1, name: Buffer.from('f')});
      expect(attr?.size).toBe(20);
      a.sizes.set(oid, 30);
      const page = await b.call(OPS.readdir, {oid: 1, maxEntries: 10, attributes: true});
      expect(page.entries[0]?.attr?.size).toBe(30);
      expect(a.held.get(oid)).toBe(2);
    }));

  test('a holder that does not answer is not waited for longer than 2 s', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      a.host.freeze();
      const before = c.clock.now();
      expect((await b.getattr(oid)).attr.size).toBe(0);
      expect(c.clock.now() - before).toBeLessThan(2_200);
      a.host.thaw();
    }));

  test('truncate by someone else: everybody gives the object up first', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      a.sizes.set(oid, 5000);
      const {attr} = await b.call(OPS.setattr, {oid, mask: SET.size, size: 7});
      expect(attr.size).toBe(7);
      expect(a.held.has(oid)).toBe(false);
      expect((await a.getattr(oid)).attr.size).toBe(7);
      // Not the lease, but the change was asked for.
      expect(await a.lease(oid, 2)).toBe(2);
      expect(b.recalls).toEqual([]);
    }));

  test('an open brings a lease only if it is free', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      expect((await b.open(oid, false)).lease).toBe(0);
      await a.yield(oid, 0);
      expect((await b.open(oid, false)).lease).toBe(1);
      expect((await a.open(oid, false)).lease).toBe(1);
      expect((await a.open(oid, true)).lease).toBe(1);
      expect(await refusal(a.call(OPS.open, {oid: 12345}))).toContain('ENOENT');
      expect(await refusal(a.call(OPS.lease, {oid: 1, mode: 1}))).toContain('EINVAL');
    }));

  test('flush of what is not held for writing changes neither size nor mtime', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await a.yield(oid, 0);
      const item = {
        oid,
        size: 99,
        hasSize: true,
        hasMtime: false,
        hasAtime: false,
        hasInline: false,
        grow: false,
        inlineBytes: 0,
        blocks: 1,
      };
      await b.call(OPS.flush, {items: [{...item, mtime: null, atime: null}]});
      expect((await a.getattr(oid)).attr.size).toBe(0);
      await b.lease(oid, 2);
      await b.call(OPS.flush, {items: [{...item, mtime: null, atime: null}], durable: true});
      expect((await a.getattr(oid)).attr.size).toBe(99);
    }));
});

describe('fences', () => {
  test('recall timeout: fenced at all data servers, then granted; the holder hears of it (P20)', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      a.stubborn = true;
      c.servers[3]!.deaf = true;
      const before = c.clock.now();
      let granted = false;
      const lease = b.lease(oid, 2).then(() => {
        granted = true;
      });
      await c.pass(10_500);
      expect(granted).toBe(false); // One data server has not acknowledged the fence.
      c.servers[3]!.deaf = false;
      await c.pass(1_000);
      for (const server of c.servers) expect(server.map?.fenced).toEqual([a.session]);
      expect(await refusal(a.connect())).toBe('Fenced');
      // It was heard a moment ago, so it may trust what it holds until it says otherwise.
      expect(granted).toBe(false);
      a.lost = a.session;
      a.session = 0;
      await a.connect();
      expect(a.resumed).toBe(false);
      await lease;
      expect(c.clock.now() - before).toBeLessThan(13_000);
      // What the fenced one was writing is checked by the lowest ready server.
      await c.pass(2_500);
      expect(c.servers[0]!.resync).toBe(1);
    }));

  test('a silent session with a write lease is fenced after 15 s, one without is forgotten', () =>
    run(async (c) => {
      const [a, b, d] = [await c.client('a'), await c.client('b'), await c.client('d')];
      const {oid} = (await a.create('f')).attr;
      a.host.kill(false);
      d.host.kill(false);
      await c.pass(16_000);
      const {map, sessions} = await c.status();
      expect(sessions.map(({name}) => name)).toEqual(['b']);
      expect(map.fenced).toEqual([a.session]);
      expect(await b.lease(oid, 2)).toBe(2);
    }));
});

describe('sessions', () => {
  test('a request that is sent again after a reconnect is not done twice (C73)', () =>
    run(async (c) => {
      const a = await c.client('a');
      const mkdir = {parent: 1, name: Buffer.from('d'), mode: 0o755, caller: {uid: 0, gid: 0}};
      const {attr} = await a.call(OPS.mkdir, mkdir);
      const id = a.lastId;
      a.peer.close('cut');
      await a.connect();
      expect(a.resumed).toBe(true);
      expect((await a.call(OPS.mkdir, mkdir, id)).attr?.oid).toBe(attr?.oid);
      expect(await refusal(a.call(OPS.mkdir, mkdir))).toContain('EEXIST');
    }));

  test('a recall that the connection lost is sent again; what the client does not know of is free', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      const other = (await a.create('g')).attr.oid;
      a.peer.close('cut');
      const lease = b.lease(oid, 2);
      await c.pass(100);
      a.held.delete(other); // As if the reply with that lease had been lost.
      await a.connect();
      await lease;
      expect(a.recalls).toEqual([{oid, keep: 0}]);
      expect(await b.lease(other, 2)).toBe(2);
      expect(a.recalls.length).toBe(1);
    }));

  test('a waiting request whose connection is gone gets no lease behind its back', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      a.stubborn = true;
      const lost = refusal(b.lease(oid, 2));
      await c.pass(100);
      b.peer.close('cut');
      expect(await lost).toContain('Lost');
      a.stubborn = false;
      await a.yield(oid, 0);
      await b.connect();
      expect((await c.status()).sessions.map(({leases}) => leases)).toEqual([0, 0]);
    }));

  test('refusals: version, cluster, role, unknown session, a request before hello', () =>
    run(async (c) => {
      const a = await c.client('a');
      const env = c.land.machine('x').boot();
      const {Peer} = await import('../../../../src/core/transport/peer.js');
      const dial = async () => new Peer(env, await env.net.connect('meta:7400', 1_000));
      const hello = {versionMin: 1, versionMax: 1, role: 'client'};
      const say = async (q: object) => refusal((await dial()).call(OPS.hello, {...hello, ...q}));
      expect(await say({versionMin: 7, versionMax: 9})).toBe('WrongVersion');
      expect(await say({cluster: 'another'})).toBe('WrongServer');
      expect(await say({role: 'queen'})).toBe('OutOfState');
      expect(await say({session: 987_654})).toBe('NoSession');
      const rude = await dial();
      expect(await refusal(rude.call(OPS.getattr, {oid: 1}))).toContain('Lost');
      expect((await a.getattr(1)).attr.oid).toBe(1);
    }));

  test('goodbye frees everything at once, without a fence', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await a.call(OPS.goodbye, {});
      expect(await b.lease(oid, 2)).toBe(2);
      expect((await c.status()).map.fenced).toEqual([]);
    }));
});

describe('orphans and removal', () => {
  test('an unlinked file lives until the last release; then its columns go', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await b.open(oid, false);
      await b.unlink('f');
      await a.release(oid);
      await c.pass(1_000);
      expect((await a.getattr(oid)).attr.nlink).toBe(0);
      expect(c.servers[0]!.removed).toEqual([]);
      await b.release(oid);
      await c.pass(1_000);
      expect(await refusal(a.getattr(oid))).toContain('ENOENT');
      for (const server of c.servers) expect(server.removed).toEqual([oid]);
      expect((await b.call(OPS.exists, {oids: [1, oid]})).missing).toEqual([oid]);
    }));

  test('what a client that died had open goes when its session ends', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await b.unlink('f');
      a.host.kill(false);
      await c.pass(18_000);
      for (const server of c.servers) expect(server.removed).toEqual([oid]);
    }));

  test('a server that does not answer keeps the removal in the queue, over a restart', () =>
    run(async (c) => {
      const a = await c.client('a');
      const {oid} = (await a.create('f')).attr;
      await a.release(oid);
      for (const server of c.servers) server.host.freeze();
      await a.unlink('f');
      await c.pass(1_000);
      await a.call(OPS.goodbye, {});
      c.crash(false);
      for (const server of c.servers) server.kill();
      await c.boot();
      for (const server of c.servers) await server.start();
      await c.pass(4_000);
      for (const server of c.servers) expect(server.removed).toEqual([oid]);
    }));
});

describe('restart of the meta server', () => {
  test('holders take back what they hold; others wait; nothing is done twice', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      const id = a.lastId;
      a.sizes.set(oid, 77);
      const {boot} = a;
      await a.call(OPS.syncMeta, {});
      c.crash(true);
      await c.boot();
      await b.connect();
      const lease = b.lease(oid, 1);
      const stat = b.getattr(oid);
      await c.pass(500);
      for (const server of c.servers) await server.connect();
      await a.connect();
      expect(a.boot).not.toBe(boot);
      expect(a.resumed).toBe(true);
      expect((await stat).attr.size).toBe(77);
      await lease;
      expect(a.recalls).toEqual([{oid, keep: 1}]);
      const again = {
        parent: 1,
        name: Buffer.from('f'),
        mode: 0o100644,
        open: true,
        exclusive: true,
      };
      const reply = await a.call(OPS.create, {...again, caller: {uid: 0, gid: 0}}, id);
      expect({oid: reply.attr.oid, created: reply.created}).toEqual({oid, created: true});
    }));

  test('who does not come back within 5 s is fenced before anything is granted', () =>
    run(async (c) => {
      const [a, b] = [await c.client('a'), await c.client('b')];
      const {oid} = (await a.create('f')).attr;
      await a.unlink('f');
      c.crash(false);
      await c.boot();
      for (const server of c.servers) await server.connect();
      await b.connect();
      const before = c.clock.now();
      const other = (await b.create('g')).attr.oid;
      expect(await b.lease(other, 2)).toBe(2);
      expect(c.clock.now() - before).toBeGreaterThan(4_000);
      expect((await c.status()).map.fenced).toEqual([a.session]);
      expect(await refusal(a.connect())).toBe('Fenced');
      await c.pass(1_000);
      // Its open file had no name: nothing keeps it now.
      expect(c.servers[0]!.removed).toEqual([oid]);
    }));

  test('opens are reclaimed, too: an open file without a name stays', () =>
    run(async (c) => {
      const a = await c.client('a');
      const {oid} = (await a.create('f')).attr;
      await a.unlink('f');
      await a.yield(oid, 0);
      c.crash(false);
      await c.boot();
      for (const server of c.servers) await server.connect();
      await a.connect();
      await c.pass(7_000);
      expect((await a.getattr(oid)).attr.nlink).toBe(0);
      await a.release(oid);
      await c.pass(1_000);
      expect(await refusal(a.getattr(oid))).toContain('ENOENT');
    }));
});

describe('data servers', () => {
  test('lost: away, survivors acknowledge, then clients are told (DESIGN 9)', () =>
    run(async (c) => {
      const a = await c.client('a');
      await c.pass(1_000);
      const epoch = (await c.status()).map.epoch;
      c.servers[1]!.deaf = true;
      c.servers[2]!.kill();
      await c.pass(1_000);
      expect(await c.states()).toBe('RRaRR');
      expect(a.epoch).toBeLessThanOrEqual(epoch);
      c.servers[1]!.deaf = false;
      await c.pass(500);
      expect(a.epoch).toBe(epoch + 1);
      const {map} = await a.call(OPS.getMap, {});
      expect(map.groups[0]?.slots[2]).toMatchObject({state: 2, stale: true});
      await c.servers[2]!.start();
      await c.pass(500);
      expect(await c.states()).toBe('RRcRR');
      await c.servers[2]!.recovered();
      await c.pass(500);
      expect(await c.states()).toBe('RRRRR');
      expect(a.epoch).toBe((await c.status()).map.epoch);
    }));

  test('a copy of a live server is refused; a server of another group, too (C4)', () =>
    run(async (c) => {
      const copy = c.land.machine('copy');
      const {ToyServer} = await import('../../../support/meta-cluster.js');
      const twin = new ToyServer(copy, 'd1');
      twin.env = copy.boot();
      expect(await refusal(twin.connect())).toBe('WrongServer');
      expect(await c.states()).toBe('RRRRR');
      const sixth = new ToyServer(c.land.machine('d9'), 'd9');
      sixth.env = sixth.host.boot();
      expect(await refusal(sixth.connect())).toBe('WrongServer');
      const wrong = new ToyServer(c.land.machine('d1b'), 'd1');
      wrong.env = wrong.host.boot();
      wrong.group = 2;
      expect(await refusal(wrong.connect())).toBe('WrongServer');
    }));

  test('a hung server is lost after 4 s, or when it is reported; it comes back when it wakes', () =>
    run(async (c) => {
      const a = await c.client('a');
      c.servers[4]!.host.freeze();
      await c.pass(2_600);
      const {epoch} = (await c.status()).map;
      await a.call(OPS.report, {group: 1, slot: 4, epoch, reason: 'no answer'});
      expect(await c.states()).toBe('RRRRa');
      c.servers[4]!.host.thaw();
      await c.pass(500);
      await c.servers[4]!.connect();
      await c.pass(500);
      expect(await c.states()).toBe('RRRRc');
    }));

  test('all five killed and restarted: whole, with an order to check', () =>
    run(async (c) => {
      for (const server of c.servers) server.kill();
      await c.pass(1_000);
      expect(await c.states()).toBe('aaaaa');
      for (const server of c.servers) await server.start();
      await c.pass(2_500);
      expect(await c.states()).toBe('RRRRc');
      expect(c.servers[0]!.resync).toBeGreaterThan(0);
    }));

  test('no group, no file: ENOSPC; space is what the scheme leaves', () =>
    run(
      async (c) => {
        const a = await c.client('a');
        expect(await refusal(a.create('f'))).toContain('ENOSPC');
        for (let i = 4; i < 5; i++) await c.addServer(`d${i}`);
        await c.pass(1_500);
        await a.create('f');
        const {totalBytes, freeBytes} = await a.call(OPS.statfs, {});
        expect({totalBytes, freeBytes}).toEqual({totalBytes: 4_000_000, freeBytes: 2_000_000});
      },
      1,
      4,
    ));
});
