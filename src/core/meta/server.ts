import {Bug} from '../base/assert.js';
import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import {THIS_RELEASE} from '../base/features.js';
import type {Ms} from '../base/ids.js';
import {READ_COPY_POLICY} from '../cluster/read-copies.js';
import type {Timer} from '../env/clock.js';
import type {Connection, Listener} from '../env/net.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {GatedConnection, type OutputGate} from '../transport/gated-connection.js';
import {Handlers} from '../transport/handlers.js';
import {Peer} from '../transport/peer.js';
import {AttrAsks} from './attr-asks.js';
import {Backtraces} from './backtraces.js';
import {Backups} from './backups.js';
import {Cluster, type DataPeer} from './cluster.js';
import type {Effect} from './command.js';
import {confinement} from './confine.js';
import {type Asker, askerOf, Deeds} from './deeds.js';
import {Events, found} from './events.js';
import {Figures} from './figures.js';
import {leaseManyHandler} from './lease-many.js';
import {Leases, RECALL_MS} from './leases.js';
import {Ledger} from './ledger.js';
import {Life} from './life.js';
import {lockHandlers} from './lock-handlers.js';
import {Locks} from './locks.js';
import {Machine} from './machine.js';
import {noteLife, startedAnew} from './machine-life.js';
import {Moves} from './moves.js';
import {namespaceHandlers} from './namespace-handlers.js';
import {activeStatus, nodeHandlers} from './node-handlers.js';
import {type ClientConnection, type MetaEnv, type Parts, Space} from './parts.js';
import {ReadCopies} from './read-copies.js';
import {readdirManyHandler} from './readdir-many.js';
import {ALONE} from './reign.js';
import {Removals} from './removal.js';
import {adminHandlers, dataHandlers} from './server-handlers.js';
import type {MetaServerOptions} from './server-options.js';
import {sessionHandlers} from './session-handlers.js';
import {CLIENT_SESSION_MS, SessionKeeper} from './session-keeper.js';
import {Sessions} from './sessions.js';
import {type StandbyInfo, Standbys} from './standbys.js';
import {statusOf} from './status.js';
import {Tokens} from './tokens.js';
import {switchedBy, Upgrades} from './upgrades.js';

const TICK_MS: Ms = 100;
/** At its end it waits so long for its standbys to have the last records. */
const LAST_MS: Ms = 1000;
/** A tick that is later than this tells that the process was stopped, or waited for a processor. */
const STOOD_MS: Ms = 1000;
const HEARTBEAT_MS: Ms = 1_000;
/** A connection that has not said hello by then is closed. */
const HELLO_MS: Ms = 10_000;

/** Names and addresses in a hello are kept, some of them on disk. */
const NAME_CHARS_MAX = 512;

export type {MetaServerOptions} from './server-options.js';

/** A connection that has not said hello. */
interface Newcomer {
  peer: Peer;
  connection: GatedConnection;
  timer: Timer;
  greeted: boolean;
  /** What it became. */
  left: (() => void) | null;
}

/**
 * The meta server: takes connections, lets them say who they are, and gives them the handlers of their role. What
 * is decided lies in the machine (namespace), the cluster control and the lease table.
 */
export class MetaServer {
  readonly #env: MetaEnv;
  readonly #events: Events;
  readonly #deeds: Deeds;
  readonly #options: MetaServerOptions;
  readonly #peers = new Set<Peer>();
  #parts: Parts | null = null;
  #keeper: SessionKeeper | null = null;
  #standbys: Standbys | null = null;
  #term = 0;
  #backtraces: Backtraces | null = null;
  #backups: Backups | null = null;
  #upgrades: Upgrades | null = null;
  readonly #life = new Life(() => this.#parts!);
  #listener: Listener | null = null;
  #ticker: Timer | null = null;
  #tickedAt: Ms = Number.POSITIVE_INFINITY;
  /** The last tick judged nobody. */
  #spared = false;
  /** Nothing is told before whoever must have it has it. */
  #gate: OutputGate | null = null;
  #boot = 0;
  #startedAt: Ms = 0;
  #client: Handlers<ClientConnection>;
  #data: Handlers<DataPeer> = new Handlers();
  #admin: Handlers<Asker> = new Handlers();
  #joiners: ReturnType<Tokens['joinHandlers']> = new Handlers();
  readonly #hello: Handlers<Newcomer>;
  #stopped = false;

  /** `env.kv` and `env.disk` stay the caller's to close, after `stop`. */
  constructor(env: MetaEnv, options: MetaServerOptions) {
    this.#events = new Events(env.clock);
    this.#deeds = new Deeds(env, () => this.#parts!.machine);
    this.#env = {...env, log: this.#events.over(this.#deeds.over(env.log))};
    this.#options = options;
    this.#client = new Handlers(confinement(() => this.#parts!, env.pool));
    this.#hello = new Handlers<Newcomer>().on(OPS.hello, (q, newcomer) => this.#greet(q, newcomer));
  }

  /** host:port that clients dial; after `start`. */
  get address(): string {
    return this.#listener?.address ?? '';
  }

  get cluster(): string {
    return this.#parts?.machine.superblock.cluster ?? '';
  }

  /** Reads the store, replays the log, listens. Rejects with FsError: EBUSY, the address is taken; EINVAL, another cluster. */
  async start(): Promise<void> {
    const {random, clock} = this.#env;
    const {address, port = this.#env.net} = this.#options;
    this.#startedAt = clock.now();
    this.#boot = 1 + random.below(2 ** 48);
    this.#events.begin(this.#boot);
    await this.#open();
    this.#env.net.onRefused = (event, fields) => this.#deeds.refused(event, fields);
    this.#listener = await port.listen(address, (connection) => this.#accept(connection));
    this.#tick();
    const {log} = this.#env;
    log.info('meta.started', {address: this.address, cluster: this.cluster, boot: this.#boot});
    found(log, this.#parts!.cluster.control.state);
  }

  /**
   * Closes all connections, then the machine with a checkpoint. Idempotent. `deposed`: another one goes on, maybe without what was logged
   * last.
   */
  async stop(deposed = false): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#env.net.onRefused = () => {};
    this.#events.close();
    this.#deeds.close();
    await this.#listener?.close();
    await this.#backtraces?.flush();
    this.#backtraces?.close();
    this.#backups?.close();
    this.#parts?.removals.close();
    this.#parts?.cluster.close();
    // Else more would come all the time, and its standbys would not have the last of it.
    if (!deposed) await this.#parts?.machine.end();
    const kept = !deposed && (await this.#standbys?.settled(LAST_MS)) === true;
    this.#standbys?.close();
    for (const peer of [...this.#peers]) peer.close('the meta server stops');
    if (kept) await this.#parts?.machine.close();
    else await this.#parts?.machine.abandon();
  }

  /** Its standbys, for status. */
  get standbys(): StandbyInfo[] {
    return this.#standbys?.describe() ?? [];
  }

  async #open(): Promise<void> {
    const env = this.#env;
    const {rootLayout, groupSize, clusterId} = this.#options;
    let parts: Parts | null = null;
    const failed = (error: unknown): void => this.#fail(error);
    const ledger = this.#options.ledger ?? (await Ledger.open(env));
    const {backtraces: how} = this.#options;
    const backtraces = how === undefined ? undefined : new Backtraces(env, how);
    const machine = await Machine.over(
      env,
      {
        format: {
          cluster: clusterId ?? env.random.hex(16),
          rootLayout,
          groupSize,
          features: switchedBy(env.release ?? THIS_RELEASE),
        },
        onApplied: (effects) => (parts === null ? undefined : this.#applied(parts, effects)),
        onFailed: failed,
        checkpoints: backtraces,
      },
      ledger,
    );
    const block = machine.superblock;
    if (clusterId !== undefined && clusterId !== block.cluster) {
      await machine.close();
      throw new FsError('EINVAL', `the folder holds cluster ${block.cluster}, not ${clusterId}`);
    }
    const reign = this.#options.reign ?? {...ALONE, term: machine.term + 1};
    const {self, set} = reign;
    this.#term = reign.term;
    const standbys = new Standbys(env, ledger, {
      self,
      set,
      durability: this.#options.durability ?? 'both',
      sync: () => machine.sync(),
      onDeposed: (error) => reign.onDeposed(error),
    });
    this.#standbys = standbys;
    this.#gate = standbys.gate(() => reign.valid);
    await machine.beginReign(reign.term);
    const sessions = new Sessions();
    const {recallMs, timing} = this.#options;
    const fence = (id: number, oid: number): void => {
      const session = sessions.get(id);
      if (session !== undefined) this.#end(session, `object ${oid} not yielded in time`, true);
    };
    const leases = new Leases(env, sessions, {
      recallMs,
      fence,
      changing: (oid) => readCopies.changing(oid),
      spared: (id, oid) => {
        const session = sessions.get(id);
        if (session === undefined || session.peer === null || session.server !== '') return false;
        const layout = machine.audit((tx) => tx.find(oid))?.layout ?? null;
        return layout !== null && cluster.lacked(layout, recallMs ?? RECALL_MS);
      },
    });
    const locks = new Locks(env, sessions, {recallMs, fence});
    const cluster = new Cluster(env, machine, {
      groupSize: block.groupSize,
      kDefault: block.rootLayout.k,
      columnsDefault: block.rootLayout.k + block.rootLayout.m,
      cluster: block.cluster,
      anyDomain: this.#options.anyDomain ?? false,
      readCopies: this.#options.readCopies ?? READ_COPY_POLICY,
      publish: (map) => this.#publish(sessions, map),
      fenced: (id) => this.#keeper?.fenced(id),
      lost: (uuid) => {
        readCopies.lost(uuid);
        this.#keeper?.serverLost(uuid);
      },
      failed,
      timing,
    });
    const readCopies: ReadCopies = new ReadCopies(env, {
      machine,
      sessions,
      leases: () => leases,
      map: () => cluster.control.liveMap(),
      policy: () => cluster.readCopyPolicy,
    });
    const removals = new Removals(env, {machine, cluster, leases, sessions});
    const asks = new AttrAsks(env, {machine, leases, sessions});
    const space = new Space(env, cluster);
    this.#parts = parts = {
      env,
      machine,
      cluster,
      sessions,
      leases,
      locks,
      asks,
      removals,
      space,
      readCopies,
      moves: new Moves(() => this.#parts!),
      endSession: (session, why, fence) => this.#end(session, why, fence),
      evict: (session) => this.#keeper!.evict(session),
      sessionReturned: (session) => this.#keeper?.returned(session),
      durable: () => standbys.durable(),
      figures: new Figures(),
      status: () => this.status(),
    };
    this.#keeper = new SessionKeeper(env, parts);
    this.#keeper.start();
    if (await startedAnew(env)) {
      await cluster.checkAll();
      await noteLife(env);
    }
    backtraces?.start(machine, cluster);
    this.#backtraces = backtraces ?? null;
    namespaceHandlers(this.#client, parts);
    sessionHandlers(this.#client, parts);
    lockHandlers(this.#client, parts);
    leaseManyHandler(this.#client, parts);
    readdirManyHandler(this.#client, parts);
    this.#data = dataHandlers(parts);
    this.#backups = new Backups(env, ledger);
    this.#upgrades = new Upgrades(env, {
      machine,
      cluster,
      name: () => this.address,
      node: self.node,
    });
    const admin = adminHandlers(
      parts,
      this.#events,
      this.#deeds,
      this.#backups,
      this.#upgrades,
      this.#life,
    );
    const tokens = new Tokens(env, machine, this.#options.joining ?? null);
    this.#admin = tokens.handlers(admin);
    this.#joiners = tokens.joinHandlers(this.#deeds);
  }

  #accept(incoming: Connection): void {
    const connection = new GatedConnection(incoming, this.#gate!, this.#env.pool);
    const newcomer = {greeted: false, left: null, connection} as unknown as Newcomer;
    const peer = new Peer(this.#env, connection, {
      onClosed: () => {
        newcomer.timer.cancel();
        this.#peers.delete(peer);
        this.#upgrades?.left(peer);
        newcomer.left?.();
      },
      onBug: (bug) => this.#fail(bug),
    });
    newcomer.peer = peer;
    newcomer.timer = this.#env.clock.timer(HELLO_MS, () => peer.close('no hello'));
    this.#peers.add(peer);
    if (this.#stopped) peer.close('the meta server stops');
    else peer.serve(this.#hello, newcomer);
  }

  async #greet(
    q: wire.HelloRequest,
    newcomer: Newcomer,
  ): Promise<{message: Partial<wire.HelloReply>}> {
    const {peer} = newcomer;
    try {
      if (newcomer.greeted) throw new Refusal('OutOfState', 'hello was said before');
      newcomer.greeted = true;
      this.#compatible(q);
      const message = await this.#admit(q, newcomer);
      newcomer.timer.cancel();
      if (peer.closed) newcomer.left?.();
      return {message};
    } catch (error) {
      this.#env.log.warn('hello.refused', {peer: peer.peer, role: q.role, why: messageOf(error)});
      this.#env.clock.soon(() => peer.close('hello was refused'));
      throw error;
    }
  }

  #compatible(q: wire.HelloRequest): void {
    const longest = Math.max(
      q.name.length,
      q.address.length,
      q.server.length,
      q.release.length,
      q.domain.length,
      q.location.length,
    );
    if (longest > NAME_CHARS_MAX)
      throw new Refusal('OutOfState', `a name of ${longest} characters`);
    if (q.cluster !== '' && q.cluster !== this.cluster) {
      throw new Refusal('WrongServer', `this is cluster ${this.cluster}, not ${q.cluster}`);
    }
  }

  async #admit(q: wire.HelloRequest, newcomer: Newcomer): Promise<Partial<wire.HelloReply>> {
    const {peer} = newcomer;
    const {identity = null} = newcomer.connection;
    this.#upgrades!.came(peer, q);
    const parts = this.#parts!;
    const keeper = this.#keeper!;
    const reply: Partial<wire.HelloReply> = {
      cluster: this.cluster,
      session: 0,
      resumed: false,
      heartbeatMs: HEARTBEAT_MS,
      sessionTimeoutMs: CLIENT_SESSION_MS,
      boot: this.#boot,
      term: this.#term,
    };
    if (q.role === 'standby') {
      if (q.server === '') throw new Refusal('OutOfState', 'a standby has an id');
      const {standby, left} = this.#standbys!.add(peer, {node: q.server, life: q.name}, q.address);
      newcomer.connection.ungate();
      newcomer.left = left;
      peer.serve(this.#standbys!.handlers, standby);
      return reply;
    }
    if (q.role === 'node') {
      peer.serve(
        nodeHandlers(this.#env, () => this.nodeStatus()),
        null,
      );
      return reply;
    }
    if (q.role === 'admin') {
      peer.serve(this.#admin, askerOf(identity, peer.peer));
      return reply;
    }
    if (q.role === 'join') {
      peer.serve(this.#joiners, {...askerOf(identity, peer.peer), identity});
      return reply;
    }
    if (q.role === 'data') {
      if (q.server === '' || q.address === '')
        throw new Refusal('OutOfState', 'a data server has an id and an address');
      const server = await parts.cluster.register(peer, q);
      // Of an earlier process nothing is left.
      if (q.session !== server.incarnation) {
        parts.readCopies.lost(q.server);
        keeper.serverLost(q.server);
      }
      newcomer.left = () => parts.cluster.closed(server);
      peer.serve(this.#data, server);
      return {...reply, session: server.incarnation, resumed: q.session === server.incarnation};
    }
    if (q.role !== 'client') throw new Refusal('OutOfState', `no such role: ${q.role}`);
    const {session, resumed} = await keeper.enter(q, peer, identity);
    newcomer.left = () => keeper.closed(session, peer);
    peer.serve(this.#client, {peer, session});
    return {...reply, session: session.id, resumed, root: session.confined?.root ?? 0};
  }

  #tick(): void {
    this.#ticker = this.#env.clock.timer(TICK_MS, () => this.#tick());
    if (this.#gate?.valid !== true || this.#stood(this.#env.clock.now())) return;
    try {
      this.#parts?.cluster.tick();
      this.#parts?.leases.tick();
      this.#parts?.locks.tick();
      this.#keeper?.tick();
    } catch (error) {
      if (!(error instanceof Bug)) throw error;
      this.#fail(error);
    }
  }

  /** Was this process stopped? Then it has not read yet what others said meanwhile, and must not judge them by their silence. Once in a row. */
  #stood(now: Ms): boolean {
    const stood = now - this.#tickedAt > STOOD_MS && !this.#spared;
    this.#tickedAt = now;
    this.#spared = stood;
    return stood;
  }

  #applied(parts: Parts, effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'remove') parts.removals.plan();
      // Opens of the same batch are counted when their replies are made, which is later in this event.
      else this.#env.clock.soon(() => parts.removals.unused(effect.oid));
    }
  }

  #end(session: Parameters<SessionKeeper['end']>[0], why: string, fence: boolean): void {
    this.#keeper?.end(session, why, fence);
  }

  #publish(sessions: Sessions, map: wire.ClusterMap): void {
    for (const {peer} of sessions.all) {
      // Nobody waits for the answer: who has an older map is refused by the data servers.
      peer?.call(OPS.mapPush, {map}, {urgent: true}).catch((error: unknown) => {
        if (!(error instanceof Lost)) {
          this.#env.log.info('map.not-taken', {peer: peer.peer, error: messageOf(error)});
        }
      });
    }
  }

  nodeStatus(): wire.NodeStatusReply {
    const {address, cluster, standbys} = this;
    const [release, sequence] = [this.#env.release?.name ?? '', this.#parts?.machine.sequence ?? 0];
    const own = {address, active: address, cluster, standbys, release, sequence, term: this.#term};
    const durabilityNow = this.#standbys?.durability ?? 'disk';
    const {durability = 'both'} = this.#options;
    return activeStatus(this.#options, {...own, durability, durabilityNow});
  }

  status(): wire.StatusReply {
    const own = {boot: this.#boot, startedAt: this.#startedAt, life: this.#life.report()};
    return statusOf(this.#parts!, own);
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.#env.log.error('meta.failed', {error: messageOf(error)});
    this.#options.onFailed(error);
  }
}
