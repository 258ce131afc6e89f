import {assert} from '../base/assert.js';
import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import {type ClusterMap, SLOT, type SlotInfo} from '../cluster/map.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {Connection, Listener} from '../env/net.js';
import type {HeartbeatReply, HelloReply, HelloRequest} from '../protocol/gen/wire.js';
import {OPS, PROTOCOL_VERSION} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import {Peer} from '../transport/peer.js';
import {Redial} from '../transport/redial.js';
import {ChunkLog} from './chunk-log.js';
import {ColumnStore} from './column-store.js';
import type {ColumnId} from './format.js';
import {type Identity, readIdentity, writeIdentity} from './identity.js';
import {Intents} from './intents.js';
import {columnHandlers} from './ops/columns.js';
import type {DataContext, DataStats} from './ops/context.js';
import {logHandlers} from './ops/logs.js';

export interface DataServerOptions {
  group: number;
  /** host:port of the meta server. */
  metaAddress: string;
  /** Where clients reach this server; port 0 picks one. */
  listen: string;
  release: string;
  /** Free bytes that writes leave alone, for removal, logs and repair. Default: 1 % of the disk, at most 64 MiB. */
  reserveBytes?: number;
  /** After each map that this server obeys; the role runs the recovery agent by it. */
  onMap?(map: ClusterMap, slot: number): void;
  /** The meta server wants the group's intents checked; answer with `resyncDone`. */
  onResync?(order: number): void;
}

const RESERVE_MAX = 64 * 1024 * 1024;
const START_MS = 20_000;
const SPACE_MS = 2000;
const SLOTS_MAX = 255;

/** A data server: a column store, and what makes it part of a cluster. Knows nothing of paths. */
export class DataServer {
  readonly #env: Env;
  readonly #options: DataServerOptions;
  readonly stats: DataStats = {
    requests: 0,
    bytesIn: 0,
    bytesOut: 0,
    syncs: 0,
    sumErrors: 0,
    badBlocks: 0,
  };
  #identity: Identity | null = null;
  #context: DataContext | null = null;
  #listener: Listener | null = null;
  #meta: Redial | null = null;
  readonly #clients = new Set<Peer>();
  #map: ClusterMap | null = null;
  #space = {totalBytes: 0, freeBytes: 0};
  #session = 0;
  #heartbeat: Timer | null = null;
  #spaceTimer: Timer | null = null;
  #resyncAsked = 0;
  #resyncDone = 0;
  #stopped = false;
  #heartbeatMs = 1000;
  #startIntents: readonly ColumnId[] = [];
  readonly #sessions = new WeakMap<Peer, number>();
  #mapWaiters: (() => void)[] = [];
  /** Maps are obeyed one after the other. */
  #obeying: Promise<void> = Promise.resolve();

  constructor(env: Env, options: DataServerOptions) {
    this.#env = env;
    this.#options = options;
  }

  get uuid(): string {
    return this.#identity?.uuid ?? '';
  }

  get map(): ClusterMap | null {
    return this.#map;
  }

  /** Own slot in the group; -1 when the map does not know this server. */
  get slot(): number {
    return this.#slots().findIndex((s) => s.server?.uuid === this.uuid);
  }

  /** Resolves with the address when the server has joined its group. FsError EBUSY: the address is taken; others: the meta server's refusal. */
  async start(): Promise<string> {
    const {disk, pool, net} = this.#env;
    this.#identity = await readIdentity(this.#env, this.#options.group);
    const store = new ColumnStore(disk, pool);
    const intents = new Intents(await ChunkLog.open(disk, 'logs/intents'), store);
    const missed = await ChunkLog.open(disk, 'logs/missed');
    await this.#measure();
    this.#context = {
      env: this.#env,
      store,
      intents,
      missed,
      stats: this.stats,
      room: (bytes) => this.#room(bytes),
      awaySlots: () => this.#awaySlots(),
      slot: () => this.slot,
      slotCount: () => this.#slots().length,
      check: (epoch) => this.#check(epoch),
    };
    // What was unsynced when the last life ended may be lost: this server's own columns of it are to be recovered.
    this.#startIntents = await intents.chunks();
    this.#listener = await net.listen(this.#options.listen, (connection) =>
      this.#accept(connection),
    );
    this.#meta = new Redial(this.#env, {
      address: this.#options.metaAddress,
      hello: (peer) => this.#helloMeta(peer),
      onUp: () => this.#beat(),
      onDown: () => this.#heartbeat?.cancel(),
    });
    await this.#joined();
    return this.#listener.address;
  }

  /** Chunks whose columns here may lack what was acknowledged before the last crash. */
  get startIntents(): readonly ColumnId[] {
    return this.#startIntents;
  }

  /** Whether what the slot's server has to have was ever here; if not, a recovery rebuilds everything. */
  get whole(): boolean {
    return this.#identity?.whole !== false;
  }

  /** Tells the meta server that the slot has everything it missed under the map of this epoch. */
  async recovered(epoch: number): Promise<void> {
    const {group} = this.#options;
    const peer = await this.#meta!.peer(START_MS);
    await peer.call(OPS.recovered, {group, slot: this.slot, epoch});
  }

  resyncDone(order: number): void {
    this.#resyncDone = Math.max(this.#resyncDone, order);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#heartbeat?.cancel();
    this.#spaceTimer?.cancel();
    this.#meta?.close('the server stops');
    await this.#listener?.close();
    for (const peer of [...this.#clients]) peer.close('the server stops');
    if (this.#context !== null) {
      await this.#env.disk.syncAll();
      await this.#context.store.close();
      await this.#context.missed.close();
    }
  }

  // -------------------------------------------------------------- clients

  #accept(connection: Connection): void {
    const peer: Peer = new Peer(this.#env, connection, {
      onClosed: () => {
        this.#clients.delete(peer);
      },
    });
    this.#clients.add(peer);
    peer.serve(
      new Handlers<null>().on(OPS.hello, (q) => {
        const reply = this.#welcome(q);
        const context = {...this.#context!, session: q.session};
        peer.serve(
          columnHandlers(logHandlers(new Handlers<DataContext & {session: number}>())),
          context,
        );
        this.#sessions.set(peer, q.session);
        return {message: reply};
      }),
      null,
    );
  }

  #welcome(q: HelloRequest): Partial<HelloReply> {
    if (q.versionMin > PROTOCOL_VERSION || q.versionMax < PROTOCOL_VERSION) {
      throw new Refusal(
        'WrongVersion',
        `this server speaks ${PROTOCOL_VERSION}, asked were ${q.versionMin} to ${q.versionMax}`,
      );
    }
    if (this.#map === null) throw new Refusal('Busy', 'no map yet');
    if (q.server !== this.uuid)
      throw new Refusal('WrongServer', `this is ${this.uuid}, asked was ${q.server}`);
    if (q.cluster !== '' && q.cluster !== this.#identity!.cluster) {
      throw new Refusal('WrongServer', `this server is of cluster ${this.#identity!.cluster}`);
    }
    if (q.session === 0) throw new Refusal('NoSession', 'register with the meta server first');
    if (this.#map.fenced.includes(q.session)) throw new Refusal('Fenced', `session ${q.session}`);
    return {version: PROTOCOL_VERSION, cluster: this.#identity!.cluster, session: q.session};
  }

  #check(epoch: number): void {
    const mine = this.#map!.epoch;
    if (epoch < mine) throw new Refusal('StaleEpoch', String(mine));
    if (epoch > mine) throw new Refusal('BehindEpoch', String(mine));
  }

  // -------------------------------------------------------------- the meta server

  async #helloMeta(peer: Peer): Promise<void> {
    const handlers = new Handlers<DataContext>().on(OPS.mapPush, async (q) => {
      // The wire's enums have the numbers of core/cluster/map.ts.
      await this.#obey(q.map as unknown as ClusterMap);
      return {message: {epoch: this.#map!.epoch}};
    });
    peer.serve(logHandlers(handlers), this.#context!);
    const identity = this.#identity!;
    const {message} = await peer.call(OPS.hello, {
      versionMin: PROTOCOL_VERSION,
      versionMax: PROTOCOL_VERSION,
      role: 'data',
      release: this.#options.release,
      cluster: identity.cluster,
      session: this.#session,
      server: identity.uuid,
      group: identity.group,
      address: this.#listener!.address,
      name: `data:${this.#listener!.address}`,
    });
    this.#session = message.session;
    this.#heartbeatMs = message.heartbeatMs || 1000;
    if (identity.cluster === '') {
      identity.cluster = message.cluster;
      await writeIdentity(this.#env, identity);
    }
  }

  #beat(): void {
    this.#heartbeat?.cancel();
    const peer = this.#meta?.current;
    if (this.#stopped || !peer) return;
    const {totalBytes} = this.#space;
    peer
      .call(
        OPS.heartbeat,
        {
          epoch: this.#map?.epoch ?? 0,
          totalBytes,
          freeBytes: this.#usable(),
          badBlocks: this.stats.badBlocks,
          doneResync: this.#resyncDone,
        },
        {urgent: true, deadlineMs: 4 * this.#heartbeatMs},
      )
      .then(({message}) => this.#answered(message))
      .catch((error: unknown) =>
        this.#env.log.debug('heartbeat.failed', {error: messageOf(error)}),
      );
    this.#heartbeat = this.#env.clock.timer(this.#heartbeatMs, () => this.#beat());
  }

  #answered(reply: HeartbeatReply): void {
    if (reply.resync > this.#resyncAsked) {
      this.#resyncAsked = reply.resync;
      this.#options.onResync?.(reply.resync);
    }
  }

  #obey(map: ClusterMap): Promise<void> {
    const run = this.#obeying.then(() => this.#obeyNow(map));
    this.#obeying = run.catch(() => {});
    return run;
  }

  /** Slots that went away get the whole intent log as missed, and epoch and fence are durable, before anybody may rely on this map. */
  async #obeyNow(map: ClusterMap): Promise<void> {
    const identity = this.#identity!;
    if (this.#map !== null && map.epoch <= this.#map.epoch) return;
    if (map.epoch < identity.epoch) throw new Refusal('StaleEpoch', String(identity.epoch));
    const gone = this.#newlyAway(map);
    if (gone.length > 0) {
      const chunks = await this.#context!.intents.chunks();
      await this.#context!.missed.add(
        gone.flatMap((slot) => chunks.map((chunk) => ({slot, ...chunk}))),
      );
    }
    identity.epoch = map.epoch;
    identity.fenced = [...map.fenced];
    const own = map.groups
      .find((g) => g.id === this.#options.group)
      ?.slots.find((s) => s.server?.uuid === identity.uuid);
    if (own?.state === SLOT.ready) identity.whole = true;
    await writeIdentity(this.#env, identity);
    this.#map = map;
    for (const peer of [...this.#clients]) {
      const session = this.#sessions.get(peer);
      if (session !== undefined && map.fenced.includes(session))
        peer.close('the session is fenced');
    }
    this.#env.log.info('map.obeyed', {epoch: map.epoch, slot: this.slot});
    const waiters = this.#mapWaiters;
    this.#mapWaiters = [];
    for (const wake of waiters) wake();
    this.#options.onMap?.(map, this.slot);
  }

  /** Also slots that are away in the first map of a life: they may have gone while nobody here noticed. */
  #newlyAway(map: ClusterMap): number[] {
    const before = this.#map === null ? [] : this.#slots();
    const after = map.groups.find((g) => g.id === this.#options.group)?.slots ?? [];
    assert(after.length <= SLOTS_MAX, 'a group has at most 255 slots');
    return after.flatMap((slot, i) =>
      slot.state === SLOT.away && before[i]?.state !== SLOT.away ? [i] : [],
    );
  }

  async #joined(): Promise<void> {
    const {clock} = this.#env;
    const until = clock.now() + START_MS;
    await this.#meta!.peer(START_MS);
    while (this.slot < 0) {
      const left = until - clock.now();
      if (left <= 0) throw new Lost('the meta server gave this server no slot in time');
      await new Promise<void>((resolve) => {
        this.#mapWaiters.push(resolve);
        clock.timer(left, resolve);
      });
    }
  }

  #slots(): readonly SlotInfo[] {
    return this.#map?.groups.find((g) => g.id === this.#options.group)?.slots ?? [];
  }

  #awaySlots(): readonly number[] {
    return this.#slots().flatMap((s, i) => (s.state === SLOT.away ? [i] : []));
  }

  // -------------------------------------------------------------- space

  async #measure(): Promise<void> {
    const {totalBytes, freeBytes} = await this.#env.disk.space();
    this.#space = {totalBytes, freeBytes};
    if (this.#stopped) return;
    this.#spaceTimer = this.#env.clock.timer(SPACE_MS, () => {
      this.#measure().catch((error: unknown) =>
        this.#env.log.warn('space.unknown', {error: messageOf(error)}),
      );
    });
  }

  #reserve(): number {
    return this.#options.reserveBytes ?? Math.min(RESERVE_MAX, this.#space.totalBytes / 100);
  }

  #usable(): number {
    return Math.max(0, Math.floor(this.#space.freeBytes - this.#reserve()));
  }

  /** Takes `bytes` from what is known to be free; ENOSPC before the disk is really full. */
  #room(bytes: number): void {
    if (this.#usable() < bytes) throw new FsError('ENOSPC', 'only the reserve is left');
    this.#space.freeBytes -= bytes;
  }
}
