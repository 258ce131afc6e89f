import type {Member} from '../base/coordinator-keys.js';
import type {Durability} from '../base/durability.js';
import type {Ms} from '../base/ids.js';
import {CLUSTER_TIMING} from '../cluster/control-api.js';
import {Election} from '../meta/election.js';
import {MetaNode} from '../meta/node.js';
import {MetaServer} from '../meta/server.js';
import {COORDINATOR_HOST, SimCoordinator} from './coordinator.js';
import type {MetaCut} from './faults.js';
import type {FullDisks} from './full-disks.js';
import type {SimEnv, SimLand, SimMachine} from './machine.js';
import {readCopyPolicy, type WorldShape} from './swarm.js';
import type {Transitions} from './transitions.js';

const PORT = 7300;
const RESTART_MS: Ms = 500;
const PREFIX = '/sim';
/** Without a sign of life of the active one for so long, another one takes over. */
const TTL_MS: Ms = 3000;

/** What of the cluster the meta servers need. */
export interface MetasOptions {
  shape: WorldShape;
  boot(machine: SimMachine): SimEnv;
  full: FullDisks;
  transitions: Transitions;
  /** Data servers and clients. */
  users(): readonly SimMachine[];
  /** Everybody who has what was answered has lost power: what was not on stable storage is gone. */
  cut(): void;
  /** The first start after that. */
  known(): void;
}

/** One meta server, or several with a coordinator; `index` is 0 where there is one. */
export class SimMetas {
  readonly coordinator: SimCoordinator | null;
  readonly #land: SimLand;
  readonly #options: MetasOptions;
  readonly #machines: readonly SimMachine[];
  readonly #nodes: (MetaNode | null)[];
  /** What each is in the coordinator's words; null: what it had not synced is gone. */
  readonly #selves: (Member | null)[];
  #cutUnknown = false;
  /** Only this one can go on after it; -1: whoever. */
  #cutOf = -1;

  constructor(land: SimLand, machines: readonly SimMachine[], options: MetasOptions) {
    this.#land = land;
    this.#machines = machines;
    this.#options = options;
    this.#nodes = machines.map(() => null);
    this.#selves = machines.map(() => null);
    this.coordinator = machines.length > 1 ? new SimCoordinator(land) : null;
    for (const machine of machines) machine.disk.spaceAtOnce = true;
  }

  static names(count: number): string[] {
    return Array.from({length: count}, (_, index) => (index === 0 ? 'meta' : `meta${index}`));
  }

  /** host:port of all, with commas between. */
  static addresses(count: number): string {
    return SimMetas.names(count)
      .map((name) => `${name}:${PORT}`)
      .join(',');
  }

  get count(): number {
    return this.#machines.length;
  }

  get #durability(): Durability {
    return this.#options.shape.durability ?? 'both';
  }

  get takesOver(): boolean {
    return this.count > 1 && this.#durability !== 'disk';
  }

  machine(index: number): SimMachine {
    return this.#machines[index]!;
  }

  name(index: number): string {
    return this.#machines[index]!.name;
  }

  /** The one that is active, or -1. */
  get active(): number {
    if (this.coordinator === null) return 0;
    return this.#nodes.findIndex(
      (node, index) => !this.#machines[index]!.dead && node?.role === 'active',
    );
  }

  start(index: number): void {
    const machine = this.#machines[index]!;
    const {shape, boot, transitions} = this.#options;
    const env = transitions.watched(boot(machine));
    const {scheme, unitBytes, chunkBytes, servers: groupSize} = shape;
    const options = {
      address: `${machine.name}:${PORT}`,
      rootLayout: {...scheme, unitBytes, chunkBytes, groupCount: 1},
      groupSize,
      readCopies: readCopyPolicy(shape),
      timing: {...CLUSTER_TIMING, outAfterMs: shape.spares === 0 ? 0 : shape.outAfterMs},
      durability: this.#durability,
      onFailed: (error: unknown) => this.#failed(index, env, error),
    };
    const server =
      this.coordinator === null
        ? new MetaServer(env, options)
        : this.#node(index, env, options, this.coordinator);
    server.start().catch((error: unknown) => this.#failed(index, env, error));
    if (this.#cutUnknown && (this.#cutOf < 0 || this.#cutOf === index)) {
      this.#cutUnknown = false;
      this.#options.known();
    }
  }

  #node(
    index: number,
    env: SimEnv,
    options: ConstructorParameters<typeof MetaServer>[1],
    coordinator: SimCoordinator,
  ): MetaNode {
    const durability = this.#durability;
    const node = new MetaNode(env, {
      ...options,
      succession: (self, address, changed) => {
        this.#selves[index] = self;
        const seen = coordinator.seenFrom(env.clock, this.name(index));
        const founder = index === 0;
        const election = {prefix: PREFIX, self, address, ttlMs: TTL_MS, founder, durability};
        return Promise.resolve(new Election(env, seen, election, changed));
      },
    });
    this.#nodes[index] = node;
    return node;
  }

  #failed(index: number, {actor}: SimEnv, error: unknown): void {
    const machine = this.#machines[index]!;
    if (!this.#options.full.desperate(machine)) this.#land.scheduler.fail(error);
    if (actor.dead) return;
    machine.kill(false);
    this.#land.scheduler.schedule(null, RESTART_MS, 'restart', () => {
      if (machine.dead) this.start(index);
    });
  }

  kill(index: number, power: boolean): void {
    const machine = this.#machines[index]!;
    const had = this.#hasAll(index);
    const others = this.#anybodyHasAll(index);
    // No durability but that of disks promises anything then.
    if (power && this.#durability === 'memory' && !others && this.#inSync.length !== 1) {
      machine.kill(false);
      return;
    }
    machine.kill(power);
    if (!power) return;
    this.#selves[index] = null;
    if (others) return;
    if (this.#durability === 'disk') {
      if (!had) return;
      this.#cutOf = index;
    }
    this.#cutUnknown = true;
    this.#options.cut();
  }

  /** Who has what was answered, as the coordinator knows. */
  get #inSync(): readonly Member[] {
    const standing = this.coordinator?.entries.get(`${PREFIX}/standing`);
    if (standing === undefined) return [];
    return (JSON.parse(Buffer.from(standing.value).toString()) as {inSync: Member[]}).inSync;
  }

  #hasAll(index: number): boolean {
    const self = this.#selves[index];
    return this.#inSync.some(({node, life}) => self?.node === node && self.life === life);
  }

  #anybodyHasAll(but: number): boolean {
    return this.#machines.some((_, index) => index !== but && this.#hasAll(index));
  }

  startAll(): void {
    for (let index = 0; index < this.count; index++) this.start(index);
  }

  /** SIGSTOP. */
  freeze(index: number): void {
    this.#machines[index]!.freeze();
  }

  /** SIGCONT. */
  thaw(index: number): void {
    this.#machines[index]!.thaw();
  }

  /** Cuts it off from others until the network is healed. */
  cut(index: number, from: MetaCut): void {
    const {network} = this.#land;
    const name = this.name(index);
    if (from === 'coordinator' || from === 'both') network.partition(name, COORDINATOR_HOST);
    if (from === 'metas' || from === 'both')
      for (const other of this.#machines)
        if (other.name !== name) network.partition(name, other.name);
    if (from === 'users')
      for (const user of this.#options.users()) network.partition(name, user.name);
  }

  /** Has the coordinator no quorum? */
  coordinatorDown(down: boolean): void {
    this.coordinator!.down = down;
  }
}
