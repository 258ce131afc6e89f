import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {type EtcdProcess, freePort, startEtcd} from '../../src/roles/dev/etcd.js';
import {signal, stopProcess} from '../../src/roles/process.js';

const HOST = '127.0.0.1';

interface Place {
  name: string;
  address: string;
  peers: string;
}

/** A real etcd of several members, which can be killed and stopped one by one. */
export class EtcdMembers {
  readonly #folder: string;
  readonly #at: readonly Place[];
  readonly #processes: (EtcdProcess | null)[];

  private constructor(folder: string, at: readonly Place[]) {
    this.#folder = folder;
    this.#at = at;
    this.#processes = at.map(() => null);
  }

  static async start(folder: string, count: number): Promise<EtcdMembers> {
    const at: Place[] = [];
    for (let i = 0; i < count; i++) {
      const [address, peers] = [`${HOST}:${await freePort()}`, `${HOST}:${await freePort()}`];
      at.push({name: `e${i}`, address, peers});
    }
    const members = new EtcdMembers(folder, at);
    await members.startAll();
    return members;
  }

  /** For `--coordinator`. */
  get url(): string {
    return this.urlFrom(0);
  }

  /** This member is asked first. */
  urlFrom(index: number): string {
    const at = [...this.#at.slice(index), ...this.#at.slice(0, index)];
    return `etcd://${at.map(({address}) => address).join(',')}`;
  }

  get count(): number {
    return this.#at.length;
  }

  /** Resolves when it takes part again: with others it needs them for that. */
  async begin(index: number): Promise<void> {
    const {name, ...known} = this.#at[index]!;
    const cluster = this.#at.map((one) => `${one.name}=http://${one.peers}`).join(',');
    const log = join(this.#folder, `${name}.log`);
    const folder = join(this.#folder, name);
    this.#processes[index] = await startEtcd(folder, log, known, {name, cluster});
  }

  async startAll(): Promise<void> {
    const missing = this.#processes.flatMap((one, index) => (one === null ? [index] : []));
    await Promise.all(missing.map((index) => this.begin(index)));
  }

  async kill(index: number): Promise<void> {
    const one = this.#processes[index];
    this.#processes[index] = null;
    if (one != null) await stopProcess(one, 0);
  }

  freeze(index: number): void {
    signal(this.#processes[index]!, 'SIGSTOP');
  }

  thaw(index: number): void {
    signal(this.#processes[index]!, 'SIGCONT');
  }

  /** Whom all of them follow. */
  async leader(): Promise<number> {
    for (const [index, one] of this.#processes.entries()) {
      if (one === null) continue;
      const url = `http://${one.address}/v3/maintenance/status`;
      const asked = await fetch(url, {
        method: 'POST',
        body: '{}',
        signal: AbortSignal.timeout(1000),
      });
      const {header, leader} = (await asked.json()) as {
        header: {member_id: string};
        leader: string;
      };
      if (header.member_id === leader) return index;
    }
    throw new Error('etcd has no leader');
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((_, index) => this.kill(index)));
  }

  /** What it knew is gone. */
  async wipe(): Promise<void> {
    await this.stop();
    for (const {name} of this.#at) rmSync(join(this.#folder, name), {recursive: true, force: true});
    await this.startAll();
  }
}
