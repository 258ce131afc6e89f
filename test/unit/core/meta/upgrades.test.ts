// Goal: what is new is made use of only when all who must have it do, and then who lacks it is not let in (docs/upgrade.md). Method: a simulated meta server, with nodes on whose machines this release or the first one is installed.
import {describe, expect, test} from '@jest/globals';
import {Refusal} from '../../../../src/core/base/errors.js';
import {FIRST_RELEASE, SWITCHED, THIS_RELEASE} from '../../../../src/core/base/features.js';
import {decodeBatch} from '../../../../src/core/meta/batch.js';
import {HEADER_BYTES, recordAt} from '../../../../src/core/meta/log.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {META_ADDRESS, MetaCluster} from '../../../support/meta-cluster.js';
import {play} from '../../../support/sim.js';

const NEW = {...THIS_RELEASE, name: '0.2.0'};
const OLD = {...FIRST_RELEASE, name: '0.1.0'};
const ALL_ON = SWITCHED.map(({name}) => [name, true]);

/** A cluster that was made by the first release, which is installed everywhere. */
function older(story: (c: MetaCluster) => Promise<void>): Promise<void> {
  const c = new MetaCluster(1);
  return play(c.land, async () => {
    c.host.release = OLD;
    await c.boot();
    for (let i = 0; i < 5; i++) {
      const host = c.land.machine(`d${i}`);
      host.release = OLD;
      await c.addServer(`d${i}`, host);
    }
    await story(c);
    expect(c.failures).toEqual([]);
    await c.server.stop();
  });
}

/** The meta server is stopped and started with another release. */
async function install(c: MetaCluster, release = NEW): Promise<void> {
  await c.server.stop();
  c.host.release = release;
  await c.boot();
  for (const server of c.servers) await server.connect();
}

/** Of the data servers, one after the other. */
async function installData(c: MetaCluster, release = NEW): Promise<void> {
  for (const server of c.servers) {
    server.host.release = release;
    await server.start();
  }
  await c.pass(1_000);
}

async function standby(c: MetaCluster, release = NEW): Promise<Peer> {
  const host = c.land.machine(`m${c.land.scheduler.events}`);
  host.release = release;
  const env = host.boot();
  const peer = new Peer(env, await env.net.connect(META_ADDRESS, 1_000));
  await peer.hello({role: 'standby', server: 'm1', name: 'life', address: 'm1:7400'});
  return peer;
}

async function ask(c: MetaCluster, finalize = false) {
  const admin = await c.admin();
  try {
    return (await admin.call(OPS.upgrade, {finalize})).message;
  } finally {
    admin.close('done');
  }
}

const features = async (c: MetaCluster) => (await ask(c)).features.map(({name, on}) => [name, on]);

const logOf = (c: MetaCluster): Uint8Array => c.host.disk.peek('log/0000000001', 0, 2 ** 20);

/** Of the newest batch of the log: does it say what the state was? */
async function digested(c: MetaCluster): Promise<boolean> {
  const disk = logOf(c);
  let digest: number | null = null;
  for (let at = 0, header = recordAt(disk, 0); header !== null; header = recordAt(disk, at)) {
    ({digest} = decodeBatch(disk.subarray(at + HEADER_BYTES, header.end)));
    at = header.end;
  }
  return digest !== null;
}

const errorOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => null,
    (error: unknown) => error,
  );

describe('features of the state', () => {
  test('a new cluster makes use of all of them', () =>
    MetaCluster.run(async (c) => {
      expect(await features(c)).toEqual(ALL_ON);
      expect(await ask(c)).toMatchObject({next: '', ready: false});
      expect(await digested(c)).toBe(true);
    }));

  test('one that an older release has made uses none before somebody says so, and can be taken back until then', () =>
    older(async (c) => {
      await (await c.client('a')).create('f');
      await install(c);
      await (await c.client('b')).create('g');
      expect(await digested(c)).toBe(false);
      await install(c, OLD);
      const {oid} = (await (await c.client('d')).create('h')).attr;
      expect(oid).toBeGreaterThan(0);
      await install(c);
      await ask(c, true);
      expect(await features(c)).toEqual(ALL_ON);
      await (await c.client('e')).create('i');
      expect(await digested(c)).toBe(true);
    }));

  test('after that the older release does not start on it, says why, and changes nothing', () =>
    older(async (c) => {
      await install(c);
      await ask(c, true);
      await c.server.stop();
      c.host.release = OLD;
      const before = logOf(c).length;
      expect(await errorOf(c.boot())).toMatchObject({
        errno: 'EINVAL',
        detail:
          'the cluster makes use of digests, deeds, which release 0.1.0 does not have: install a newer one',
      });
      expect(logOf(c).length).toBe(before);
      c.host.release = NEW;
      await c.boot();
      expect(await features(c)).toEqual(ALL_ON);
    }));

  test('an older standby keeps it off, and is not let in when it is on', () =>
    older(async (c) => {
      await install(c);
      const peer = await standby(c, OLD);
      const {features: listed, next} = await ask(c);
      expect(listed[0]).toMatchObject({name: 'digests', on: false, lacking: ['meta standby']});
      expect(next).toMatch(/^stop the meta server m1:7400 \(standby\), install the newer/);
      expect(await errorOf(ask(c, true))).toMatchObject({
        errno: 'EBUSY',
        detail: 'meta standby cannot take part in digests',
      });
      expect(await features(c)).toEqual([
        ['digests', false],
        ['deeds', false],
      ]);
      peer.close('upgraded');
      await c.pass(100);
      await ask(c, true);
      const error = (await errorOf(standby(c, OLD))) as Refusal;
      expect(error).toBeInstanceOf(Refusal);
      expect([error.kind, error.detail]).toEqual([
        'WrongVersion',
        'the cluster makes use of digests, deeds, which release 0.1.0 does not have: install a newer one',
      ]);
      (await standby(c)).close('done');
    }));

  test('data servers and clients of the older release are not asked to have what only meta servers need', () =>
    older(async (c) => {
      await install(c);
      await ask(c, true);
      const host = c.land.machine('old');
      host.release = OLD;
      const client = await c.client('old', '', host);
      await client.create('f');
      await c.servers[0]!.start();
      const {nodes} = await ask(c);
      expect(nodes.map(({role, place, release}) => `${role} ${place} ${release}`)).toEqual([
        'meta active 0.2.0',
        ...[0, 1, 2, 3, 4].map((slot) => `data 1.${slot} 0.1.0`),
        'client  0.1.0',
      ]);
    }));
});

describe('what is to be done next', () => {
  test('meta servers, data servers one at a time while groups are whole, clients, then the switch', () =>
    older(async (c) => {
      await install(c);
      const host = c.land.machine('old');
      host.release = OLD;
      const client = await c.client('old', '', host);
      expect((await ask(c)).next).toBe(
        'stop the data server d0:7000 (1.0), install the newer release there, and start it',
      );
      c.servers[0]!.host.kill(false);
      await c.pass(30_000);
      expect((await ask(c)).next).toMatch(/^wait until group 1 is whole; stop the data server d1:/);
      await installData(c);
      // It has just begun, and does not know yet who is here.
      await c.server.stop();
      await c.boot();
      expect(await ask(c)).toMatchObject({
        ready: false,
        next: 'start the newer release of data 1.0, which is away',
      });
      await c.servers[0]!.connect();
      c.servers[1]!.host.release = OLD;
      await c.servers[1]!.start();
      expect((await ask(c)).next).toMatch(/^wait until group 1 is whole; stop the data server d1:/);
      await installData(c);
      await c.client('old', '', host);
      expect((await ask(c)).next).toBe('unmount old, and mount it with the newer release');
      client.host.kill(false);
      await c.pass(1_000);
      expect(await ask(c)).toMatchObject({ready: true});
      expect((await ask(c, true)).next).toBe('');
    }));
});
