import type {Empty, SettleRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {awaySlots, livesOn} from '../missed.js';
import type {DataContext} from './context.js';

/**
 * All columns of these chunks have been synced: they leave the intent log, but for those in doubt that were not checked. Those that cannot be read under this map stay: when they
 * can, before the slots that are away have come back, they become missed by them.
 */
export function settle(q: SettleRequest, context: DataContext): Promise<Answer<Empty>> {
  const {gate, intents} = context;
  return gate.pass(context.session, q.epoch, async () => {
    const {around} = gate;
    for (const chunk of q.chunks) {
      const share = around.away.length === 0 ? null : intents.shareOf(chunk);
      if (share !== null && awaySlots(around, share).length > 0 && !livesOn(around, share))
        continue;
      intents.settle(chunk, q.checked);
    }
    return {message: {}};
  });
}
