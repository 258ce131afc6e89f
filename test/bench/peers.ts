// Other file systems in the same run: each is started by a script of test/bench/peers, goes through the same workloads, and is
// stopped again before the next.
import {execFile} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {ROOT} from '../support/source-tree.js';
import type {Run} from './report.js';
import type {WorkerReport} from './worker.js';
import type {Place, Workload} from './workloads.js';

const SCRIPTS = join(ROOT, 'test/bench/peers');
/** CephFS takes the longest to begin. */
const VERB_MS = 300_000;

/** `gluster`, or `gluster:rep3`: a script and what it takes as its mode. */
export const peerNames = (): string[] =>
  readdirSync(SCRIPTS)
    .filter((file) => file.endsWith('.sh') && file !== 'lib.sh' && file !== 'cpfs.sh')
    .map((file) => file.slice(0, -'.sh'.length));

const scriptOf = (name: string): string => join(SCRIPTS, `${name.split(':')[0]}.sh`);

export const isPeer = (name: string): boolean =>
  /^[a-z]+(:[a-z0-9]+)?$/.test(name) && existsSync(scriptOf(name)) && !name.startsWith('lib');

export class Peer {
  readonly #folder: string;
  #mount = '';

  /** Its files lie in a new folder of `parent`. */
  constructor(
    readonly name: string,
    parent: string,
  ) {
    this.#folder = mkdtempSync(join(parent, 'peer-'));
  }

  /** Rejects with what the script says: a package is missing, say. */
  async start(): Promise<void> {
    this.#mount = (await this.#ask('start')).trim().split('\n').at(-1)!;
  }

  /** The runs of one workload. `drop` empties the kernel's caches; `step` runs one step in a process of its own. */
  async measure(
    workload: Workload,
    given: Omit<Place, 'dir' | 'second'>,
    repeat: number,
    {drop, step}: {drop(): Promise<void>; step(step: string, place: Place): Promise<string>},
  ): Promise<Run[]> {
    const dir = join(this.#mount, 'bench');
    mkdirSync(dir, {recursive: true});
    const place = {...given, dir, second: dir};
    const runs: Run[] = [];
    for (let i = 0; i < repeat; i++) {
      await step('prepare', place);
      if (workload.cold) await this.#ask('remount');
      await drop();
      const before = await this.#cpuSeconds();
      const worker = JSON.parse(await step('run', place)) as WorkerReport;
      await delay(1000);
      const servers = (await this.#cpuSeconds()) - before;
      await step('check', place);
      runs.push({worker, counts: null, serversCpuSeconds: servers});
    }
    return runs;
  }

  /** Ends what `start` began, also when that failed. */
  async stop(): Promise<void> {
    await this.#ask('stop').catch(() => '');
    rmSync(this.#folder, {recursive: true, force: true});
  }

  async #cpuSeconds(): Promise<number> {
    return Number((await this.#ask('cpu')).trim().split(' ')[2]) / 1e6;
  }

  #ask(verb: string): Promise<string> {
    const mode = this.name.split(':')[1] ?? '';
    const options = {timeout: VERB_MS, env: {...process.env, PEER_MODE: mode}};
    return new Promise((resolve, reject) => {
      execFile(scriptOf(this.name), [verb, this.#folder], options, (error, out, err) => {
        if (error === null) resolve(out);
        else reject(new Error(err.trim().split('\n').at(-1) || `${verb}: ${error.message}`));
      });
    });
  }
}
