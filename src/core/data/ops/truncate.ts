import {FsError} from '../../base/errors.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {Empty, TruncateRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {change, checkRef, count, type DataContext, idOf, shapeOf} from './context.js';

/** Only the first `bytes` of the column stay. One that is shorter, or missing, stays as it is. */
export function truncate(q: TruncateRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, store} = context;
  return gate.pass(context.session, q.ref.epoch, async () => {
    checkRef(q.ref);
    if (q.bytes % BLOCK_BYTES !== 0)
      throw new FsError('EINVAL', `${q.bytes} is not of whole blocks`);
    count(context);
    // Known when it has been cut.
    const gone = {offset: q.bytes, length: 0};
    await change(context, q.ref, [gone], () =>
      store.use(idOf(q.ref), shapeOf(q.ref), false, (column) => {
        gone.length = Math.max(0, column.bytes - q.bytes);
        return column.truncate(q.bytes);
      }),
    );
    return {message: {}};
  });
}
