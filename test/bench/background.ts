// What programs feel of a recovery and of a scrub: `npm run bench:background -- [--turns N] [--seconds N]`. Four programs work at a moderate rate
// on a dev cluster that exists only for this run, while a server is made anew that was wiped, then one that was away while much was changed,
// then during a scrub. Each is paused and resumed in turns of a few seconds, since other work on the machine comes and goes.
import {mkdirSync} from 'node:fs';
import {type FileHandle, open} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import type {Status} from '../../src/roles/admin.js';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';
import {pattern} from '../support/frames.js';

const KIB = 1 << 10;
const MIB = 1 << 20;
const BULK_FILES = 24;
const BULK_MIB = 64;
const DATA_MIB = 256;
const DB_MIB = 16;
const END_MS = 600_000;
/** The server that goes. */
const VICTIM = 3;
const FAST = '4GiB';

const KINDS = ['read 4K', 'write 4K + fsync', 'create 4K', 'read 1M'] as const;
type Kind = (typeof KINDS)[number];
type Times = Record<Kind, number[]>;
/** How often each begins an operation, if it has ended the one before. */
const EVERY_MS: Record<Kind, number> = {
  'read 4K': 10,
  'write 4K + fsync': 25,
  'create 4K': 20,
  'read 1M': 100,
};
type Kinds = 'wiped' | 'away' | 'scrub';
/** An order has reached every server by then. */
const ORDER_MS = 1500;

const block = Buffer.from(pattern(MIB, 1).buffer);

async function fill(path: string, mib: number, seed: number): Promise<void> {
  const file = await open(path, 'w');
  for (let i = 0; i < mib; i++) {
    for (let at = 0; at < MIB; at += 4 * KIB) block.writeUInt32LE(seed * 1000 + i, at);
    await file.write(block, 0, MIB, i * MIB);
  }
  await file.datasync();
  await file.close();
}

/** The programs, each with one operation at a time. */
class Programs {
  readonly #dir: string;
  readonly #data: FileHandle;
  readonly #db: FileHandle;
  #made = 0;
  #at = 0;

  private constructor(dir: string, data: FileHandle, db: FileHandle) {
    this.#dir = dir;
    this.#data = data;
    this.#db = db;
  }

  /** Through handles that may write, so that it is the servers that are read, and not the kernel's pages. */
  static async open(mount: string): Promise<Programs> {
    const dir = join(mount, 'programs');
    mkdirSync(dir);
    await fill(join(dir, 'data'), DATA_MIB, 1);
    await fill(join(dir, 'db'), DB_MIB, 2);
    return new Programs(
      dir,
      await open(join(dir, 'data'), 'r+'),
      await open(join(dir, 'db'), 'r+'),
    );
  }

  async run(seconds: number): Promise<Times> {
    const until = performance.now() + seconds * 1000;
    const all = await Promise.all(KINDS.map((kind) => this.#lane(kind, until)));
    return Object.fromEntries(KINDS.map((kind, i) => [kind, all[i]!])) as Times;
  }

  async close(): Promise<void> {
    await this.#data.close();
    await this.#db.close();
  }

  async #lane(kind: Kind, until: number): Promise<number[]> {
    const times: number[] = [];
    const small = Buffer.alloc(4 * KIB, 7);
    const large = Buffer.alloc(MIB);
    for (let next = performance.now(); next < until; ) {
      const start = performance.now();
      await this.#once(kind, small, large);
      const end = performance.now();
      times.push(end - start);
      next = Math.max(next + EVERY_MS[kind], end);
      await delay(Math.max(0, next - end));
    }
    return times;
  }

  async #once(kind: Kind, small: Buffer, large: Buffer): Promise<void> {
    const somewhere = (mib: number): number => Math.floor(Math.random() * mib * 256) * 4 * KIB;
    if (kind === 'read 4K') await this.#data.read(small, 0, 4 * KIB, somewhere(DATA_MIB));
    else if (kind === 'read 1M') {
      await this.#data.read(large, 0, MIB, this.#at * MIB);
      this.#at = (this.#at + 1) % DATA_MIB;
    } else if (kind === 'create 4K') {
      const file = await open(join(this.#dir, `f${this.#made++}`), 'wx');
      await file.write(small);
      await file.close();
    } else {
      await this.#db.write(small, 0, 4 * KIB, somewhere(DB_MIB));
      await this.#db.datasync();
    }
  }
}

/** Something that goes on behind the backs of programs. */
interface Background {
  /** Gets it going. */
  begin(): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** How it is doing; null: it has ended. */
  look(): Promise<string | null>;
  end(): Promise<void>;
}

class Bench {
  readonly #cluster: DevCluster;
  #round = 0;

  constructor(cluster: DevCluster) {
    this.#cluster = cluster;
  }

  background(kind: Kinds): Background {
    return kind === 'scrub' ? this.#scrub() : this.#recovery(kind);
  }

  async fill(): Promise<void> {
    this.#round++;
    for (let i = 0; i < BULK_FILES; i++)
      await fill(join(this.#cluster.mount, `bulk${i}`), BULK_MIB, 100 * this.#round + i);
  }

  async #do(...args: string[]): Promise<string> {
    const ran = await cpfs(...args, '--meta', this.#cluster.meta);
    if (ran.code !== 0) throw new Error(`${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  #recovery(kind: 'wiped' | 'away'): Background {
    const cluster = this.#cluster;
    const victim = String(VICTIM);
    const left = ({servers}: Status): number => servers.reduce((sum, one) => sum + one.left, 0);
    const order = (what: string) => async (): Promise<void> =>
      void (await this.#do('recovery', what));
    return {
      begin: async () => {
        await cluster.do(kind === 'wiped' ? 'wipe' : 'kill', 'data', victim);
        await cluster.until('degraded', END_MS);
        if (kind === 'away') await this.fill();
        await this.#do('recovery', 'set', '--rate', '64MiB');
        await cluster.do('start', 'data', victim);
        await cluster.untilStatus('recovering', 30_000, (status) => left(status) > 0);
      },
      pause: order('pause'),
      resume: order('resume'),
      look: async () => {
        const ended = left(await cluster.status()) === 0;
        return ended ? null : this.#do('recovery', 'status');
      },
      end: async () => {
        await this.#do('recovery', 'set', '--rate', FAST);
        await cluster.until('ready', END_MS);
      },
    };
  }

  #scrub(): Background {
    const order = (what: string) => async (): Promise<void> => void (await this.#do('scrub', what));
    const figures = async () =>
      (
        JSON.parse(await this.#do('scrub', 'status', '-o', 'json')) as {
          servers: {state: string; bad: number}[];
        }
      ).servers;
    return {
      begin: async () => {
        await this.#do('scrub', 'set', '--rate', '20MiB');
        await this.#do('scrub', 'start');
      },
      pause: order('pause'),
      resume: order('resume'),
      look: async () => {
        const ended = (await figures()).every(({state}) => state === 'idle');
        return ended ? null : this.#do('scrub', 'status');
      },
      end: async () => {
        await this.#do('scrub', 'set', '--rate', FAST);
        for (const end = performance.now() + END_MS; performance.now() < end; await delay(200)) {
          const servers = await figures();
          if (servers.some(({bad}) => bad > 0)) throw new Error('a false alarm of the scrub');
          if (servers.every(({state}) => state === 'idle')) break;
        }
      },
    };
  }
}

const percentile = (times: readonly number[], p: number): number =>
  times.toSorted((a, b) => a - b)[Math.floor(times.length * p)] ?? Number.NaN;

const median = (numbers: readonly number[]): number => percentile(numbers, 0.5);

const line = (...cells: readonly string[]): void =>
  void process.stdout.write(
    `${cells.map((one, i) => (i === 0 ? one.padEnd(20) : one.padStart(20))).join('')}\n`,
  );

/** Medians over the turns. */
function print(name: string, turns: readonly {quiet: Times; busy: Times}[]): void {
  line(`${name}: ms`, 'p50 without', 'p50 with', 'p99 without', 'p99 with', 'p99, ratio');
  for (const kind of KINDS) {
    const of = (which: 'quiet' | 'busy', p: number): number =>
      median(turns.map((turn) => percentile(turn[which][kind], p)));
    const all = (which: 'quiet' | 'busy'): number =>
      percentile(
        turns.flatMap((turn) => turn[which][kind]),
        0.99,
      );
    const [before, after] = [of('quiet', 0.99), of('busy', 0.99)];
    const each = [of('quiet', 0.5), of('busy', 0.5), before, after].map((n) => n.toFixed(2));
    line(
      kind,
      ...each,
      `${(after / before).toFixed(2)} (${(all('busy') / all('quiet')).toFixed(2)} of all)`,
    );
  }
}

async function measure(
  programs: Programs,
  background: Background,
  turns: number,
  seconds: number,
): Promise<{quiet: Times; busy: Times}[]> {
  const results: {quiet: Times; busy: Times}[] = [];
  await background.begin();
  // What was done to get it going is nobody's business any more.
  await background.pause();
  await shell('sync; sleep 2');
  for (let i = 0; i < turns; i++) {
    await delay(ORDER_MS);
    const quiet = await programs.run(seconds);
    await background.resume();
    await delay(ORDER_MS);
    const busy = await programs.run(seconds);
    // Or it would make up for what it gave way.
    await background.pause();
    const state = await background.look();
    if (state === null) break;
    results.push({quiet, busy});
    if (i === 0) process.stderr.write(state);
  }
  await background.resume();
  await background.end();
  return results;
}

async function main(): Promise<void> {
  const {values} = parseArgs({
    options: {
      turns: {type: 'string', default: '10'},
      seconds: {type: 'string', default: '3'},
      only: {type: 'string', default: 'wiped,away,scrub'},
    },
  });
  const cluster = DevCluster.create();
  try {
    await cluster.start('--servers', '5', '--scheme', '4+1');
    const bench = new Bench(cluster);
    await bench.fill();
    const programs = await Programs.open(cluster.mount);
    await programs.run(1);
    for (const kind of values.only.split(',') as Kinds[]) {
      const turns = [Number(values.turns), Number(values.seconds)] as const;
      print(kind, await measure(programs, bench.background(kind), ...turns));
    }
    await programs.close();
  } finally {
    await cluster.down();
  }
}

await main();
