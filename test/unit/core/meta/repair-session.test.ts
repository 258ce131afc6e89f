// Goal: who repairs for a data server that dies keeps nobody waiting who wants what it held. Method: toy data servers and clients on a
// simulated net; the session that says in whose process it works dies with that server.
import {expect, test} from '@jest/globals';
import {MetaCluster} from '../../../support/meta-cluster.js';

const WRITE = 2;
/** A closed connection counts as lost after half a second; every data server has to know of the fence. */
const SOON_MS = 2_000;

async function elapsed(c: MetaCluster, act: () => Promise<unknown>): Promise<number> {
  const began = c.clock.now();
  await act();
  return c.clock.now() - began;
}

test('a data server is killed: what its repair held for writing is granted as soon as it is out of the epoch', () =>
  MetaCluster.run(async (c) => {
    const a = await c.client('a');
    const {oid} = (await a.create('f')).attr;
    await a.yield(oid, 0);
    const repair = await c.client('repair of 1.2', 'd2');
    await repair.lease(oid, WRITE);
    c.servers[2]!.kill();
    repair.host.kill(false);
    expect(await elapsed(c, () => a.lease(oid, WRITE))).toBeLessThan(SOON_MS);
    const {map} = await c.status();
    expect(map.fenced).toEqual([repair.session]);
    for (const server of c.servers.filter(({uuid}) => uuid !== 'd2'))
      expect(server.map?.fenced).toEqual([repair.session]);
  }));

test('the meta server is restarted while that server is away: nobody waits for its repair to come back', () =>
  MetaCluster.run(async (c) => {
    const a = await c.client('a');
    const {oid} = (await a.create('f')).attr;
    await a.yield(oid, 0);
    const repair = await c.client('repair of 1.2', 'd2');
    await repair.lease(oid, WRITE);
    c.servers[2]!.kill();
    repair.host.kill(false);
    await c.pass(SOON_MS);
    c.crash(false);
    await c.boot();
    for (const server of c.servers.filter(({uuid}) => uuid !== 'd2')) await server.connect();
    await a.connect();
    expect(await elapsed(c, () => a.lease(oid, WRITE))).toBeLessThan(SOON_MS);
  }));

test('a server that comes back has its repair begun anew; that of another one stays', () =>
  MetaCluster.run(async (c) => {
    const [mine, other] = [await c.client('repair', 'd2'), await c.client('repair', 'd3')];
    c.servers[2]!.kill();
    await c.servers[2]!.start();
    await c.pass(SOON_MS);
    const {sessions} = await c.status();
    expect(sessions.map(({id}) => id)).toEqual([other.session]);
    expect(mine.session).not.toBe(other.session);
  }));

test('both are killed, and the server begins another life: nobody waits for its repair to come back', () =>
  MetaCluster.run(async (c) => {
    const a = await c.client('a');
    const {oid} = (await a.create('f')).attr;
    await a.yield(oid, 0);
    const repair = await c.client('repair of 1.2', 'd2');
    await repair.lease(oid, WRITE);
    c.servers[2]!.kill();
    repair.host.kill(false);
    c.crash(false);
    await c.boot();
    for (const server of c.servers.filter(({uuid}) => uuid !== 'd2')) await server.connect();
    await c.servers[2]!.start();
    await a.connect();
    expect(await elapsed(c, () => a.lease(oid, WRITE))).toBeLessThan(SOON_MS);
  }));

test('the meta server is killed while the repair is fenced: its next life waits for the data servers alone', () =>
  MetaCluster.run(async (c) => {
    const a = await c.client('a');
    const {oid} = (await a.create('f')).attr;
    await a.yield(oid, 0);
    const repair = await c.client('repair of 1.2', 'd2');
    await repair.lease(oid, WRITE);
    const others = c.servers.filter(({uuid}) => uuid !== 'd2');
    others[0]!.deaf = true;
    c.servers[2]!.kill();
    repair.host.kill(false);
    await c.pass(SOON_MS);
    c.crash(false);
    await c.boot();
    others[0]!.deaf = false;
    for (const server of others) await server.connect();
    await a.connect();
    expect(await elapsed(c, () => a.lease(oid, WRITE))).toBeLessThan(SOON_MS);
  }));
