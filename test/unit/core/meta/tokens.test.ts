// Goal: a token makes as many machines nodes as was said, and no more, whoever asks again and whatever becomes of the meta server; and what administrators did is known afterwards (U60).
// Method: the meta server in the simulator, with connections that have proved to have tokens, credentials and keys.
import {describe, expect, test} from '@jest/globals';
import {FsError, Refusal} from '../../../../src/core/base/errors.js';
import type {Identity, JoinRole, Token} from '../../../../src/core/base/identity.js';
import {DEEDS_MAX} from '../../../../src/core/meta/deed-op.js';
import type * as wire from '../../../../src/core/protocol/gen/wire.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {Peer} from '../../../../src/core/transport/peer.js';
import {proving} from '../../../support/identities.js';
import {META_ADDRESS, MetaCluster} from '../../../support/meta-cluster.js';
import {play} from '../../../support/sim.js';

const SERVER: Identity = {kind: 'server'};
const boss: Identity = {
  kind: 'client',
  name: 'boss',
  rights: 'admin',
  serial: '0'.repeat(12),
  until: 0,
};
const reader: Identity = {...boss, name: 'reader', rights: 'ro'};
const KEYS = 'cluster 00112233 the-secret-of-the-cluster';

class World {
  readonly who = new Map<string, Identity>([
    ['boss', boss],
    ['reader', reader],
  ]);
  readonly made: Token[] = [];
  #hosts = 0;

  constructor(readonly c: MetaCluster) {
    proving(c.land, [c.host], (host) => this.who.get(host) ?? SERVER);
  }

  async dial(who: Identity | string, role: string): Promise<Peer> {
    const host = typeof who === 'string' ? who : `host${++this.#hosts}`;
    if (typeof who !== 'string') this.who.set(host, who);
    const env = this.c.land.machine(host).boot();
    const peer = new Peer(env, await env.net.connect(META_ADDRESS, 1_000));
    await peer.hello({role});
    return peer;
  }

  async create(token: Partial<wire.TokenRequest> = {}): Promise<Token & {kind: 'token'}> {
    const admin = await this.dial(SERVER, 'admin');
    const until = Math.floor(this.c.clock.wall() / 1000) + 60;
    await admin.call(OPS.tokenCreate, {role: 'data', uses: 1, until, ...token});
    admin.close('done');
    return {kind: 'token', ...this.made.at(-1)!};
  }

  async join(token: Identity): Promise<string> {
    const peer = await this.dial(token, 'join');
    try {
      return (await peer.call(OPS.join, {name: 'machine'})).message.keys;
    } finally {
      peer.close('done');
    }
  }

  async deeds(): Promise<wire.Deed[]> {
    const admin = await this.dial(SERVER, 'admin');
    const all: wire.Deed[] = [];
    for (;;) {
      const {deeds} = (await admin.call(OPS.deeds, {after: all.at(-1)?.number ?? 0})).message;
      if (deeds.length === 0) return all;
      all.push(...deeds);
    }
  }
}

async function outcome(promise: Promise<unknown>): Promise<string> {
  try {
    return String(await promise);
  } catch (error) {
    if (error instanceof FsError) return `${error.errno}: ${error.detail}`;
    return error instanceof Refusal ? error.kind : String(error);
  }
}

function run(story: (w: World) => Promise<void>): Promise<void> {
  const made: Token[] = [];
  const c = new MetaCluster(1, {
    joining: {
      identity: (token) => {
        made.push(token);
        return `t1:00112233:${token.id}`;
      },
      keys: ({role}) => (role === 'client' ? 'client' : KEYS),
    },
  });
  const world = new World(c);
  Object.assign(world, {made});
  return play(c.land, async () => {
    await c.boot();
    await story(world);
    if (c.failures.length > 0) throw c.failures[0];
  });
}

describe('a token', () => {
  test('gets one machine its keys, and the next one nothing', () =>
    run(async (w) => {
      const token = await w.create();
      expect(await w.join(token)).toBe(KEYS);
      expect(await outcome(w.join(token))).toMatch(/EACCES: token .* was used 1 times/);
    }));

  test('is good for as many as was said, also when they come at once', () =>
    run(async (w) => {
      const token = await w.create({uses: 3});
      const all = await Promise.all(Array.from({length: 10}, () => outcome(w.join(token))));
      expect(all.filter((one) => one === KEYS).length).toBe(3);
    }));

  test('stays used when the meta server dies, with its machine', () =>
    run(async (w) => {
      const token = await w.create();
      await w.join(token);
      w.c.crash(true);
      await w.c.boot();
      expect(await outcome(w.join(token))).toMatch(/EACCES: token .* was used/);
    }));

  test('that has expired, was revoked, or was never made: nothing', () =>
    run(async (w) => {
      const short = await w.create({until: Math.floor(w.c.clock.wall() / 1000) + 5});
      const revoked = await w.create();
      const admin = await w.dial(SERVER, 'admin');
      await admin.call(OPS.tokenRevoke, {id: revoked.id});
      await w.c.pass(10_000);
      expect(await outcome(w.join(short))).toMatch(/expired/);
      expect(await outcome(w.join(revoked))).toMatch(/revoked/);
      expect(await outcome(w.join({...revoked, id: 'ffffffffffff'}))).toMatch(/there is no token/);
      const {tokens} = (await admin.call(OPS.tokens, {})).message;
      expect(tokens.map(({used}) => used)).toEqual([0, 0]);
    }));

  test('is for joining alone, and joining is for tokens alone', () =>
    run(async (w) => {
      const token = await w.create();
      for (const role of ['client', 'admin', 'data', 'standby', 'node'])
        expect(await outcome(w.dial(token, role))).toMatch(/EACCES: a token/);
      for (const who of [SERVER, boss, reader])
        expect(await outcome(w.dial(who, 'join'))).toMatch(/EACCES: who joins/);
    }));

  test('is made by who has a key of the cluster, not by an administrator, who would become a server', () =>
    run(async (w) => {
      const admin = await w.dial('boss', 'admin');
      const until = Math.floor(w.c.clock.wall() / 1000) + 60;
      const asked = admin.call(OPS.tokenCreate, {role: 'data', uses: 1, until});
      expect(await outcome(asked)).toMatch(/EACCES: .*key of the cluster/);
      const wrong: Partial<wire.TokenRequest>[] = [
        {role: 'king' as JoinRole},
        {uses: 0},
        {until: 1},
        {until: until + 1e9},
        {role: 'client', rights: 'all'},
      ];
      for (const token of wrong) expect(await outcome(w.create(token))).toMatch(/EINVAL/);
    }));
});

describe('what administrators did', () => {
  test('is there with who, from where, with what and with what result, and without secrets', () =>
    run(async (w) => {
      const token = await w.create();
      await w.join(token);
      const admin = await w.dial('boss', 'admin');
      await outcome(admin.call(OPS.evict, {session: 77}));
      await admin.call(OPS.scrub, {settings: {paused: 2, rate: 0, interval: 0}});
      await admin.call(OPS.scrub, {});
      const deeds = await w.deeds();
      expect(deeds.map(({who, what, result}) => `${who} ${what} ${result}`)).toEqual([
        'server meta.token-create ok',
        `token ${token.id} meta.join ok`,
        'boss meta.evict ENOENT: session 77',
        'boss meta.scrub ok',
      ]);
      expect(JSON.parse(deeds[2]!.with)).toEqual({session: 77});
      expect(deeds[2]!.from).toMatch(/^boss/);
      expect(JSON.stringify(deeds)).not.toContain('secret');
    }));

  test('is there after a crash, and who was refused is', () =>
    run(async (w) => {
      await outcome(w.dial('reader', 'admin'));
      const admin = await w.dial('boss', 'admin');
      await admin.call(OPS.groupCreate, {id: 9});
      await admin.call(OPS.syncMeta, {});
      w.c.crash(true);
      await w.c.boot();
      expect((await w.deeds()).map(({who, what}) => `${who} ${what}`)).toEqual([
        'reader hello.denied',
        'boss meta.group-create',
      ]);
    }));

  test('is not flushed by who is refused all the time', () =>
    run(async (w) => {
      const admin = await w.dial('boss', 'admin');
      await admin.call(OPS.groupCreate, {id: 9});
      for (let round = 0; round < 300; round++) {
        await outcome(w.dial('reader', 'admin'));
      }
      await w.c.pass(601_000);
      await outcome(w.dial('reader', 'admin'));
      const deeds = await w.deeds();
      expect(deeds[0]).toMatchObject({who: 'boss', what: 'meta.group-create'});
      expect(deeds.length).toBe(1 + 30 + 1);
      expect(deeds.at(-1)!.more).toBe(270);
    }));

  test('is bounded', () =>
    run(async (w) => {
      const admin = await w.dial('boss', 'admin');
      for (let round = 0; round < DEEDS_MAX + 10; round++)
        await outcome(admin.call(OPS.evict, {session: round + 1000}));
      const deeds = await w.deeds();
      expect(deeds.length).toBe(DEEDS_MAX);
      expect(deeds[0]!.number).toBe(11);
    }));
});
