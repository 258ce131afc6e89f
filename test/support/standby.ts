import type {Kv} from '../../src/core/env/kv.js';
import type {Ledger} from '../../src/core/meta/ledger.js';
import {Standby, type StandbyOptions} from '../../src/core/meta/standby.js';
import type {SimMachine} from '../../src/core/sim/machine.js';
import {META_ADDRESS, type MetaCluster} from './meta-cluster.js';

/** A standby on a simulated host, which can die and come back. */
export class StandbyFixture {
  readonly host: SimMachine;
  readonly failures: unknown[] = [];
  standby!: Standby;
  kv!: Kv;
  options: Partial<StandbyOptions> = {};
  readonly #cluster: MetaCluster;

  constructor(cluster: MetaCluster, name: string) {
    this.#cluster = cluster;
    this.host = cluster.land.machine(name);
  }

  async start(): Promise<void> {
    const env = this.host.boot();
    this.kv = env.kv;
    this.standby = new Standby(env, {
      self: {node: this.host.name, life: await env.disk.machineLife()},
      address: `${this.host.name}:7400`,
      onFailed: (error) => this.failures.push(error),
      term: () => {},
      ...this.options,
    });
    await this.standby.open();
    this.standby.follow(META_ADDRESS);
  }

  kill(power: boolean): void {
    this.host.kill(power);
  }

  /** Waits until it counts. */
  async inSync(): Promise<void> {
    for (let waited = 0; waited < 60_000; waited += 50) {
      const found = this.#cluster.server.standbys.find(({node}) => node === this.host.name);
      if (found?.inSync === true) return;
      await this.#cluster.pass(50);
    }
    throw new Error(`${this.host.name} does not get in sync`);
  }

  get ledger(): Ledger {
    const {ledger} = this.standby;
    if (ledger === null) throw new Error(`${this.host.name} has nothing`);
    return ledger;
  }

  /** Everything that is in its state. */
  get state(): string[] {
    return this.ledger.store
      .range('a', 'z', 1e6)
      .map(([key, value]) => `${key} ${Buffer.from(value).toString('hex')}`);
  }
}
