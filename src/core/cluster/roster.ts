import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import type {ClusterEffect} from './control-api.js';
import {hasLost} from './keepers.js';
import {SLOT} from './map.js';
import {type SlotEvent, slotTransition} from './slot-states.js';
import {
  type ClusterState,
  type GroupRecord,
  groupWritable,
  type Member,
  type SlotRecord,
} from './state.js';

const RETIRED_MAX = 1024;

/** A filled slot. */
export interface Place {
  group: GroupRecord;
  slot: SlotRecord;
  index: number;
  member: Member;
}

/** Was another one made since the slot was lost? Then a resync may have fitted what the slot has to that. */
const madeSince = (group: GroupRecord, slot: SlotRecord): boolean =>
  group.slots.some((one) => one !== slot && one.madeAt >= slot.lostAt);

/** Changes of slots and their servers, gathered with their effects until the control takes them on its way out. */
export class Roster {
  readonly state: ClusterState;
  /** The map has changed: the epoch grows on the way out. */
  changed = false;
  /** Something else that is kept has changed. */
  unsaved = false;
  #effects: ClusterEffect[] = [];
  #incarnations: number;

  constructor(state: ClusterState, firstIncarnation: number) {
    this.state = state;
    this.#incarnations = firstIncarnation;
  }

  add(effect: ClusterEffect): void {
    this.#effects.push(effect);
  }

  take(): ClusterEffect[] {
    const effects = this.#effects;
    if (effects.length > 0) this.#effects = [];
    return effects;
  }

  /** `incarnation` 0: a new one is given. */
  connect(member: Member, incarnation: number, now: Ms): void {
    member.incarnation = incarnation === 0 ? ++this.#incarnations : incarnation;
    member.connected = true;
    member.seen = true;
    member.heardAt = now;
    member.reportedSince = null;
    member.ackedEpoch = 0;
    member.owesSince = null;
    member.waitsSince = null;
  }

  disconnect(member: Member, reason: string): void {
    this.add({do: 'drop', uuid: member.uuid, incarnation: member.incarnation, reason});
    member.connected = false;
    member.returning = false;
    member.closedAt = Number.NEGATIVE_INFINITY;
    member.incarnation = 0;
  }

  lose(group: GroupRecord, index: number, why: string): void {
    const slot = group.slots[index]!;
    const member = slot.member!;
    // It was recovering: what it still lacks, it lacks for ever.
    const lacks = slot.state === SLOT.recovering;
    this.on(group, index, 'lost', why);
    slot.stale = lacks;
    if (!lacks) slot.lostAt = slot.since;
    slot.staleSince = 0;
    member.reportedSince = null;
    if (member.connected) this.disconnect(member, why);
  }

  /** Carries a transition out. */
  on(group: GroupRecord, index: number, event: SlotEvent, detail?: string): void {
    const slot = group.slots[index]!;
    const row = slotTransition(slot.state, event);
    assert(row !== null, `slot ${group.id}.${index}: ${event} in state ${slot.state}`);
    slot.state = SLOT[row[2]];
    slot.since = this.state.epoch + 1;
    if (slot.state === SLOT.ready) {
      if (event !== 'backWhole' || hasLost(slot) || madeSince(group, slot))
        slot.madeAt = slot.since;
      slot.stale = false;
      slot.wholeAt = slot.since;
      slot.life = slot.member!.life;
    }
    this.change(`slot.${event}`, group.id, index, detail ?? row[3], row[0]);
    const {order} = group;
    if (!order.done && order.slot === index && slot.state !== SLOT.ready) order.slot = -1;
  }

  note(event: string, group: number, slot: number, why: string): void {
    this.unsaved = true;
    this.add({do: 'log', event, group, slot, epoch: this.state.epoch, why});
  }

  /** `from`: the state before, of a transition. */
  change(event: string, group: number, slot: number, why: string, from?: string): void {
    this.changed = true;
    const before = from === undefined ? {} : {from};
    this.add({do: 'log', event, group, slot, epoch: this.state.epoch + 1, why, ...before});
  }

  /** An away slot is stale once the others can write without it, and clients could know. */
  judgeStale(published: number): void {
    for (const group of this.state.groups) {
      const writable = groupWritable(group);
      for (const slot of group.slots) {
        if (slot.state !== SLOT.away) continue;
        if (writable && !slot.stale) {
          slot.stale = true;
          slot.staleSince = this.state.epoch + 1;
          this.changed = true;
        } else if (!writable && slot.stale && slot.staleSince > published) {
          slot.stale = false;
          slot.staleSince = 0;
          this.changed = true;
        }
      }
    }
  }

  group(id: number): GroupRecord | undefined {
    return this.state.groups.find((group) => group.id === id);
  }

  place(uuid: string): Place | null {
    for (const place of this.places()) if (place.member.uuid === uuid) return place;
    return null;
  }

  /** With or without a slot; null: not known. */
  member(uuid: string): Member | null {
    return this.place(uuid)?.member ?? this.waiting(uuid);
  }

  /** One that has no slot. */
  waiting(uuid: string): Member | null {
    return this.state.pool.find((member) => member.uuid === uuid) ?? null;
  }

  /** A server gets a slot that is empty, or whose server is away and never comes back then. */
  seat(group: GroupRecord, index: number, member: Member, event: SlotEvent): void {
    const slot = group.slots[index]!;
    if (slot.member !== null)
      this.state.retired = [...this.state.retired, slot.member.uuid].slice(-RETIRED_MAX);
    this.state.pool = this.state.pool.filter(({uuid}) => uuid !== member.uuid);
    slot.member = member;
    slot.successor = '';
    slot.handover = false;
    slot.stale = event === 'replaced';
    slot.staleSince = 0;
    this.on(group, index, event, member.address);
  }

  dissolve(group: GroupRecord): void {
    const gone = group.slots.flatMap(({member}) => (member === null ? [] : [member.uuid]));
    this.state.retired = [...this.state.retired, ...gone].slice(-RETIRED_MAX);
    this.state.groups.splice(this.state.groups.indexOf(group), 1);
  }

  *places(): Generator<Place> {
    for (const group of this.state.groups) {
      for (let index = 0; index < group.slots.length; index++) {
        const slot = group.slots[index]!;
        if (slot.member !== null) yield {group, slot, index, member: slot.member};
      }
    }
  }

  check(): void {
    const seen = new Set<string>();
    for (const {id, slots} of this.state.groups) {
      const writable = groupWritable(this.group(id)!);
      for (const {state, member, stale} of slots) {
        assert((state === SLOT.empty) === (member === null), 'a filled slot has a server');
        assert(state !== SLOT.away || stale || !writable, 'away and not stale: not writable');
        assert(state !== SLOT.ready || !stale, 'a ready slot is not stale');
        assert(member === null || !seen.has(member.uuid), 'a server fills one slot');
        if (member !== null) seen.add(member.uuid);
      }
    }
    assert(!this.state.pool.some(({uuid}) => seen.has(uuid)), 'who waits has no slot');
  }
}
