import {type ChildProcess, spawn} from 'node:child_process';
import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {type Ran, run, shell} from './dev-cluster.js';
import {childOf, RoleProcess} from './releases.js';
import {readUnit} from './unit-file.js';

/**
 * Machines that are namespaces: each has a root, processes, a network interface, mounts and a host name of its own. What is switched off
 * loses all of its processes at once; its root stays.
 */

/** The first process: makes what the kernel and an init make, and waits for children that nobody waits for. $1: the root, $2: the name. */
const BOOT = `set -e
hostname "$2"
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs -o mode=755 dev dev
for one in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' 'fuse 10 229'; do
  set -- $one; mknod -m 666 dev/$1 c $2 $3
done
mkdir dev/shm
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 run run
[ ! -e usr/local/bin/systemctl ] || mkdir -p run/systemd/system
pivot_root . mnt
exec /bin/sh -c 'umount -l /mnt && mkdir /run/booted && while :; do sleep 1; done'`;
const BOOT_MS = 10_000;
const ENVIRONMENT = [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'HOME=/root',
  'LC_ALL=C',
  'DEBIAN_FRONTEND=noninteractive',
];

/** A switch, in a network namespace of its own, so that all addresses are free. */
export class Network {
  readonly #name: string;
  readonly #spaces: string[] = [];

  private constructor(name: string) {
    this.#name = name;
  }

  static async create(folder: string): Promise<Network> {
    const id = createHash('sha256').update(folder).digest('hex').slice(0, 8);
    const network = new Network(`cpfs-${id}`);
    await shell(`ip netns add ${network.#name}
      ip -n ${network.#name} link add switch type bridge
      ip -n ${network.#name} link set switch up`);
    return network;
  }

  /** The name of a network namespace with this address. */
  async attach(name: string, address: string): Promise<string> {
    const space = `${this.#name}-${name}`;
    this.#spaces.push(space);
    await shell(`ip netns add ${space}
      ip -n ${space} link set lo up
      ip -n ${space} link add eth0 type veth peer name ${name} netns ${this.#name}
      ip -n ${this.#name} link set ${name} master switch up
      ip -n ${space} addr add ${address}/24 dev eth0
      ip -n ${space} link set eth0 up`);
    return space;
  }

  async remove(): Promise<void> {
    for (const space of [...this.#spaces, this.#name]) await run('ip', ['netns', 'del', space]);
  }
}

export class Machine {
  readonly name: string;
  readonly address: string;
  readonly root: string;
  readonly services = new Map<string, RoleProcess>();
  readonly #space: string;
  readonly #log: string;
  #boot: ChildProcess | null = null;
  #init = 0;

  private constructor(name: string, address: string, folder: string, space: string) {
    this.name = name;
    this.address = address;
    this.root = join(folder, name);
    this.#log = join(folder, `${name}.log`);
    this.#space = space;
  }

  /** With a root of its own, copied from `base`. */
  static async create(
    name: string,
    address: string,
    {folder, base, network}: {folder: string; base: string; network: Network},
  ): Promise<Machine> {
    const space = await network.attach(name, address);
    const machine = new Machine(name, address, folder, space);
    await shell(`cp -a --reflink=auto ${base} ${machine.root}`);
    return machine;
  }

  async switchOn(): Promise<void> {
    const space = [`--net=/run/netns/${this.#space}`];
    const own = ['unshare', '--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child'];
    const boot = ['sh', '-c', BOOT, 'boot', this.root, this.name];
    const child = spawn('nsenter', [...space, ...own, ...boot], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr!.on('data', (bytes: Buffer) => (said += bytes));
    this.#boot = child;
    const until = performance.now() + BOOT_MS;
    for (;;) {
      try {
        this.#init = childOf(child.pid!);
        if (existsSync(join(`/proc/${this.#init}`, 'root/run/booted'))) return;
      } catch {
        // A moment too early.
      }
      if (performance.now() > until || child.exitCode !== null)
        throw new Error(`${this.name} does not begin: ${said}`);
      await delay(20);
    }
  }

  /** All processes at once. */
  async switchOff(): Promise<void> {
    const boot = this.#boot;
    if (boot === null) return;
    this.#boot = null;
    this.services.clear();
    const ended = new Promise((resolve) => boot.once('exit', resolve));
    if (boot.exitCode === null && boot.signalCode === null) {
      process.kill(this.#init === 0 ? boot.pid! : this.#init, 'SIGKILL');
      await ended;
    }
    this.#init = 0;
  }

  #inside(...argv: string[]): string[] {
    return [
      '--target',
      String(this.#init),
      '-m',
      '-u',
      '-i',
      '-n',
      '-p',
      '-r',
      '-w',
      'env',
      '-i',
      ...ENVIRONMENT,
      ...argv,
    ];
  }

  /** A script of a shell there. Never throws for its exit code. */
  run(script: string, timeoutMs = 120_000): Promise<Ran> {
    return run('nsenter', this.#inside('sh', '-c', script), {timeoutMs});
  }

  /** One that must succeed; what it prints. */
  async do(script: string): Promise<string> {
    const {code, stdout, stderr} = await this.run(script);
    if (code !== 0)
      throw new Error(
        `${this.name}: exit ${code} of: ${script}\n${stdout.slice(-2000)}\n${stderr.slice(-4000)}`,
      );
    return stdout;
  }

  /** A program that goes on. */
  spawn(...argv: string[]): ChildProcess {
    return spawn('nsenter', this.#inside(...argv), {stdio: ['ignore', 'pipe', 'pipe']});
  }

  read = (path: string): string => readFileSync(join(this.root, path), 'utf8');

  write(path: string, text: string): void {
    mkdirSync(join(this.root, path, '..'), {recursive: true});
    writeFileSync(join(this.root, path), text);
  }

  /** As systemd does what the unit says: its user, folders, environment and command. (Not what it takes away from it.) */
  async start(service: string): Promise<RoleProcess> {
    const unit = readUnit(this.root, service);
    const folders = unit.folders.map(
      ({path, mode}) =>
        `mkdir -p ${path} && chown -R ${unit.user}: ${path} && chmod ${mode} ${path}`,
    );
    await this.do(folders.join('\n'));
    const as = [
      '--reuid',
      unit.user,
      '--regid',
      unit.group,
      '--clear-groups',
      '--no-new-privs',
      '--bounding-set=-all',
    ];
    const argv = this.#inside(
      'CPFS_READY_FD=3',
      ...unit.environment,
      'setpriv',
      ...as,
      ...unit.command,
    );
    const role = await RoleProcess.start('nsenter', argv, this.#log, {wrapped: true});
    this.services.set(service, role);
    return role;
  }

  async stop(service: string): Promise<number | string> {
    const role = this.services.get(service)!;
    this.services.delete(service);
    return role.stop();
  }

  async restart(service: string): Promise<void> {
    const code = await this.stop(service);
    if (code !== 0) throw new Error(`${service} of ${this.name} ended with ${code}`);
    await this.start(service);
  }

  async remove(): Promise<void> {
    await this.switchOff();
    rmSync(this.root, {recursive: true, force: true});
  }
}
