import type {Ms} from '../base/ids.js';
import {SLOT} from './map.js';
import type {SlotEvent} from './slot-states.js';
import type {ClusterState, GroupRecord, Member, SlotRecord} from './state.js';

/** Where in a group an unknown server goes; index -1: nowhere. `published`: the newest epoch that everybody knows. */
export function emptySpot(
  group: GroupRecord,
  address: string,
  published: number,
): {index: number; event: SlotEvent} {
  const empty = group.slots.findIndex((slot) => slot.state === SLOT.empty);
  if (empty >= 0) return {index: empty, event: 'joined'};
  // An emptied server takes its own place, not that of another one that is away for a moment.
  const own = group.slots.findIndex((slot) => slot.member?.address === address);
  const free = (slot: SlotRecord): boolean => vacant(slot, published);
  const index = own < 0 ? group.slots.findIndex(free) : free(group.slots[own]!) ? own : -1;
  return {index, event: 'replaced'};
}

/** Survivors note what an away slot lacks when they hear that it is away; only then another server may have it. */
export const vacant = (slot: SlotRecord, published: number): boolean =>
  slot.state === SLOT.away && slot.member?.connected === false && slot.since <= published;

/** A server of another slot that would be lost together with one of this domain; null: none. */
export function sameDomain(group: GroupRecord, index: number, domain: string): Member | null {
  if (domain === '') return null;
  const near = group.slots.find(
    ({member}, other) => other !== index && member !== null && member.domain === domain,
  );
  return near?.member ?? null;
}

/**
 * Is nothing lost for ever if the server of this slot never comes back? Of objects that have no redundancy everything is; and if more slots are
 * not whole than the redundancy makes up for, what only this server has is wanted.
 */
export function expendable(group: GroupRecord, slot: SlotRecord): boolean {
  const others = group.slots.filter((one) => one !== slot && one.state !== SLOT.ready).length;
  return others + 1 <= group.mMin;
}

/** Who waits for a slot and could take this one now: the one that copies it, then the one with the most room first. */
export function candidates(
  {pool, groups}: ClusterState,
  group: GroupRecord,
  index: number,
  anyDomain: boolean,
): Member[] {
  const own = group.slots[index]!.successor;
  const taken = new Set(groups.flatMap(({slots}) => slots.map(({successor}) => successor)));
  const copy = ({uuid}: Member): number => Number(uuid === own);
  return pool
    .filter((member) => member.connected && (member.uuid === own || !taken.has(member.uuid)))
    .filter(({domain}) => anyDomain || sameDomain(group, index, domain) === null)
    .sort((a, b) => copy(b) - copy(a) || b.freeBytes - a.freeBytes);
}

export interface Assignment {
  group: GroupRecord;
  index: number;
  member: Member;
  event: SlotEvent;
}

/**
 * The next thing that servers without a slot are to do without being asked; null: nothing. A slot whose server has been away for
 * `outAfterMs` (0: never), maintenance not counted, gets another one; empty slots get those that are there to fill them.
 */
export function nextAssignment(
  state: ClusterState,
  options: {published: number; outAfterMs: Ms; anyDomain: boolean; now: Ms},
): Assignment | null {
  const {published, outAfterMs, anyDomain, now} = options;
  if (!state.pool.some(({connected}) => connected)) return null;
  for (const group of state.groups) {
    for (const [index, slot] of group.slots.entries()) {
      const fitting = (): Member[] => candidates(state, group, index, anyDomain);
      if (slot.state === SLOT.empty) {
        const member = fitting().find(({auto}) => auto);
        if (member !== undefined) return {group, index, member, event: 'joined'};
      }
      if (outAfterMs === 0 || !vacant(slot, published) || slot.missedSince === null) continue;
      if (now - slot.missedSince < outAfterMs || !expendable(group, slot)) continue;
      const [member] = fitting();
      if (member !== undefined) return {group, index, member, event: 'replaced'};
    }
  }
  return null;
}

/** Servers that together could be a group of `size` slots; null: too few of them, or of their failure domains. */
export function founders({pool}: ClusterState, size: number, anyDomain: boolean): Member[] | null {
  const found: Member[] = [];
  const domains = new Set<string>();
  for (const member of pool) {
    if (!member.auto || !member.connected) continue;
    if (!anyDomain && member.domain !== '' && domains.has(member.domain)) continue;
    domains.add(member.domain);
    found.push(member);
    if (found.length === size) return found;
  }
  return null;
}

export function noCandidate({pool}: ClusterState, uuid: string): string {
  if (uuid !== '' && !pool.some((one) => one.uuid === uuid))
    return `no server ${uuid} waits for a slot`;
  if (pool.some(({connected}) => connected))
    return uuid === ''
      ? 'those that wait for a slot are in failure domains that the group has already'
      : `server ${uuid} is away, or in a failure domain that the group has already`;
  return 'no server waits for a slot';
}
