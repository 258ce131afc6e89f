import {existsSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {FsError, messageOf} from '../../core/base/errors.js';
import {silentLog} from '../../core/env/log.js';
import {openBufferedDisk} from '../../core/os/disk-buffered.js';
import {CliError, EXIT} from '../cli-error.js';
import {clientEnv} from '../real-env.js';

const POOL = {small: 16, medium: 0, large: 0};

/** CliError: something is in it. */
export function mustBeEmpty(state: string): void {
  if (!existsSync(state) || readdirSync(state).length === 0) return;
  throw new CliError(
    `${state} is not empty; name a new folder, or move away what is in this one`,
    EXIT.conflict,
  );
}

/** Uses the folder of a meta server that does not run. CliError: it is none, or it runs. */
export async function withFolder<T>(
  state: string,
  use: (
    env: ReturnType<typeof clientEnv> & {disk: ReturnType<typeof openBufferedDisk>},
  ) => Promise<T>,
): Promise<T> {
  if (!existsSync(join(state, 'store'))) {
    throw new CliError(
      `${state} is not the folder of a meta server; name one with --state`,
      EXIT.notFound,
    );
  }
  const env = clientEnv(silentLog, POOL);
  const disk = openBufferedDisk(state, env.pool);
  try {
    await disk.lock().catch((error: unknown) => {
      if (!(error instanceof FsError) || error.errno !== 'EBUSY') throw error;
      throw new CliError(
        `${state} is in use (${messageOf(error)}); stop its meta server first`,
        EXIT.conflict,
      );
    });
    return await use({...env, disk});
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    throw new CliError(
      `${state} cannot be read: ${messageOf(error)}; see cpfs check --state ${state}`,
      EXIT.failed,
    );
  } finally {
    await disk.close();
  }
}
