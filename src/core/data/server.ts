import {Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type ClusterMap, SLOT} from '../cluster/map.js';
import {
  RECOVERY_ORDER,
  type RecoveryOrder,
  type RecoverySpeed,
  recoveryFigures,
  STILL,
} from '../cluster/recovery.js';
import type {Env} from '../env/env.js';
import type {Connection, Listener} from '../env/net.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import {Peer} from '../transport/peer.js';
import {Backtraces} from './backtraces.js';
import {ChangeWatch} from './change-watch.js';
import {ChunkLog} from './chunk-log.js';
import {ColumnStore} from './column-store.js';
import {countersOf} from './counters.js';
import type {ColumnId} from './format.js';
import {Gate} from './gate.js';
import {type Identity, readIdentity, writeIdentity} from './identity.js';
import {Intents} from './intents.js';
import {Inventory} from './inventory.js';
import {Life} from './life.js';
import {Load} from './load.js';
import {LostObjects} from './lost-objects.js';
import {MetaLink} from './meta-link.js';
import {noteMissed} from './missed.js';
import {type DataContext, type DataParts, type DataStats, NO_STATS} from './ops/context.js';
import {adminHandlers, copierHandlers, metaHandlers, sessionHandlers} from './ops/handlers.js';
import {removeColumns, removeObjects} from './ops/remove.js';
import {type Permit, Permits} from './permits.js';
import {ReadCopies} from './read-copies.js';
import {Room} from './room.js';
import {Scrub} from './scrub.js';
import type {DataServerOptions} from './server-options.js';
import {Succession} from './succession.js';
import {welcomed} from './welcome.js';

const START_MS: Ms = 20_000;
/** Whoever still waits for the meta server says so this often. */
const REMIND_MS: Ms = 60_000;
const LEAK_GRACE_MS: Ms = 3_600_000;
/** A connection that has not said hello by then is closed. */
const HELLO_MS: Ms = 10_000;

/** A data server: a column store, and what makes it part of a cluster. Knows nothing of paths. */
export class DataServer {
  readonly #env: Omit<Env, 'kv'>;
  readonly #options: DataServerOptions;
  readonly stats: DataStats = {...NO_STATS};
  readonly #clients = new Map<Peer, number>();
  readonly #permits: Permits;
  #identity: Identity | null = null;
  #parts: DataParts | null = null;
  #intentLog: ChunkLog | null = null;
  #listener: Listener | null = null;
  #meta: MetaLink | null = null;
  #room: Room | null = null;
  #lost: LostObjects | null = null;
  #succession: Succession | null = null;
  #scrub: Scrub | null = null;
  #inventory: Inventory | null = null;
  #resyncAsked = 0;
  #resyncDone = 0;
  #recoveryLeft = 0;
  #recoverySpeed = (): RecoverySpeed => STILL;
  #recoveryOrder: RecoveryOrder = RECOVERY_ORDER;
  #stopped = false;
  #failed = false;
  #mapWaiters: (() => void)[] = [];
  /** Maps are obeyed one after the other; each change of the identity is one turn. */
  #turn: Promise<void> = Promise.resolve();

  /** `env.disk` stays the caller's to lock before `start` and to close after `stop`. */
  constructor(env: Omit<Env, 'kv'>, options: DataServerOptions) {
    this.#env = env;
    this.#options = options;
    this.#permits = new Permits(env, () => this.#meta);
  }

  get uuid(): string {
    return this.#identity?.uuid ?? '';
  }

  get map(): ClusterMap | null {
    return this.#parts?.gate.map ?? null;
  }

  get connected(): boolean {
    return this.#meta?.connected ?? false;
  }

  /** Own group; 0: none yet. */
  get group(): number {
    return this.#parts?.gate.around.group ?? 0;
  }

  /** Own slot in the group; -1 when the map does not know this server. */
  get slot(): number {
    return this.#parts?.gate.around.slot ?? -1;
  }

  /**
   * Chunks whose columns here may lack what was acknowledged before the last crash. They come 64 objects at a time, so some
   * are no files, or never existed: whoever goes through them asks the meta server first.
   */
  get startIntents(): readonly ColumnId[] {
    return [...(this.#parts?.intents.atStart() ?? []), ...(this.#succession?.rest ?? [])];
  }

  /** It has the columns of the server whose slot it took, but for `startIntents`. */
  get tookOver(): boolean {
    return (this.#succession?.rest ?? null) !== null;
  }

  /** Resolves with the address when the server has joined its group, or waits for one; until it reaches the meta server it keeps trying. FsError ENOTEMPTY: it is to wait, and has columns; EBUSY: the address is taken; others: the meta server's refusal. */
  async start(): Promise<string> {
    const {disk, pool, net} = this.#env;
    const {identity, origin} = await readIdentity(this.#env, this.#options.group);
    this.#identity = identity;
    const failed = (error: unknown): void => this.#fail(error);
    const store = new ColumnStore(disk, pool);
    const intentLog = await ChunkLog.open(disk, 'logs/intents', failed);
    this.#intentLog = intentLog;
    const room = new Room(this.#env, this.#options.reserveBytes);
    this.#room = room;
    await room.start();
    const copies = new ReadCopies(this.#env, {store, room}, this.#options.readCopies ?? null);
    await copies.start();
    this.#parts = {
      env: this.#env,
      store,
      copies,
      backtraces: new Backtraces(this.#env),
      intents: new Intents(intentLog, store),
      missed: await ChunkLog.open(disk, 'logs/missed', failed),
      changes: new ChangeWatch(),
      gate: new Gate(identity.uuid),
      room,
      life: await Life.begin(this.#env),
      stats: this.stats,
      load: new Load(this.#env.clock),
      whole: () => this.whole,
      failed,
    };
    this.#succession = new Succession({
      env: this.#env,
      store,
      room,
      placed: () => identity.group !== 0,
      identity: () => identity,
      meta: (deadlineMs) => this.#meta!.peer(deadlineMs),
      progress: (left) => this.recoveryProgress(left),
    });
    if (identity.group === 0 || origin === 'waiting') await this.#succession.start(origin);
    this.#listener = await net.listen(this.#options.listen, (connection) =>
      this.#accept(connection),
    );
    this.#lost = new LostObjects(this.#env, {
      meta: (deadlineMs) => this.#meta!.peer(deadlineMs),
      suspects: () => this.#parts!.intents.chunks(),
      remove: (oids) => removeObjects(this.#parts!, oids),
      removeColumns: (ids) => removeColumns(this.#parts!, ids),
    });
    this.#scrub = new Scrub(this.#env, this.#parts, this.#options.scrubPeers ?? null, () => {
      const {slot, slots} = this.#parts!.gate.around;
      return !this.#stopped && slots[slot]?.state === SLOT.ready;
    });
    const inventory = {
      meta: (deadlineMs: Ms) => this.#meta!.peer(deadlineMs),
      store,
      remove: (ids: readonly ColumnId[]) => removeColumns(this.#parts!, ids),
    };
    const graceMs = this.#options.leakGraceMs ?? LEAK_GRACE_MS;
    this.#inventory = new Inventory(this.#env, inventory, graceMs);
    this.#meta = new MetaLink(this.#env, {
      address: this.#options.metaAddress,
      serve: (peer) => this.#serveMeta(peer),
      hello: () => this.#introduction(),
      welcomed: (reply) => this.#welcomed(reply),
      figures: () => this.#beat(),
      answered: (reply) => this.#ordered(reply),
      onBug: failed,
    });
    await this.#joined();
    return this.#listener.address;
  }

  /** Whether what the slot's server has to have was ever here; if not, a recovery rebuilds everything. */
  get whole(): boolean {
    return this.#identity?.whole !== false;
  }

  /** Tells the meta server that the slot has everything it missed under the map of this epoch. */
  async recovered(epoch: number): Promise<void> {
    const peer = await this.#meta!.peer(START_MS);
    await peer.call(OPS.recovered, {group: this.group, slot: this.slot, epoch});
  }

  /** How many chunks the recovery has yet to rebuild; told to the meta server with the next heartbeat. */
  recoveryProgress(left: number, speed: () => RecoverySpeed = () => STILL): void {
    this.#recoveryLeft = left;
    this.#recoverySpeed = speed;
  }

  /** How a recovery of this server is to go on, and whether there are clients to serve. */
  get recoveryOrder(): RecoveryOrder & {busy: boolean} {
    return {...this.#recoveryOrder, busy: this.#parts?.load.busy ?? false};
  }

  /** The order of this number, or a newer one, has been carried out. */
  resyncDone(order: number): void {
    this.#resyncDone = Math.max(this.#resyncDone, order);
  }

  /** Lets nobody in any more, waits for what is under way, syncs, closes the files. Idempotent. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#room?.close();
    this.#lost?.close();
    this.#succession?.close();
    await this.#scrub?.close();
    const looked = this.#inventory?.close();
    await this.#parts?.copies.close();
    this.#meta?.close('the server stops');
    for (const wake of this.#mapWaiters.splice(0)) wake();
    await this.#listener?.close();
    for (const peer of [...this.#clients.keys()]) peer.close('the server stops');
    const parts = this.#parts;
    if (parts === null) return;
    await parts.gate.shut();
    await looked;
    if (!this.#failed) {
      await this.#env.disk.syncAll();
      await parts.life.end();
    }
    await parts.store.close();
    await parts.backtraces.close();
    await parts.missed.close();
    await this.#intentLog?.close();
  }

  #accept(connection: Connection): void {
    const timer = this.#env.clock.timer(HELLO_MS, () => peer.close('no hello'));
    const peer: Peer = new Peer(this.#env, connection, {
      onClosed: () => {
        timer.cancel();
        this.#clients.delete(peer);
      },
      onBug: (bug) => this.#fail(bug),
    });
    this.#clients.set(peer, 0);
    const hello = new Handlers<null>().on(OPS.hello, async (q) => {
      let message: Partial<wire.HelloReply>;
      let permit: Permit | null = null;
      try {
        message = this.#welcome(q);
        if (q.role === 'admin') {
          timer.cancel();
          this.#serveAdmin(peer);
          return {message};
        }
        if (q.role !== 'data') {
          permit = await this.#permits.welcome(connection.identity ?? null, q.session);
          await this.#onlyOne(peer, q.session);
        }
      } catch (error) {
        // The refusal leaves first; nothing else is taken over this connection.
        this.#env.clock.soon(() => peer.close(`refused: ${messageOf(error)}`));
        throw error;
      }
      timer.cancel();
      if (!peer.closed) this.#clients.set(peer, q.session);
      const handlers = q.role === 'data' ? copierHandlers() : sessionHandlers(this.#env.pool);
      peer.serve<DataContext>(handlers, {
        ...this.#parts!,
        session: q.session,
        agent: q.role !== 'client',
        permit,
      });
      return {message};
    });
    peer.serve(hello, null);
  }

  /**
   * A session has one connection here. What it asked for over an earlier one has ended before this one is welcome: else a
   * delayed write could follow the newer one of the same block that is sent over this connection.
   */
  async #onlyOne(peer: Peer, session: number): Promise<void> {
    for (const [other, its] of [...this.#clients]) {
      if (its === session && other !== peer) other.close('the session has a new connection');
    }
    await this.#parts!.gate.idle(session);
  }

  #welcome(q: wire.HelloRequest): Partial<wire.HelloReply> {
    const {gate, life} = this.#parts!;
    welcomed(q, {gate, uuid: this.uuid, cluster: this.#identity!.cluster});
    const {cluster} = this.#identity!;
    return {cluster, session: q.session, boot: life.number};
  }

  #serveAdmin(peer: Peer): void {
    const {uuid, cluster, group, epoch, fenced} = this.#identity!;
    const missed = new Set([...this.#parts!.missed.entries()].map(({slot}) => slot));
    const {address} = this.#listener!;
    const known = {uuid, cluster, group, epoch, fenced, address, missed: [...missed]};
    const handlers = adminHandlers().on(OPS.info, () => ({
      message: {...known, connected: this.#meta?.connected === true},
    }));
    peer.serve<DataContext>(handlers, {...this.#parts!, session: 0, agent: true});
  }

  #serveMeta(peer: Peer): void {
    const handlers = metaHandlers().on(OPS.mapPush, async ({map}) => {
      // The wire's enums have the numbers of core/cluster/map.ts.
      await this.#obey(map as unknown as ClusterMap);
      return {message: {epoch: this.map?.epoch ?? 0}};
    });
    peer.serve<DataContext>(handlers, {...this.#parts!, session: 0, agent: true});
  }

  #introduction(): Partial<wire.HelloRequest> {
    const {cluster, uuid, group} = this.#identity!;
    const {address} = this.#listener!;
    const {domain = '', location = '', auto = false} = this.#options;
    return {
      role: 'data',
      cluster,
      server: uuid,
      group,
      address,
      name: `data:${address}`,
      life: this.#parts!.life.number,
      domain,
      location,
      auto,
    };
  }

  async #welcomed({cluster, boot}: wire.HelloReply): Promise<void> {
    const identity = this.#identity!;
    this.#lost?.restarted(boot);
    this.#inventory?.restarted(boot);
    this.#parts?.copies.restarted(boot);
    if (identity.cluster === cluster) return;
    if (identity.cluster !== '') {
      throw new Refusal('WrongServer', `the folder belongs to cluster ${identity.cluster}`);
    }
    identity.cluster = cluster;
    // A map may be on its way already, and is kept in the same file.
    await this.#inTurn(() => writeIdentity(this.#env, identity));
  }

  /** Of the moment, after `start`; asking changes nothing. */
  figures(): Partial<wire.HeartbeatRequest> {
    const {totalBytes, freeBytes} = this.#room!;
    const scrub = this.#scrub?.figures() ?? null;
    const {doubts} = this.#parts!.intents;
    const recovery = recoveryFigures(this.#recoveryLeft, this.#recoverySpeed);
    return {totalBytes, freeBytes, badBlocks: this.stats.badBlocks, doubts, scrub, ...recovery};
  }

  #beat(): Partial<wire.HeartbeatRequest> {
    const own = {epoch: this.map?.epoch ?? 0, doneResync: this.#resyncDone};
    const copies = this.#parts!.copies.figures(this.stats.copyBytesOut);
    const counters = countersOf(this.stats);
    return {...this.figures(), ...copies, ...own, counters, io: this.#options.io ?? ''};
  }

  #ordered(reply: wire.HeartbeatReply): void {
    const {resync, copy, recovery, scrub, moves} = reply;
    this.#parts!.copies.ordered(reply);
    if (moves) this.#options.onMoves?.(moves);
    if (recovery) this.#recoveryOrder = recovery;
    this.#succession?.ordered(copy);
    if (scrub) this.#scrub?.ordered(scrub);
    if (resync <= this.#resyncAsked) return;
    this.#resyncAsked = resync;
    this.#options.onResync?.(resync);
  }

  #obey(map: ClusterMap): Promise<void> {
    return this.#inTurn(() => this.#obeyNow(map));
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(work);
    this.#turn = run.catch(() => {});
    return run;
  }

  async #obeyNow(map: ClusterMap): Promise<void> {
    const identity = this.#identity!;
    const {gate} = this.#parts!;
    if (this.#stopped || (gate.map !== null && map.epoch <= gate.map.epoch)) return;
    if (map.epoch < identity.epoch) throw new Refusal('StaleEpoch', String(identity.epoch));
    await gate.obey(map, async (after) => {
      await noteMissed(this.#parts!, gate.map === null ? null : gate.around, after, identity.epoch);
      // Before anybody else gets what a dead session held.
      if (map.fenced.some((session) => !gate.isFenced(session))) this.#parts!.intents.doubtAll();
      identity.epoch = map.epoch;
      identity.fenced = [...map.fenced];
      if (after.group !== 0 && identity.group === 0) await this.#succession!.seated();
      if (after.group !== 0) identity.group = after.group;
      if (after.slots[after.slot]?.state === SLOT.ready) identity.whole = true;
      await writeIdentity(this.#env, identity);
    });
    for (const [peer, session] of [...this.#clients]) {
      if (gate.isFenced(session)) peer.close('the session is fenced');
    }
    this.#env.log.info('map.obeyed', {epoch: map.epoch, group: this.group, slot: this.slot});
    for (const wake of this.#mapWaiters.splice(0)) wake();
    const {around} = gate;
    if ((around.slots[around.slot]?.successor ?? '') === '') this.#parts!.changes.stop();
    const tell = (): void => this.#options.onMap?.(map, this.slot);
    this.#succession!.obeyed(() => this.map, map, tell);
  }

  /** For as long as it takes: whoever boots first waits for the other one. Rejects with a refusal of the meta server, or when it is stopped. */
  async #joined(): Promise<void> {
    const {clock, log} = this.#env;
    let waitMs = START_MS;
    const waits = (reason: string): void => {
      if (this.#stopped) throw new Lost('the server stops');
      log.warn('data.waits', {meta: this.#options.metaAddress, reason});
      waitMs = REMIND_MS;
    };
    for (let up = false; !up; ) {
      try {
        await this.#meta!.peer(waitMs);
        up = true;
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        waits(messageOf(error));
      }
    }
    // Who has no group yet is given one when it is needed.
    if (this.#identity!.group === 0) return;
    let until = clock.now() + waitMs;
    while (this.slot < 0) {
      if (this.#stopped || clock.now() >= until) {
        waits('it has given this server no slot yet');
        until = clock.now() + waitMs;
      }
      const left = until - clock.now();
      await new Promise<void>((resolve) => {
        const timer = clock.timer(left, resolve);
        this.#mapWaiters.push(() => {
          timer.cancel();
          resolve();
        });
      });
    }
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#env.log.error('data.failed', {error: messageOf(error)});
    const {onFailed} = this.#options;
    if (onFailed !== undefined) onFailed(error);
    else
      this.#env.clock.soon(() => {
        throw error;
      });
  }
}
