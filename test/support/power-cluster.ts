import {type ChildProcess, spawn} from 'node:child_process';
import {randomUUID} from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import type {Status} from '../../src/roles/admin.js';
import {LOG_FILE, READY_FD} from '../../src/roles/ready.js';
import {cpfs} from './dev-cluster.js';
import {PowerDisks} from './power-disks.js';
import {ROOT} from './source-tree.js';

const BIN = join(ROOT, 'bin/cpfs');
const START_MS_MAX = 40_000;

/**
 * What a machine does when it is switched on: mounts its disk, for itself alone, so that the mount goes with its last process, and has a
 * boot id of its own, by which servers know that it was started anew. Mounts of clients are none of its business: it would keep them from
 * ending. Arguments: device, folder, file with the boot id, program.
 */
const BOOT = `
  grep ' fuse.cpfs ' /proc/self/mounts | cut -d ' ' -f 2 | xargs -r -n 1 umount --lazy --no-canonicalize
  mount -t ext4 -o noatime "$1" "$2"
  mount --bind "$3" /proc/sys/kernel/random/boot_id
  shift 3
  exec "$@"`;

interface Machine {
  name: string;
  process: ChildProcess | null;
  /** Once it has been started. */
  address: string;
}

export interface PowerOptions {
  servers: number;
  scheme: string;
}

/** A cluster of real processes, each on a machine whose power can be cut. Machine 0 is the meta server's, the others those of data servers. */
export class PowerCluster {
  readonly folder: string;
  readonly #options: PowerOptions;
  readonly #machines: Machine[];
  #disks: PowerDisks | null = null;
  #mounts: {dir: string; process: ChildProcess}[] = [];

  private constructor(options: PowerOptions) {
    this.folder = mkdtempSync(join(tmpdir(), 'cpfs-power-'));
    this.#options = options;
    this.#machines = Array.from({length: 1 + options.servers}, (_, i) => ({
      name: i === 0 ? 'meta' : `data${i}`,
      process: null,
      address: '127.0.0.1:0',
    }));
  }

  static async up(options: PowerOptions): Promise<PowerCluster> {
    const cluster = new PowerCluster(options);
    try {
      cluster.#disks = await PowerDisks.make(join(cluster.folder, 'disks'), 1 + options.servers);
      for (const {name} of cluster.#machines) mkdirSync(join(cluster.folder, name));
      mkdirSync(join(cluster.folder, 'log'));
      await cluster.on(cluster.all);
      return cluster;
    } catch (error) {
      await cluster.down();
      throw error;
    }
  }

  get all(): number[] {
    return this.#machines.map((_, i) => i);
  }

  get data(): number[] {
    return this.all.slice(1);
  }

  get meta(): string {
    return this.#machines[0]!.address;
  }

  /** Switches machines on: a meta server first, as others start by asking it. */
  async on(machines: readonly number[]): Promise<void> {
    if (machines.includes(0)) await this.#start(0);
    await Promise.all(machines.filter((i) => i !== 0).map((i) => this.#start(i)));
  }

  /**
   * Cuts the power of machines at one moment. Their kernels, which write back what is left, get so many requests to their disks
   * before it is gone. Gives what the disks say of it.
   */
  async cut(machines: readonly number[], seed: number, after: number): Promise<string> {
    const processes = machines.map((i) => this.#machines[i]!.process!);
    const ended = processes.map((child) => exited(child));
    for (const child of processes) child.kill('SIGKILL');
    const said = await this.#disks!.cut(machines, seed, after);
    await Promise.all(ended);
    for (const i of machines) {
      this.#machines[i]!.process = null;
      await this.#disks!.detach(i);
    }
    await this.#disks!.on(machines);
    return said;
  }

  async mount(name: string, options = ''): Promise<string> {
    const dir = join(this.folder, name);
    mkdirSync(dir);
    const argv = ['mount', dir, '--meta', this.meta, ...(options === '' ? [] : ['-o', options])];
    const {child} = await this.#run(name, [BIN, ...argv]);
    this.#mounts.push({dir, process: child});
    return dir;
  }

  /** The client's machine has lost power, too. Its programs are told. */
  async cutMount(dir: string): Promise<void> {
    const mount = this.#mounts.find((one) => one.dir === dir)!;
    const ended = exited(mount.process);
    mount.process.kill('SIGKILL');
    await ended;
    await this.unmount(dir);
  }

  async unmount(dir: string): Promise<void> {
    const mount = this.#mounts.find((one) => one.dir === dir)!;
    this.#mounts = this.#mounts.filter((one) => one !== mount);
    const ended = exited(mount.process);
    await cpfs('umount', '--lazy', dir);
    if (await Promise.race([ended.then(() => false), delay(5000, true, {ref: false})]))
      mount.process.kill('SIGKILL');
    await ended;
  }

  async status(): Promise<Status> {
    const ran = await cpfs('status', '--meta', this.meta, '-o', 'json');
    if (ran.code !== 0) throw new Error(ran.stderr);
    return JSON.parse(ran.stdout) as Status;
  }

  async until(what: string, timeoutMs: number, so: (status: Status) => boolean): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const status = await this.status();
      if (so(status)) return;
      if (performance.now() > end) {
        const {groups, recoveryLeft} = status;
        throw new Error(`not ${what}: ${JSON.stringify({groups, recoveryLeft})}`);
      }
      await delay(200);
    }
  }

  /** All servers are whole and there is nothing to do any more; nobody has to type anything for that. */
  whole(timeoutMs: number): Promise<void> {
    return this.until(
      'whole',
      timeoutMs,
      ({groups, recoveryLeft}) =>
        recoveryLeft === 0 && groups.length > 0 && groups.every(({state}) => state === 'ready'),
    );
  }

  /** The last lines that a process has logged. */
  log(name: string, lines: number): string {
    const text = readFileSync(join(this.folder, 'log', `${name}.log`), 'utf8');
    return text.trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Leaves nothing behind; `keepLogs`: but the logs, in the folder. */
  async down(keepLogs = false): Promise<void> {
    for (const {dir} of [...this.#mounts]) await this.unmount(dir);
    const running = this.all.filter((i) => this.#machines[i]!.process !== null);
    if (running.length > 0) await this.cut(running, 1, 0);
    await this.#disks?.close();
    if (!keepLogs) rmSync(this.folder, {recursive: true, force: true});
  }

  async #start(index: number): Promise<void> {
    const machine = this.#machines[index]!;
    const dir = join(this.folder, machine.name);
    const boot = join(this.folder, `${machine.name}.boot`);
    writeFileSync(boot, `${randomUUID()}\n`);
    const device = await this.#disks!.attach(index);
    const argv = ['--state', join(dir, 'state'), '--listen', machine.address];
    const {servers, scheme} = this.#options;
    if (index === 0)
      argv.unshift('meta', 'start', '--scheme', scheme, '--group-size', String(servers));
    else
      argv.unshift('data', 'start', '--group', '1', '--meta', this.meta, '--domain', machine.name);
    const start = ['sh', '-ec', BOOT, 'boot', device, dir, boot, BIN, ...argv];
    const {child, info} = await this.#run(machine.name, ['unshare', '--mount', ...start]);
    machine.process = child;
    machine.address = String(info.address);
  }

  /** Until it says that it is usable. */
  async #run(
    name: string,
    [program, ...args]: string[],
  ): Promise<{child: ChildProcess; info: Record<string, unknown>}> {
    const path = join(this.folder, 'log', `${name}.log`);
    const log = openSync(path, 'a');
    const child = spawn(program!, args, {
      detached: true,
      cwd: '/',
      stdio: ['ignore', log, log, 'pipe'],
      env: {...process.env, [READY_FD]: '3', [LOG_FILE]: path},
    });
    closeSync(log);
    const ready = child.stdio[3] as NodeJS.ReadableStream;
    const line = new Promise<string>((resolve) => {
      let text = '';
      ready.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      ready.on('end', () => resolve(text));
    });
    const late = delay(START_MS_MAX, '', {ref: false});
    const text = await Promise.race([line, late]);
    const info = (text === '' ? {error: 'silence'} : JSON.parse(text)) as Record<string, unknown>;
    if (info.error === undefined) return {child, info};
    child.kill('SIGKILL');
    await exited(child);
    const how = child.signalCode ?? child.exitCode;
    throw new Error(`${name} did not start (${how}): ${info.error}\n${this.log(name, 5)}`);
  }
}

const exited = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('exit', () => resolve()));
