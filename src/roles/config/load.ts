import {readdirSync, readFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {CliError, EXIT} from '../cli-error.js';
import {nearest} from './nearest.js';
import {envOf, KEYS, type Key, SETTINGS, settingOf, type Value, type ValueOf} from './schema.js';
import {fileValue, parseValue} from './values.js';

/** Where cpfs.toml and conf.d are, unless this variable names another folder. */
export const CONFIG_FOLDER = 'CPFS_CONFIG_DIR';
const FOLDER_DEFAULT = '/etc/cpfs';
const FILE_BYTES_MAX = 1 << 20;
const FILES_MAX = 100;

/** In the order of precedence, the weakest first; a flag of a command is above all of them. */
export type Level = 'default' | 'system' | 'file' | 'environment' | 'flag';
const LEVELS: readonly Level[] = ['default', 'system', 'file', 'environment', 'flag'];

export interface Found {
  value: Value | undefined;
  level: Level;
  /** For people: a file, a variable, `default`. */
  origin: string;
}

/** What one file or the environment says. */
export interface Layer {
  level: Level;
  origin: (key: Key) => string;
  values: ReadonlyMap<Key, Value>;
}

const wrong = (why: string): CliError => new CliError(why, EXIT.usage);
const isKey = (name: string): name is Key => Object.hasOwn(SETTINGS, name);
const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

/** A file of settings. CliError: it cannot be read, is no TOML, or has what is no setting; all of it is looked at, and `say` gets what is wrong. */
export async function fileLayer(
  path: string,
  level: Level,
  say: (problem: CliError) => void,
): Promise<Layer> {
  const values = new Map<Key, Value>();
  let table: Record<string, unknown> = {};
  try {
    table = await readToml(path);
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    say(error);
  }
  const visit = (prefix: string, entries: Record<string, unknown>): void => {
    for (const [name, given] of Object.entries(entries)) {
      const key = prefix + name;
      const isTable = typeof given === 'object' && given !== null && !Array.isArray(given);
      try {
        if (isKey(key)) values.set(key, fileValue(settingOf(key), given, `${path}: ${key}`));
        else if (isTable && KEYS.some((known) => known.startsWith(`${key}.`)))
          visit(`${key}.`, given as Record<string, unknown>);
        else
          say(
            wrong(`${path}: there is no setting '${key}'; did you mean '${nearest(key, KEYS)}'?`),
          );
      } catch (error) {
        if (!(error instanceof CliError)) throw error;
        say(error);
      }
    }
  };
  visit('', table);
  return {level, origin: () => path, values};
}

async function readToml(path: string): Promise<Record<string, unknown>> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw wrong(`cannot read ${path} (${codeOf(error)})`);
  }
  if (bytes.length > FILE_BYTES_MAX) throw wrong(`${path} has more than ${FILE_BYTES_MAX} bytes`);
  const {parse} = await import('smol-toml');
  try {
    return parse(bytes.toString('utf8'));
  } catch (error) {
    // Its message has an excerpt of the file below.
    const {line, column, message} = error as {line?: number; column?: number; message: string};
    const at = line === undefined ? '' : `:${line}:${column}`;
    throw wrong(`${path}${at}: ${message.split('\n')[0]}`);
  }
}

/** cpfs.toml and conf.d/*.toml in the order of their names; what is not there is left out. */
export function systemFiles(env: NodeJS.ProcessEnv): string[] {
  const folder = env[CONFIG_FOLDER] || FOLDER_DEFAULT;
  const names = (path: string): string[] => {
    try {
      return readdirSync(path);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw wrong(`cannot read ${path} (${codeOf(error)})`);
    }
  };
  const more = join(folder, 'conf.d');
  const parts = names(more)
    .filter((name) => name.endsWith('.toml') && !name.startsWith('.'))
    .sort();
  if (parts.length > FILES_MAX) throw wrong(`${more} has more than ${FILES_MAX} files`);
  const main = names(folder).includes('cpfs.toml') ? [join(folder, 'cpfs.toml')] : [];
  return [...main, ...parts.map((name) => join(more, name))];
}

export function environmentLayer(
  env: NodeJS.ProcessEnv,
  say: (problem: CliError) => void,
  keys: readonly Key[] = KEYS,
): Layer {
  const values = new Map<Key, Value>();
  for (const key of keys) {
    const text = env[envOf(key)];
    // As everywhere, an empty variable is none.
    if (text === undefined || text === '') continue;
    try {
      values.set(key, parseValue(settingOf(key), text, envOf(key)));
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      say(error);
    }
  }
  return {level: 'environment', origin: envOf, values};
}

const raise = (problem: CliError): never => {
  throw problem;
};

/** All layers below the flags, the weakest first. `file`: of --config. Of the environment only `keys` must be right. */
export async function layersBelow(
  file: string | undefined,
  env: NodeJS.ProcessEnv,
  keys: readonly Key[] = KEYS,
  say: (problem: CliError) => void = raise,
): Promise<Layer[]> {
  const layers: Layer[] = [];
  for (const path of systemFiles(env)) layers.push(await fileLayer(path, 'system', say));
  if (file !== undefined) layers.push(await fileLayer(resolve(file), 'file', say));
  layers.push(environmentLayer(env, say, keys));
  return layers;
}

/** What holds of each key. CliError: two that exclude each other stand at one level. */
export class Resolved {
  readonly #found: ReadonlyMap<Key, Found>;

  constructor(layers: readonly Layer[]) {
    const found = new Map<Key, Found>();
    for (const key of KEYS) {
      const {default: value} = settingOf(key);
      found.set(key, {value: value ?? undefined, level: 'default', origin: 'default'});
    }
    for (const {level, origin, values} of layers)
      for (const [key, value] of values) found.set(key, {value, level, origin: origin(key)});
    for (const key of KEYS) exclude(key, found);
    this.#found = found;
  }

  get<K extends Key>(key: K): ValueOf<K> {
    return this.of(key).value as ValueOf<K>;
  }

  of(key: Key): Found {
    return this.#found.get(key)!;
  }
}

const isSet = ({value}: Found): boolean => value !== undefined && value !== false;

/** Takes away from those that `key` excludes what stands at lower levels. */
function exclude(key: Key, found: Map<Key, Found>): void {
  const own = found.get(key)!;
  if (!isSet(own)) return;
  for (const other of (settingOf(key).excludes ?? []) as readonly Key[]) {
    const theirs = found.get(other)!;
    if (!isSet(theirs)) continue;
    const above = LEVELS.indexOf(own.level) - LEVELS.indexOf(theirs.level);
    if (above === 0)
      throw wrong(`${key} (${own.origin}) and ${other} (${theirs.origin}) exclude each other`);
    if (above > 0) {
      const {default: value} = settingOf(other);
      found.set(other, {value: value ?? undefined, level: 'default', origin: 'default'});
    }
  }
}
