import {Command, Flags} from '@oclif/core';
import {FsError} from '../core/base/errors.js';
import {namesIn, parseMetaNames} from '../core/base/meta-names.js';
import {CliError, EXIT} from '../roles/cli-error.js';
import {notifyReady} from '../roles/ready.js';

/**
 * What every command has: one sentence on stderr and a fixed exit code when it fails. oclif loads the modules of all commands for
 * whatever is asked, so a command imports what it works with when it runs.
 */
export abstract class CpfsCommand extends Command {
  protected override catch(error: Error): Promise<void> {
    return this.fail(error);
  }

  /** Ends the process; `exit` gives another meaning to its code. */
  protected async fail(
    error: Error & {exitCode?: number; oclif?: {exit?: number}},
    exit: (code: number) => number = (code) => code,
  ): Promise<void> {
    // oclif ends --help and --version by throwing an exit of 0.
    if (error.oclif?.exit === 0) throw error;
    const code = error instanceof CliError ? error.exit : (error.oclif?.exit ?? EXIT.failed);
    const sentence = error.message.split('\n')[0]!;
    notifyReady({error: sentence, exit: exit(code)});
    process.stderr.write(`cpfs: ${sentence}\n`);
    process.exit(exit(code));
  }
}

export const outputFlag = Flags.string({
  char: 'o',
  summary: 'how to print',
  options: ['table', 'json'],
  default: process.stdout.isTTY ? 'table' : 'table',
});

export const metaFlag = Flags.string({
  summary:
    'where the meta servers are: HOST:PORT, or srv:DOMAIN (the service _cpfs-meta._tcp of a domain in DNS), several with commas between; or etcd://HOST:PORT[,HOST:PORT...][/PREFIX], as --coordinator of meta servers',
  env: 'CPFS_META',
});

export const stateFlag = Flags.string({
  summary: "folder that holds the cluster's state",
  env: 'CPFS_DEV_STATE',
  default: '/var/tmp/cpfs-dev',
});

export const timeoutFlag = Flags.integer({
  summary: 'seconds to wait for the meta server',
  default: 5,
  min: 1,
  max: 600,
});

/** HOST:PORT, or a CliError. */
export function address(text: string | undefined, what: string): string {
  if (text === undefined)
    throw new CliError('no meta server given; use --meta HOST:PORT or set CPFS_META', EXIT.usage);
  const match = /^(\[[0-9a-fA-F:]+\]|[^:[\]]+):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[2]) > 65535) {
    throw new CliError(`${what} must be HOST:PORT, not '${text}'`, EXIT.usage);
  }
  return text;
}

/** What names meta servers, or a CliError. */
export function metas(text: string | undefined, flag = '--meta'): string {
  if (text === undefined) return address(text, flag);
  try {
    parseMetaNames(text);
  } catch (error) {
    throw new CliError(`${flag}: ${error instanceof FsError ? error.detail : text}`, EXIT.usage);
  }
  return namesIn(text).join(',');
}

/** What is to be done with a folder of a meta server that was made of what is left. */
export const howToStart = (state: string): string =>
  `start it with cpfs meta start --state ${state}; if a coordinator decides who is active, make it that with cpfs meta promote --accept-loss`;

/** Rows whose columns are below one another. */
export function alignedRows(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
