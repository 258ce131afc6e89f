import {Command, Flags, type Interfaces} from '@oclif/core';
import {FsError} from '../core/base/errors.js';
import {namesIn, parseMetaNames} from '../core/base/meta-names.js';
import {CliError, EXIT} from '../roles/cli-error.js';
import {type Layer, layersBelow, Resolved} from '../roles/config/load.js';
import {KEYS, type Key, type Value} from '../roles/config/schema.js';
import {useSecurity} from '../roles/config/security-settings.js';
import {notifyReady} from '../roles/ready.js';
import {bare, setting, settingsAmong} from './_settings.js';

/** What all that connects goes by. */
const SECURITY = ['security.keys', 'security.level'] as const;

/**
 * What every command has: one sentence on stderr and a fixed exit code when it fails. oclif loads the modules of all commands for
 * whatever is asked, so a command imports what it works with when it runs.
 */
export abstract class CpfsCommand extends Command {
  static override baseFlags = {
    config: Flags.string({
      summary: 'a file of settings, above those of /etc/cpfs (docs/config.md)',
      env: 'CPFS_CONFIG',
      helpGroup: 'GLOBAL',
    }),
  };

  /** What the command line says of settings; the strongest layer. */
  #flagLayer: Layer | null = null;
  #file: string | undefined;

  /** Flags that are settings are what the strongest place says that has them: see docs/config.md. */
  protected override async parse<
    F extends Interfaces.OutputFlags<typeof Command.flags>,
    B extends Interfaces.OutputFlags<typeof Command.baseFlags>,
    A extends Interfaces.OutputArgs<typeof Command.args>,
  >(input: Interfaces.Input<F, B, A>, argv?: string[]): Promise<Interfaces.ParserOutput<F, B, A>> {
    const flags = (input.flags ?? {}) as Interfaces.FlagInput;
    // What a command has of its base class is not its own, and would not be copied.
    const {baseFlags, args, strict} = input;
    const own = bare(flags) as Interfaces.FlagInput<F>;
    const parsed = await super.parse({...input, baseFlags, args, strict, flags: own}, argv);
    const values = parsed.flags as Record<string, Value | undefined>;
    const settings = settingsAmong(flags);
    const given = new Map<Key, Value>();
    for (const [name, {key}] of settings)
      if (values[name] !== undefined) given.set(key, values[name]);
    this.#flagLayer = {level: 'flag', origin: () => 'flag', values: given};
    this.#file = values.config as string | undefined;
    const keys = [...settings.values()].map(({key}) => key);
    const resolved = await this.settings([...keys, ...SECURITY]);
    const [keysAt, level] = SECURITY.map((key) => resolved.of(key));
    useSecurity({
      keys: keysAt!.value as string | undefined,
      level: level!.level === 'default' ? undefined : (level!.value as string),
    });
    for (const [name, {key, default: byDefault}] of settings) {
      const {value, level} = resolved.of(key);
      values[name] = level === 'default' ? byDefault : value;
    }
    return parsed;
  }

  /** What holds now: the files are read again. Of the environment only `keys` must be right. */
  protected async settings(keys: readonly Key[] = KEYS): Promise<Resolved> {
    const below = keys.length === 0 ? [] : await layersBelow(this.#file, process.env, keys);
    return new Resolved(this.#flagLayer === null ? below : [...below, this.#flagLayer]);
  }

  /** With a token this machine becomes a node first. Where the meta servers are, if anybody has said so. */
  protected async joined(
    token: string | undefined,
    meta: string | undefined,
  ): Promise<string | undefined> {
    if (token === undefined) return meta;
    const {joinBy} = await import('../roles/join.js');
    const {metas, notes} = await joinBy(token);
    for (const note of notes) process.stderr.write(`cpfs: ${note}\n`);
    return meta ?? metas;
  }

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
    // oclif puts what is wrong with a flag below a line of its own.
    const [first, second] = error.message.split('\n');
    const sentence =
      /^(Parsing --|The following error)/.test(first!) && second !== undefined
        ? second.trim()
        : first!;
    notifyReady({error: sentence, exit: exit(code)});
    process.stderr.write(`cpfs: ${sentence}\n`);
    process.exit(exit(code));
  }
}

export const outputFlag = setting('client.output', {char: 'o'});
export const metaFlag = setting('client.meta');

export const joinFlag = Flags.string({
  summary: "a token of 'cpfs token create': the machine joins with it, unless it has before",
  helpValue: 'TOKEN',
});

export const keysFlag = setting('security.keys', {default: '/etc/cpfs/keys'});

export const keysFile = (given: string | undefined): string => given ?? '/etc/cpfs/keys';

export const stateFlag = Flags.string({
  summary: "folder that holds the cluster's state",
  env: 'CPFS_DEV_STATE',
  default: '/var/tmp/cpfs-dev',
});

export const timeoutFlag = setting('client.timeout');

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
