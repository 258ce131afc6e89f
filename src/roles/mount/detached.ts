import {resolve} from 'node:path';
import {probeMount} from '../../core/os/mount-point.js';
import {CliError, EXIT} from '../cli-error.js';
import {logsToJournal} from '../journal.js';
import {isMounted, mountLog} from '../mounts.js';
import {startRole} from '../spawn.js';

const START_MS = 60_000;

export async function refuseMounted(dir: string): Promise<void> {
  // What a process that is gone has left the new one clears away.
  if (!(await isMounted(dir)) || (await probeMount(dir)) === 'dead') return;
  throw new CliError(
    `${dir} is a cpfs mount already; unmount it first with 'cpfs umount ${dir}'`,
    EXIT.conflict,
  );
}

export interface DetachedMount {
  /** Absolute. */
  dir: string;
  meta: string;
  source?: string | undefined;
  /** As given with -o. */
  options: readonly string[];
  logDir?: string | undefined;
  /** Other words for its process. */
  own?: readonly string[];
}

/** Mounts by a process in the background; returns when it is usable. Its log is a file, or the journal if systemd mounts it. */
export async function mountDetached(mount: DetachedMount): Promise<void> {
  const {dir, meta, source, options, logDir, own = []} = mount;
  const argv = ['mount', dir, '--meta', meta, ...own, ...options.flatMap((one) => ['-o', one])];
  if (source !== undefined) argv.push('--source', source);
  const toJournal = logDir === undefined && logsToJournal();
  await startRole(argv, toJournal ? null : mountLog(dir, logDir && resolve(logDir)), START_MS);
}
