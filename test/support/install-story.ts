import {copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync} from 'node:fs';
import {basename, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import type {Status} from '../../src/roles/admin.js';
import type {UpgradeStatus} from '../../src/roles/upgrade.js';
import {run, shell} from './dev-cluster.js';
import {InstallWork} from './install-work.js';
import {Machine, Network} from './machines.js';
import {ROOT} from './source-tree.js';

const HOSTS = [1, 2, 3] as const;
const META = '10.0.0.1:7400';
const MOUNT = '/mnt/cpfs';
const DATA = 'cpfs-data@1';
const WHOLE_MS = 90_000;
const POLL_MS = 300;
const STOP_MS = 10_000;
const RELOAD = 'daemon-reload';
const STOP = 'stop cpfs-meta.service cpfs-data@*.service';
/** In place of systemd's, on the servers (the client has no systemd): notes what the scripts of the package want of it. */
const SYSTEMCTL = `#!/bin/sh
echo "$*" >> /var/log/systemctl
[ "$1" = stop ] || exit 0
for one in /proc/[0-9]*; do
  case "$(tr '\\0' ' ' < $one/cmdline)" in '/usr/bin/cpfs data start '*|'/usr/bin/cpfs meta start '*) kill "\${one#/proc/}" ;; esac
done
exit 0
`;

/** The lines of README.md's section on machines, without its remarks: those before a blank line are for each one, then for the first one, then again for each. */
export function readmeCommands(): string[][] {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const block = /## Three machines\n[\s\S]*?```\n([\s\S]*?)```/.exec(text)?.[1];
  if (block === undefined) throw new Error('README.md says nothing of three machines');
  return block
    .trim()
    .split('\n\n')
    .map((part) => part.split('\n').map((line) => line.replace(/\s+#.*$/, '')));
}

/** Packages of this source, as a release of that name; their paths. */
export async function makePackages(
  folder: string,
  release: string,
  families: readonly ('deb' | 'rpm')[],
): Promise<string[]> {
  mkdirSync(folder, {recursive: true});
  const argv = [join(ROOT, 'packaging/package.sh'), ...families];
  argv.push('--release', release, '--out', folder);
  const {code, stderr} = await run('sh', argv, {timeoutMs: 600_000});
  if (code !== 0) throw new Error(stderr);
  const made = readdirSync(folder);
  return families.map((family) => join(folder, made.find((name) => name.endsWith(family))!));
}

export interface StoryOptions {
  folder: string;
  /** A root to begin with. */
  base: string;
  /** What installs a package there. */
  install: string;
  say: (text: string) => void;
}

/** Three servers and a client that have nothing but the package; each method is a chapter. */
export class InstallStory {
  readonly hosts: Machine[] = [];
  readonly #options: StoryOptions;
  #network: Network | null = null;
  #client: Machine | null = null;
  #work: InstallWork | null = null;

  constructor(options: StoryOptions) {
    this.#options = options;
  }

  get client(): Machine {
    return this.#client!;
  }
  get #first(): Machine {
    return this.hosts[0]!;
  }
  get #all(): Machine[] {
    return [...this.hosts, this.client];
  }

  async #step<T>(what: string, action: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    const result = await action();
    const rounds = this.#work?.rounds();
    const work =
      rounds === undefined
        ? ''
        : `; ${rounds.count} rounds of programs, the longest ${rounds.longestMs} ms`;
    this.#options.say(`${((performance.now() - begin) / 1000).toFixed(1)} s: ${what}${work}`);
    return result;
  }

  async machines(): Promise<void> {
    const {folder, base} = this.#options;
    await this.#step('four machines begin', async () => {
      const network = await Network.create(folder);
      this.#network = network;
      const make = (name: string, address: string) =>
        Machine.create(name, address, {folder, base, network});
      for (const host of HOSTS) this.hosts.push(await make(`host${host}`, `10.0.0.${host}`));
      this.#client = await make('client', '10.0.0.9');
      for (const host of this.hosts) {
        host.write('usr/local/bin/systemctl', SYSTEMCTL);
        await shell(`chmod 755 ${host.root}/usr/local/bin/systemctl`);
      }
      for (const machine of this.#all) {
        await machine.switchOn();
        const {code} = await machine.run('command -v node nodejs npm');
        if (code === 0) throw new Error(`${machine.name} has Node`);
      }
    });
  }

  async #install(machine: Machine, deb: string): Promise<string> {
    mkdirSync(join(machine.root, 'root'), {recursive: true});
    copyFileSync(deb, join(machine.root, 'root', basename(deb)));
    const {code, stdout, stderr} = await machine.run(
      `cd /root && ${this.#options.install} ./${basename(deb)} && rm ${basename(deb)}`,
    );
    if (code !== 0) throw new Error(`${machine.name}: ${stdout}\n${stderr}`);
    return stderr;
  }

  /** Throws if something else was asked of systemd since the last time. */
  async #asked(host: Machine, ...expected: string[]): Promise<void> {
    const text = await host.do('cat /var/log/systemctl; : > /var/log/systemctl');
    if (text.trim() !== expected.join('\n')) throw new Error(`${host.name}: systemctl ${text}`);
  }

  async install(deb: string): Promise<void> {
    await this.#step('the package is installed on each', async () => {
      for (const machine of this.#all) await this.#install(machine, deb);
    });
    for (const host of this.hosts) await this.#asked(host, RELOAD);
    for (const machine of this.#all) {
      const running = await machine.run('grep -l cpfs /proc/[0-9]*/comm');
      if (running.stdout !== '')
        throw new Error(`${machine.name}: something was started: ${running.stdout}`);
    }
  }

  /** A line of the README, which names the first host where each has its own. */
  async #line(machine: Machine, line: string): Promise<void> {
    const own = line.replace('10.0.0.1:7401', `${machine.address}:7401`);
    const service = /^systemctl enable --now (\S+)$/.exec(own)?.[1];
    if (service !== undefined) await machine.start(service);
    else await machine.do(own);
  }

  /** By the commands of the README. */
  async begin(): Promise<void> {
    const [, once, each] = readmeCommands();
    await this.#step('the first host: a key, a meta server', async () => {
      for (const line of once!) await this.#line(this.#first, line);
      // As scp does it, and the README says.
      for (const host of this.hosts.slice(1)) {
        host.write('etc/cpfs/keys', this.#first.read('etc/cpfs/keys'));
        await host.do('chmod 600 /etc/cpfs/keys && chown cpfs: /etc/cpfs/keys');
      }
    });
    await this.#step('each host: a data server, a mount', async () => {
      const services = each!.filter((line) => !line.includes('mount'));
      await Promise.all(
        this.hosts.map(async (host) => {
          for (const line of services) await this.#line(host, line);
        }),
      );
      await this.#whole();
      for (const host of this.hosts) {
        for (const line of each!.filter((one) => one.includes('mount')))
          await this.#line(host, line);
        host.write('etc/fstab', `${META}:/ ${MOUNT} cpfs _netdev,nofail 0 0\n`);
      }
    });
    await this.#step('a client with a credential of its own mounts by fstab', async () => {
      this.client.write(
        'etc/cpfs/keys',
        await this.#first.do('cpfs auth create client --rights rw'),
      );
      this.client.write('etc/fstab', `${META}:/ ${MOUNT} cpfs _netdev,nofail 0 0\n`);
      await this.client.do(`chmod 600 /etc/cpfs/keys && mkdir -p ${MOUNT} && mount ${MOUNT}`);
    });
    this.#work = await InstallWork.start(this.client, MOUNT);
    await delay(1_000);
  }

  async #whole(): Promise<void> {
    const until = performance.now() + WHOLE_MS;
    for (;;) {
      const {stdout, stderr} = await this.#first.run(`cpfs status --meta ${META} -o json`);
      if (stdout !== '' && (JSON.parse(stdout) as Status).state === 'ok') return;
      if (performance.now() > until) throw new Error(`not whole: ${stdout}${stderr}`);
      await delay(POLL_MS);
    }
  }

  /** Everything on it is killed at once; it begins again as its units and its fstab say. */
  async restart(host: Machine, awayMs = 2_000): Promise<void> {
    const services = [...host.services.keys()];
    await this.#step(
      `${host.name} loses all its processes, and begins again (${services.join(', ')})`,
      async () => {
        await host.switchOff();
        await delay(awayMs);
        await host.switchOn();
        await Promise.all(services.map((service) => host.start(service)));
        await host.do('mount -a');
        await this.#whole();
      },
    );
    await this.#step(`the files on its mount`, () => this.#work!.verify(host, MOUNT));
  }

  async #upgrade(): Promise<UpgradeStatus> {
    return JSON.parse(
      await this.#first.do(`cpfs upgrade status --meta ${META} -o json`),
    ) as UpgradeStatus;
  }

  /** What is to be done next, once all servers are whole. */
  async #next(): Promise<string> {
    const until = performance.now() + WHOLE_MS;
    for (;;) {
      await this.#whole();
      const {next} = await this.#upgrade();
      if (!next.startsWith('wait')) return next;
      if (performance.now() > until) throw new Error(`upgrade status says: ${next}`);
      await delay(POLL_MS);
    }
  }

  /** Servers that run go on. */
  async #newer(host: Machine, deb: string): Promise<void> {
    await this.#step(
      `the next release is installed on ${host.name}; nothing restarts`,
      async () => {
        const said = await this.#install(host, deb);
        if (!said.includes("'cpfs upgrade status' says which one to restart next"))
          throw new Error(said);
        await delay(500);
        for (const {pid} of host.services.values()) process.kill(pid, 0);
        await this.#asked(host, RELOAD);
      },
    );
  }

  /** The next release, one host at a time, in the order that `cpfs upgrade status` says; the meta server first. */
  async upgrade(deb: string): Promise<void> {
    await this.#newer(this.#first, deb);
    await this.#step('its meta server is restarted', async () => {
      await this.#first.restart('cpfs-meta');
      await this.#whole();
    });
    for (const left = new Set(this.hosts); left.size > 0; ) {
      const next = await this.#next();
      const host = [...left].find(({address}) =>
        next.startsWith(`stop the data server ${address}:7401 `),
      );
      if (host === undefined) throw new Error(`upgrade status says: ${next}`);
      left.delete(host);
      if (host !== this.#first) await this.#newer(host, deb);
      await this.#step('its data server is restarted', async () => {
        await host.restart(DATA);
        await this.#whole();
      });
    }
    const next = await this.#next();
    if (!next.startsWith('unmount ')) throw new Error(`upgrade status says: ${next}`);
    await this.#step('mounts: unmounted, and mounted again', async () => {
      await this.#work!.end();
      for (const machine of this.#all) {
        if (machine === this.client) await this.#install(machine, deb);
        await machine.do(`cpfs umount ${MOUNT} && mount ${MOUNT}`);
        await this.#work!.verify(machine, MOUNT);
      }
    });
    const {state, nodes} = await this.#upgrade();
    if (state !== 'done') throw new Error(`upgrade: ${state}`);
    this.#options.say(
      `upgrade status: done; ${nodes.map(({role, release}) => `${role} ${release}`).join(', ')}`,
    );
  }

  /** From the last host, whose servers run; its data is left. */
  async uninstall(): Promise<void> {
    const host = this.hosts.at(-1)!;
    const size = () => host.do("find /var/lib/cpfs/data-1 -type f | grep -c ''");
    await this.#step('the package is removed from the last host', async () => {
      await host.do(`umount ${MOUNT}`);
      const role = host.services.get(DATA)!;
      const {stderr} = await host.run('dpkg -r cpfs');
      const code = await Promise.race([role.ended(), delay(STOP_MS)]);
      await this.#asked(host, STOP, RELOAD);
      if (code !== 0) throw new Error(`its data server ended with ${code}: ${stderr}`);
      if (existsSync(join(host.root, 'usr/bin/cpfs'))) throw new Error('/usr/bin/cpfs is left');
      const before = await size();
      const {stderr: said} = await host.run('dpkg -P cpfs');
      if (!said.includes('/var/lib/cpfs') || (await size()) !== before || Number(before) === 0)
        throw new Error(`data: ${before} files before, ${await size()} after; ${said}`);
      this.#options.say(`dpkg -P says: ${said.trim()}`);
    });
    // Two of three have everything.
    await this.#step('the files, without it', async () => {
      // Nothing of them is in memory.
      await this.client.do(`cpfs umount ${MOUNT} && mount ${MOUNT}`);
      await this.#work!.verify(this.client, MOUNT);
    });
  }

  /** Also after a chapter that failed. */
  async end(): Promise<void> {
    for (const machine of [...this.hosts, this.#client]) await machine?.remove();
    await this.#network?.remove();
  }
}
