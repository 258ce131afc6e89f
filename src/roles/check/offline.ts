import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {FsError, messageOf} from '../../core/base/errors.js';
import {silentLog} from '../../core/env/log.js';
import {openBufferedDisk} from '../../core/os/disk-buffered.js';
import {CliError, EXIT} from '../cli-error.js';
import {clientEnv} from '../real-env.js';
import {frozenDisk} from './frozen.js';
import {checkDataFolder} from './offline-data.js';
import {checkMetaFolder} from './offline-meta.js';
import type {Report} from './report.js';

const POOL = {small: 64, medium: 16, large: 16};

/** Checks the folder of a server that does not run; nothing in it changes. */
export async function checkOffline(state: string, report: Report): Promise<void> {
  const data = existsSync(join(state, 'server.json'));
  const meta = existsSync(join(state, 'store'));
  if (!data && !meta) {
    throw new CliError(
      `${state} is not the folder of a data server or a meta server; name one with --state`,
      EXIT.notFound,
    );
  }
  const env = clientEnv(silentLog, POOL);
  const disk = openBufferedDisk(state, env.pool);
  try {
    await disk.lock();
    const frozen = {...env, disk: frozenDisk(disk)};
    if (data) await checkDataFolder(frozen, report);
    else await checkMetaFolder(frozen, state, report);
  } catch (error) {
    if (!(error instanceof FsError) || error.errno !== 'EBUSY') throw error;
    throw new CliError(
      `${state} is in use (${messageOf(error)}); stop its server, or check the cluster with --meta`,
      EXIT.conflict,
    );
  } finally {
    await disk.close();
  }
}
