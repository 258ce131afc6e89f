import {FsError, messageOf} from '../../base/errors.js';
import type {Empty, SyncRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {DataContext, DataParts} from './context.js';

/** From so many columns on one sync of the whole file system is cheaper than one of each file. */
const SYNC_EACH_MAX = 16;
/** More columns than this are not left unsynced: each is a note in memory, and a look after a crash. */
const UNSYNCED_MAX = 65_536;

/** What was written to these columns before is on stable storage. */
export async function sync(q: SyncRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, stats, store, intents} = context;
  // A sync harms under no map, and no map waits for it: it may take seconds.
  await gate.admit(context.session, q.epoch);
  stats.requests++;
  const open = q.chunks.filter((chunk) => intents.has(chunk));
  if (q.all || open.length > SYNC_EACH_MAX) {
    await syncAll(context);
    return {message: {}};
  }
  const {mark} = intents;
  await Promise.all(
    open.map(async (chunk) => {
      stats.syncs++;
      await store.use(chunk, null, false, (column) => kept(context, column.sync()));
      intents.synced(chunk, mark);
    }),
  );
  return {message: {}};
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
