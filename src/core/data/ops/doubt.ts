import type {DoubtRequest, Empty} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {awaySlots, livesOn, SUSPECTED} from '../missed.js';
import {checkRef, count, type DataContext, idOf} from './context.js';

/**
 * A change of the chunk was given up half way: it is an intent, if it was none here yet, until a resync has compared its columns.
 * Slots that are away may lack what others have got.
 */
export function doubt(q: DoubtRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, intents, missed} = context;
  return gate.pass(context.session, q.ref.epoch, async () => {
    checkRef(q.ref);
    count(context);
    const id = idOf(q.ref);
    const {around} = gate;
    const entered = intents.enter(id, q.ref);
    try {
      const lacking = livesOn(around, q.ref) ? awaySlots(around, q.ref) : [];
      const noted = missed.add(lacking.map((slot) => ({slot, ...id, note: SUSPECTED})));
      await Promise.all([entered, noted]);
      intents.doubt(id);
    } finally {
      intents.leave(id);
    }
    return {message: {}};
  });
}
