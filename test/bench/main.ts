// Named workloads on a dev cluster that exists only for this run; docs/benchmark.md says what the figures mean. The
// only thing that it asserts is that bytes are read as they were written.
import {type ChildProcess, spawn} from 'node:child_process';
import {mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {loadavg} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';
import {countsOf, cpuSecondsOf, difference} from './meter.js';
import {isPeer, Peer, peerNames} from './peers.js';
import {monotonicUs, profilerOptions, profileTable, type Stretch} from './profile.js';
import {peerTable, type Result, type Run, summarize, summarizePeer, table} from './report.js';
import type {WorkerReport} from './worker.js';
import {type Place, WORKLOADS, type Workload} from './workloads.js';

const USAGE = `usage: npm run bench -- [--only NAME,NAME] [--size MIB] [--files N] [--repeat N] [--scheme K+M] [--direct]
                          [--compare DIR [--compare-pid PID]] [--peers all|NAME,NAME]
                          [--profile] [--json] [--list]
--compare DIR      the same workloads, in turns, in a new folder of DIR, on any other mounted file system
--compare-pid PID  a process behind DIR, whose CPU time is counted
--peers NAMES      the same workloads on other file systems, one after the other: ${peerNames().join(', ')} (NAME:MODE for another mode)
--profile          on what each role spends its CPU time; the profiler itself costs some
`;
const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));
/** What a client still writes back, or gives up, after the programs have ended belongs to what they did. */
const SETTLE_MS = 1000;

interface Options {
  workloads: readonly Workload[];
  size: number;
  files: number;
  repeat: number;
  scheme: string;
  servers: number;
  direct: boolean;
  compare: string | null;
  comparePid: number | null;
  peers: string[];
  profile: boolean;
  json: boolean;
}

class Interrupted extends Error {}

/** Runs steps in worker processes until it is interrupted. */
class Workers {
  #child: ChildProcess | null = null;
  #interrupted = false;

  interrupt(): void {
    this.#interrupted = true;
    this.#child?.kill('SIGKILL');
  }

  check(): void {
    if (this.#interrupted) throw new Interrupted();
  }

  async step(step: string, {name}: Workload, place: Place): Promise<string> {
    this.check();
    const child = spawn(process.execPath, [WORKER, step, name, JSON.stringify(place)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const text = {out: '', error: ''};
    child.stdout.on('data', (bytes: Buffer) => {
      text.out += bytes.toString();
    });
    child.stderr.on('data', (bytes: Buffer) => {
      text.error += bytes.toString();
    });
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    this.#child = null;
    this.check();
    if (code !== 0) throw new Error(`${name}, ${step}: ${text.error || `exit ${code}`}`);
    return text.out;
  }
}

class Bench {
  readonly #options: Options;
  readonly #cluster: DevCluster;
  readonly #workers: Workers;
  #second: string;
  readonly stretches: Stretch[] = [];

  constructor(options: Options, cluster: DevCluster, workers: Workers) {
    this.#options = options;
    this.#cluster = cluster;
    this.#workers = workers;
    this.#second = cluster.mount;
  }

  async measure(workload: Workload, compareDir: string | null): Promise<Result> {
    const own: Run[] = [];
    const other: Run[] = [];
    for (let i = 0; i < this.#options.repeat; i++) {
      own.push(await this.#ownRun(workload));
      if (compareDir !== null) other.push(await this.#otherRun(workload, compareDir));
    }
    return summarize(workload, own, other);
  }

  /** Of the second mount, if there is one. */
  get #logs(): string | null {
    return this.#second === this.#cluster.mount ? null : this.#cluster.logs;
  }

  #place(dir: string): Place {
    const {size, files} = this.#options;
    const second = dir === this.#cluster.mount ? this.#second : dir;
    return {dir, second, local: join(this.#cluster.folder, 'local'), size, files};
  }

  async #ownRun(workload: Workload): Promise<Run> {
    const cluster = this.#cluster;
    if (workload.twoMounts === true && this.#second === cluster.mount)
      this.#second = await cluster.mountAgain('second');
    const place = this.#place(cluster.mount);
    await this.#workers.step('prepare', workload, place);
    if (workload.cold) {
      const ran = await cpfs('umount', cluster.mount);
      if (ran.code !== 0) throw new Error(ran.stderr);
      await cluster.do('start', 'mount', '1');
    }
    await dropCaches();
    const before = await countsOf(cluster.dev, this.#logs);
    const from = monotonicUs();
    const worker = await this.#run(workload, place);
    await delay(SETTLE_MS);
    const to = monotonicUs();
    const counts = difference(await countsOf(cluster.dev, this.#logs), before);
    const mib = workload.unit === 'MiB';
    const units = worker.units / (mib ? 1024 : 1000);
    const per = mib ? 'GiB' : '1000 ops';
    this.stretches.push({name: workload.name, units, per, from, to, counts});
    await this.#workers.step('check', workload, place);
    return {worker, counts, serversCpuSeconds: null};
  }

  async #otherRun(workload: Workload, dir: string): Promise<Run> {
    const place = this.#place(dir);
    const pid = this.#options.comparePid;
    await this.#workers.step('prepare', workload, place);
    await dropCaches();
    const before = pid === null ? 0 : cpuSecondsOf(pid);
    const worker = await this.#run(workload, place);
    await delay(SETTLE_MS);
    const servers = pid === null ? null : cpuSecondsOf(pid) - before;
    await this.#workers.step('check', workload, place);
    return {worker, counts: null, serversCpuSeconds: servers};
  }

  async #run(workload: Workload, place: Place): Promise<WorkerReport> {
    return JSON.parse(await this.#workers.step('run', workload, place)) as WorkerReport;
  }
}

/** The disk is quiet and the kernel caches nothing, as far as this machine lets us: that takes root. */
async function dropCaches(): Promise<void> {
  await shell('sync');
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
  } catch {
    // Then reads of the other mount, and of the data servers, may come from the page cache.
  }
}

function parsed() {
  return parseArgs({
    options: {
      only: {type: 'string'},
      size: {type: 'string', default: '256'},
      files: {type: 'string', default: '1000'},
      repeat: {type: 'string', default: '1'},
      scheme: {type: 'string', default: '4+1'},
      direct: {type: 'boolean', default: false},
      compare: {type: 'string'},
      'compare-pid': {type: 'string'},
      peers: {type: 'string'},
      profile: {type: 'boolean', default: false},
      json: {type: 'boolean', default: false},
      list: {type: 'boolean', default: false},
      help: {type: 'boolean', default: false},
    },
  }).values;
}

function options(): Options | number {
  let values: ReturnType<typeof parsed>;
  try {
    values = parsed();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    return 2;
  }
  if (values.list) {
    for (const {name, about} of WORKLOADS) process.stdout.write(`${name.padEnd(20)}${about}\n`);
    return 0;
  }
  const names = values.only?.split(',') ?? WORKLOADS.map((w) => w.name);
  const unknown = names.filter((name) => !WORKLOADS.some((w) => w.name === name));
  const [size, files, repeat] = [values.size, values.files, values.repeat].map(Number);
  const columns = values.scheme.split('+').map(Number);
  const peers = values.peers === 'all' ? peerNames() : (values.peers?.split(',') ?? []);
  const strange = peers.filter((name) => !isPeer(name));
  if (strange.length > 0) {
    process.stderr.write(`no peer ${strange.join(', ')}; there are ${peerNames().join(', ')}\n`);
    return 2;
  }
  const bad = [size, files, repeat].some((n) => !Number.isSafeInteger(n) || n! < 1);
  if (values.help || bad || unknown.length > 0 || columns.length !== 2) {
    process.stderr.write(unknown.length > 0 ? `no workload ${unknown.join(', ')}\n` : USAGE);
    return values.help ? 0 : 2;
  }
  return {
    workloads: WORKLOADS.filter((w) => names.includes(w.name)),
    size: size!,
    files: files!,
    repeat: repeat!,
    scheme: values.scheme,
    servers: columns[0]! + columns[1]!,
    direct: values.direct,
    compare: values.compare ?? null,
    comparePid: values['compare-pid'] === undefined ? null : Number(values['compare-pid']),
    peers,
    profile: values.profile,
    json: values.json,
  };
}

async function measureAll(given: Options, cluster: DevCluster, workers: Workers): Promise<void> {
  const {servers, scheme, direct, json} = given;
  const more = direct ? ['--direct'] : [];
  const profiles = join(cluster.folder, 'profiles');
  if (given.profile) process.env.NODE_OPTIONS = profilerOptions(profiles);
  await cluster.start('--servers', String(servers), '--scheme', scheme, ...more);
  mkdirSync(join(cluster.folder, 'local'));
  const load = loadavg()[0]!;
  const compareDir =
    given.compare === null ? null : join(given.compare, `cpfs-bench-${process.pid}`);
  if (compareDir !== null) mkdirSync(compareDir);
  try {
    const bench = new Bench(given, cluster, workers);
    const results: Result[] = [];
    for (const workload of given.workloads) {
      if (!json) process.stderr.write(`${workload.name} ...\n`);
      results.push(await bench.measure(workload, compareDir));
    }
    if (given.profile) {
      // Profiles are written when processes end.
      await cluster.stop();
      process.stdout.write(`${profileTable(profiles, bench.stretches)}\n\n`);
      delete process.env.NODE_OPTIONS;
    }
    const measured = await measurePeers(given, cluster, workers, results);
    const loads = {before: load, after: loadavg()[0]!};
    const {size, files, repeat} = given;
    process.stdout.write(
      json
        ? `${JSON.stringify({version: 1, scheme, servers, direct, size, files, repeat, loads, results})}\n`
        : `${table(results)}\n${scheme} on ${servers} data servers${direct ? ' with --direct' : ''}, ${size} MiB, ${files} files, median of ${repeat}; load ${loads.before.toFixed(1)} before, ${loads.after.toFixed(1)} after\n${measured.length === 0 ? '' : `\n${peerTable(results, measured)}\n`}`,
    );
  } finally {
    if (compareDir !== null) rmSync(compareDir, {recursive: true, force: true});
  }
}

/** Puts what other file systems did into `results`; gives the names of those that started. The own cluster is stopped by then. */
async function measurePeers(
  given: Options,
  cluster: DevCluster,
  workers: Workers,
  results: readonly Result[],
): Promise<string[]> {
  if (given.peers.length === 0) return [];
  await cluster.stop();
  const {size, files, repeat} = given;
  const place = {local: join(cluster.folder, 'local'), size, files};
  const measured: string[] = [];
  for (const name of given.peers) {
    const peer = new Peer(name, cluster.folder);
    try {
      await peer.start();
      measured.push(name);
      for (const workload of given.workloads) {
        // A second mount of a peer is its script's business; none of them has one.
        if (workload.twoMounts === true) continue;
        if (!given.json) process.stderr.write(`${name}: ${workload.name} ...\n`);
        const step = (what: string, at: Place) => workers.step(what, workload, at);
        const runs = await peer.measure(workload, place, repeat, {drop: dropCaches, step});
        results.find((one) => one.name === workload.name)!.peers[name] = summarizePeer(
          workload,
          runs,
        );
      }
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      process.stderr.write(`${name}: ${error instanceof Error ? error.message : error}\n`);
    } finally {
      await peer.stop();
    }
  }
  return measured;
}

async function main(): Promise<number> {
  const given = options();
  if (typeof given === 'number') return given;
  const workers = new Workers();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => workers.interrupt());
  const cluster = DevCluster.create();
  try {
    await measureAll(given, cluster, workers);
    return 0;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    process.stderr.write('interrupted; everything is removed\n');
    return 130;
  } finally {
    await cluster.down();
  }
}

process.exitCode = await main();
