import type {Empty, MissedClearRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {DataContext} from './context.js';

/** The slot has these chunks again. */
export function missedClear(q: MissedClearRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, missed} = context;
  return gate.pass(context.session, q.epoch, async () => {
    const {slot} = q;
    missed.remove(q.chunks.map(({oid, chunk, generation}) => ({slot, oid, chunk, generation})));
    return {message: {}};
  });
}
