import {FsError} from '../../base/errors.js';
import type {Empty, RemoveRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {ColumnId} from '../format.js';
import type {DataContext, DataParts} from './context.js';

const OIDS_MAX = 4096;

/** Removes all columns of objects that are gone. Unknown ones are nothing. */
export function remove(q: RemoveRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, stats} = context;
  return gate.pass(context.session, q.epoch, async () => {
    if (q.oids.length > OIDS_MAX) throw new FsError('EINVAL', `${q.oids.length} objects`);
    stats.requests++;
    await removeObjects(context, q.oids);
    return {message: {}};
  });
}

export async function removeObjects(parts: DataParts, oids: readonly number[]): Promise<void> {
  await removeColumns(parts, await parts.store.ofObjects(oids));
  parts.intents.removedAll(oids);
}

export async function removeColumns(parts: DataParts, ids: readonly ColumnId[]): Promise<void> {
  for (const id of ids) {
    await parts.store.remove(id);
    parts.intents.removed(id);
  }
}
