// What read copies are worth: `npm run bench:copies -- [--turns N] [--seconds N] [--readers N] [--mib N]`. On a dev cluster that exists only for this run
// several mounts read one file as fast as they can, with read copies off and on in turns, since other work on the machine comes and goes.
import {constants} from 'node:fs';
import {type FileHandle, open} from 'node:fs/promises';
import {loadavg} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import type {ReadCopiesReply} from '../../src/roles/copies.js';
import {layoutGet} from '../../src/roles/layout.js';
import {cpfs, DevCluster} from '../support/dev-cluster.js';
import {pattern} from '../support/frames.js';
import {type Counts, countsOf, difference} from './meter.js';

const MIB = 1 << 20;
const WAIT_MS = 60_000;
/** Heartbeats have told of what was read by then. */
const TOLD_MS = 2500;
const COPIES_PER_CHUNK = 2;

interface Turn {
  mib: number;
  mibPerSecond: number;
  /** Of all bytes that servers gave. */
  share: number;
  cpu: Record<keyof Counts, number>;
  /** Answers of data servers. */
  answers: number;
}

class Bench {
  readonly #cluster: DevCluster;
  readonly #path: string;
  readonly #files: FileHandle[] = [];
  readonly #mib: number;

  constructor(cluster: DevCluster, mib: number) {
    this.#cluster = cluster;
    this.#path = join(cluster.mount, 'hot');
    this.#mib = mib;
  }

  async begin(readers: number): Promise<void> {
    const file = await open(this.#path, 'w');
    for (let i = 0; i < this.#mib; i++) await file.write(pattern(MIB, i), 0, MIB, i * MIB);
    await file.sync();
    await file.close();
    for (let i = 0; i < readers; i++) {
      const dir = await this.#cluster.mountAgain(`reader${i}`, 'readahead=0');
      // Past the kernel's pages, or nobody would ask the servers twice.
      const flags = constants.O_RDONLY | constants.O_DIRECT;
      this.#files.push(await open(join(dir, 'hot'), flags));
    }
    await this.#set('--min-read', '1MiB', '--for', '1s', '--share', '50');
  }

  /** Not measured: what the copies are made of is read, too. */
  async copies(on: boolean): Promise<void> {
    await this.#set('--most', String(on ? COPIES_PER_CHUNK : 0));
    const wanted = on ? COPIES_PER_CHUNK : 0;
    const end = performance.now() + WAIT_MS;
    while ((await layoutGet(this.#path)).readCopies.length !== wanted) {
      if (performance.now() > end) throw new Error(`not ${wanted} read copies`);
      await this.#read(1);
    }
  }

  async turn(seconds: number): Promise<Turn> {
    const {dev, logs} = this.#cluster;
    await delay(TOLD_MS);
    const copiedBefore = await this.#copied();
    const before = await countsOf(dev, logs);
    const {bytes, ms} = await this.#read(seconds);
    const {meta, data, mount} = difference(await countsOf(dev, logs), before);
    await delay(TOLD_MS);
    const mib = bytes / MIB;
    const cpu = {meta: meta.cpuSeconds, data: data.cpuSeconds, mount: mount.cpuSeconds};
    const share = ((await this.#copied()) - copiedBefore) / bytes;
    return {mib, mibPerSecond: (1000 * mib) / ms, share, cpu, answers: data.messages};
  }

  async end(): Promise<void> {
    for (const file of this.#files) await file.close();
  }

  async #read(seconds: number): Promise<{bytes: number; ms: number}> {
    const start = performance.now();
    const until = start + seconds * 1000;
    const lane = async (file: FileHandle, first: number): Promise<number> => {
      const bytes = Buffer.alloc(MIB);
      let read = 0;
      for (let i = first; performance.now() < until; i = (i + 1) % this.#mib)
        read += (await file.read(bytes, 0, MIB, i * MIB)).bytesRead;
      return read;
    };
    const all = await Promise.all(
      this.#files.map((file, i) => lane(file, Math.floor((i * this.#mib) / this.#files.length))),
    );
    const bytes = all.reduce((sum, one) => sum + one, 0);
    return {bytes, ms: performance.now() - start};
  }

  async #copied(): Promise<number> {
    const ran = await cpfs('copies', 'status', '--meta', this.#cluster.meta, '-o', 'json');
    const {servers} = JSON.parse(ran.stdout) as ReadCopiesReply;
    return servers.reduce((sum, {read}) => sum + read, 0);
  }

  async #set(...flags: string[]): Promise<void> {
    const ran = await cpfs('copies', 'set', '--meta', this.#cluster.meta, ...flags);
    if (ran.code !== 0) throw new Error(ran.stderr);
  }
}

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;

function line(...cells: readonly string[]): void {
  const text = cells.map((one, i) => (i === 0 ? one.padEnd(14) : one.padStart(14)));
  process.stdout.write(`${text.join('')}\n`);
}

/** Medians over the turns. */
function print(name: string, turns: readonly Turn[]): void {
  const of = (what: (turn: Turn) => number): number => median(turns.map(what));
  const cpu = (role: keyof Counts): string =>
    of((turn) => (1000 * turn.cpu[role]) / turn.mib).toFixed(2);
  line(
    name,
    of(({mibPerSecond}) => mibPerSecond).toFixed(0),
    `${(100 * of(({share}) => share)).toFixed(0)} %`,
    cpu('mount'),
    cpu('data'),
    cpu('meta'),
    of(({answers, mib}) => answers / mib).toFixed(2),
  );
}

async function main(): Promise<void> {
  const {values} = parseArgs({
    options: {
      turns: {type: 'string', default: '5'},
      seconds: {type: 'string', default: '3'},
      readers: {type: 'string', default: '3'},
      mib: {type: 'string', default: '32'},
    },
  });
  const cluster = DevCluster.create();
  try {
    await cluster.start('--servers', '6', '--scheme', '2+1');
    const bench = new Bench(cluster, Number(values.mib));
    await bench.begin(Number(values.readers));
    const turns: Record<'off' | 'on', Turn[]> = {off: [], on: []};
    const [load] = loadavg();
    for (let i = 0; i < Number(values.turns); i++) {
      for (const which of ['off', 'on'] as const) {
        await bench.copies(which === 'on');
        turns[which].push(await bench.turn(Number(values.seconds)));
      }
    }
    await bench.end();
    process.stdout.write(`load ${load!.toFixed(1)} before, ${loadavg()[0]!.toFixed(1)} after\n`);
    line(
      'read copies',
      'MiB/s',
      'from copies',
      'mount ms/MiB',
      'data ms/MiB',
      'meta ms/MiB',
      'answers/MiB',
    );
    for (const which of ['off', 'on'] as const) print(which, turns[which]);
  } finally {
    await cluster.down();
  }
}

await main();
