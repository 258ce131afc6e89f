import {FsError, messageOf} from '../../base/errors.js';
import type {Ms} from '../../base/ids.js';
import type {Empty, SyncRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {ColumnId} from '../format.js';
import {count, type DataContext, type DataParts} from './context.js';

/** From so many columns on one sync of the whole file system is cheaper than one of each file. */
const SYNC_EACH_MAX = 16;
/** More columns than this are not left unsynced: each is a note in memory, and a look after a crash. */
const UNSYNCED_MAX = 65_536;
/** Less than what a write may take (WRITE_LATE_MS). */
const SYNC_SOON_MS: Ms = 2000;

/** What was written to these columns before is on stable storage. */
export async function sync(q: SyncRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, intents} = context;
  // A sync harms under no map, and no map waits for it: it may take seconds.
  await gate.admit(context.session, q.epoch);
  count(context);
  const open = q.chunks.filter((chunk) => intents.has(chunk));
  if (q.all || open.length > SYNC_EACH_MAX) {
    await syncAll(context);
    return {message: {}};
  }
  await Promise.all(open.map((chunk) => syncColumn(context, chunk)));
  return {message: {}};
}

async function syncColumn(parts: DataParts, id: ColumnId): Promise<void> {
  const {stats, store, intents} = parts;
  const {mark} = intents;
  stats.syncs++;
  await store.use(id, null, false, (column) => kept(parts, column.sync()));
  intents.synced(id, mark);
}

/**
 * The column of what was just written; as with any sync, no map waits for it. False: it is not on stable storage, or not soon: an answer that
 * is late would be taken for a server that is away.
 */
export function syncWritten(parts: DataParts, id: ColumnId): Promise<boolean> {
  const {clock, log} = parts.env;
  return new Promise((resolve) => {
    const late = clock.timer(SYNC_SOON_MS, () => resolve(false));
    syncColumn(parts, id)
      .then(() => resolve(true))
      .catch((error: unknown) => {
        log.warn('sync.failed', {error: messageOf(error)});
        resolve(false);
      })
      .finally(() => late.cancel());
  });
}

/** Begins a sync of everything when too much is unsynced. */
export function syncSome(parts: DataParts): void {
  if (parts.intents.unsynced < UNSYNCED_MAX || parts.intents.syncing) return;
  parts.intents.syncing = true;
  syncAll(parts)
    .catch((error: unknown) => parts.env.log.warn('sync.failed', {error: messageOf(error)}))
    .finally(() => {
      parts.intents.syncing = false;
    });
}

async function syncAll(parts: DataParts): Promise<void> {
  const {mark} = parts.intents;
  parts.stats.syncs++;
  await kept(parts, parts.env.disk.syncAll());
  parts.intents.allSynced(mark);
}

/** After a failed sync the kernel may have dropped what it could not write: nothing here can be trusted until it was compared. */
async function kept(parts: DataParts, synced: Promise<void>): Promise<void> {
  try {
    await synced;
  } catch (error) {
    await parts.life.break();
    parts.failed(error);
    throw error;
  }
  // Of those that wait for the same bytes only one is told that they are gone.
  if (parts.life.broken) throw new FsError('EIO', 'an earlier sync failed');
}
