// Hours of mixed load on a dev cluster that exists only for this run: `npm run soak -- [--minutes N]`. Two mounts work at the same time in
// two trees, each of which the other one removes. Fails when bytes are wrong, when a process ends, or when memory or descriptors of one
// grow after the first quarter of the time.
import {spawn} from 'node:child_process';
import {mkdirSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {SeededRandom} from '../../src/core/sim/random.js';
import {DevCluster} from '../support/dev-cluster.js';
import {type Place, WORKLOADS} from './workloads.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));
const SAMPLE_MS = 10_000;
/** What may be added to the most of the first quarter: the caches that were not full yet, and what a collector leaves for later. */
const MEMORY_SLACK = 0.15;
const MEMORY_SLACK_MIB = 24;
const DESCRIPTOR_SLACK = 16;
const MIX = WORKLOADS.filter(({cold, twoMounts}) => !cold && twoMounts !== true);
const READS = WORKLOADS.filter(({name}) => name === 'rand-read-4k' || name === 'seq-read-cold');

interface Sample {
  mib: number;
  descriptors: number;
}

function sampleOf(pid: number): Sample {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN);
  return {mib: kib / 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length};
}

function step(what: string, name: string, place: Place): Promise<void> {
  const child = spawn(process.execPath, [WORKER, what, name, JSON.stringify(place)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let error = '';
  child.stderr.on('data', (bytes: Buffer) => {
    error += bytes.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`${name}, ${what}: ${error || `exit ${code}`}`)),
    );
  });
}

/** One program after the other in a folder of a mount, until `until`; the other mount removes what they made. */
async function lane(
  here: Place,
  there: string,
  random: SeededRandom,
  until: number,
): Promise<number> {
  let rounds = 0;
  while (performance.now() < until) {
    mkdirSync(here.dir, {recursive: true});
    for (let i = 0; i < 6 && performance.now() < until; i++, rounds++) {
      const workload = random.pick(random.chance(0.3) ? READS : MIX);
      await step('prepare', workload.name, here);
      await step('run', workload.name, here);
      await step('check', workload.name, random.chance(0.5) ? here : {...here, dir: there});
    }
    rmSync(there, {recursive: true});
  }
  return rounds;
}

interface Role {
  name: string;
  pid: number;
  samples: Sample[];
}

async function watch(roles: readonly Role[], until: number): Promise<void> {
  while (performance.now() < until) {
    for (const {name, pid, samples} of roles) {
      try {
        samples.push(sampleOf(pid));
      } catch {
        throw new Error(`${name} (${pid}) has ended`);
      }
    }
    await delay(SAMPLE_MS);
  }
}

const most = (samples: readonly Sample[], of: keyof Sample): number =>
  Math.round(Math.max(...samples.map((one) => one[of])));

/** What grew; prints a line for each process. */
function judge(roles: readonly Role[]): string[] {
  const grown: string[] = [];
  process.stdout.write('process    MiB, the most of each quarter    descriptors, the same\n');
  for (const {name, samples} of roles) {
    const quarter = Math.ceil(samples.length / 4);
    const quarters = [0, 1, 2, 3].map((i) => samples.slice(i * quarter, (i + 1) * quarter));
    const [mib, fds] = (['mib', 'descriptors'] as const).map((of) =>
      quarters.filter((some) => some.length > 0).map((some) => most(some, of)),
    ) as [number[], number[]];
    const line = [...mib, ...fds].map((n) => String(n).padStart(7)).join('');
    process.stdout.write(`${name.padEnd(10)}${line}\n`);
    if (mib.at(-1)! > mib[0]! * (1 + MEMORY_SLACK) + MEMORY_SLACK_MIB)
      grown.push(`memory of ${name}`);
    if (fds.at(-1)! > fds[0]! + DESCRIPTOR_SLACK) grown.push(`descriptors of ${name}`);
  }
  return grown;
}

async function soak(minutes: number, cluster: DevCluster): Promise<number> {
  await cluster.start('--servers', '5', '--scheme', '4+1');
  const second = await cluster.mountAgain('second');
  const {meta, data, mounts} = cluster.dev;
  const named = (name: string, pid: number): Role => ({name, pid, samples: []});
  const roles = [
    ...meta.map(({pid, index}) => named(`meta${index}`, pid)),
    ...data.map(({pid, index}) => named(`data${index}`, pid)),
    ...mounts.map(({pid}) => named('mount', pid)),
    named('second', cluster.mountPid('second')),
  ];
  const until = performance.now() + minutes * 60_000;
  const random = new SeededRandom(1);
  const place = (dir: string, name: string): Place => {
    const local = join(cluster.folder, `local-${name}`);
    mkdirSync(local);
    return {dir: join(dir, name), second: join(dir, name), local, size: 128, files: 1000};
  };
  const [rounds, more] = await Promise.all([
    lane(place(cluster.mount, 'a'), join(second, 'a'), random.split('a'), until),
    lane(place(second, 'b'), join(cluster.mount, 'b'), random.split('b'), until),
    watch(roles, until),
  ]);
  process.stdout.write(`${minutes} minutes, ${rounds + more} programs\n`);
  const grown = judge(roles);
  for (const what of grown) process.stderr.write(`grown: ${what}\n`);
  return grown.length === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  const {values} = parseArgs({options: {minutes: {type: 'string', default: '60'}}});
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) {
    process.stderr.write('usage: npm run soak -- [--minutes N]\n');
    return 2;
  }
  const cluster = DevCluster.create();
  try {
    return await soak(minutes, cluster);
  } finally {
    await cluster.down();
  }
}

process.exitCode = await main();
