import {Flags} from '@oclif/core';
import {alignedRows, metaFlag, outputFlag, timeoutFlag} from '../_base.js';

/** Of the commands that list what clients hold. */
export const holdingsFlags = {
  meta: metaFlag,
  session: Flags.integer({
    summary: "of this client only: its number in 'client list'",
    default: 0,
    min: 0,
  }),
  inode: Flags.integer({
    summary: "of this file or folder only: its inode number, as 'stat' shows it",
    default: 0,
    min: 0,
  }),
  limit: Flags.integer({summary: 'lines at most', default: 1000, min: 1, max: 10_000}),
  output: outputFlag,
  timeout: timeoutFlag,
};

/** The columns below one another, and how many lines were left out. */
export function table(rows: readonly (readonly string[])[], total: number): string {
  const left = total - (rows.length - 1);
  const more =
    left > 0 ? [`… and ${left} more; --limit shows more, --session and --inode fewer`] : [];
  return [alignedRows(rows), ...more].join('\n');
}
