import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import {
  CLUSTER_TIMING,
  type ClusterEffect,
  type ClusterTiming,
  type Registration,
  type RegistrationAnswer,
} from './control-api.js';
import {groupTransition} from './group-states.js';
import {hasLost, kept} from './keepers.js';
import {knowable} from './knowable.js';
import {HELD_MS} from './life.js';
import {type ClusterMap, GROUP, groupStateName, SLOT} from './map.js';
import {drained} from './moves.js';
import {type GroupShape, Registrar} from './registrar.js';
import {orderResync, passOrder} from './resync.js';
import {type Place, Roster} from './roster.js';
import {Seating} from './seating.js';
import {type ClusterState, clusterMap, countSlots, type GroupRecord, type Member} from './state.js';

export const FENCED_MAX = 1024;
/** Epochs are below 2^53 on the wire; nobody raises one by so many. */
const EPOCH_MAX = 2 ** 52;
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
  readonly #seating: Seating;
  readonly #registrar: Registrar;
  readonly #startedAt: Ms;
  readonly #roster: Roster;
  #persisted: number;
  #published: number;
  #fences: {session: number; epoch: number}[] = [];
  #map: ClusterMap;
  /** It was shut down in this life of the meta server: servers that leave do so in order. */
  #stopping = false;
  /** When the newest resync order of a group was carried out. */
  readonly #checkedAt = new Map<number, Ms>();

  constructor(
    state: ClusterState,
    options: GroupShape & {now: Ms; firstIncarnation: number},
    timing: ClusterTiming = CLUSTER_TIMING,
  ) {
    this.state = state;
    this.#timing = timing;
    this.#startedAt = options.now;
    this.#roster = new Roster(state, options.firstIncarnation);
    this.#registrar = new Registrar(this.#roster, options);
    const published = (): number => this.#published;
    this.#seating = new Seating(this.#roster, this.#registrar, options, timing, published);
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
    const map = clusterMap(this.state);
    const leaving = drained(this.state.moves);
    const groups = map.groups.map((group) =>
      leaving.has(group.id) && group.state === GROUP.ready
        ? {...group, state: GROUP.draining}
        : group,
    );
    return {...map, groups};
  }

  register(q: Registration, now: Ms): RegistrationAnswer {
    const answer = this.#registrar.register(q, this.#published, now);
    if (answer.is !== 'accepted') return answer;
    const {member} = answer;
    // Who waits for a slot needs no map.
    if (this.#roster.waiting(q.uuid) === null) this.#push(member, now);
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

  /** Returns the number of a resync order for it, or 0; and whom it is to copy. */
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
      givesWay?: boolean;
      recoveryRate?: number;
      recoveryS?: number;
      io?: string;
    },
    now: Ms,
  ): {resync: number; copy: Member | null; effects: ClusterEffect[]} {
    const member = this.#roster.member(uuid);
    if (member === null) return {resync: 0, copy: null, effects: []};
    member.heardAt = now;
    member.totalBytes = q.totalBytes;
    member.freeBytes = q.freeBytes;
    member.badBlocks = q.badBlocks;
    member.recoveryLeft = q.recoveryLeft;
    member.givesWay = q.givesWay ?? false;
    member.recoveryRate = q.recoveryRate ?? 0;
    member.recoveryS = q.recoveryS ?? 0;
    member.doubts = q.doubts;
    // Of any length only in what is none of ours.
    member.io = (q.io ?? '').slice(0, 40);
    const place = this.#roster.place(uuid);
    const copy = this.#seating.copyOf(uuid);
    if (place === null) return {resync: 0, copy, effects: this.#settle(now)};
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
    return {resync: !given.done && given.slot === index ? given.number : 0, copy, effects};
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

  /** Known servers that have not come since the meta server started, and are not away for that. */
  get missing(): Member[] {
    const serves = ({state}: {state: number}) => state === SLOT.ready || state === SLOT.recovering;
    return [...this.#roster.places()]
      .filter(({slot, member}) => serves(slot) && !member.connected && !member.seen)
      .map(({member}) => member);
  }

  /** Closed in an earlier life of the meta server: it waits for its servers until then; null: it does not. */
  get heldUntil(): Ms | null {
    return this.state.closed === true && !this.#stopping ? this.#startedAt + HELD_MS : null;
  }

  /** Its servers are about to stop, by intent. The owner keeps the state. */
  close(): void {
    this.state.closed = true;
    this.#stopping = true;
  }

  /** Who is not there is lost from now on, as always. */
  open(why: string, now: Ms): ClusterEffect[] {
    if (this.state.closed === true) this.#open(why);
    return this.#settle(now);
  }

  #open(why: string): void {
    this.state.closed = undefined;
    this.#stopping = false;
    this.#roster.note('cluster.opened', 0, 0, why);
  }

  tick(now: Ms): ClusterEffect[] {
    const until = this.heldUntil;
    if (until !== null && this.missing.length === 0) this.#open('all servers are back');
    else if (until !== null && now >= until) this.#open('some servers have not come back');
    for (const {group, slot, index, member} of this.#roster.places()) {
      const serves = slot.state === SLOT.ready || slot.state === SLOT.recovering;
      const why = this.#lostBecause(member, now);
      if (why === null) continue;
      if (serves) this.#roster.lose(group, index, why);
      else if (member.connected) this.#roster.disconnect(member, why);
    }
    this.#seating.tick(now);
    return this.#settle(now);
  }

  /** What an administrator asks for; throws what `change` throws. */
  administer<T>(change: (seating: Seating) => T, now: Ms): {result: T; effects: ClusterEffect[]} {
    const result = change(this.#seating);
    return {result, effects: this.#settle(now)};
  }

  /** The waiting server `uuid` has copied the server `of`; not agreed: its slot is not given up now. */
  copied(uuid: string, of: string, now: Ms): {agreed: boolean; effects: ClusterEffect[]} {
    const agreed = this.#seating.copied(uuid, of);
    return {agreed, effects: this.#settle(now)};
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
    if (this.#stopping || (!member.seen && this.heldUntil !== null)) return null;
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
      again = this.#publish() && (this.#seating.handOver() || this.#returnSlots(now));
    }
    this.#roster.check();
    assert(this.#published <= this.#persisted, 'what is published is durable');
    assert(this.#persisted <= this.state.epoch, 'epochs do not go back');
    return this.#roster.take();
  }

  #raise(): void {
    this.#roster.changed = false;
    const epoch = ++this.state.epoch;
    const before = this.#map.groups;
    this.#map = clusterMap(this.state);
    for (const {id, state} of this.#map.groups) {
      const was = before.find((group) => group.id === id)?.state ?? GROUP.creating;
      if (was === state) continue;
      const row = groupTransition(was, state);
      // It follows from the slots, whatever the table says: a server does not end for it.
      const odd = [groupStateName(was), groupStateName(state), 'not in the table'] as const;
      const [from, to, why] = row ?? odd;
      this.#roster.add({do: 'log', event: `group.${to}`, group: id, slot: 0, epoch, why, from});
    }
    this.#roster.add({do: 'persist', epoch});
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
