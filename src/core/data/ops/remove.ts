import {FsError} from '../../base/errors.js';
import type {Empty, ObjectPart, RemoveRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {ColumnId} from '../format.js';
import {count, type DataContext, type DataParts} from './context.js';

const OIDS_MAX = 4096;

/** Removes all columns of objects that are gone, and of parts that objects were moved from. Unknown ones are nothing. */
export function remove(q: RemoveRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate} = context;
  return gate.pass(context.session, q.epoch, async () => {
    if (q.oids.length + q.parts.length > OIDS_MAX)
      throw new FsError('EINVAL', `${q.oids.length + q.parts.length} objects`);
    count(context);
    await removeObjects(context, q.oids);
    await removeParts(context, q.parts);
    return {message: {}};
  });
}

export async function removeObjects(parts: DataParts, oids: readonly number[]): Promise<void> {
  await removeColumns(parts, await parts.store.ofObjects(oids));
  parts.intents.removedAll(oids);
}

async function removeParts(parts: DataParts, gone: readonly ObjectPart[]): Promise<void> {
  if (gone.length === 0) return;
  const byOid = Map.groupBy(gone, ({oid}) => oid);
  const within = ({oid, chunk, generation}: ColumnId): boolean =>
    byOid
      .get(oid)
      ?.some((one) => one.generation === generation && one.from <= chunk && chunk < one.to) ??
    false;
  const here = await parts.store.ofObjects([...byOid.keys()]);
  await removeColumns(parts, here.filter(within));
  parts.intents.removedParts(within);
}

export async function removeColumns(parts: DataParts, ids: readonly ColumnId[]): Promise<void> {
  for (const id of ids) {
    parts.changes.pieces.note(id, {from: 0});
    await parts.store.remove(id);
    parts.changes.pieces.note(id, {from: 0});
    parts.intents.removed(id);
  }
}
