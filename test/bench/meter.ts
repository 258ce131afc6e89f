import {readdirSync, readFileSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import type {DevState} from '../../src/roles/dev/state.js';

/** Counters of all processes of one role, added up. */
export interface RoleCounts {
  cpuSeconds: number;
  /** Frames sent, and bytes on the wire with them. */
  messages: number;
  networkBytes: number;
  /** Bytes that became dirty in the page cache for it (write_bytes of /proc/PID/io). */
  diskBytes: number;
}

export type Counts = Record<'meta' | 'data' | 'mount', RoleCounts>;

const ANSWER_MS = 10_000;
const POLL_MS = 5;

interface Source {
  pid: number;
  log: string;
}

/** Mounts beside the cluster's own, by the logs that they write. */
function moreMounts(logs: string | null): Source[] {
  if (logs === null) return [];
  return readdirSync(logs).map((name) => {
    const log = join(logs, name);
    const [first] = readFileSync(log, 'utf8').split('\n', 1);
    return {pid: (JSON.parse(first!) as {pid: number}).pid, log};
  });
}

function sources(dev: DevState, logs: string | null): Record<keyof Counts, Source[]> {
  const log = (name: string) => join(dev.state, 'log', `${name}.log`);
  return {
    meta: dev.meta.map(({pid, index}) => ({pid, log: log(`meta${index}`)})),
    data: dev.data.map(({pid, index}) => ({pid, log: log(`data${index}`)})),
    mount: [...dev.mounts.map(({pid}) => ({pid, log: log('mount')})), ...moreMounts(logs)],
  };
}

/** Makes a process log its counters, and waits for that line. */
async function ask({pid, log}: Source): Promise<RoleCounts> {
  const before = statSync(log).size;
  process.kill(pid, 'SIGUSR2');
  const until = performance.now() + ANSWER_MS;
  while (performance.now() < until) {
    const added = readFileSync(log).subarray(before).toString();
    // The last piece is a line that may not be whole.
    for (const line of added.split('\n').slice(0, -1)) {
      const event = JSON.parse(line) as Record<string, number | string>;
      if (event.event !== 'stats' || event.pid !== pid) continue;
      return {
        cpuSeconds: Number(event.cpuUs) / 1e6,
        messages: Number(event.framesOut),
        networkBytes: Number(event.netBytesOut),
        diskBytes: diskBytes(pid),
      };
    }
    await delay(POLL_MS);
  }
  throw new Error(`process ${pid} does not log its counters to ${log}`);
}

function diskBytes(pid: number): number {
  const io = readFileSync(`/proc/${pid}/io`, 'utf8');
  return Number(/^write_bytes: (\d+)$/m.exec(io)?.[1] ?? 0);
}

function sum(counts: readonly RoleCounts[]): RoleCounts {
  const total: RoleCounts = {cpuSeconds: 0, messages: 0, networkBytes: 0, diskBytes: 0};
  for (const one of counts)
    for (const key of Object.keys(total) as (keyof RoleCounts)[]) total[key] += one[key];
  return total;
}

/** Counters of a dev cluster now, and of mounts that log to files of the folder `logs`. */
export async function countsOf(dev: DevState, logs: string | null = null): Promise<Counts> {
  const {meta, data, mount} = sources(dev, logs);
  const all = async (list: Source[]) => sum(await Promise.all(list.map(ask)));
  return {meta: await all(meta), data: await all(data), mount: await all(mount)};
}

export function difference(after: Counts, before: Counts): Counts {
  const less = (a: RoleCounts, b: RoleCounts): RoleCounts => ({
    cpuSeconds: a.cpuSeconds - b.cpuSeconds,
    messages: a.messages - b.messages,
    networkBytes: a.networkBytes - b.networkBytes,
    diskBytes: a.diskBytes - b.diskBytes,
  });
  return {
    meta: less(after.meta, before.meta),
    data: less(after.data, before.data),
    mount: less(after.mount, before.mount),
  };
}

/** CPU seconds of any process, of whole ticks of 10 ms, its ended threads included. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
