import {expect} from '@jest/globals';
import {CopyAgent} from '../../src/core/client/copy-agent.js';
import {type ClientOptions, type OpenedClient, openClient} from '../../src/core/client/index.js';
import {MoveAgent} from '../../src/core/client/move-agent.js';
import {RepairAgent} from '../../src/core/client/repair-agent.js';
import {ScrubAgent} from '../../src/core/client/scrub-agent.js';
import {pathOf} from '../../src/core/data/format.js';
import {DataServer} from '../../src/core/data/server.js';
import type {Scheme} from '../../src/core/layout/scheme.js';
import {auditColumns} from '../../src/core/sim/audit.js';
import {PlainCodec} from '../../src/core/sim/codec.js';
import type {SimMachine} from '../../src/core/sim/machine.js';
import type {SimFile} from '../../src/core/sim/sim-file.js';
import {TestClient} from './client-cluster.js';
import {META_ADDRESS, MetaCluster} from './meta-cluster.js';
import {play} from './sim.js';

const codec = new PlainCodec();
const KV = {get: () => undefined} as never;
const FIVE = [1, 1, 1, 1, 1];

/** The real servers and clients over the simulated network and disks, each data server with its repair agent. */
export class RealCluster {
  readonly meta: MetaCluster;
  readonly machines: SimMachine[] = [];
  readonly servers: DataServer[] = [];
  /** Where servers are, by index. */
  readonly locations: string[] = [];
  readonly #leakGraceMs: number | undefined;
  /** That of each server. */
  readonly #groups: readonly number[];

  readonly #reserveBytes: number | undefined;

  constructor(
    seed: number,
    leakGraceMs?: number,
    groups: readonly number[] = FIVE,
    reserveBytes?: number,
  ) {
    const groupSize = groups.filter((group) => group === 1).length;
    this.meta = new MetaCluster(seed, {groupSize});
    this.#leakGraceMs = leakGraceMs;
    this.#groups = groups;
    this.#reserveBytes = reserveBytes;
  }

  static run(
    story: (c: RealCluster) => Promise<void>,
    seed = 1,
    leakGraceMs?: number,
    groups: readonly number[] = FIVE,
    reserveBytes?: number,
  ): Promise<void> {
    return RealCluster.play(new RealCluster(seed, leakGraceMs, groups, reserveBytes), story);
  }

  /** Boots one that was made, and runs a story with it. */
  static play(cluster: RealCluster, story: (c: RealCluster) => Promise<void>): Promise<void> {
    return play(cluster.meta.land, async () => {
      await cluster.meta.boot();
      for (let index = 0; index < cluster.#groups.length; index++) {
        cluster.machines.push(cluster.meta.land.machine(`data${index}`));
        await cluster.start(index);
      }
      await story(cluster);
      if (cluster.meta.failures.length > 0) throw cluster.meta.failures[0];
    });
  }

  /** `progress` hears how many chunks a recovery has left. */
  async start(
    index: number,
    progress?: (left: number) => void,
    group = this.#groups[index] ?? 1,
  ): Promise<void> {
    const machine = this.machines[index]!;
    const env = {...machine.boot(), codec, kv: KV};
    let agent: RepairAgent | null = null;
    const scrubPeers: ScrubAgent = new ScrubAgent(env, META_ADDRESS, {
      group: () => server.group,
      slot: () => server.slot,
      uuid: () => server.uuid,
    });
    const mover: MoveAgent = new MoveAgent(env, META_ADDRESS, {
      name: () => `${server.group}.${server.slot}`,
      uuid: () => server.uuid,
    });
    const server: DataServer = new DataServer(env, {
      group,
      metaAddress: META_ADDRESS,
      listen: `${machine.name}:7000`,
      location: this.locations[index] ?? '',
      leakGraceMs: this.#leakGraceMs,
      ...(this.#reserveBytes === undefined ? {} : {reserveBytes: this.#reserveBytes}),
      onMap: (map, slot) => agent?.onMap(map, slot),
      onMoves: (order) => mover.ordered(order),
      onResync: (order) => agent?.onResync(order),
      scrubPeers,
      readCopies: new CopyAgent(env, META_ADDRESS, () => server.uuid),
    });
    this.servers[index] = server;
    agent = new RepairAgent(env, META_ADDRESS, {
      group: () => server.group,
      uuid: () => server.uuid,
      intents: () => server.startIntents,
      whole: () => server.whole || server.tookOver,
      recovered: (epoch) => server.recovered(epoch),
      resyncDone: (order) => server.resyncDone(order),
      order: () => server.recoveryOrder,
      progress: (left, speed) => {
        progress?.(left);
        server.recoveryProgress(left, speed);
      },
    });
    await server.start();
  }

  /** One more, which waits for a slot; gives its index. */
  async spare(): Promise<number> {
    const index = this.machines.length;
    this.machines.push(this.meta.land.machine(`data${index}`));
    await this.start(index, undefined, 0);
    return index;
  }

  kill(index: number, power: boolean): void {
    this.machines[index]!.kill(power);
  }

  /** Column files of one chunk are named so on every server. */
  column(index: number, oid: number, chunk = 0): SimFile | undefined {
    return this.machines[index]!.disk.file(pathOf({oid, chunk, generation: 0}));
  }

  /** They are killed, and the meta server knows it. */
  async lose(indexes: readonly number[], power = false): Promise<void> {
    for (const index of indexes) this.kill(index, power);
    await this.allAre(indexes, 'a');
  }

  /** They are started again, and are whole. */
  async back(indexes: readonly number[]): Promise<void> {
    for (const index of indexes) await this.start(index);
    await this.allAre(indexes, 'R');
  }

  /** Until the slots of these servers, of group 1, are in this state; at most two minutes. */
  async allAre(indexes: readonly number[], state: string): Promise<void> {
    let states = '';
    for (let waited = 0; waited < 120_000; waited += 100) {
      states = await this.meta.states();
      if (indexes.every((index) => states[index] === state)) return;
      await this.meta.pass(100);
    }
    throw new Error(`servers ${indexes} are not ${state}: ${states}`);
  }

  /** Throws unless every block has its sum, and redundancy is that of the data, on all disks of group 1. */
  audit(scheme: Scheme): void {
    const mine = this.machines.filter((_, index) => this.#groups[index] === 1);
    auditColumns(
      mine.map(({disk}) => disk),
      scheme,
    );
  }

  /** Also while the meta server, whose clock others go by, is dead. */
  pause(ms: number): Promise<void> {
    const {scheduler} = this.meta.land;
    return new Promise((resolve) => scheduler.schedule(null, ms, 'pause', resolve));
  }

  /** Until the states of the slots are these; at most a minute. */
  async until(states: string): Promise<void> {
    for (let waited = 0; waited < 60_000; waited += 100) {
      if ((await this.meta.states()) === states) return;
      await this.meta.pass(100);
    }
    expect(await this.meta.states()).toBe(states);
  }

  /** Without inline files unless they are asked for: what is tested here is columns, of small files, too. */
  async client(
    name: string,
    inlineBytesMax = 0,
    options: Partial<ClientOptions> = {},
  ): Promise<TestClient> {
    const machine = this.meta.land.machine(name);
    const env = machine.boot();
    const client: OpenedClient = await openClient(
      {...env, codec},
      {meta: META_ADDRESS, name, dirtyBytesMax: 500_000, inlineBytesMax, ...options},
    );
    return new TestClient(client, env, machine);
  }
}
