import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {ClusterTiming} from './control-api.js';
import {inMaintenance} from './life.js';
import {SLOT} from './map.js';
import {candidates, expendable, founders, nextAssignment, noCandidate, vacant} from './pool.js';
import {GROUPS_MAX, type GroupShape, type Registrar} from './registrar.js';
import type {Roster} from './roster.js';
import {
  type ClusterState,
  countSlots,
  type GroupRecord,
  type Member,
  type SlotRecord,
} from './state.js';

/** Data servers number slots with a byte. */
const SLOTS_MAX = 255;

interface Seat {
  group: GroupRecord;
  slot: SlotRecord;
  member: Member;
}

/**
 * Which server without a slot gets which slot: by itself, and as administrators say. Errors are FsErrors with a sentence for them; then nothing
 * has changed.
 */
export class Seating {
  readonly #roster: Roster;
  readonly #registrar: Registrar;
  readonly #shape: GroupShape;
  readonly #timing: ClusterTiming;
  /** The newest epoch that everybody knows. */
  readonly #published: () => number;

  constructor(
    roster: Roster,
    registrar: Registrar,
    shape: GroupShape,
    timing: ClusterTiming,
    published: () => number,
  ) {
    this.#roster = roster;
    this.#registrar = registrar;
    this.#shape = shape;
    this.#timing = timing;
    this.#published = published;
  }

  get #state(): ClusterState {
    return this.#roster.state;
  }

  /** Who is gone is forgotten, who is there fills what is to be filled. */
  tick(now: Ms): void {
    const state = this.#state;
    for (const member of state.pool) {
      if (member.connected && now - member.heardAt >= this.#timing.silenceMs)
        this.#roster.disconnect(member, 'silent');
    }
    const away = ({closedAt}: Member): boolean => now - closedAt >= this.#timing.reconnectMs;
    state.pool = state.pool.filter((one) => one.connected || !away(one));
    for (const {slot, member} of this.#roster.places()) {
      const away = slot.state === SLOT.away;
      slot.awaySince = away ? (slot.awaySince ?? now) : null;
      const expected = !away || inMaintenance(state, member);
      slot.missedSince = expected ? null : (slot.missedSince ?? now);
    }
    // One at a time: what comes next depends on it, and on everybody knowing it.
    if (this.#roster.changed || this.#published() !== state.epoch) return;
    const {outAfterMs} = this.#timing;
    const {anyDomain, groupSize} = this.#shape;
    const published = this.#published();
    const next = nextAssignment(state, {published, outAfterMs, anyDomain, now});
    if (next !== null) {
      this.#roster.seat(next.group, next.index, next.member, next.event);
      return;
    }
    const id = this.#freeId();
    if (id === 0 || founders(state, groupSize, anyDomain) === null) return;
    this.#registrar.newGroup(id);
    this.#roster.note('group.created', id, 0, 'servers without a group are enough for one');
  }

  /** The server that this one, which waits, is to copy; null: none. */
  copyOf(uuid: string): Member | null {
    for (const {slot, member} of this.#roster.places())
      if (slot.successor === uuid && slot.state === SLOT.ready) return member;
    return null;
  }

  /** Slots that were given up for a successor get it as soon as everybody knows that they are away; true if one did. */
  handOver(): boolean {
    for (const {group, slot, index} of this.#roster.places()) {
      if (!slot.handover) continue;
      if (slot.state !== SLOT.away) slot.handover = false;
      else if (vacant(slot, this.#published())) {
        slot.handover = false;
        const successor = this.#roster.waiting(slot.successor);
        if (successor?.connected !== true) continue;
        this.#roster.seat(group, index, successor, 'replaced');
        return true;
      }
    }
    return false;
  }

  /** A waiting server has copied that one. False: its slot is not given up now. */
  copied(uuid: string, of: string): boolean {
    const place = this.#roster.place(of);
    if (place === null || place.slot.successor !== uuid || place.slot.state !== SLOT.ready)
      return false;
    // What the group has must be made up for while the last changes are made up for.
    if (countSlots(place.group, SLOT.ready) < place.group.slots.length) return false;
    this.#roster.lose(place.group, place.index, 'its successor has copied it');
    place.slot.handover = true;
    return true;
  }

  /**
   * A new group of `slots` slots (0: as many as others have); `id` 0: the lowest free one. Servers that wait for a group fill it. Gives its
   * number. EEXIST, EINVAL, ENOSPC.
   */
  createGroup(id: number, slots: number): number {
    const {columnsDefault} = this.#shape;
    if (id > GROUPS_MAX) throw new FsError('EINVAL', `group ${id} is not from 1 to ${GROUPS_MAX}`);
    if (slots !== 0 && (slots < columnsDefault || slots > SLOTS_MAX))
      throw new FsError('EINVAL', `${slots} slots are not from ${columnsDefault} to ${SLOTS_MAX}`);
    const number = id || this.#freeId();
    if (number === 0) throw new FsError('ENOSPC', `there are ${GROUPS_MAX} groups`);
    if (this.#roster.group(number) !== undefined)
      throw new FsError('EEXIST', `group ${number} is there already`);
    this.#registrar.newGroup(number, slots);
    this.#roster.change('group.created', number, 0, 'as an administrator asked');
    return number;
  }

  /** One that never had a server in each of its slots: nothing was ever stored in it. ENOENT; EBUSY: it has servers; ENOTEMPTY. */
  removeGroup(id: number): void {
    const group = this.#roster.group(id);
    if (group === undefined) throw new FsError('ENOENT', `there is no group ${id}`);
    const empty = countSlots(group, SLOT.empty);
    if (empty === 0) throw new FsError('ENOTEMPTY', `group ${id} may hold objects`);
    if (empty < group.slots.length) throw new FsError('EBUSY', `group ${id} has servers`);
    this.#state.groups.splice(this.#state.groups.indexOf(group), 1);
    this.#roster.change('group.removed', id, 0, 'as an administrator asked');
  }

  /** One that nothing is stored in any more: its servers are taken back only emptied. ENOENT. */
  dissolveGroup(id: number): void {
    const group = this.#roster.group(id);
    if (group === undefined) throw new FsError('ENOENT', `there is no group ${id}`);
    this.#roster.dissolve(group);
    this.#roster.change('group.removed', id, 0, 'everything has left it');
  }

  /**
   * Gives the slot of a server that is away to one that waits for a slot (`uuid` '': the best one), which rebuilds everything. ENOENT: no such
   * slot; EBUSY: it is in service; EAGAIN: in a moment; ENODEV: nobody fits; EPERM: what only the old server has
   * would be lost, and not `sure`.
   */
  replace(id: number, index: number, uuid: string, sure: boolean): void {
    const {group, slot, member} = this.#seat(id, index);
    if (slot.state !== SLOT.away || member.connected)
      throw new FsError('EBUSY', `the server of slot ${id}.${index} is in service`);
    if (!vacant(slot, this.#published()))
      throw new FsError('EAGAIN', 'not everybody knows yet that it is away');
    const next = this.#choose(group, index, uuid);
    if (!sure && !expendable(group, slot)) {
      throw new FsError(
        'EPERM',
        `group ${id} lacks more than its redundancy makes up for; what only the server of slot ${id}.${index} has would be lost`,
      );
    }
    this.#roster.seat(group, index, next, 'replaced');
  }

  /** A server that waits (`uuid` '': the best one) copies this one, and takes its slot then. ENOENT, ENODEV as above; EBUSY: it is not in service, or drained already. */
  drain(id: number, index: number, uuid: string): void {
    const {group, slot} = this.#seat(id, index);
    if (slot.state !== SLOT.ready)
      throw new FsError('EBUSY', `the server of slot ${id}.${index} is not ready`);
    if (slot.successor !== '')
      throw new FsError('EBUSY', `the server of slot ${id}.${index} is being drained already`);
    slot.successor = this.#choose(group, index, uuid).uuid;
    this.#roster.change('slot.draining', id, index, `to server ${slot.successor}`);
  }

  /** ENOENT: nobody drains it. */
  undrain(id: number, index: number): void {
    const {slot} = this.#seat(id, index);
    if (slot.successor === '')
      throw new FsError('ENOENT', `the server of slot ${id}.${index} is not being drained`);
    slot.successor = '';
    this.#roster.change('slot.kept', id, index, 'as an administrator asked');
  }

  #seat(id: number, index: number): Seat {
    const group = this.#roster.group(id);
    const slot = group?.slots[index];
    if (group === undefined || slot?.member == null)
      throw new FsError('ENOENT', `there is no server in slot ${id}.${index}`);
    return {group, slot, member: slot.member};
  }

  #choose(group: GroupRecord, index: number, uuid: string): Member {
    const fitting = candidates(this.#state, group, index, this.#shape.anyDomain);
    const member = uuid === '' ? fitting[0] : fitting.find((one) => one.uuid === uuid);
    if (member === undefined) throw new FsError('ENODEV', noCandidate(this.#state, uuid));
    return member;
  }

  /** The lowest number that no group has; 0: none is left. */
  #freeId(): number {
    for (let id = 1; id <= GROUPS_MAX; id++) if (this.#roster.group(id) === undefined) return id;
    return 0;
  }
}
