import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync} from 'node:fs';
import {homedir} from 'node:os';
import {basename, dirname, join, resolve} from 'node:path';
import {CliError, EXIT} from './cli-error.js';
import {ended, type ProcessId} from './process.js';

/** A mount of this machine, as its process noted it. */
export interface MountNote extends ProcessId {
  dir: string;
  meta: string;
}

const isRoot = (): boolean => process.getuid?.() === 0;

/** Where running mounts note themselves; gone after a reboot. */
function runFolder(): string {
  if (isRoot()) return '/run/cpfs';
  return process.env.XDG_RUNTIME_DIR
    ? join(process.env.XDG_RUNTIME_DIR, 'cpfs')
    : `/tmp/cpfs-${process.getuid?.() ?? 0}`;
}

export function logFolder(): string {
  return isRoot()
    ? '/var/log/cpfs'
    : join(process.env.XDG_STATE_HOME ?? join(homedir(), '.local/state'), 'cpfs');
}

/** The absolute path of a mount point. The last component is not resolved: stat of a dead mount hangs or fails. */
export function mountPath(dir: string): string {
  const absolute = resolve(dir);
  try {
    return join(realpathSync(dirname(absolute)), basename(absolute));
  } catch {
    return absolute;
  }
}

const key = (dir: string): string => createHash('sha256').update(dir).digest('hex').slice(0, 16);
const notePath = (dir: string): string => join(runFolder(), `${key(dir)}.json`);
export const mountLog = (dir: string): string =>
  join(logFolder(), `mount-${basename(dir)}-${key(dir)}.log`);

export function noteMount(note: MountNote): void {
  mkdirSync(runFolder(), {recursive: true, mode: 0o700});
  writeFileSync(notePath(note.dir), JSON.stringify(note));
}

export function forgetMount(dir: string): void {
  rmSync(notePath(dir), {force: true});
}

export function readMountNote(dir: string): MountNote | null {
  try {
    return JSON.parse(readFileSync(notePath(dir), 'utf8')) as MountNote;
  } catch {
    return null;
  }
}

export interface MountEntry {
  dir: string;
  type: string;
  source: string;
}

/** Mounts of this mount namespace, from /proc/self/mountinfo (proc(5)); octal escapes undone. */
export function mountEntries(): MountEntry[] {
  const plain = (text: string) =>
    text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [left, right] = line.split(' - ');
      const tail = right!.split(' ');
      return {dir: plain(left!.split(' ')[4]!), type: tail[0]!, source: plain(tail[1]!)};
    });
}

export const isMounted = (dir: string): boolean =>
  mountEntries().some((m) => m.dir === dir && m.type === 'fuse.cpfs');

/** The cpfs mount that holds a path: the longest mount point above it. */
export function mountOf(path: string): MountEntry {
  const real = realpathSync(path);
  const above = mountEntries().filter(
    (m) => real === m.dir || real.startsWith(m.dir === '/' ? '/' : `${m.dir}/`),
  );
  const entry = above.sort((a, b) => b.dir.length - a.dir.length)[0];
  if (entry?.type !== 'fuse.cpfs') {
    throw new CliError(
      `${path} is not on a cpfs mount; mount one with 'cpfs mount DIR --meta HOST:PORT'`,
      EXIT.usage,
    );
  }
  return entry;
}

/** A mount whose process does not answer must not hold up whoever unmounts it. */
const DETACH_MS = 10_000;

/** Detaches the mount point; `lazy` also while it is in use. Returns an error sentence or null. */
export function detach(dir: string, lazy: boolean): string | null {
  const argv = isRoot()
    ? ['umount', '-i', '-c', ...(lazy ? ['-l'] : []), dir]
    : ['fusermount3', lazy ? '-uz' : '-u', dir];
  const done = spawnSync(argv[0]!, argv.slice(1), {encoding: 'utf8', timeout: DETACH_MS});
  if (done.status === 0) return null;
  return (done.stderr || done.error?.message || 'umount failed').trim().split('\n')[0]!;
}

/** Unmounts and waits until the mount's process has written back everything and ended. */
export async function unmount(
  dir: string,
  options: {lazy: boolean; patienceMs: number},
): Promise<void> {
  const note = readMountNote(dir);
  if (!isMounted(dir)) {
    if (note !== null && (await ended(note, 0))) forgetMount(dir);
    throw new CliError(
      `${dir} is not a cpfs mount; 'grep fuse.cpfs /proc/mounts' lists them`,
      EXIT.notFound,
    );
  }
  const failure = detach(dir, options.lazy);
  if (failure !== null && isMounted(dir)) {
    const busy = /busy/i.test(failure);
    throw new CliError(
      busy
        ? `${dir} is in use; end the programs that 'fuser -vm ${dir}' shows and try again, or use --lazy`
        : `cannot unmount ${dir}: ${failure}`,
      busy ? EXIT.conflict : EXIT.failed,
    );
  }
  if (note !== null && !(await ended(note, options.patienceMs))) {
    throw new CliError(
      `${dir} is unmounted, but process ${note.pid} still writes back after ${options.patienceMs / 1000} s; see ${mountLog(dir)}`,
      EXIT.timeout,
    );
  }
}
