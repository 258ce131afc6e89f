import {readFileSync} from 'node:fs';

const SIGKILL_BIT = 1n << 8n;

/**
 * Is this thread being killed? Whatever kills a process leaves SIGKILL pending for each of its threads (kernel/signal.c,
 * complete_signal). Also true for one that is gone.
 */
export function isDying(tid: number): boolean {
  let status: string;
  try {
    status = readFileSync(`/proc/${tid}/status`, 'utf8');
  } catch {
    return true;
  }
  for (const [, bits] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)) {
    if ((BigInt(`0x${bits}`) & SIGKILL_BIT) !== 0n) return true;
  }
  return false;
}

/**
 * How long a thread has run, in nanoseconds (proc_pid_schedstat); -1 if it waits for something other than a processor, by the state in
 * /proc/TID/stat, which follows the name in parentheses. Null where that cannot be known, and of one that is gone.
 */
export function ranFor(tid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${tid}/stat`, 'latin1');
    if (stat[stat.lastIndexOf(')') + 2] !== 'R') return -1;
    const [ran] = readFileSync(`/proc/${tid}/schedstat`, 'latin1').split(' ');
    return Number(ran);
  } catch {
    return null;
  }
}
