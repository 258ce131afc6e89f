import type {Empty, RemoveColumnRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {DataContext} from './context.js';

/** Removes one column of an object that is there; its caller holds the object's lease and knows that it does not belong here. */
export function removeColumn(q: RemoveColumnRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, stats, store, intents} = context;
  return gate.pass(context.session, q.epoch, async () => {
    stats.requests++;
    const {oid, chunk, generation} = q.column;
    const id = {oid, chunk, generation};
    await store.remove(id);
    intents.removed(id);
    return {message: {}};
  });
}
