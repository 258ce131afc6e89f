import {assert} from '../base/assert.js';
import {SLOT, type SlotInfo} from '../cluster/map.js';
import type {LogEntry} from './chunk-log.js';
import type {Surroundings} from './gate.js';
import type {Share} from './intents.js';
import type {DataParts} from './ops/context.js';

/**
 * Note of the missed log: the chunk was an intent while the slot was away and others could be read without it, so somebody may
 * have seen what the slot does not have; or it was repaired. Without it: the chunk was written while the slot was away.
 */
export const SUSPECTED = 1;

const SLOTS_MAX = 255;

/** The slots that have columns of a chunk of which this server has `share`. */
function slotsOf({slot, slots}: Surroundings, {column, k, m}: Share): number[] {
  const count = slots.length;
  const first = (slot - column + 2 * count) % count;
  return Array.from({length: k + m}, (_, i) => (first + i) % count);
}

/** Slots that have a column of the chunk and are away. */
export function awaySlots(around: Surroundings, share: Share): number[] {
  if (around.away.length === 0) return [];
  return slotsOf(around, share).filter((slot) => around.away.includes(slot));
}

/** Can the chunk be read or written under this map? Then it lives on without the slots that are away. */
export function livesOn(around: Surroundings, share: Share): boolean {
  const ready = slotsOf(around, share).filter((s) => around.slots[s]?.state === SLOT.ready);
  return ready.length >= share.k;
}

/**
 * What must be on stable storage before this server obeys a map. Slots that are away in it may lack what is being written: the
 * intents that live on without them become missed by them. An intent that cannot be read now becomes missed by nobody: its columns
 * are all worth the same when they come back, and too few of them would be left to rebuild the others from. `obeyed`: the epoch that
 * this server obeyed last, maybe in an earlier life.
 */
export async function noteMissed(
  {intents, missed}: Pick<DataParts, 'intents' | 'missed'>,
  before: Surroundings | null,
  after: Surroundings,
  obeyed: number,
): Promise<void> {
  assert(after.slots.length <= SLOTS_MAX, 'a group has at most 255 slots');
  const same =
    before !== null && after.slots.every(({state}, slot) => before.slots[slot]?.state === state);
  if (same) return;
  // Of a slot that was made whole since: it has it, or it came back to a group in which nothing could be written.
  const whole = ({state, wholeAt = 0}: SlotInfo): boolean =>
    state === SLOT.ready || wholeAt > obeyed;
  const idle = [...missed.entries()].filter(({slot}) => {
    const info = after.slots[slot];
    return info !== undefined && whole(info);
  });
  if (idle.length > 0) missed.remove(idle);
  if (after.away.length > 0 && after.slot >= 0) {
    const entries: LogEntry[] = [];
    for (const {oid, chunk, generation, share} of await intents.chunks()) {
      const lacking =
        share === null ? after.away : livesOn(after, share) ? awaySlots(after, share) : [];
      for (const slot of lacking) entries.push({slot, oid, chunk, generation, note: SUSPECTED});
    }
    await missed.add(entries);
  }
}
