import type {Durability} from '../../src/core/base/durability.js';
import type {Ms} from '../../src/core/base/ids.js';
import {type Clock, sleep} from '../../src/core/env/clock.js';
import {Election} from '../../src/core/meta/election.js';
import {MetaNode} from '../../src/core/meta/node.js';
import {COORDINATOR_HOST, SimCoordinator} from '../../src/core/sim/coordinator.js';
import {type SimEnv, SimLand, type SimMachine} from '../../src/core/sim/machine.js';
import {FORMAT} from './meta.js';
import {defer, play} from './sim.js';

export const TTL_MS: Ms = 3_000;

/** One of several meta servers, on a host that can die, stop, or lose its way to the others or to the coordinator. */
export class NodeFixture {
  readonly host: SimMachine;
  readonly #cluster: MetaNodes;
  node!: MetaNode;
  env!: SimEnv;

  constructor(cluster: MetaNodes, name: string) {
    this.#cluster = cluster;
    this.host = cluster.land.machine(name);
  }

  /** Its way to the coordinator is cut, or not any more. */
  set cut(cut: boolean) {
    const {network} = this.#cluster.land;
    if (cut) network.partition(this.host.name, COORDINATOR_HOST);
    else network.heal();
  }

  get address(): string {
    return `${this.host.name}:7400`;
  }

  async start(founder = false): Promise<void> {
    this.env = this.host.boot();
    const {durability} = this.#cluster;
    this.node = new MetaNode(this.env, {
      address: this.address,
      rootLayout: FORMAT.rootLayout,
      groupSize: FORMAT.groupSize,
      durability,
      succession: async (self, address, changed) => {
        const seen = this.#cluster.coordinator.seenFrom(this.env.clock, this.host.name);
        const options = {prefix: '/cpfs/test', ttlMs: TTL_MS, founder, self, address, durability};
        return new Election(this.env, seen, options, changed);
      },
      onFailed: (error) => this.#cluster.failures.push(error),
    });
    await this.node.start();
  }
}

/** Several meta servers and their coordinator. */
export class MetaNodes {
  readonly land: SimLand;
  readonly nodes: NodeFixture[] = [];
  readonly failures: unknown[] = [];
  readonly durability: Durability;
  coordinator!: SimCoordinator;
  clock!: Clock;

  constructor(seed: number, durability: Durability) {
    this.durability = durability;
    this.land = new SimLand(seed, defer);
  }

  /** With so many, of which the first is active and the others in sync. */
  static run(
    count: number,
    story: (c: MetaNodes) => Promise<void>,
    durability: Durability = 'both',
  ): Promise<void> {
    const c = new MetaNodes(1, durability);
    return play(c.land, async () => {
      c.clock = c.land.machine('watch').boot().clock;
      c.coordinator = new SimCoordinator(c.land);
      for (let i = 0; i < count; i++) {
        const node = new NodeFixture(c, `m${i}`);
        c.nodes.push(node);
        await node.start(i === 0);
        if (i === 0) await c.active();
        else await (durability === 'disk' ? c.follows(i) : c.inSync(i));
      }
      await story(c);
      if (c.failures.length > 0) throw c.failures[0];
    });
  }

  get addresses(): string {
    return this.nodes.map(({address}) => address).join(',');
  }

  pass(ms: Ms): Promise<void> {
    return sleep(this.clock, ms);
  }

  /** Waits until one is active that is not `but`; which. */
  async active(but = -1): Promise<number> {
    for (let waited = 0; waited < 60_000; waited += 20) {
      const at = this.nodes.findIndex(
        ({node, host}, i) =>
          i !== but &&
          host.running &&
          node.server?.address !== undefined &&
          node.server.address !== '',
      );
      if (at >= 0) return at;
      await this.pass(20);
    }
    throw new Error('nobody becomes active');
  }

  /** Waits until it has everything. */
  async follows(index: number): Promise<void> {
    const at = await this.active();
    for (let waited = 0; waited < 60_000; waited += 20) {
      const sequence = this.nodes[at]!.node.server!.nodeStatus().sequence;
      if (this.nodes[index]!.node.status().sequence === sequence) return;
      await this.pass(20);
    }
    throw new Error(`${this.nodes[index]!.address} does not follow`);
  }

  async inSync(index: number): Promise<void> {
    const {address} = this.nodes[index]!;
    for (let waited = 0; waited < 60_000; waited += 20) {
      for (const {node, host} of this.nodes) {
        if (!host.running) continue;
        if (node.server?.standbys.some((one) => one.address === address && one.inSync)) return;
      }
      await this.pass(20);
    }
    throw new Error(`${address} does not get in sync`);
  }
}
