// Where the CPU time of each role goes: V8's sampling profiler runs in every process of the cluster (--cpu-prof writes its profile
// when the process ends), and the samples that fall into the run of a workload are counted by what they were taken in.
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Counts} from './meter.js';

/** As in a .cpuprofile: the sampled frames, and when which of them was on top of the stack. */
interface CpuProfile {
  nodes: {id: number; callFrame: {functionName: string; url: string}}[];
  /** Microseconds of the machine's monotonic clock, as `process.hrtime`. */
  startTime: number;
  samples: number[];
  timeDeltas: number[];
}

/** One run of a workload, in microseconds of the monotonic clock. */
export interface Stretch {
  name: string;
  /** So many GiB or thousands of operations were done. */
  units: number;
  per: string;
  from: number;
  to: number;
  counts: Counts;
}

type Role = keyof Counts;
const ROLES: readonly Role[] = ['meta', 'data', 'mount'];

/** What the time is spent on. The first whose pattern fits the function's file, or its name, has it. */
const KINDS: readonly [name: string, file: RegExp, functions?: RegExp][] = [
  ['sums', /core\/os\/codec|base\/crc32c/, /crc32c/],
  ['parity', /core\/os\/codec/],
  ['FUSE channel', /core\/os\/fuse/],
  ['files', /core\/os\/disk|node:fs|internal\/fs/],
  ['store', /core\/os\/kv|lmdb|msgpackr|ordered-binary/],
  [
    'sockets',
    /^$|core\/os\/tcp|node:net|stream/,
    /^(writeBuffer|writev|readStart|readStop|shutdown)$/,
  ],
  ['sockets', /core\/os\/tcp|node:net|node:internal\/stream|node:stream/],
  ['messages', /core\/transport|core\/protocol|protobufjs/],
  ['FUSE requests', /core\/door/],
  ['decisions', /\/core\//],
];
const RUNTIME = 'runtime';
const COLLECTOR = 'garbage collector';
/** File operations on workers, the compiler, the kernel's part of going to sleep and waking up. */
const ELSEWHERE = 'other threads, waking up';
const COLUMNS = [...new Set(KINDS.map(([name]) => name)), RUNTIME, COLLECTOR, ELSEWHERE];

/** What Node takes in its environment so that it writes profiles into `folder`. */
export const profilerOptions = (folder: string): string =>
  `--cpu-prof --cpu-prof-interval=1000 --cpu-prof-dir=${folder}`;

export const monotonicUs = (): number => Number(process.hrtime.bigint() / 1000n);

function kindOf({functionName, url}: {functionName: string; url: string}): string | null {
  if (functionName === '(idle)') return null;
  if (functionName === '(garbage collector)') return COLLECTOR;
  const found = KINDS.find(
    ([, file, functions]) =>
      file.test(url) && (functions === undefined || functions.test(functionName)),
  );
  return found?.[0] ?? RUNTIME;
}

function roleOf({nodes}: CpuProfile): Role | null {
  return (
    ROLES.find((role) =>
      nodes.some(({callFrame}) => callFrame.url.includes(`/roles/${role}/main.js`)),
    ) ?? null
  );
}

/** Seconds by kind within [from, to). */
function secondsIn(profile: CpuProfile, {from, to}: Stretch, into: Map<string, number>): void {
  const kinds = new Map(profile.nodes.map(({id, callFrame}) => [id, kindOf(callFrame)]));
  let at = profile.startTime;
  for (const [index, id] of profile.samples.entries()) {
    const delta = profile.timeDeltas[index]!;
    at += delta;
    const kind = kinds.get(id);
    if (at < from || at >= to || kind === null || kind === undefined) continue;
    into.set(kind, (into.get(kind) ?? 0) + delta / 1e6);
  }
}

/** A table for people: CPU seconds for one GiB or 1000 operations, of all processes of a role together. */
export function profileTable(folder: string, stretches: readonly Stretch[]): string {
  const profiles = readdirSync(folder).map(
    (name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as CpuProfile,
  );
  const lines: string[] = [];
  for (const stretch of stretches) {
    lines.push(`${stretch.name}: CPU s per ${stretch.per}`);
    for (const role of ROLES) {
      const seconds = new Map<string, number>();
      for (const profile of profiles)
        if (roleOf(profile) === role) secondsIn(profile, stretch, seconds);
      const sampled = [...seconds.values()].reduce((sum, one) => sum + one, 0);
      seconds.set(ELSEWHERE, Math.max(0, stretch.counts[role].cpuSeconds - sampled));
      const parts = COLUMNS.map((name): [string, number] => [
        name,
        (seconds.get(name) ?? 0) / stretch.units,
      ])
        .filter(([, value]) => value >= 0.001)
        .sort(([, a], [, b]) => b - a)
        .map(([name, value]) => `${name} ${value.toFixed(3)}`);
      const all = stretch.counts[role].cpuSeconds / stretch.units;
      lines.push(`  ${role.padEnd(6)}${all.toFixed(3).padStart(7)}  ${parts.join(', ')}`);
    }
  }
  return lines.join('\n');
}
