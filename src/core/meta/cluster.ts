import {Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {ClusterControl} from '../cluster/control.js';
import {CLUSTER_TIMING, type ClusterEffect, type ClusterTiming} from '../cluster/control-api.js';
import {type Maintenance, maintenanceLeft} from '../cluster/life.js';
import {SLOT} from '../cluster/map.js';
import {drained, MOVES, type MoveState} from '../cluster/moves.js';
import {type ReadCopyPolicy, sensible} from '../cluster/read-copies.js';
import {changedRecovery, RECOVERY_ORDER, type RecoveryOrder} from '../cluster/recovery.js';
import {
  changed,
  foundSince,
  SCRUB_ORDER,
  type ScrubChange,
  type ScrubOrder,
} from '../cluster/scrub.js';
import type {Seating} from '../cluster/seating.js';
import {
  type ClusterState,
  decodeState,
  encodeState,
  groupWritable,
  serverInfo,
} from '../cluster/state.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {PeerLike} from '../transport/peer-api.js';
import type {Machine} from './machine.js';
import {mapToWire, toServer} from './map-wire.js';
import {Shortages} from './shortages.js';

const UNDECIDED_RETRY_MS: Ms = 100;
/** Bound of waiting for a free slot; the server asks again later. */
const UNDECIDED_MS_MAX: Ms = 5_000;
/** A client that asks for the map waits so long for one that is being published. */
const PUBLISH_WAIT_MS: Ms = 1_500;
const SCRUBS_MAX = 8192;

/** A data server's connection. */
export interface DataPeer {
  readonly peer: PeerLike;
  readonly uuid: string;
  readonly incarnation: number;
}

interface ClusterOptions {
  groupSize: number;
  kDefault: number;
  columnsDefault: number;
  cluster: string;
  /** Servers of one group may lie in one failure domain. */
  anyDomain: boolean;
  readCopies: ReadCopyPolicy;
  /** Clients may have this map from now on. */
  publish(map: wire.ClusterMap): void;
  /** Every data server refuses this session from now on. */
  fenced(session: number): void;
  /** The data server was put out of the epoch. */
  lost(server: string): void;
  /** The state could not be kept: nothing works any more. */
  failed(error: unknown): void;
  timing?: ClusterTiming | undefined;
}

/** Carries out what the cluster control decides: keeps the map, sends it, and knows the data servers' connections. */
export class Cluster {
  readonly control: ClusterControl;
  readonly #env: Pick<Env, 'clock' | 'log' | 'random'>;
  readonly #machine: Machine;
  readonly #options: ClusterOptions;
  /** By incarnation. */
  readonly #peers = new Map<number, DataPeer>();
  #durable: wire.ClusterMap;
  #published: wire.ClusterMap;
  readonly #shortages = new Shortages();
  #publishWaiters: (() => void)[] = [];
  #saving = false;
  /** The epoch whose state waits to be saved; null: none. */
  #unsaved: number | null = null;
  #closed = false;
  #maintenanceEnds: Ms = 0;
  /** What servers said of it last, by uuid. */
  readonly #scrubs = new Map<string, wire.ScrubFigures>();

  constructor(
    env: Pick<Env, 'clock' | 'log' | 'random'>,
    machine: Machine,
    options: ClusterOptions,
  ) {
    this.#env = env;
    this.#machine = machine;
    this.#options = options;
    const now = env.clock.now();
    const fresh: ClusterState = {
      cluster: options.cluster,
      epoch: 1,
      groups: [],
      pool: [],
      fenced: [],
      retired: [],
    };
    const state = machine.map === null ? fresh : decodeState(machine.map, now);
    if (state.maintenance !== undefined)
      this.#maintenanceEnds = now + maintenanceLeft(state.maintenance, env.clock.wall());
    this.control = new ClusterControl(
      state,
      {
        groupSize: options.groupSize,
        kDefault: options.kDefault,
        columnsDefault: options.columnsDefault,
        anyDomain: options.anyDomain,
        now,
        firstIncarnation: env.random.below(2 ** 48),
      },
      options.timing ?? CLUSTER_TIMING,
    );
    this.#durable = this.#published = mapToWire(this.control.map);
  }

  /** For data servers. */
  get durableMap(): wire.ClusterMap {
    return this.#durable;
  }

  /** The newest map for clients; waits a little for one that is on its way to the data servers. */
  async publishedMap(): Promise<wire.ClusterMap> {
    if (this.control.publishedEpoch < this.control.epoch) {
      await new Promise<void>((resolve) => {
        const timer = this.#env.clock.timer(PUBLISH_WAIT_MS, resolve);
        this.#publishWaiters.push(() => {
          timer.cancel();
          resolve();
        });
      });
    }
    return this.#published;
  }

  /** Takes a data server in; rejects with Refusal(WrongServer), or Busy: again later. */
  async register(peer: PeerLike, q: wire.HelloRequest): Promise<DataPeer> {
    const askedAt = this.#now;
    for (;;) {
      const registration = {
        uuid: q.server,
        group: q.group,
        address: q.address,
        domain: q.domain,
        location: q.location,
        auto: q.auto,
        incarnation: q.session,
        life: q.life,
        askedAt,
      };
      const answer = this.control.register(registration, this.#now);
      if (answer.is === 'accepted') {
        const before = this.#peers.get(answer.incarnation);
        const server: DataPeer = {peer, uuid: q.server, incarnation: answer.incarnation};
        this.#peers.set(answer.incarnation, server);
        before?.peer.close('its server has a newer connection');
        this.run(answer.effects);
        return server;
      }
      if (answer.is === 'refused') throw new Refusal('WrongServer', answer.why);
      if (this.#now - askedAt >= UNDECIDED_MS_MAX) throw new Refusal('Busy', answer.why);
      await sleep(this.#env.clock, UNDECIDED_RETRY_MS);
      if (peer.closed || this.#closed) throw new Lost('closed while registering');
    }
  }

  closed(server: DataPeer): void {
    // A newer connection of the same process may be there already.
    if (this.#peers.get(server.incarnation) !== server) return;
    this.#peers.delete(server.incarnation);
    this.run(this.control.closed(server.uuid, server.incarnation, this.#now));
  }

  heartbeat(
    server: DataPeer,
    q: wire.HeartbeatRequest,
  ): Omit<wire.HeartbeatReply, 'make' | 'unmake'> {
    const {resync, copy, effects} = this.control.heartbeat(server.uuid, q, this.#now);
    if (q.scrub) {
      // Those of servers that are gone for good go, too: the others tell theirs again at once.
      if (this.#scrubs.size >= SCRUBS_MAX) this.#scrubs.clear();
      const more = foundSince(this.#scrubs.get(server.uuid), q.scrub);
      if (more !== null)
        this.#env.log.warn('scrub.found', {server: this.#addressOf(server.uuid), ...more});
      this.#scrubs.set(server.uuid, q.scrub);
    }
    this.run(effects);
    return {
      epoch: this.#durable.epoch,
      resync,
      copy: copy === null ? null : toServer(serverInfo(copy)),
      recovery: this.recovery,
      scrub: this.scrub,
      readCopies: this.readCopyPolicy,
      moves: this.#moveOrder(server.uuid),
    };
  }

  /** A server that is away for so long gives its slot to one that waits; 0: never. */
  get outAfterMs(): Ms {
    return (this.#options.timing ?? CLUSTER_TIMING).outAfterMs;
  }

  get moves(): MoveState {
    return this.control.state.moves ?? MOVES;
  }

  /** Durable when this resolves. */
  async changeMoves(moves: MoveState): Promise<void> {
    this.control.state.moves = moves;
    await this.#keep();
  }

  /** Nothing is stored in it any more. Its servers hear that they are not wanted. */
  async dissolve(group: number): Promise<void> {
    const peers = this.servers(group) ?? [];
    await this.administer((seating) => seating.dissolveGroup(group));
    for (const {peer} of peers) peer.close('its group was removed');
  }

  /** One server carries the tasks out: the first one that is whole. */
  #moveOrder(uuid: string): wire.MoveOrder {
    const {tasks, paused, rate} = this.moves;
    const slots = this.control.state.groups.flatMap((group) => group.slots);
    const first = slots.find(({state, member}) => state === SLOT.ready && member?.connected);
    return {work: tasks.length > 0 && first?.member?.uuid === uuid, paused, rate};
  }

  copied(server: DataPeer, q: wire.CopiedRequest): void {
    const {agreed, effects} = this.control.copied(server.uuid, q.server, this.#now);
    this.run(effects);
    if (!agreed)
      throw new Refusal('StaleEpoch', 'its group is not whole, or nobody asks for it any more');
  }

  get recovery(): RecoveryOrder {
    return this.control.state.recovery ?? RECOVERY_ORDER;
  }

  /** Durable when this resolves; servers hear of it with their next heartbeat. */
  async changeRecovery(change: wire.RecoveryRequest): Promise<void> {
    this.control.state.recovery = changedRecovery(this.recovery, change);
    await this.#keep();
    this.#env.log.info('recovery.changed', {...this.recovery});
  }

  /** What is left of it; null: there is none. */
  get maintenance(): {order: Maintenance; leftMs: Ms} | null {
    const order = this.control.state.maintenance;
    return order === undefined ? null : {order, leftMs: this.#maintenanceEnds - this.#now};
  }

  /** Durable when this resolves; null ends it. */
  async changeMaintenance(order: Maintenance | null, why: string): Promise<void> {
    this.control.state.maintenance = order ?? undefined;
    this.#maintenanceEnds = this.#now + (order?.forMs ?? 0);
    await this.#keep();
    const event = order === null ? 'maintenance.ended' : 'maintenance.began';
    this.#env.log.info(event, {why, servers: order?.servers.length, forMs: order?.forMs});
  }

  /** Servers may stop from now on. Durable when this resolves. */
  async closeDown(): Promise<void> {
    this.control.close();
    await this.#keep();
    this.#env.log.info('cluster.closed', {why: 'as an administrator asked'});
  }

  /** Durable when this resolves. */
  async open(): Promise<void> {
    this.run(this.control.open('as an administrator asked', this.#now));
    await this.#keep();
  }

  get scrub(): ScrubOrder {
    return this.control.state.scrub ?? SCRUB_ORDER;
  }

  /** Durable when this resolves; servers hear of it with their next heartbeat. */
  async changeScrub(change: ScrubChange): Promise<void> {
    this.control.state.scrub = changed(this.scrub, change);
    await this.#keep();
    this.#env.log.info('scrub.changed', {...this.scrub});
  }

  get readCopyPolicy(): ReadCopyPolicy {
    return this.control.state.readCopies ?? this.#options.readCopies;
  }

  /** Durable when this resolves; servers hear of it with their next heartbeat. */
  async changeReadCopies(policy: ReadCopyPolicy): Promise<void> {
    this.control.state.readCopies = sensible(policy);
    await this.#keep();
    this.#env.log.info('read-copies.changed', {...this.readCopyPolicy});
  }

  async #keep(): Promise<void> {
    await this.#machine.putMap(encodeState(this.control.state));
    await this.#machine.sync();
  }

  scrubOf(uuid: string): wire.ScrubFigures | null {
    return this.#scrubs.get(uuid) ?? null;
  }

  recovered(server: DataPeer, q: wire.RecoveredRequest): void {
    const {agreed, effects} = this.control.recovered(server.uuid, q.epoch, this.#now);
    this.run(effects);
    if (!agreed) throw new Refusal('StaleEpoch', 'the slot has changed since');
  }

  report(q: wire.ReportRequest): void {
    this.#env.log.info('column.reported', {group: q.group, slot: q.slot, reason: q.reason});
    this.run(this.control.report(q.group, q.slot, q.epoch, this.#now, q.waitedMs));
  }

  /** Resolves when it is durable and all data servers obey, or after a bound. */
  async administer<T>(change: (seating: Seating) => T): Promise<T> {
    const {effects, result} = this.control.administer(change, this.#now);
    this.run(effects);
    await this.publishedMap();
    return result;
  }

  /** Data servers without a slot. */
  get waiting(): wire.Server[] {
    return this.control.state.pool.map((member) => toServer(serverInfo(member)));
  }

  fence(session: number): void {
    this.run(this.control.fence(session, this.#now));
  }

  resync(): void {
    this.run(this.control.resync(this.#now));
  }

  /** The same, durable when this resolves. */
  async checkAll(): Promise<void> {
    this.resync();
    await this.#keep();
  }

  /** A client is told this layout and may write under it. Null: nothing new; else wait before it is told. */
  used(layout: wire.Layout): Promise<void> | null {
    const effects = this.control.used(layout.groups, layout.k, layout.m, this.#now);
    if (effects.length === 0) return null;
    this.run(effects);
    // Whether a lost slot is stale depends on it, so it is kept before the first write.
    return this.#machine.putMap(encodeState(this.control.state));
  }

  tick(): void {
    if (this.control.state.maintenance !== undefined && this.#now >= this.#maintenanceEnds)
      this.changeMaintenance(null, 'its time is over').catch((error: unknown) => {
        if (!this.#closed) this.#options.failed(error);
      });
    this.run(this.control.tick(this.#now));
    this.#shortages.note(this.control.state.groups, this.#now);
  }

  /** Have more servers been lacking, in the last `ms`, than an object of this layout can do without? */
  lacked(layout: {m: number; groups: readonly number[]}, ms: Ms): boolean {
    return this.#shortages.lacked(layout, this.#now - ms);
  }

  /** Connections of the servers of a group that hold columns now; null if one of them has none. */
  servers(groupId: number): DataPeer[] | null {
    const group = this.control.state.groups.find(({id}) => id === groupId);
    const found: DataPeer[] = [];
    for (const {state, member} of group?.slots ?? []) {
      if (state !== SLOT.ready && state !== SLOT.recovering) continue;
      const server = this.#peers.get(member?.incarnation ?? 0);
      if (server === undefined) return null;
      found.push(server);
    }
    return found;
  }

  #addressOf(uuid: string): string {
    const slots = this.control.state.groups.flatMap((group) => group.slots);
    return slots.find(({member}) => member?.uuid === uuid)?.member?.address ?? uuid;
  }

  /** Of a data server with a slot; null: it has none now. */
  connection(uuid: string): DataPeer | null {
    for (const {slots} of this.control.state.groups)
      for (const {member} of slots)
        if (member?.uuid === uuid) return this.#peers.get(member.incarnation) ?? null;
    return null;
  }

  /** Groups that may get new objects, with the free bytes of their fullest server; null: not known yet. */
  candidates(): {id: number; slots: number; freeBytes: number | null; totalBytes: number}[] {
    const {groups} = this.control.state;
    const leaving = drained(this.control.state.moves);
    return groups
      .filter((group) => group.slots.every((slot) => slot.state !== SLOT.empty))
      .filter((group) => groupWritable(group) && !leaving.has(group.id))
      .map(({id, slots}) => {
        const members = slots.filter((s) => s.state === SLOT.ready).map((s) => s.member!);
        const known = members.filter((m) => m.totalBytes > 0);
        const free = known.length === 0 ? null : Math.min(...known.map((m) => m.freeBytes));
        const total = known.length === 0 ? 0 : Math.min(...known.map((m) => m.totalBytes));
        return {id, slots: slots.length, freeBytes: free, totalBytes: total * slots.length};
      });
  }

  /** Has some group had a server in each of its slots? */
  get complete(): boolean {
    const {groups} = this.control.state;
    return groups.some((group) => group.slots.every((slot) => slot.state !== SLOT.empty));
  }

  close(): void {
    this.#closed = true;
    for (const server of this.#peers.values()) server.peer.close('the meta server stops');
  }

  run(effects: readonly ClusterEffect[]): void {
    for (const effect of effects) this.#carryOut(effect);
  }

  #carryOut(effect: ClusterEffect): void {
    if (effect.do === 'persist') this.#save(effect.epoch);
    else if (effect.do === 'push') this.#push(effect.incarnation);
    else if (effect.do === 'publish') this.#publish();
    else if (effect.do === 'fenced') this.#options.fenced(effect.session);
    else if (effect.do === 'drop') {
      const server = this.#peers.get(effect.incarnation);
      this.#peers.delete(effect.incarnation);
      server?.peer.close(effect.reason);
    } else {
      const {event, group, slot, epoch, why, from} = effect;
      const server = this.control.state.groups.find(({id}) => id === group)?.slots[slot]?.member;
      const named = event.startsWith('slot.') ? {server: server?.address} : {};
      this.#env.log.info(event, {group, slot, epoch, why, from, ...named});
      // After the other effects: it may have some of its own.
      if (event === 'slot.lost' && server)
        this.#env.clock.soon(() => this.#options.lost(server.uuid));
    }
  }

  /** One at a time; what changes meanwhile is saved together. */
  #save(epoch: number): void {
    this.#unsaved = epoch;
    if (!this.#saving) void this.#saveAll();
  }

  async #saveAll(): Promise<void> {
    this.#saving = true;
    try {
      while (this.#unsaved !== null && !this.#closed) {
        const epoch = this.#unsaved;
        this.#unsaved = null;
        // Before anybody hears of an epoch it must survive a power cut: it is never given twice.
        await this.#keep();
        if (epoch === this.control.epoch) this.#durable = mapToWire(this.control.map);
        this.run(this.control.persisted(epoch, this.#now));
      }
    } catch (error) {
      if (!this.#closed) this.#options.failed(error);
    } finally {
      this.#saving = false;
    }
  }

  #push(incarnation: number): void {
    const server = this.#peers.get(incarnation);
    if (server === undefined) return;
    const {peer, uuid} = server;
    peer.call(OPS.mapPush, {map: this.#durable}, {urgent: true}).then(
      ({message}) => {
        if (this.#peers.get(incarnation) === server) {
          this.run(this.control.acked(uuid, message.epoch, this.#now));
        }
      },
      (error: unknown) => {
        // Who does not acknowledge in time is lost; that is decided by the control.
        this.#env.log.info('map.not-acknowledged', {server: uuid, error: messageOf(error)});
      },
    );
  }

  #publish(): void {
    this.#published = this.#durable;
    this.#options.publish(this.#published);
    for (const wake of this.#publishWaiters.splice(0)) wake();
  }

  get #now(): Ms {
    return this.#env.clock.now();
  }
}
