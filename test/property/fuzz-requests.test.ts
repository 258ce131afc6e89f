// Goal: no client, whatever its credential allows it to say, ends a server, makes it answer with a bug, or harms what others have (C100, U60). Method: the real servers in the
// simulator; requests of every kind with fields that no program of ours sends, over connections and sessions that are in order, while another client writes and verifies.
import {describe, expect, test} from '@jest/globals';
import type {Identity} from '../../src/core/base/identity.js';
import {sleep} from '../../src/core/env/clock.js';
import {OPS} from '../../src/core/protocol/ops.js';
import type {SimMachine} from '../../src/core/sim/machine.js';
import {pattern, seeded} from '../support/frames.js';
import {
  adminSamples,
  dataSamples,
  fuzzRequests,
  metaSamples,
  nodeSamples,
  type RequestFuzz,
} from '../support/fuzz-requests.js';
import {proving} from '../support/identities.js';
import {META_ADDRESS} from '../support/meta-cluster.js';
import {RealCluster} from '../support/real-cluster.js';
import {type LogLine, RecordingLog} from '../support/recording-log.js';

const SEEDS = (process.env.FUZZ_SEEDS ?? '1,2').split(',').map(Number);
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 2000);
const MINUTES = 60_000;

/** What every process of the machine logs from now on. */
function recorded(machine: SimMachine, lines: LogLine[]): void {
  const boot = machine.boot.bind(machine);
  machine.boot = () => ({...boot(), log: new RecordingLog(lines, {machine: machine.name})});
}

/** All that is stored: names, inodes and columns, but for what is read. */
async function stored(c: RealCluster): Promise<string> {
  const admin = await c.meta.admin();
  const {inodes} = (await admin.call(OPS.inodes, {})).message;
  const {names} = (await admin.call(OPS.names, {})).message;
  admin.close('seen');
  const files = c.machines.flatMap(({name, disk}) =>
    [...disk.paths]
      .filter((path) => path.startsWith('columns/'))
      .map((path) => `${name} ${path} ${disk.file(path)!.size}`),
  );
  return JSON.stringify([inodes, names, files.sort()]);
}

/** A server that had to do with a bug says so. */
const bugs = (lines: readonly LogLine[]): LogLine[] =>
  lines.filter(({event}) =>
    ['handler.failed', 'meta.failed', 'data.failed', 'reply.too-long'].includes(event),
  );

class World {
  readonly lines: LogLine[] = [];
  #stopped = false;

  constructor(
    readonly c: RealCluster,
    identity: Identity | null,
  ) {
    recorded(c.meta.host, this.lines);
    const {land} = c.meta;
    proving(land, [c.meta.host], (host) => (host === 'attacker' ? identity : null));
    const machine = land.machine.bind(land);
    land.machine = (name, shape) => {
      const made = machine(name, shape);
      recorded(made, this.lines);
      return made;
    };
  }

  /** Another client: what it has written is what it reads, also from the columns, and it gets on. */
  async honest(): Promise<number> {
    const client = await this.c.client('honest');
    let rounds = 0;
    for (; !this.#stopped || rounds < 2; rounds++) {
      const oid = await client.create(`honest-${rounds}`);
      const bytes = pattern(100_000 + rounds, rounds);
      await client.write(oid, 0, bytes);
      await client.client.fsync(oid);
      for (const again of [oid, await client.open(`honest-${Math.floor(rounds / 2)}`, false)]) {
        const round = again === oid ? rounds : Math.floor(rounds / 2);
        const read = await client.read(again, 0, 200_000);
        expect(read.equals(Buffer.from(pattern(100_000 + round, round)))).toBe(true);
      }
      await sleep(client.env.clock, 500);
    }
    await client.close();
    return rounds;
  }

  stop(): void {
    this.#stopped = true;
  }
}

async function attacked(
  seed: number,
  identity: Identity | null,
  attack: (
    c: RealCluster,
    fuzz: Omit<RequestFuzz, 'address' | 'hello' | 'samples'>,
    own: {directory: number; file: number; session: number; epoch: number},
  ) => Promise<void>,
): Promise<void> {
  const cluster = new RealCluster(seed);
  const world = new World(cluster, identity);
  await RealCluster.play(cluster, async (c) => {
    const honest = world.honest();
    const toy = await c.meta.client('own');
    const {attr} = await toy.create('own-file');
    const oids = {directory: 1, file: attr.oid};
    toy.held.clear();
    const machine = c.meta.land.machine('attacker');
    const env = machine.boot();
    const fuzz = {env, below: seeded(seed), requests: REQUESTS};
    await attack(c, fuzz, {...oids, session: toy.session, epoch: toy.epoch});
    world.stop();
    expect(await honest).toBeGreaterThan(1);
    expect(env.pool.used).toBe(0);
    if (process.env.FUZZ_VERBOSE)
      console.log(
        JSON.stringify(
          Object.entries(Object.groupBy(world.lines, (l) => l.event)).map(([e, l]) => [
            e,
            l!.length,
          ]),
        ),
      );
    expect(bugs(world.lines)).toEqual([]);
    expect(await c.meta.states()).toBe('RRRRR');
  });
}

describe(`requests of a client with every right to ask (seeds ${SEEDS}, ${REQUESTS} requests)`, () => {
  for (const seed of SEEDS) {
    test(
      `the meta server, seed ${seed}`,
      () =>
        attacked(seed, null, async (_c, fuzz, {directory, file}) => {
          const samples = metaSamples(directory, file);
          const told = await fuzzRequests({
            ...fuzz,
            address: META_ADDRESS,
            hello: {role: 'client', name: 'fuzz'},
            samples,
          });
          expect(told.sent).toBeGreaterThanOrEqual(REQUESTS);
          if (process.env.FUZZ_VERBOSE) console.log(told);
          expect(told.done).toBeGreaterThan(REQUESTS / 20);
        }),
      2 * MINUTES,
    );

    test(
      `a data server, seed ${seed}`,
      () =>
        attacked(seed, null, async (c, fuzz, {session}) => {
          const server = c.servers[1]!;
          const oid = 2 ** 40;
          const hello = {role: 'client', session, server: server.uuid};
          const samples = dataSamples(oid, server.map!.epoch);
          const told = await fuzzRequests({...fuzz, address: 'data1:7000', hello, samples});
          expect(told.sent).toBeGreaterThanOrEqual(REQUESTS);
          if (process.env.FUZZ_VERBOSE) console.log(told);
          expect(told.done).toBeGreaterThan(REQUESTS / 20);
        }),
      2 * MINUTES,
    );
  }

  test(
    'an administrator, who may harm what is stored, ends no server',
    async () => {
      const [seed] = SEEDS;
      const cluster = new RealCluster(seed!);
      const world = new World(cluster, null);
      await RealCluster.play(cluster, async (c) => {
        const toy = await c.meta.client('own');
        const {oid} = (await toy.create('own-file')).attr;
        const env = c.meta.land.machine('attacker').boot();
        const fuzz = {env, below: seeded(seed!), requests: REQUESTS / 2};
        for (const [address, role, samples] of [
          [META_ADDRESS, 'admin', adminSamples(1, oid)],
          [META_ADDRESS, 'node', nodeSamples(oid)],
          ['data1:7000', 'admin', nodeSamples(oid)],
        ] as const) {
          const told = await fuzzRequests({...fuzz, address, hello: {role}, samples});
          expect(told.done).toBeGreaterThan(REQUESTS / 50);
        }
        expect((await c.meta.status()).map.groups.length).toBeGreaterThan(0);
        expect(c.servers.every((server) => server.connected)).toBe(true);
        expect(bugs(world.lines)).toEqual([]);
      });
    },
    2 * MINUTES,
  );

  test(
    'with the rights to read: nothing that is stored is another afterwards',
    async () => {
      const [seed] = SEEDS;
      const reader: Identity = {
        kind: 'client',
        name: 'reader',
        rights: 'ro',
        serial: '0'.repeat(12),
        until: 0,
      };
      const cluster = new RealCluster(seed!);
      const world = new World(cluster, reader);
      await RealCluster.play(cluster, async (c) => {
        const toy = await c.meta.client('own');
        const {oid} = (await toy.create('own-file')).attr;
        await toy.yield(oid, 0);
        const client = await c.client('owner');
        const bytes = Buffer.from(pattern(300_000, 1));
        const file = await client.create('file');
        await client.write(file, 0, bytes);
        await client.client.fsync(file);
        await client.close();
        const before = await stored(c);
        const env = c.meta.land.machine('attacker').boot();
        const fuzz = {env, below: seeded(seed!), requests: REQUESTS / 2};
        const meta = {role: 'client', name: 'fuzz'};
        await fuzzRequests({
          ...fuzz,
          address: META_ADDRESS,
          hello: meta,
          samples: metaSamples(1, file),
        });
        const server = c.servers[1]!;
        const data = {role: 'client', session: toy.session, server: server.uuid};
        const samples = dataSamples(file, server.map!.epoch);
        const told = await fuzzRequests({...fuzz, address: 'data1:7000', hello: data, samples});
        expect(told.answered).toBeGreaterThan(REQUESTS / 20);
        expect(await stored(c)).toBe(before);
        const reading = await c.client('later');
        expect(
          (await reading.read(await reading.open('file', false), 0, 400_000)).equals(bytes),
        ).toBe(true);
        await reading.close();
        expect(bugs(world.lines)).toEqual([]);
      });
    },
    2 * MINUTES,
  );

  test(
    'with the rights to write in a folder: nothing outside is another afterwards',
    async () => {
      const [seed] = SEEDS;
      const limits = {path: '/t', squash: {uid: 7, gid: 7}, bytes: 0};
      const credential = {name: 'tenant', rights: 'rw', serial: '0'.repeat(12), until: 0} as const;
      const cluster = new RealCluster(seed!);
      const world = new World(cluster, {kind: 'client', ...credential, limits});
      await RealCluster.play(cluster, async (c) => {
        const owner = await c.meta.client('own');
        const caller = {uid: 0, gid: 0};
        const folder = async (name: string): Promise<number> => {
          const made = {parent: 1, name: Buffer.from(name), mode: 0o40755, caller};
          return (await owner.call(OPS.mkdir, made)).attr!.oid;
        };
        const file = async (parent: number): Promise<number> => {
          const made = {parent, name: Buffer.from('file'), mode: 0o100644, caller};
          return (await owner.call(OPS.create, made)).attr.oid;
        };
        const [mine, others] = [await folder('t'), await folder('o')];
        const [own, secret] = [await file(mine), await file(others)];
        const client = await c.client('writer');
        await client.client.open(secret, {write: true});
        const bytes = Buffer.from(pattern(300_000, 1));
        await client.write(secret, 0, bytes);
        await client.client.fsync(secret);
        await client.close();
        const outside = async (): Promise<string> => {
          const admin = await c.meta.admin();
          const {inodes} = (await admin.call(OPS.inodes, {oids: [1, others, secret]})).message;
          const {names} = (await admin.call(OPS.names, {})).message;
          admin.close('seen');
          return JSON.stringify([inodes, names.filter(({parent}) => parent !== mine)]);
        };
        const before = await outside();
        const env = c.meta.land.machine('attacker').boot();
        const fuzz = {env, below: seeded(seed!), requests: REQUESTS / 3};
        const meta = {role: 'client', name: 'fuzz'};
        for (const [directory, oid] of [
          [mine, own],
          [others, secret],
          [mine, secret],
        ] as const) {
          const samples = metaSamples(directory, oid);
          const told = await fuzzRequests({...fuzz, address: META_ADDRESS, hello: meta, samples});
          expect(told.answered).toBeGreaterThan(REQUESTS / 40);
        }
        const now = (await outside()).replace(/"version":\d+/g, '');
        expect(now).toBe(before.replace(/"version":\d+/g, ''));
        const reading = await c.client('later');
        await reading.client.open(secret, {write: false});
        expect((await reading.read(secret, 0, 400_000)).equals(bytes)).toBe(true);
        await reading.close();
        expect(bugs(world.lines)).toEqual([]);
      });
    },
    2 * MINUTES,
  );
});
