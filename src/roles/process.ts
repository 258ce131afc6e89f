import {readFileSync} from 'node:fs';
import {setTimeout as delay} from 'node:timers/promises';

/** A process of ours, so that a number that was given to another one meanwhile is never signalled. */
export interface ProcessId {
  pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks from boot to its start. */
  startTicks: number;
}

/** Start time of a running process, or null. */
function startTicks(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name, field 2, may hold blanks and parentheses; fields go on after the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : Number(fields[19]);
  } catch {
    return null;
  }
}

export function identify(pid: number): ProcessId {
  return {pid, startTicks: startTicks(pid) ?? -1};
}

export const alive = (id: ProcessId): boolean => startTicks(id.pid) === id.startTicks;

/** False if it was gone already. */
export function signal(id: ProcessId, name: NodeJS.Signals): boolean {
  if (!alive(id)) return false;
  try {
    process.kill(id.pid, name);
    return true;
  } catch {
    return false;
  }
}

/** True if it ended within `ms`. */
export async function ended(id: ProcessId, ms: number): Promise<boolean> {
  const until = performance.now() + ms;
  while (alive(id)) {
    if (performance.now() > until) return false;
    await delay(20);
  }
  return true;
}

/** SIGTERM, and SIGKILL for one that has not ended after `patienceMs` (or is stopped). */
export async function stopProcess(id: ProcessId, patienceMs: number): Promise<void> {
  if (!signal(id, 'SIGTERM')) return;
  signal(id, 'SIGCONT');
  if (await ended(id, patienceMs)) return;
  signal(id, 'SIGKILL');
  await ended(id, 5000);
}
