import {execFile} from 'node:child_process';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {arch, cpus, hostname, release, tmpdir, totalmem} from 'node:os';
import {basename, join} from 'node:path';
import {promisify} from 'node:util';
import {messageOf} from '../../core/base/errors.js';
import {fetchStatus} from '../admin.js';
import {CliError, EXIT} from '../cli-error.js';
import type {Resolved} from '../config/load.js';
import {KEYS, settingOf} from '../config/schema.js';
import {formatValue} from '../config/values.js';
import {metaStatus} from '../meta/nodes.js';
import {OWN_RELEASE} from '../release.js';
import {scrub} from '../scrub.js';
import {withoutSecrets} from './secrets.js';
import {steerAll} from './servers.js';

const run = promisify(execFile);
/** Of each log the end, and of these the newest. */
const LOG_BYTES_MAX = 4 << 20;
const LOGS_MAX = 50;
const TEXT_BYTES_MAX = 4 << 20;

export interface BundleOptions {
  /** Where it is written to. */
  file: string;
  /** Null: nobody is asked. */
  metas: string | null;
  timeoutMs: number;
  settings: Resolved;
  /** Folders of logs. */
  logs: readonly string[];
}

export interface Bundle {
  file: string;
  parts: string[];
  /** What could not be had, and why. */
  lacking: {part: string; why: string}[];
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** The end of a file, from the beginning of a line on. */
function tail(path: string): string {
  const file = openSync(path, 'r');
  try {
    const {size} = fstatSync(file);
    const from = Math.max(0, size - LOG_BYTES_MAX);
    const bytes = Buffer.alloc(Math.min(size, LOG_BYTES_MAX));
    const text = bytes.subarray(0, readSync(file, bytes, 0, bytes.length, from)).toString('utf8');
    return from === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } finally {
    closeSync(file);
  }
}

/** Of a port that is configured for this machine. */
async function fetched(address: string, path: string, timeoutMs: number): Promise<string> {
  const response = await fetch(`http://${address}${path}`, {
    signal: AbortSignal.timeout(timeoutMs),
  });
  return (await response.text()).slice(0, TEXT_BYTES_MAX);
}

function machine(): string {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  return json({
    host: hostname(),
    kernel: release(),
    architecture: arch(),
    processors: cpus().length,
    memoryBytes: totalmem(),
    node: process.version,
    release: OWN_RELEASE.name,
    mounts: mounts.filter((line) => line.startsWith('cpfs:')),
  });
}

function configuration(settings: Resolved): string {
  return json(
    KEYS.map((key) => {
      const {value, origin} = settings.of(key);
      return {key, value: value === undefined ? null : formatValue(settingOf(key), value), origin};
    }),
  );
}

/** What is to be known of a cluster by those who are asked for help, in one file. No secrets: texts go through withoutSecrets. */
export async function supportBundle(options: BundleOptions): Promise<Bundle> {
  const {file, metas, timeoutMs, settings} = options;
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-bundle-'));
  const name = basename(file).replace(/\.tar\.gz$/, '') || 'cpfs';
  const parts: string[] = [];
  const lacking: Bundle['lacking'] = [];
  const add = async (part: string, make: () => string | Promise<string>): Promise<void> => {
    try {
      writeFileSync(join(folder, name, part), withoutSecrets(await make()));
      parts.push(part);
    } catch (error) {
      lacking.push({part, why: messageOf(error)});
    }
  };
  claim(file);
  let written = false;
  try {
    mkdirSync(join(folder, name));
    await add('machine.json', machine);
    await add('config.json', () => configuration(settings));
    if (metas !== null) {
      await add('status.json', async () => json(await fetchStatus(metas, timeoutMs)));
      await add('meta.json', async () => json(await metaStatus(metas, timeoutMs)));
      await add('scrub.json', async () => json(await scrub(metas, timeoutMs, {})));
      await add('servers.json', async () =>
        json(await steerAll(metas, timeoutMs, [], {waiting: true})),
      );
    }
    for (const role of ['meta', 'data', 'mount'] as const) {
      const address = settings.get(`${role}.admin`);
      if (address === 'off' || address.endsWith(':0')) continue;
      for (const path of ['/readyz?verbose', '/metrics']) {
        const part = `${role}-${path.slice(1).replace('?verbose', '')}.txt`;
        await add(part, () => fetched(address, path, timeoutMs));
      }
    }
    for (const path of logFiles(options.logs, lacking)) await add(basename(path), () => tail(path));
    await add('lacking.json', () => json(lacking));
    await run('tar', ['--create', '--gzip', '--file', file, '--directory', folder, name], {
      env: {...process.env, LC_ALL: 'C'},
    }).catch((error: unknown) => {
      throw new CliError(`cannot write ${file}: ${messageOf(error).trim()}`, EXIT.failed);
    });
    written = true;
  } finally {
    rmSync(folder, {recursive: true, force: true});
    if (!written) rmSync(file, {force: true});
  }
  return {file, parts, lacking};
}

/** An empty file for its owner alone: names of files and hosts come into it. CliError: it is there already, or cannot be made. */
function claim(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    const there = (error as NodeJS.ErrnoException).code === 'EEXIST';
    const why = there ? 'it is there already; name another file' : messageOf(error);
    throw new CliError(`cannot write ${file}: ${why}`, there ? EXIT.conflict : EXIT.failed);
  }
}

function logFiles(folders: readonly string[], lacking: Bundle['lacking']): string[] {
  const found: string[] = [];
  for (const folder of folders) {
    try {
      const names = readdirSync(folder).filter((one) => one.endsWith('.log'));
      found.push(...names.map((one) => join(folder, one)));
    } catch (error) {
      lacking.push({part: folder, why: messageOf(error)});
    }
  }
  for (const path of found.slice(LOGS_MAX)) lacking.push({part: path, why: 'there are too many'});
  return found.slice(0, LOGS_MAX);
}
