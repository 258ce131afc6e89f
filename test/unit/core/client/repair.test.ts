import {describe, expect, test} from '@jest/globals';
import {type OpenedClient, openClient} from '../../../../src/core/client/index.js';
import {RepairAgent} from '../../../../src/core/client/repair-agent.js';
import {DataServer} from '../../../../src/core/data/server.js';
import {PlainCodec} from '../../../../src/core/sim/codec.js';
import type {SimMachine} from '../../../../src/core/sim/machine.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {TestClient} from '../../../support/client-cluster.js';
import {META_ADDRESS, MetaCluster} from '../../../support/meta-cluster.js';
import {play} from '../../../support/sim.js';

// The real servers and clients over the simulated network and disks, each data server with its repair agent.

const codec = new PlainCodec();
const KV = {get: () => undefined} as never;

class RealCluster {
  readonly meta: MetaCluster;
  readonly machines: SimMachine[] = [];
  readonly servers: DataServer[] = [];

  constructor(seed: number) {
    this.meta = new MetaCluster(seed);
  }

  static run(story: (c: RealCluster) => Promise<void>, seed = 1): Promise<void> {
    const cluster = new RealCluster(seed);
    return play(cluster.meta.land, async () => {
      await cluster.meta.boot();
      for (let index = 0; index < 5; index++) {
        cluster.machines.push(cluster.meta.land.machine(`data${index}`));
        await cluster.start(index);
      }
      await story(cluster);
      if (cluster.meta.failures.length > 0) throw cluster.meta.failures[0];
    });
  }

  async start(index: number): Promise<void> {
    const machine = this.machines[index]!;
    const env = {...machine.boot(), codec, kv: KV};
    let agent: RepairAgent | null = null;
    const server = new DataServer(env, {
      group: 1,
      metaAddress: META_ADDRESS,
      listen: `${machine.name}:7000`,
      release: 'test',
      onMap: (map, slot) => agent?.onMap(map, slot),
      onResync: (order) => agent?.onResync(order),
    });
    this.servers[index] = server;
    agent = new RepairAgent(env, META_ADDRESS, {
      group: 1,
      intents: () => server.startIntents,
      whole: () => server.whole,
      recovered: (epoch) => server.recovered(epoch),
      resyncDone: (order) => server.resyncDone(order),
    });
    await server.start();
  }

  kill(index: number, power: boolean): void {
    this.machines[index]!.kill(power);
  }

  /** Until the states of the slots are these; at most a minute. */
  async until(states: string): Promise<void> {
    for (let waited = 0; waited < 60_000; waited += 100) {
      if ((await this.meta.states()) === states) return;
      await this.meta.pass(100);
    }
    expect(await this.meta.states()).toBe(states);
  }

  async client(name: string): Promise<TestClient> {
    const machine = this.meta.land.machine(name);
    const env = machine.boot();
    const client: OpenedClient = await openClient(
      {...env, codec},
      {meta: META_ADDRESS, name, dirtyBytesMax: 500_000},
    );
    return new TestClient(client, env, machine);
  }
}

function noise(length: number, seed: number): Buffer {
  const random = new SeededRandom(seed);
  return Buffer.from(Array.from({length}, () => random.below(256)));
}

describe('repair', () => {
  test('a server that was away is brought up to date, so that any other may be lost then', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const files: {oid: number; bytes: Buffer}[] = [];
      for (let i = 0; i < 5; i++) {
        const oid = await a.create(`f${i}`);
        const bytes = noise(i * 70_000 + 10, i);
        await a.write(oid, 0, bytes);
        await a.client.fsync(oid);
        files.push({oid, bytes});
      }
      cluster.kill(1, false);
      await cluster.until('RaRRR');
      for (const {oid, bytes} of files) {
        const part = noise(Math.min(bytes.length, 9000), 99);
        await a.write(oid, 0, part);
        part.copy(bytes, 0);
        await a.client.fsync(oid);
      }
      await cluster.start(1);
      await cluster.until('RRRRR');
      for (const lost of [0, 2]) {
        cluster.kill(lost, false);
        await cluster.until(
          ['R', 'R', 'R', 'R', 'R'].map((s, i) => (i === lost ? 'a' : s)).join(''),
        );
        for (const {oid, bytes} of files)
          expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
        await cluster.start(lost);
        await cluster.until('RRRRR');
      }
      await a.close();
    }));

  test('all five lose power: what was fsynced is there, and the group is whole after the resync', () =>
    RealCluster.run(async (cluster) => {
      const a = await cluster.client('a');
      const oid = await a.create('f');
      const bytes = noise(300_000, 4);
      await a.write(oid, 0, bytes);
      await a.client.fsync(oid);
      for (let index = 0; index < 5; index++) cluster.kill(index, true);
      await cluster.meta.pass(1000);
      await Promise.all([0, 1, 2, 3, 4].map((index) => cluster.start(index)));
      await cluster.until('RRRRR');
      expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
      await cluster.meta.pass(10_000);
      cluster.kill(3, false);
      await cluster.until('RRRaR');
      expect((await a.read(oid, 0, 400_000)).equals(bytes)).toBe(true);
      await a.close();
    }));
});
