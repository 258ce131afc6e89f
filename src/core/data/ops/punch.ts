import type {Empty, PunchRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {change, checkRanges, checkRef, count, type DataContext, idOf, shapeOf} from './context.js';

/** The ranges become zeros and their space is free. */
export function punch(q: PunchRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, store} = context;
  return gate.pass(context.session, q.ref.epoch, async () => {
    checkRef(q.ref);
    checkRanges(q.ranges, Number.MAX_SAFE_INTEGER);
    count(context);
    await change(context, q.ref, q.ranges, () =>
      store.use(idOf(q.ref), shapeOf(q.ref), false, (column) => column.punch(q.ranges)),
    );
    return {message: {}};
  });
}
