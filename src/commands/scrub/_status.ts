import {formatSize} from '../../core/base/units.js';
import type {ScrubStatus} from '../../roles/scrub.js';

const percent = (share: number): string => `${Math.floor(share * 100)} %`;

/** The status for people. */
export function scrubTable(status: ScrubStatus): string {
  const {rate, intervalSeconds, paused} = status;
  const every = intervalSeconds === 0 ? 'only when told' : `every ${formatTime(intervalSeconds)}`;
  const lines = [`scrub: ${paused ? 'paused' : 'on'}   ${every}   at most ${formatSize(rate)}/s`];
  for (const one of status.servers) {
    const {group, slot, address, state, progress, deep, blocks, bad, repaired, lost} = one;
    const run = state === 'idle' || state === 'unknown' ? '' : ` ${percent(progress)}`;
    const what = `${one.connected ? state : 'away'}${run}${deep ? ' deep' : ''}`;
    const parts = [`${blocks} blocks`, `${bad} bad`, `${repaired} repaired`, `${lost} lost`];
    if (one.skipped > 0) parts.push(`${one.skipped} chunks skipped`);
    if (one.rate > 0) parts.push(`${formatSize(one.rate)}/s`);
    lines.push(
      `  slot ${group}.${slot}  ${address.padEnd(21)}  ${what.padEnd(13)}  last ${one.lastPass ?? 'never'}  ${parts.join(', ')}`,
    );
  }
  for (const {path, inode, offset, length} of status.lostRanges)
    lines.push(`lost: ${path ?? `inode ${inode}`} bytes ${offset} to ${offset + length - 1}`);
  return lines.join('\n');
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
] as const;

export function formatTime(seconds: number): string {
  for (const [name, size] of UNITS)
    if (seconds >= size && seconds % size === 0) return `${seconds / size} ${name}`;
  return `${seconds} s`;
}

/** Seconds of a time such as `7d`, `12h`, `30min` or `90s`; null if it is not one. */
export function parseTime(given: string): number | null {
  const match = /^(\d+)\s*(d|h|min|s)$/.exec(given.trim());
  if (match === null) return null;
  const size = UNITS.find(([name]) => name === match[2])?.[1] ?? 1;
  const seconds = Number(match[1]) * size;
  return Number.isSafeInteger(seconds) ? seconds : null;
}
