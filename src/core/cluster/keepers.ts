import {SLOT} from './map.js';
import {countSlots, type GroupRecord, type SlotRecord} from './state.js';

/** Is what the slot's server had been told to write, and had not synced, gone since the slot was last ready? */
export const hasLost = ({life, member}: SlotRecord): boolean =>
  life !== 0 && member !== null && member.life !== 0 && member.life !== life;

/**
 * May slots that are away have all that the slot has lost, and be enough to make it again? Nothing was written without them either. Of one whose
 * server has not registered yet nobody knows whether it has lost something, too.
 */
export function kept(group: GroupRecord, slot: SlotRecord): boolean {
  const keepers = group.slots.filter(
    (one) => one !== slot && one.state === SLOT.away && !one.stale && !hasLost(one),
  );
  const there = countSlots(group, SLOT.ready) + countSlots(group, SLOT.recovering);
  return keepers.length > 0 && there + keepers.length >= group.kMin;
}
