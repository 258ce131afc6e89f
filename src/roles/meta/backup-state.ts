import {messageOf} from '../../core/base/errors.js';
import {MIB} from '../../core/base/units.js';
import {silentLog} from '../../core/env/log.js';
import {Ledger} from '../../core/meta/ledger.js';
import {StoreCopy} from '../../core/meta/store-copy.js';
import type {LmdbKv} from '../../core/os/kv-lmdb.js';
import {CliError, EXIT} from '../cli-error.js';
import {serverEnv} from '../real-env.js';
import {RELEASE} from '../release.js';
import {type BackupPart, readChain} from './backup-folder.js';

const POOL = {small: 16, medium: 0, large: 0};
/** Each checkpoint ends with a sync, and what is logged until then is in memory. */
const CHECKPOINT_BYTES = 16 * MIB;
const NEVER_MS = 2 ** 31 - 1;

export interface Replayed {
  /** The caller's to close. */
  kv: LmdbKv;
  /** Last record of the log that it has. */
  sequence: number;
  records: number;
}

/**
 * The state that a chain of backups leads to, in a folder of its own, as the meta server had it: each record says which digest all changes
 * before it have. `release`: which one made it. CliError: a sum or a digest is wrong.
 */
export async function replay(
  folder: string,
  release: string,
  chain: readonly BackupPart[],
  work: string,
): Promise<Replayed> {
  const env = await serverEnv(silentLog, POOL, work, {store: true});
  const kv = env.kv as LmdbKv;
  let ledger: Ledger | null = null;
  let records = 0;
  try {
    const copy = await StoreCopy.begin(env);
    await readChain(folder, chain, {
      piece: (bytes, last) => copy.put(bytes, last),
      begin: async () => {
        const limits = {checkpointMs: NEVER_MS, checkpointBytes: CHECKPOINT_BYTES};
        ledger = await Ledger.open(env, limits);
      },
      record: async ({record}) => {
        ledger!.follow(record);
        records++;
        if (ledger!.store.checkpointing) await ledger!.checkpointed();
      },
    });
    const {last} = ledger!;
    await (ledger as Ledger | null)!.close();
    return {kv, sequence: last, records};
  } catch (error) {
    await (ledger as Ledger | null)?.abandon();
    await kv.close();
    if (error instanceof CliError) throw error;
    const by = release === RELEASE ? '' : ` (made by release ${release}, this is ${RELEASE})`;
    const next = release === RELEASE ? 'use another one' : `use a cpfs of release ${release}`;
    throw new CliError(
      `the backup ${folder}${by} cannot be carried out: ${messageOf(error)}; ${next}`,
      EXIT.failed,
    );
  } finally {
    await env.disk.close();
  }
}
