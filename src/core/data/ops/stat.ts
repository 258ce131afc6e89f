import type {StatReply, StatRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {checkRef, count, type DataContext, idOf, shapeOf} from './context.js';

/** How much of the column there is. */
export async function stat(q: StatRequest, context: DataContext): Promise<Answer<StatReply>> {
  const {gate, store} = context;
  await gate.admit(context.session, q.ref.epoch);
  checkRef(q.ref);
  count(context);
  const found = await store.use(idOf(q.ref), shapeOf(q.ref), false, async (column) => ({
    bytes: column.bytes,
    allocated: await column.allocated(),
  }));
  return {message: found === null ? {present: false} : {present: true, ...found}};
}
