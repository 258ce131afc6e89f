import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync} from 'node:fs';
import {homedir} from 'node:os';
import {basename, join} from 'node:path';
import {
  FUSE_TYPE,
  type MountEntry,
  mountEntries,
  mountedOn,
  unmount,
} from '../core/os/mount-point.js';
import {CliError, EXIT} from './cli-error.js';
import {ended, type ProcessId} from './process.js';

export {mountPath} from '../core/os/mount-point.js';

/** A mount of this machine, as its process noted it. */
export interface MountNote extends ProcessId {
  dir: string;
  meta: string;
  /** Its log, if it runs in the background. */
  log?: string;
}

const isRoot = (): boolean => process.getuid?.() === 0;

/** Where running mounts note themselves; gone after a reboot. */
function runFolder(): string {
  if (isRoot()) return '/run/cpfs';
  return process.env.XDG_RUNTIME_DIR
    ? join(process.env.XDG_RUNTIME_DIR, 'cpfs')
    : `/tmp/cpfs-${process.getuid?.() ?? 0}`;
}

function logFolder(): string {
  return isRoot()
    ? '/var/log/cpfs'
    : join(process.env.XDG_STATE_HOME ?? join(homedir(), '.local/state'), 'cpfs');
}

const key = (dir: string): string => createHash('sha256').update(dir).digest('hex').slice(0, 16);
const notePath = (dir: string): string => join(runFolder(), `${key(dir)}.json`);
/** Where a mount in the background logs, in `folder` or the usual place. */
export const mountLog = (dir: string, folder?: string): string =>
  join(folder ?? logFolder(), `mount-${basename(dir)}-${key(dir)}.log`);

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

export const isMounted = async (dir: string): Promise<boolean> =>
  (await mountedOn(dir))?.type === FUSE_TYPE;

/** The cpfs mount that holds a path: the longest mount point above it. */
export async function mountOf(path: string): Promise<MountEntry> {
  const real = realpathSync(path);
  const above = (await mountEntries()).filter(
    (m) => real === m.dir || real.startsWith(m.dir === '/' ? '/' : `${m.dir}/`),
  );
  const entry = above.sort((a, b) => a.dir.length - b.dir.length).at(-1);
  if (entry?.type !== FUSE_TYPE) {
    throw new CliError(
      `${path} is not on a cpfs mount; mount one with 'cpfs mount DIR --meta HOST:PORT'`,
      EXIT.usage,
    );
  }
  return entry;
}

/** Unmounts and waits until the mount's process has written back everything and ended. */
export async function unmountAndWait(
  dir: string,
  options: {lazy: boolean; patienceMs: number},
): Promise<void> {
  const note = readMountNote(dir);
  if (!(await isMounted(dir))) {
    if (note !== null && (await ended(note, 0))) forgetMount(dir);
    throw new CliError(
      `${dir} is not a cpfs mount; 'grep fuse.cpfs /proc/mounts' lists them`,
      EXIT.notFound,
    );
  }
  const failure = await unmount(dir, options);
  if (failure !== null && (await isMounted(dir))) {
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
      `${dir} is unmounted, but process ${note.pid} has not ended within ${options.patienceMs / 1000} s: programs still use it, or it still writes back${note.log === undefined ? '' : `; see ${note.log}`}`,
      EXIT.timeout,
    );
  }
}
