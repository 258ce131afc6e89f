import {CliError, EXIT} from '../roles/cli-error.js';

const UNITS: Readonly<Record<string, number>> = {s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000};

/** CliError: it is none. */
export function durationMs(text: string, flag: string): number {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  if (match === null)
    throw new CliError(
      `${flag} must be a time such as 90s, 10m, 2h or 1d, not '${text}'`,
      EXIT.usage,
    );
  return Number(match[1]) * UNITS[match[2]!]!;
}
