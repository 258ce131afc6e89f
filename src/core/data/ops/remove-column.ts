import type {Empty, RemoveColumnRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {count, type DataContext} from './context.js';
import {removeColumns} from './remove.js';

/** Removes one column that does not belong here; its caller holds the lease of the object, if there is one. */
export function removeColumn(q: RemoveColumnRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate} = context;
  return gate.pass(context.session, q.epoch, async () => {
    count(context);
    const {oid, chunk, generation} = q.column;
    await removeColumns(context, [{oid, chunk, generation}]);
    return {message: {}};
  });
}
