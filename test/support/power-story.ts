import {type ChildProcess, fork} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseScheme} from '../../src/core/layout/scheme.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import {cpfs} from './dev-cluster.js';
import {PowerCluster} from './power-cluster.js';
import type {Rows} from './power-file.js';
import type {Halted, Looked, PowerAsk, PowerSettings} from './power-worker-main.js';

const WHOLE_MS_MAX = 120_000;
const UNIT_BYTES = 4096;
const THREADS = '16';
/** Schemes of the programs' folders. */
const SCHEMES = ['4+1', '3+2', '1+2', '2+1'];

/** Which machines lose power. */
export const CUTS = [
  /** All servers; clients go on. */
  'servers',
  /** And the clients' machine. */
  'everything',
  'data',
  'meta',
  /** One data server's machine, for longer than the others wait for it. */
  'one',
  /** Two of them, one after the other, and then all servers. */
  'more and more',
] as const;
export type CutKind = (typeof CUTS)[number];

/** A cluster with programs at work, whose power is cut again and again. Throws when anything is wrong. */
export class PowerStory {
  readonly cluster: PowerCluster;
  readonly #random: SeededRandom;
  readonly #worker: ChildProcess;
  readonly #tell: (line: string) => void;
  readonly #rows: readonly Rows[];
  #mount: string;
  #mounts = 0;

  private constructor(
    cluster: PowerCluster,
    mount: string,
    seed: number,
    folders: string[],
    tell: (line: string) => void,
  ) {
    this.cluster = cluster;
    this.#mount = mount;
    this.#random = new SeededRandom(seed).split('cuts');
    this.#tell = tell;
    this.#rows = SCHEMES.map((scheme) => ({k: parseScheme(scheme)!.k, unitBytes: UNIT_BYTES}));
    const settings: PowerSettings = {seed, folders};
    this.#worker = fork(
      new URL('./power-worker-main.js', import.meta.url),
      [JSON.stringify(settings)],
      {env: {...process.env, UV_THREADPOOL_SIZE: THREADS}, execArgv: []},
    );
  }

  static async begin(seed: number, tell: (line: string) => void): Promise<PowerStory> {
    const cluster = await PowerCluster.up({servers: 5, scheme: '4+1'});
    try {
      const mount = await cluster.mount('mnt0');
      const folders = SCHEMES.map((scheme) => `p${scheme}`);
      for (const [i, folder] of folders.entries()) {
        const path = join(mount, folder);
        mkdirSync(path);
        const layout = ['--scheme', SCHEMES[i]!, '--unit', `${UNIT_BYTES}`, '--chunk', '1MiB'];
        const ran = await cpfs('layout', 'set', path, ...layout);
        if (ran.code !== 0) throw new Error(ran.stderr);
        await syncFolder(path);
      }
      await syncFolder(mount);
      return new PowerStory(cluster, mount, seed, folders, tell);
    } catch (error) {
      await cluster.down();
      throw error;
    }
  }

  /** One cut while programs work, and a look at everything after it. */
  async round(kind: CutKind): Promise<void> {
    const {cluster} = this;
    const random = this.#random;
    const began = performance.now();
    this.#tell(`${kind} …`);
    await this.#ask({do: 'go', mount: this.#mount});
    await delay(random.range(100, 3000));
    const pages: string[] = [];
    const cut = async (machines: readonly number[]): Promise<void> => {
      // A kernel that may finish its write-back and flush loses nothing: that takes some ten requests.
      const after = random.below(random.pick([1, 4, 12]) * machines.length);
      pages.push(await cluster.cut(machines, random.below(2 ** 31), after));
    };
    const back = async (machines: readonly number[]): Promise<void> => {
      await cluster.on(machines);
      await cluster.whole(WHOLE_MS_MAX);
    };
    switch (kind) {
      case 'servers':
        await cut(cluster.all);
        await back(cluster.all);
        break;
      case 'everything':
        // The client's machine does not finish anything either.
        await Promise.all([cut(cluster.all), cluster.cutMount(this.#mount)]);
        await this.#ask<Halted>({do: 'halt'});
        await back(cluster.all);
        break;
      case 'data':
        await cut(cluster.data);
        await back(cluster.data);
        break;
      case 'meta':
        await cut([0]);
        await back([0]);
        break;
      case 'one': {
        const one = random.pick(cluster.data);
        await cut([one]);
        await delay(random.range(0, 8000));
        await back([one]);
        break;
      }
      case 'more and more': {
        const first = random.pick(cluster.data);
        const second = random.pick(cluster.data.filter((i) => i !== first));
        await cut([first]);
        await delay(random.range(0, 8000));
        await cut([second]);
        await delay(random.range(0, 8000));
        await cut(cluster.all.filter((i) => i !== first && i !== second));
        await back(cluster.all);
        break;
      }
    }
    const {done, failed} = await this.#ask<Halted>({do: 'halt'});
    if (kind === 'one' && failed.length > 0) throw new Error(`a program was told: ${failed[0]}`);
    const looked = await this.#look(kind);
    await this.#check();
    const ms = Math.round(performance.now() - began);
    this.#tell(
      `${kind}: ${pages.join(', ')}; ${done} calls, ${failed.length} failed; ${looked.files} files, ${looked.unread} blocks unread; ${ms} ms`,
    );
  }

  async end(keepLogs = false): Promise<void> {
    this.#worker.kill('SIGKILL');
    await this.cluster.down(keepLogs);
  }

  /** Through a mount that knows nothing yet. */
  async #look(kind: CutKind): Promise<Looked> {
    const fresh = await this.cluster.mount(`mnt${++this.#mounts}`);
    const partial = kind === 'more and more';
    const rows = this.#rows.map((one) => (partial ? one : null));
    const looked = await this.#ask<Looked>({do: 'judge', mount: fresh, rows});
    if (kind !== 'everything') await this.cluster.unmount(this.#mount);
    this.#mount = fresh;
    return looked;
  }

  async #check(): Promise<void> {
    await this.cluster.whole(WHOLE_MS_MAX);
    const ran = await cpfs('check', '--meta', this.cluster.meta);
    if (ran.code !== 0) throw new Error(`check (${ran.code}): ${ran.stdout}${ran.stderr}`);
  }

  async #ask<T>(ask: PowerAsk): Promise<T> {
    const answer = once(this.#worker, 'message');
    this.#worker.send(ask);
    const [{value, error}] = (await answer) as [{value: T; error?: string}];
    if (error !== undefined) throw new Error(error);
    return value;
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
