import {SLOT} from './map.js';
import type {GroupRecord, SlotRecord} from './state.js';

/**
 * Could a recovery under this epoch know everything that the slot lacks? Slots that were lost after it may have been written without
 * it, and they are away with what they noted, or came back only later. If so many others were ready all the time that every
 * chunk has a column on one of them, those have noted all of it.
 */
export function knowable(group: GroupRecord, slot: SlotRecord, epoch: number): boolean {
  const others = group.slots.filter((other) => other !== slot);
  const ever = others.filter(({state, since}) => state === SLOT.ready && since <= slot.lostAt);
  if (others.length - ever.length < group.columnsMin - 1) return true;
  return others.every(
    ({state, since}) => since <= slot.lostAt || (state !== SLOT.away && since <= epoch),
  );
}
