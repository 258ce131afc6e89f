import type {Empty, SettleRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {DataContext} from './context.js';

/** All columns of these chunks have been synced: they leave the intent log. */
export function settle(q: SettleRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, intents} = context;
  return gate.pass(context.session, q.epoch, async () => {
    for (const chunk of q.chunks) intents.settle(chunk);
    return {message: {}};
  });
}
