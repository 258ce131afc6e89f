import {type ChildProcess, spawn} from 'node:child_process';
import {mkdirSync, openSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import type {MetaStatus} from '../../src/roles/meta/nodes.js';
import {run, shell} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

const BIN = join(ROOT, 'bin/cpfs');
const BRIDGE = 'cpfsfo0';
const NET = '10.213.77';
const HOST = `${NET}.1`;
const METAS = [1, 2] as const;
const DATAS = [1, 2, 3] as const;
const READY_MS = 60_000;

export type Loss = 'kill' | 'stop' | 'cut';

const space = (meta: number): string => `cpfsfo${meta}`;
const metaAddress = (meta: number): string => `${NET}.${10 + meta}:7400`;

/** Two meta servers in network namespaces of their own; etcd, data servers and mounts on the host. */
export class FailoverCluster {
  readonly mounts: readonly [string, string];
  readonly #folder: string;
  readonly #metas = new Map<number, ChildProcess>();
  readonly #others: ChildProcess[] = [];

  constructor(folder: string) {
    this.#folder = folder;
    this.mounts = [join(folder, 'm1'), join(folder, 'm2')];
  }

  get addresses(): string {
    return METAS.map(metaAddress).join(',');
  }

  async start(): Promise<void> {
    await this.#network();
    const etcd = ['--data-dir', join(this.#folder, 'etcd'), '--log-level', 'error'];
    etcd.push('--listen-client-urls', `http://${HOST}:2379`);
    etcd.push('--advertise-client-urls', `http://${HOST}:2379`);
    etcd.push('--listen-peer-urls', `http://${HOST}:2380`);
    etcd.push('--initial-advertise-peer-urls', `http://${HOST}:2380`);
    etcd.push('--initial-cluster', `default=http://${HOST}:2380`);
    this.#others.push(this.#spawn('etcd', 'etcd', etcd));
    for (const meta of METAS) this.#startMeta(meta);
    for (const data of DATAS) {
      const argv = ['data', 'start', '--group', '1', '--meta', this.addresses];
      argv.push('--state', join(this.#folder, `data${data}`), '--domain', `d${data}`);
      argv.push('--listen', `${HOST}:${7500 + data}`);
      this.#others.push(this.#spawn(`data${data}`, BIN, argv));
    }
    await this.allInSync();
    for (const dir of this.mounts) {
      mkdirSync(dir);
      await shell(
        `${BIN} mount ${dir} --meta ${this.addresses} --detach --log-dir ${this.#folder}`,
      );
    }
  }

  async #network(): Promise<void> {
    await this.#noNetwork();
    await shell(`ip link add ${BRIDGE} type bridge
      ip addr add ${HOST}/24 dev ${BRIDGE}
      ip link set ${BRIDGE} up
      ${METAS.map(
        (meta) => `ip netns add ${space(meta)}
      ip link add ${space(meta)}h type veth peer name ${space(meta)}n
      ip link set ${space(meta)}h master ${BRIDGE} up
      ip link set ${space(meta)}n netns ${space(meta)}
      ip -n ${space(meta)} addr add ${NET}.${10 + meta}/24 dev ${space(meta)}n
      ip -n ${space(meta)} link set ${space(meta)}n up`,
      ).join('\n')}`);
  }

  async #noNetwork(): Promise<void> {
    for (const meta of METAS) {
      await run('ip', ['link', 'del', `${space(meta)}h`]);
      await run('ip', ['netns', 'del', space(meta)]);
    }
    await run('ip', ['link', 'del', BRIDGE]);
  }

  #spawn(name: string, program: string, argv: readonly string[]): ChildProcess {
    const log = openSync(join(this.#folder, `${name}.log`), 'a');
    return spawn(program, argv, {stdio: ['ignore', log, log]});
  }

  #startMeta(meta: number): void {
    // `ip netns exec` would give it a view of all mounts of its own, in which ours would stay mounted.
    const argv = [`--net=/run/netns/${space(meta)}`, BIN, 'meta', 'start'];
    argv.push('--state', join(this.#folder, `meta${meta}`), '--listen', metaAddress(meta));
    argv.push('--coordinator', `etcd://${HOST}:2379`, '--scheme', '2+1', '--group-size', '3');
    if (meta > 1) argv.push('--join', metaAddress(1));
    this.#metas.set(meta, this.#spawn(`meta${meta}`, 'nsenter', argv));
  }

  async #status(): Promise<MetaStatus | null> {
    const argv = ['meta', 'status', '--meta', this.addresses, '-o', 'json', '--timeout', '2'];
    const {stdout} = await run(BIN, argv);
    return stdout === '' ? null : (JSON.parse(stdout) as MetaStatus);
  }

  async allInSync(): Promise<void> {
    const until = performance.now() + READY_MS;
    for (;;) {
      const status = await this.#status();
      if (status?.state === 'ok' && status.servers.length === METAS.length) return;
      if (performance.now() > until)
        throw new Error(`the meta servers are not in sync: ${JSON.stringify(status)}`);
      await delay(200);
    }
  }

  /** Number of the active meta server. */
  async active(): Promise<number> {
    const status = await this.#status();
    const found = METAS.find((meta) => metaAddress(meta) === status?.active);
    if (found === undefined) throw new Error('no meta server is active');
    return found;
  }

  async hit(meta: number, loss: Loss): Promise<void> {
    const child = this.#metas.get(meta)!;
    if (loss === 'kill') child.kill('SIGKILL');
    else if (loss === 'stop') child.kill('SIGSTOP');
    else await shell(`ip link set ${space(meta)}h down`);
  }

  async mend(meta: number, loss: Loss): Promise<void> {
    if (loss === 'kill') this.#startMeta(meta);
    else if (loss === 'stop') this.#metas.get(meta)!.kill('SIGCONT');
    else await shell(`ip link set ${space(meta)}h up`);
  }

  async stop(): Promise<void> {
    for (const dir of this.mounts) await run(BIN, ['umount', '--lazy', dir]);
    const all = [...this.#metas.values(), ...this.#others].filter(
      ({exitCode, signalCode}) => exitCode === null && signalCode === null,
    );
    const ended = all.map(
      (child) => new Promise<void>((resolve) => child.once('close', () => resolve())),
    );
    for (const child of all) child.kill('SIGCONT');
    for (const child of all) child.kill('SIGTERM');
    await Promise.race([Promise.all(ended), delay(15_000)]);
    for (const child of all) if (child.exitCode === null) child.kill('SIGKILL');
    await this.#noNetwork();
  }
}
