// Everything that may happen to a cluster, at once: `npm run thrash -- --minutes N --seed S [--scheme K+M]`. Processes of a dev cluster that
// exists only for this run are killed, stopped and restarted, disks are emptied, damaged and filled, connections cut, within what the
// scheme survives, while programs on two mounts check every byte that they read. Fails when a byte is wrong or missing, when a program
// is told of an error (but ENOSPC while disks are full), when a call takes longer than 30 s, or when the cluster does not get whole again.
import {cpSync, mkdirSync, mkdtempSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import {parseScheme, type Scheme} from '../../src/core/layout/scheme.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import {canCut} from '../../src/roles/dev/cut.js';
import {cpfs, DevCluster} from '../support/dev-cluster.js';
import {Disks} from './thrash-disks.js';
import {FAULTS, type Fault} from './thrash-faults.js';
import {Field, Programs} from './thrash-field.js';
import {SIDES} from './thrash-file.js';
import type {Report} from './thrash-worker.js';

/** The longest that any call of a program may take: a column is waited for 5 s, a server put out after 4 s, EIO said after 30 s. */
const CALL_MS_MAX = 30_000;
/** Everything is whole again so long after the last fault. */
const WHOLE_MS_MAX = 300_000;
/** A fault is over, but for what it waits for. */
const FAULT_MS_MAX = 20_000;
const PROGRAMS = 6;
const PAUSE_MS_MAX = 5_000;
const REST_CHANCE = 0.1;
const REST_MS_MAX = 40_000;
/** Layouts of the programs' folders: the default, and what makes many chunks and stripes of a small file. */
const LAYOUTS = [[], ['--chunk', '1MiB'], ['--chunk', '2MiB', '--unit', '16KiB']];

interface Options {
  minutes: number;
  seed: number;
  scheme: Scheme;
  servers: number;
  port: number;
  only: string[];
  keep: boolean;
}

function options(): Options | null {
  const {values} = parseArgs({
    options: {
      minutes: {type: 'string', default: '10'},
      seed: {type: 'string', default: '1'},
      scheme: {type: 'string', default: '4+1'},
      servers: {type: 'string'},
      'base-port': {type: 'string', default: '17700'},
      only: {type: 'string'},
      keep: {type: 'boolean', default: false},
    },
  });
  const scheme = parseScheme(values.scheme);
  const names = FAULTS.map(({name}) => name);
  const within = FAULTS.filter(({beyond}) => beyond !== true).map(({name}) => name);
  const only = values.only?.split(',') ?? within;
  if (scheme === null || scheme.m === 0 || only.some((name) => !names.includes(name))) return null;
  const options = {
    minutes: Number(values.minutes),
    seed: Number(values.seed),
    scheme,
    servers: Number(values.servers ?? scheme.k + scheme.m),
    port: Number(values['base-port']),
    only,
    keep: values.keep,
  };
  return options.minutes > 0 && Number.isSafeInteger(options.seed) ? options : null;
}

/** Ended by the first thing that goes wrong, or by Ctrl-C. */
class Run {
  readonly #options: Options;
  readonly #cluster: DevCluster;
  readonly #counts = new Map<string, number>();
  readonly #failures: string[] = [];
  /** Faults that go on. */
  readonly #under = new Set<Promise<void>>();
  #interrupted = false;
  #failed: () => void = () => {};
  readonly #over = new Promise<void>((resolve) => {
    this.#failed = resolve;
  });

  constructor(options: Options, cluster: DevCluster) {
    this.#options = options;
    this.#cluster = cluster;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        this.#interrupted = true;
        this.#failed();
      });
    }
  }

  /** What went wrong; null: it was ended by a signal. */
  async run(disks: Disks): Promise<readonly string[] | null> {
    const {seed, scheme} = this.#options;
    const fail = (what: string): void => {
      process.stderr.write(`${new Date().toISOString()} ${what}\n`);
      this.#failures.push(what);
      this.#failed();
    };
    const {mounts, pids} = await this.#start();
    const folders = await this.#folders();
    const random = new SeededRandom(seed);
    const programs = new Programs({seed, mounts, folders, boundMs: CALL_MS_MAX}, fail);
    const field = new Field(
      this.#cluster,
      disks,
      programs,
      pids,
      random.split('faults'),
      scheme.m,
      fail,
    );
    void field.watch();
    try {
      await Promise.race([this.#all(field), this.#over]);
    } catch (error) {
      fail(`${(error as Error).stack ?? error}`);
    } finally {
      await field.close();
      // Whoever was stopped is continued.
      await Promise.race([Promise.allSettled(this.#under), delay(FAULT_MS_MAX)]);
      programs.end();
    }
    return this.#interrupted && this.#failures.length === 0 ? null : this.#failures;
  }

  async #start(): Promise<{mounts: [string, string]; pids: number[]}> {
    const {scheme, servers, port} = this.#options;
    const cluster = this.#cluster;
    await cluster.start(
      '--servers',
      String(servers),
      '--scheme',
      `${scheme.k}+${scheme.m}`,
      '--base-port',
      String(port),
    );
    const second = await cluster.mountAgain('second');
    const pids = [cluster.dev.mounts[0]!.pid, cluster.mountPid('second')];
    return {mounts: [cluster.mount, second], pids};
  }

  async #folders(): Promise<string[]> {
    const folders = Array.from({length: PROGRAMS}, (_, i) => `program${i}`);
    for (const [i, folder] of folders.entries()) {
      const path = join(this.#cluster.mount, folder);
      mkdirSync(path);
      const layout = LAYOUTS[i % LAYOUTS.length]!;
      if (layout.length === 0) continue;
      const ran = await cpfs('layout', 'set', path, ...layout);
      if (ran.code !== 0) throw new Error(`layout set: ${ran.stderr}`);
    }
    return folders;
  }

  async #all(field: Field): Promise<void> {
    await this.#thrash(field);
    await this.#whole(field);
    await field.programs.ask({do: 'finish'});
    await this.#verify(field, 'with all servers');
    await this.#redundancy(field);
    this.#print(field, await field.programs.ask<Report>({do: 'report'}));
  }

  /** Faults, until the time is over; ends when the last one is over. */
  async #thrash(field: Field): Promise<void> {
    const until = performance.now() + this.#options.minutes * 60_000;
    while (performance.now() < until) {
      await delay(field.random.below(PAUSE_MS_MAX));
      // Some faults want everything to be whole first.
      if (field.random.chance(REST_CHANCE)) await this.#rest(field, until);
      const begun = this.#draw(field);
      if (begun === null) continue;
      const done = begun().finally(() => this.#under.delete(done));
      this.#under.add(done);
    }
    await Promise.all(this.#under);
  }

  async #rest(field: Field, until: number): Promise<void> {
    const end = Math.min(until, performance.now() + REST_MS_MAX);
    while (!field.settled && performance.now() < end) await delay(200);
  }

  /** A fault that may begin now. */
  #draw(field: Field): (() => Promise<void>) | null {
    const left = FAULTS.filter(({name}) => this.#options.only.includes(name));
    while (left.length > 0) {
      const fault = weighted(left, field.random.float());
      left.splice(left.indexOf(fault), 1);
      const act = fault.begin(field);
      if (act === null) continue;
      return () => this.#act(field, fault.name, act);
    }
    return null;
  }

  async #act(
    field: Field,
    name: string,
    act: () => Promise<Record<string, unknown>>,
  ): Promise<void> {
    field.note('begin', {fault: name});
    try {
      const done = await act();
      field.note('end', {fault: name, ...done});
      const counted = 'nothing' in done ? `${name} (nothing found)` : name;
      this.#counts.set(counted, (this.#counts.get(counted) ?? 0) + 1);
    } catch (error) {
      field.fail(`${name}: ${(error as Error).stack ?? error}`);
    }
  }

  async #whole(field: Field): Promise<void> {
    const began = performance.now();
    await this.#cluster.untilStatus(
      'whole after the last fault',
      WHOLE_MS_MAX,
      ({groups, recoveryLeft}) => recoveryLeft === 0 && groups.every((g) => g.state === 'ready'),
    );
    field.note('whole', {ms: Math.round(performance.now() - began)});
  }

  async #verify(field: Field, when: string): Promise<void> {
    // Each takes the leases from the other one, so both ask the servers.
    for (const side of SIDES) {
      const bytes = await field.programs.ask<number>({do: 'verify', side});
      field.note('verified', {when, side, bytes});
    }
  }

  /** Everything is read without any m servers that are neighbours: redundancy matches data. */
  async #redundancy(field: Field): Promise<void> {
    const {servers, slack} = field;
    for (let first = 0; first < servers.length; first++) {
      const lost = Array.from({length: slack}, (_, i) => servers[(first + i) % servers.length]!);
      for (const index of lost) await field.kill('data', index);
      await this.#cluster.until('degraded', 30_000);
      await this.#verify(field, `without ${lost.join()}`);
      for (const index of lost) await field.start('data', index);
      await this.#whole(field);
    }
  }

  #print(field: Field, {read, wrote, files, worst}: Report): void {
    const {minutes, seed, scheme, servers} = this.#options;
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
    const lines = [
      `seed ${seed}, ${scheme.k}+${scheme.m} on ${servers} servers, ${minutes} minutes: ${mib(wrote)} MiB written, ${mib(read)} MiB read and compared, ${files} files at the end`,
      `faults: ${[...this.#counts].map(([name, count]) => `${name} ${count}`).join(', ')}`,
      `longest recovery: ${(field.longestRecoveryMs / 1000).toFixed(1)} s`,
      `call          count   longest (at most ${CALL_MS_MAX / 1000} s)`,
      ...Object.entries(worst).map(
        ([kind, {count, ms, what, at}]) =>
          `${kind.padEnd(10)}${String(count).padStart(9)}   ${(ms / 1000).toFixed(1)} s, ${what}, ${at}`,
      ),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  }
}

function weighted(faults: readonly Fault[], draw: number): Fault {
  const total = faults.reduce((sum, {weight}) => sum + weight, 0);
  let left = draw * total;
  for (const fault of faults) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  return faults.at(-1)!;
}

function keepLogs(cluster: DevCluster, seed: number): string {
  const kept = mkdtempSync(join(tmpdir(), `cpfs-thrash-${seed}-`));
  for (const [from, name] of [
    [join(cluster.state, 'log'), 'state'],
    [cluster.logs, 'mounts'],
  ] as const)
    cpSync(from, join(kept, name), {recursive: true});
  return kept;
}

async function main(): Promise<number> {
  const given = options();
  if (given === null) {
    const names = FAULTS.map(({name}) => name).join(',');
    process.stderr.write(
      `usage: npm run thrash -- [--minutes N] [--seed S] [--scheme K+M, M > 0] [--servers N] [--base-port N] [--only ${names}] [--keep]\n`,
    );
    return 2;
  }
  if (!(await canCut())) throw new Error('this kernel cannot cut connections (ss -K)');
  const cluster = DevCluster.create();
  const disks = await Disks.make(cluster.folder, cluster.state, given.servers);
  let failures: readonly string[] | null = null;
  try {
    failures = await new Run(given, cluster).run(disks);
    if (failures === null) process.stderr.write('interrupted; everything is removed\n');
    return failures === null ? 130 : failures.length === 0 ? 0 : 1;
  } finally {
    if (failures !== null && failures.length > 0)
      process.stderr.write(`seed ${given.seed} failed; logs in ${keepLogs(cluster, given.seed)}\n`);
    if (given.keep) process.stderr.write(`kept: ${cluster.folder}\n`);
    else {
      await cpfs('dev', 'down', '--state', cluster.state);
      await disks.close();
      await cluster.down();
    }
  }
}

process.exitCode = await main();
process.exit();
