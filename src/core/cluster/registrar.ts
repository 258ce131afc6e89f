import type {Ms} from '../base/ids.js';
import type {Registration} from './control-api.js';
import {SLOT} from './map.js';
import {emptySpot, sameDomain} from './pool.js';
import type {Place, Roster} from './roster.js';
import {emptySlot, type GroupRecord, type Member, newMember} from './state.js';

const POOL_MAX = 1024;
export const GROUPS_MAX = 1024;

/** What new groups are like. */
export interface GroupShape {
  /** Slots. */
  groupSize: number;
  kDefault: number;
  /** k + m. */
  columnsDefault: number;
  /** Servers of one group may lie in one failure domain. */
  anyDomain: boolean;
}

export type Registered =
  | {is: 'accepted'; member: Member}
  | {is: 'undecided'; why: string}
  | {is: 'refused'; why: string};

/** Whoever lives is heard within a heartbeat; half of one more for the way. */
const HEARD_MS: Ms = 1_500;

/** Who comes as what: a server that is known, one that fills a slot, one that waits for a slot. */
export class Registrar {
  readonly #roster: Roster;
  readonly #shape: GroupShape;

  constructor(roster: Roster, shape: GroupShape) {
    this.#roster = roster;
    this.#shape = shape;
  }

  register(q: Registration, published: number, now: Ms): Registered {
    const place = this.#roster.place(q.uuid);
    if (place !== null) return this.#known(q, place, now);
    if (this.#roster.state.retired.includes(q.uuid)) {
      return {
        is: 'refused',
        why: 'its slot was given to another server; empty its folder to add it as a new one',
      };
    }
    if (q.group === 0) return this.#waiting(q, now);
    if (q.group < 1 || q.group > GROUPS_MAX) {
      return {is: 'refused', why: `group ${q.group} is not from 1 to ${GROUPS_MAX}`};
    }
    return this.#unknown(q, published, now);
  }

  /** An empty group of so many slots (0: as many as a new group has). */
  newGroup(id: number, slots = 0): GroupRecord {
    const {groupSize, kDefault, columnsDefault} = this.#shape;
    const group: GroupRecord = {
      id,
      slots: Array.from({length: slots || groupSize}, emptySlot),
      kMin: kDefault,
      columnsMin: columnsDefault,
      mMin: columnsDefault - kDefault,
      order: {number: 0, slot: -1, done: true},
    };
    const {groups} = this.#roster.state;
    groups.push(group);
    groups.sort((a, b) => a.id - b.id);
    return group;
  }

  #known(q: Registration, {member, group, slot, index}: Place, now: Ms): Registered {
    if (q.group !== 0 && q.group !== group.id) {
      return {
        is: 'refused',
        why: `this server belongs to group ${group.id}, not to group ${q.group}`,
      };
    }
    const copied = this.#another(q, member, now);
    if (copied !== null) return copied;
    if (slot.handover && this.#roster.waiting(slot.successor)?.connected === true)
      return {is: 'undecided', why: 'its slot is being given to another server'};
    const serves = slot.state === SLOT.ready || slot.state === SLOT.recovering;
    if (q.incarnation === 0) {
      member.losses = 0;
      member.heldUntil = 0;
    }
    if (serves && q.incarnation === 0) this.#roster.lose(group, index, 'the server was restarted');
    if (member.address !== q.address) {
      member.address = q.address;
      this.#roster.change('server.address', group.id, index, q.address);
    }
    if (member.domain !== q.domain) {
      member.domain = q.domain;
      this.#roster.change('server.domain', group.id, index, q.domain);
    }
    if (member.location !== q.location) {
      member.location = q.location;
      this.#roster.change('server.location', group.id, index, q.location);
    }
    const same = q.incarnation !== 0 && q.incarnation === member.incarnation;
    this.#roster.connect(member, same ? member.incarnation : 0, now);
    member.life = q.life;
    if (slot.state === SLOT.ready && slot.life === 0) {
      slot.life = q.life;
      this.#roster.unsaved = true;
    }
    member.returning = slot.state === SLOT.away;
    return {is: 'accepted', member};
  }

  /** Is another process there with the same id? Null: no. */
  #another(q: Registration, member: Member, now: Ms): Registered | null {
    const same = q.incarnation !== 0 && q.incarnation === member.incarnation;
    if (!member.connected || same) return null;
    if (member.heardAt > q.askedAt) {
      return {
        is: 'refused',
        why: 'a server with the same id is alive: this folder is a copy of its folder',
      };
    }
    if (now - q.askedAt < HEARD_MS)
      return {is: 'undecided', why: 'another connection has the same id'};
    this.#roster.disconnect(member, 'silent, and its server has registered again');
    return null;
  }

  /** It has no slot, and asks for no group: it waits until it is needed. */
  #waiting(q: Registration, now: Ms): Registered {
    const {pool} = this.#roster.state;
    let member = this.#roster.waiting(q.uuid);
    if (member === null) {
      if (pool.length >= POOL_MAX)
        return {is: 'refused', why: `${POOL_MAX} servers without a slot are there already`};
      member = newMember(q.uuid, q.address, now);
      pool.push(member);
      this.#roster.note('server.waits', 0, 0, `${q.address} has no slot yet`);
    }
    const copied = this.#another(q, member, now);
    if (copied !== null) return copied;
    const same = q.incarnation !== 0 && q.incarnation === member.incarnation;
    member.address = q.address;
    member.domain = q.domain;
    member.location = q.location;
    member.auto = q.auto;
    this.#roster.connect(member, same ? member.incarnation : 0, now);
    member.life = q.life;
    return {is: 'accepted', member};
  }

  #unknown(q: Registration, published: number, now: Ms): Registered {
    const before = this.#roster.waiting(q.uuid);
    const copied = before === null ? null : this.#another(q, before, now);
    if (copied !== null) return copied;
    const group = this.#roster.group(q.group) ?? this.newGroup(q.group);
    const {index, event} = emptySpot(group, q.address, published);
    if (index < 0) {
      const doubtful = group.slots.some((slot) => slot.member?.connected === false);
      const why = `group ${group.id} has no free slot`;
      return doubtful ? {is: 'undecided', why} : {is: 'refused', why};
    }
    const near = this.#shape.anyDomain ? null : sameDomain(group, index, q.domain);
    if (near !== null) {
      return {
        is: 'refused',
        why: `group ${group.id} has a server in failure domain '${q.domain}' already (${near.address}); start this one elsewhere, for another group, or with another --domain`,
      };
    }
    const {domain, location, life} = q;
    const member = {...newMember(q.uuid, q.address, now), domain, location, life};
    this.#roster.connect(member, 0, now);
    this.#roster.seat(group, index, member, event);
    return {is: 'accepted', member};
  }
}
