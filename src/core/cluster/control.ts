import {assert} from '../base/assert.js';
import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {
  CLUSTER_TIMING,
  type ClusterEffect,
  type ClusterTiming,
  type Registration,
  type RegistrationAnswer,
} from './control-api.js';
import {hasLost, kept} from './keepers.js';
import {knowable} from './knowable.js';
import {type ClusterMap, SLOT} from './map.js';
import {candidates, expendable, founders, nextAssignment, noCandidate, vacant} from './pool.js';
import {GROUPS_MAX, type GroupShape, Registrar} from './registrar.js';
import {orderResync, passOrder} from './resync.js';
import {type Place, Roster} from './roster.js';
import {type ClusterState, clusterMap, countSlots, type GroupRecord, type Member} from './state.js';

export const FENCED_MAX = 1024;
/** Epochs are below 2^53 on the wire; nobody raises one by so many. */
const EPOCH_MAX = 2 ** 52;
/** Data servers number slots with a byte. */
const SLOTS_MAX = 255;
/** How long a slot that clients could not reach stays away: doubled with each such loss of one process. */
const HOLD_MS = 1_000;
const HOLD_DOUBLINGS_MAX = 6;
/** Reports that are further apart than this are not about the same trouble; what a client has waited before it reported does not count. */
const REPORT_GAP_MS = 2_500;
/** What is in doubt is checked again at the earliest so long after a resync that has left it. */
const RECHECK_MS: Ms = 5_000;

/**
 * Which server fills which slot in which state, and who has been told. Owns no timer and sends nothing.
 *
 * A change raises the epoch; it is made durable, sent to the data servers, and when all of them that count (ready
 * or recovering) obey it, clients may have it. Who does not obey in time is lost, which is another change.
 *
 * Invariants: the slots of a uuid are at most one; published <= persisted <= epoch; an away slot that is not stale
 * lies in a group that cannot be written.
 */
export class ClusterControl {
  readonly state: ClusterState;
  readonly #timing: ClusterTiming;
  readonly #shape: GroupShape;
  readonly #registrar: Registrar;
  readonly #startedAt: Ms;
  readonly #roster: Roster;
  #persisted: number;
  #published: number;
  #fences: {session: number; epoch: number}[] = [];
  #map: ClusterMap;
  /** When the newest resync order of a group was carried out. */
  readonly #checkedAt = new Map<number, Ms>();

  constructor(
    state: ClusterState,
    options: GroupShape & {now: Ms; firstIncarnation: number},
    timing: ClusterTiming = CLUSTER_TIMING,
  ) {
    this.state = state;
    this.#timing = timing;
    this.#shape = options;
    this.#startedAt = options.now;
    this.#roster = new Roster(state, options.firstIncarnation);
    this.#registrar = new Registrar(this.#roster, options);
    this.#persisted = state.epoch;
    // What was published before a restart is not known; it was not more than what is durable. Data servers that
    // register get the map, and nothing is new in it.
    this.#published = state.epoch;
    this.#map = clusterMap(state);
  }

  get epoch(): number {
    return this.state.epoch;
  }

  /** The newest epoch that clients may know. */
  get publishedEpoch(): number {
    return this.#published;
  }

  /** The newest map, for data servers; for clients once it is published. */
  get map(): ClusterMap {
    return this.#map;
  }

  /** The newest map with figures of this moment. */
  liveMap(): ClusterMap {
    return clusterMap(this.state);
  }

  register(q: Registration, now: Ms): RegistrationAnswer {
    const answer = this.#registrar.register(q, this.#published, now);
    if (answer.is !== 'accepted') return answer;
    const {member} = answer;
    this.#push(member, now);
    const effects = this.#settle(now);
    return {is: 'accepted', incarnation: member.incarnation, effects};
  }

  /** Its connection has closed. `incarnation`: the one of the connection; an older one's end means nothing. */
  closed(uuid: string, incarnation: number, now: Ms): ClusterEffect[] {
    const member = this.#roster.member(uuid);
    if (member === null || member.incarnation !== incarnation) return [];
    if (member.connected) member.closedAt = now;
    member.connected = false;
    return this.#settle(now);
  }

  /** Some chunk is in doubt. With a column away not all of it can be checked, so it waits for that. */
  #recheck(group: GroupRecord, now: Ms): void {
    if (!group.order.done || countSlots(group, SLOT.ready) < group.slots.length) return;
    if (now - (this.#checkedAt.get(group.id) ?? Number.NEGATIVE_INFINITY) < RECHECK_MS) return;
    orderResync(group);
    this.#roster.note('resync.ordered', group.id, 0, `order ${group.order.number}, for doubts`);
  }

  /** Returns the number of a resync order for it, or 0. */
  heartbeat(
    uuid: string,
    q: {
      epoch: number;
      totalBytes: number;
      freeBytes: number;
      badBlocks: number;
      doneResync: number;
      recoveryLeft: number;
      doubts: number;
      io?: string;
    },
    now: Ms,
  ): {resync: number; effects: ClusterEffect[]} {
    const member = this.#roster.member(uuid);
    if (member === null) return {resync: 0, effects: []};
    member.heardAt = now;
    member.totalBytes = q.totalBytes;
    member.freeBytes = q.freeBytes;
    member.badBlocks = q.badBlocks;
    member.recoveryLeft = q.recoveryLeft;
    member.doubts = q.doubts;
    // Of any length only in what is none of ours.
    member.io = (q.io ?? '').slice(0, 40);
    const place = this.#roster.place(uuid);
    if (place === null) return {resync: 0, effects: this.#settle(now)};
    const {group, index} = place;
    if (q.epoch > this.state.epoch && q.epoch < EPOCH_MAX) {
      // The meta server lost its newest state with its disk's: epochs must go on above what was seen.
      this.state.epoch = q.epoch;
      this.#roster.change('epoch.behind', group.id, index, 'a data server knows a newer epoch');
    }
    const {order} = group;
    if (!order.done && order.slot === index && q.doneResync >= order.number) {
      order.done = true;
      this.#roster.note('resync.done', group.id, index, `order ${order.number}`);
      this.#checkedAt.set(group.id, now);
    }
    if (q.doubts > 0) this.#recheck(group, now);
    const effects = this.#settle(now);
    const given = group.order;
    return {resync: !given.done && given.slot === index ? given.number : 0, effects};
  }

  acked(uuid: string, epoch: number, now: Ms): ClusterEffect[] {
    const member = this.#roster.place(uuid)?.member;
    if (member === undefined) return [];
    member.heardAt = now;
    member.ackedEpoch = Math.max(member.ackedEpoch, epoch);
    if (member.ackedEpoch >= this.state.epoch) member.owesSince = null;
    return this.#settle(now);
  }

  persisted(epoch: number, now: Ms): ClusterEffect[] {
    this.#persisted = Math.max(this.#persisted, epoch);
    if (this.#persisted === this.state.epoch) {
      for (const {member} of this.#roster.places()) this.#push(member, now);
    }
    return this.#settle(now);
  }

  /** A client could not reach a column under this epoch. `waitedMs`: it has waited for it so long before it said so. */
  report(
    groupId: number,
    index: number,
    epoch: number,
    now: Ms,
    waitedMs: Ms = 0,
  ): ClusterEffect[] {
    const slot = this.#roster.group(groupId)?.slots[index];
    if (slot?.member == null || epoch < slot.since) return [];
    if (slot.state !== SLOT.ready && slot.state !== SLOT.recovering) return [];
    const {member} = slot;
    if (member.reportedSince === null || now - waitedMs - member.reportedAt > REPORT_GAP_MS)
      member.reportedSince = now;
    member.reportedAt = now;
    const group = this.#roster.group(groupId)!;
    if (!member.seen) return [];
    if (now - member.heardAt > this.#timing.reportSilenceMs) {
      this.#roster.lose(group, index, 'silent, and reported by a client');
    } else if (now - member.reportedSince >= this.#timing.columnTimeoutMs) {
      this.#roster.lose(group, index, 'clients have not reached it for the column timeout');
      member.heldUntil = now + HOLD_MS * 2 ** Math.min(member.losses++, HOLD_DOUBLINGS_MAX);
    }
    return this.#settle(now);
  }

  /** A server says that it has rebuilt everything. False: it does not concern the slot as it is now. */
  recovered(uuid: string, epoch: number, now: Ms): {agreed: boolean; effects: ClusterEffect[]} {
    const place = this.#roster.place(uuid);
    if (place === null || place.slot.state !== SLOT.recovering || epoch < place.slot.since)
      return {agreed: false, effects: []};
    if (!knowable(place.group, place.slot, epoch)) return {agreed: false, effects: []};
    this.#roster.on(place.group, place.index, 'recovered');
    return {agreed: true, effects: this.#settle(now)};
  }

  /**
   * Chunks that recovering slots have yet to rebuild, one at least for each that has not counted them; and one for each
   * resync order that has not been carried out, or that is to come.
   */
  get recoveryLeft(): number {
    const checked = ({order, slots}: GroupRecord): boolean =>
      order.done && slots.every(({member}) => (member?.doubts ?? 0) === 0);
    let left = this.state.groups.filter((group) => !checked(group)).length;
    for (const {slot, member} of this.#roster.places())
      if (slot.state === SLOT.recovering) left += Math.max(1, member.recoveryLeft);
    return left;
  }

  /** Puts a session out; `fenced` follows when every data server knows. */
  fence(session: number, now: Ms): ClusterEffect[] {
    if (!this.state.fenced.includes(session)) {
      this.state.fenced = [...this.state.fenced, session].slice(-FENCED_MAX);
      this.#roster.change('session.fenced', 0, 0, `session ${session}`);
    }
    this.#fences.push({session, epoch: this.state.epoch + (this.#roster.changed ? 1 : 0)});
    return this.#settle(now);
  }

  /** A client died with write leases: redundancy of what it was writing is to be checked. */
  resync(now: Ms): ClusterEffect[] {
    for (const group of this.state.groups) {
      if (countSlots(group, SLOT.empty) === group.slots.length) continue;
      orderResync(group);
      this.#roster.note('resync.ordered', group.id, 0, `order ${group.order.number}`);
    }
    return this.#settle(now);
  }

  /** Is there a resync order for one of these groups that has not been carried out? */
  unchecked(groups: readonly number[]): boolean {
    return groups.some((id) => this.#roster.group(id)?.order.done === false);
  }

  /** Objects of this scheme are about to be created in these groups. `persist` may follow. */
  used(groups: readonly number[], k: number, m: number, now: Ms): ClusterEffect[] {
    for (const id of groups) {
      const group = this.#roster.group(id);
      if (group === undefined) continue;
      if (group.kMin <= k && group.columnsMin <= k + m && group.mMin <= m) continue;
      group.kMin = Math.min(group.kMin, k);
      group.columnsMin = Math.min(group.columnsMin, k + m);
      group.mMin = Math.min(group.mMin, m);
      this.#roster.note('group.scheme', id, 0, `objects of ${k}+${m}`);
    }
    return this.#settle(now);
  }

  tick(now: Ms): ClusterEffect[] {
    for (const {group, slot, index, member} of this.#roster.places()) {
      const serves = slot.state === SLOT.ready || slot.state === SLOT.recovering;
      const why = this.#lostBecause(member, now);
      if (why === null) continue;
      if (serves) this.#roster.lose(group, index, why);
      else if (member.connected) this.#roster.disconnect(member, why);
    }
    this.#tickPool(now);
    return this.#settle(now);
  }

  /** Servers without a slot: who is gone is forgotten, who is there fills what is to be filled. */
  #tickPool(now: Ms): void {
    for (const member of this.state.pool) {
      if (member.connected && now - member.heardAt >= this.#timing.silenceMs)
        this.#roster.disconnect(member, 'silent');
    }
    const away = ({closedAt}: Member): boolean => now - closedAt >= this.#timing.reconnectMs;
    this.state.pool = this.state.pool.filter((one) => one.connected || !away(one));
    for (const {slot} of this.#roster.places())
      slot.awaySince = slot.state === SLOT.away ? (slot.awaySince ?? now) : null;
    // One at a time: what comes next depends on it, and on everybody knowing it.
    if (this.#roster.changed || this.#published !== this.state.epoch) return;
    const {outAfterMs} = this.#timing;
    const {anyDomain, groupSize} = this.#shape;
    const published = this.#published;
    const next = nextAssignment(this.state, {published, outAfterMs, anyDomain, now});
    if (next !== null) {
      this.#roster.seat(next.group, next.index, next.member, next.event);
      return;
    }
    const id = this.#freeId();
    if (id === 0 || founders(this.state, groupSize, anyDomain) === null) return;
    this.#registrar.newGroup(id);
    this.#roster.note('group.created', id, 0, 'servers without a group are enough for one');
  }

  /** The lowest number that no group has; 0: none is left. */
  #freeId(): number {
    for (let id = 1; id <= GROUPS_MAX; id++) if (this.#roster.group(id) === undefined) return id;
    return 0;
  }

  /**
   * An administrator's new group of `slots` slots (0: as many as others have); `id` 0: the lowest free one. Servers that wait
   * for a group fill it. EEXIST, EINVAL, ENOSPC.
   */
  createGroup(id: number, slots: number, now: Ms): {id: number; effects: ClusterEffect[]} {
    const {columnsDefault} = this.#shape;
    if (id > GROUPS_MAX || (slots !== 0 && (slots < columnsDefault || slots > SLOTS_MAX)))
      throw new FsError(
        'EINVAL',
        id > GROUPS_MAX
          ? `group ${id} is not from 1 to ${GROUPS_MAX}`
          : `${slots} slots are not from ${columnsDefault} to ${SLOTS_MAX}`,
      );
    const number = id || this.#freeId();
    if (number === 0) throw new FsError('ENOSPC', `there are ${GROUPS_MAX} groups`);
    if (this.#roster.group(number) !== undefined)
      throw new FsError('EEXIST', `group ${number} is there already`);
    this.#registrar.newGroup(number, slots);
    this.#roster.change('group.created', number, 0, 'as an administrator asked');
    return {id: number, effects: this.#settle(now)};
  }

  /** Of a group that never had a server in each of its slots: nothing was ever stored in it. ENOENT, EBUSY: it has servers; ENOTEMPTY. */
  removeGroup(id: number, now: Ms): ClusterEffect[] {
    const group = this.#roster.group(id);
    if (group === undefined) throw new FsError('ENOENT', `there is no group ${id}`);
    if (countSlots(group, SLOT.empty) === 0)
      throw new FsError('ENOTEMPTY', `group ${id} may hold objects`);
    if (countSlots(group, SLOT.empty) < group.slots.length)
      throw new FsError('EBUSY', `group ${id} has servers`);
    this.state.groups.splice(this.state.groups.indexOf(group), 1);
    this.#roster.change('group.removed', id, 0, 'as an administrator asked');
    return this.#settle(now);
  }

  /**
   * Gives the slot of a server that is away to one that waits for a slot (`uuid` '': the best one), which rebuilds everything. ENOENT: no such
   * slot, no such server; EBUSY: it is in service; EAGAIN: in a moment; ENODEV: nobody waits; EPERM: what only the
   * old server has would be lost, and not `sure`.
   */
  replace(id: number, index: number, uuid: string, sure: boolean, now: Ms): ClusterEffect[] {
    const group = this.#roster.group(id);
    const slot = group?.slots[index];
    if (group === undefined || slot?.member == null)
      throw new FsError('ENOENT', `there is no server in slot ${id}.${index}`);
    if (slot.state !== SLOT.away || slot.member.connected)
      throw new FsError('EBUSY', `the server of slot ${id}.${index} is in service`);
    if (!vacant(slot, this.#published))
      throw new FsError('EAGAIN', 'not everybody knows yet that it is away');
    const fit = candidates(this.state, group, index, this.#shape.anyDomain);
    const member = uuid === '' ? fit[0] : fit.find((one) => one.uuid === uuid);
    if (member === undefined) throw new FsError('ENODEV', noCandidate(this.state, uuid));
    if (!sure && !expendable(group, slot)) {
      throw new FsError(
        'EPERM',
        `group ${id} lacks more than its redundancy makes up for; what only the server of slot ${id}.${index} has would be lost`,
      );
    }
    this.#roster.seat(group, index, member, 'replaced');
    return this.#settle(now);
  }

  /** A map that is not durable yet is not sent; `persisted` will. */
  #push(member: Member, now: Ms): void {
    if (!member.connected || this.#roster.changed || this.#persisted !== this.state.epoch) return;
    if (member.ackedEpoch >= this.state.epoch) return;
    member.owesSince ??= now;
    const {uuid, incarnation} = member;
    this.#roster.add({do: 'push', uuid, incarnation, epoch: this.state.epoch});
  }

  #lostBecause(member: Member, now: Ms): string | null {
    if (!member.seen && now - this.#startedAt < this.#timing.startGraceMs) return null;
    if (!member.connected) {
      return now - member.closedAt >= this.#timing.reconnectMs ? 'its connection closed' : null;
    }
    if (now - member.heardAt >= this.#timing.silenceMs) return 'silent';
    const owes = member.owesSince;
    return owes !== null && now - owes >= this.#timing.ackMs
      ? 'it does not acknowledge the map'
      : null;
  }

  /** The way out of every step: what follows from the change, then who must be told. */
  #settle(now: Ms): ClusterEffect[] {
    for (let again = true; again; ) {
      this.#roster.judgeStale(this.#published);
      for (const group of this.state.groups) {
        const {order} = group;
        if (passOrder(group)) {
          this.#roster.note('resync.given', group.id, order.slot, `order ${order.number}`);
        }
      }
      if (this.#roster.changed) this.#raise();
      else if (this.#roster.unsaved) this.#roster.add({do: 'persist', epoch: this.state.epoch});
      this.#roster.unsaved = false;
      again = this.#publish() && this.#returnSlots(now);
    }
    this.#roster.check();
    assert(this.#published <= this.#persisted, 'what is published is durable');
    assert(this.#persisted <= this.state.epoch, 'epochs do not go back');
    return this.#roster.take();
  }

  #raise(): void {
    this.#roster.changed = false;
    this.state.epoch++;
    this.#map = clusterMap(this.state);
    this.#roster.add({do: 'persist', epoch: this.state.epoch});
  }

  /** True if everything that has changed is known to everybody who must know. */
  #publish(): boolean {
    const {epoch} = this.state;
    if (this.#persisted !== epoch) return false;
    for (const {slot, member} of this.#roster.places()) {
      const serves = slot.state === SLOT.ready || slot.state === SLOT.recovering;
      if (serves && member.ackedEpoch < epoch) return false;
    }
    if (this.#published !== epoch) {
      this.#published = epoch;
      this.#roster.add({do: 'publish', epoch});
    }
    const fences = this.#fences.filter((fence) => fence.epoch <= epoch);
    this.#fences = this.#fences.filter((fence) => fence.epoch > epoch);
    for (const {session} of fences) this.#roster.add({do: 'fenced', session});
    return true;
  }

  /** Survivors must have known a slot as away before it comes back: then they have noted what it may lack. */
  #returnSlots(now: Ms): boolean {
    const places = [...this.#roster.places()].filter(
      ({slot, member}) =>
        member.returning && member.connected && slot.state === SLOT.away && now >= member.heldUntil,
    );
    const lossy = ({slot}: Place): boolean => !slot.stale && hasLost(slot);
    // With the others there it may turn out that it can be made from them.
    const first = places.filter((place) => !lossy(place));
    const back = first.length > 0 ? first : places.filter((place) => !this.#waits(place, now));
    for (const {group, slot, index, member} of back) {
      member.returning = false;
      if (slot.stale) {
        this.#roster.on(group, index, 'back');
      } else {
        this.#roster.on(group, index, 'backWhole');
        orderResync(group);
      }
    }
    return back.length > 0;
  }

  /** One that has lost what was not synced must not be what others are made from, as long as there may be some that have it. */
  #waits({group, slot, member}: Place, now: Ms): boolean {
    if (!kept(group, slot)) return false;
    member.waitsSince ??= now;
    return now - member.waitsSince < this.#timing.keeperMs;
  }
}
