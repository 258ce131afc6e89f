import type {Counts} from './meter.js';
import type {WorkerReport} from './worker.js';
import type {Workload} from './workloads.js';

/** One run of one workload. */
export interface Run {
  worker: WorkerReport;
  /** Of the dev cluster; null for the other mount. */
  counts: Counts | null;
  /** CPU of the processes behind the mount; null where they are not known. */
  serversCpuSeconds: number | null;
}

export interface Result {
  name: string;
  unit: 'MiB/s' | 'ops/s';
  /** Median of the runs, and all of them in their order. */
  rate: number;
  rates: number[];
  /** The following are of the run with the median rate. CPU per GiB or per 1000 operations, in seconds. */
  cpuPer: 'GiB' | '1000 ops';
  cpu: {programs: number; meta: number; data: number; mount: number; all: number};
  /** Frames sent by all processes, per MiB or operation, and bytes of them per user byte written. */
  messagesPerUnit: number;
  networkPerByte: number | null;
  diskPerByte: number | null;
  /** Of other file systems, by name, in the same run. */
  peers: Record<string, PeerResult>;
  compare: {rate: number; rates: number[]; ratio: number; cpu: number | null} | null;
}

export interface PeerResult {
  rate: number;
  rates: number[];
  /** CPU seconds of its processes and of the programs, as `cpuPer`. */
  cpu: number | null;
}

const rateOf = ({worker}: Run): number => worker.units / worker.seconds;

/** The middle one; of an even number the slower of the two. */
function median(runs: readonly Run[]): Run {
  const sorted = [...runs].sort((a, b) => rateOf(a) - rateOf(b));
  return sorted[Math.floor((sorted.length - 1) / 2)]!;
}

export function summarize(
  workload: Workload,
  runs: readonly Run[],
  compared: readonly Run[],
): Result {
  const run = median(runs);
  const {worker} = run;
  const counts = run.counts!;
  const mib = workload.unit === 'MiB';
  const per = (seconds: number) => (seconds / worker.units) * (mib ? 1024 : 1000);
  const cpu = {
    programs: per(worker.cpuSeconds),
    meta: per(counts.meta.cpuSeconds),
    data: per(counts.data.cpuSeconds),
    mount: per(counts.mount.cpuSeconds),
  };
  const roles = [counts.meta, counts.data, counts.mount];
  const total = (pick: (role: Counts['meta']) => number) =>
    roles.reduce((sum, role) => sum + pick(role), 0);
  const perByte = (bytes: number) => (worker.wrote === 0 ? null : bytes / worker.wrote);
  return {
    name: workload.name,
    unit: mib ? 'MiB/s' : 'ops/s',
    rate: rateOf(run),
    rates: runs.map(rateOf),
    cpuPer: mib ? 'GiB' : '1000 ops',
    cpu: {...cpu, all: cpu.programs + cpu.meta + cpu.data + cpu.mount},
    messagesPerUnit: total((r) => r.messages) / worker.units,
    networkPerByte: perByte(total((r) => r.networkBytes)),
    diskPerByte: perByte(total((r) => r.diskBytes)),
    peers: {},
    compare: compared.length === 0 ? null : compare(median(compared), compared, run, mib),
  };
}

export function summarizePeer(workload: Workload, runs: readonly Run[]): PeerResult {
  const run = median(runs);
  const scale = (workload.unit === 'MiB' ? 1024 : 1000) / run.worker.units;
  return {rate: rateOf(run), rates: runs.map(rateOf), cpu: cpuOf(run, scale)};
}

const cpuOf = ({serversCpuSeconds, worker}: Run, scale: number): number | null =>
  serversCpuSeconds === null ? null : (serversCpuSeconds + worker.cpuSeconds) * scale;

function compare(
  other: Run,
  all: readonly Run[],
  own: Run,
  mib: boolean,
): NonNullable<Result['compare']> {
  const scale = (mib ? 1024 : 1000) / other.worker.units;
  return {
    rate: rateOf(other),
    rates: all.map(rateOf),
    ratio: rateOf(own) / rateOf(other),
    cpu: cpuOf(other, scale),
  };
}

const HEADINGS = [
  'workload',
  'rate',
  '',
  'CPU s per',
  '',
  'meta',
  'data',
  'mount',
  'programs',
  'messages',
  'network B/B',
  'disk B/B',
];

function cells(result: Result): string[] {
  const {cpu, compare: other} = result;
  const ratio = (value: number | null) => (value === null ? '-' : value.toFixed(2));
  return [
    result.name,
    result.rate.toFixed(result.rate < 100 ? 1 : 0),
    result.unit,
    cpu.all.toFixed(2),
    result.cpuPer,
    cpu.meta.toFixed(2),
    cpu.data.toFixed(2),
    cpu.mount.toFixed(2),
    cpu.programs.toFixed(2),
    result.messagesPerUnit.toFixed(1),
    ratio(result.networkPerByte),
    ratio(result.diskPerByte),
    ...(other === null ? [] : [other.rate.toFixed(0), other.ratio.toFixed(2), ratio(other.cpu)]),
  ];
}

/** A table for people. */
export function table(results: readonly Result[]): string {
  const headings = results.some((r) => r.compare !== null)
    ? [...HEADINGS, 'other', 'ratio', 'its CPU s']
    : HEADINGS;
  return aligned([headings, ...results.map(cells)], new Set([0, 2, 4]));
}

/** Peers with one server and no redundancy: they are what could be had at most, not what is to be beaten. */
const SINGLE = new Set(['local', 'ganesha']);

/** Each peer's rate and CPU beside our own; `of best`: our rate divided by that of the fastest cluster. */
export function peerTable(results: readonly Result[], names: readonly string[]): string {
  const cell = (rate: number, cpu: number | null): string =>
    `${rate.toFixed(rate < 100 ? 1 : 0)} (${cpu === null ? '-' : cpu.toFixed(2)})`;
  const rows = results.map((result) => {
    const others = names.map((name) => result.peers[name]);
    const clusters = names.filter((name) => !SINGLE.has(name));
    const best = Math.max(0, ...clusters.map((name) => result.peers[name]?.rate ?? 0));
    return [
      result.name,
      `${result.unit} (CPU s per ${result.cpuPer})`,
      cell(result.rate, result.cpu.all),
      ...others.map((one) => (one === undefined ? '-' : cell(one.rate, one.cpu))),
      best === 0 ? '-' : (result.rate / best).toFixed(2),
    ];
  });
  const headings = ['workload', 'unit', 'cpfs', ...names, 'of best'];
  return aligned([headings, ...rows], new Set([0, 1]));
}

function aligned(rows: readonly string[][], left: ReadonlySet<number>): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (left.has(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
