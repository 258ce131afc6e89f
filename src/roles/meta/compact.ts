import {existsSync, readdirSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {Ledger} from '../../core/meta/ledger.js';
import {LOG_FOLDER} from '../../core/meta/log.js';
import {LmdbKv} from '../../core/os/kv-lmdb.js';
import {withFolder} from './folder.js';

/** What `cpfs meta compact -o json` prints: bytes before and after. Stable: fields are added, never changed. */
export interface CompactReport {
  version: 1;
  store: {before: number; after: number};
  log: {before: number; after: number};
}

/**
 * Gives back what a meta server that does not run needs no more: the log, when all of it is in the store, and pages of the store that nothing is in. Each
 * step leaves a folder that a meta server starts from. CliError: it runs, or is damaged.
 */
export function compact(state: string): Promise<CompactReport> {
  return withFolder(state, async (env) => {
    const kv = await LmdbKv.open(join(state, 'store'));
    const logBefore = logBytes(state);
    try {
      await (await Ledger.open({...env, kv})).close();
    } finally {
      await kv.close();
    }
    const store = await LmdbKv.compact(join(state, 'store'));
    await env.disk.removeTree(LOG_FOLDER);
    await env.disk.syncAll();
    return {version: 1, store, log: {before: logBefore, after: logBytes(state)}};
  });
}

function logBytes(state: string): number {
  const folder = join(state, LOG_FOLDER);
  if (!existsSync(folder)) return 0;
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}
