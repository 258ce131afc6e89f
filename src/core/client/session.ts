import {unlessAborted} from '../base/abort.js';
import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import {type Ms, ROOT_OID} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import type {ClusterMap} from '../cluster/map.js';
import {sleep, type Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {EVERYTHING} from '../lease/ranges.js';
import type {FlushRequest} from '../protocol/gen/wire.js';
import {LEASE, OPS, type Op} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import type {Peer} from '../transport/peer.js';
import type {Reply} from '../transport/peer-api.js';
import {Redial} from '../transport/redial.js';
import {Mutations} from './mutations.js';
import {mapFromWire} from './place.js';
import {partsOf} from './reclaim-parts.js';
import type {SessionEvents, SessionOptions} from './session-events.js';
import {countersOf, type Stats} from './stats.js';

/** Without a renewal for so long the client trusts nothing that it holds; the meta server waits 5 s more. */
export const SESSION_MS: Ms = 10_000;
/** How long a call may take, reconnects included; then it is EIO. */
const CALL_MS_MAX: Ms = 60_000;
/** Between two attempts to say goodbye. */
const AGAIN_MS: Ms = 50;
const HEARTBEAT_MS: Ms = 1000;
/** A machine that lost power says nothing about its connections, and who waits for it must be back in the grace period. */
const HELLO_CALL = {deadlineMs: SESSION_MS / 2};
const BUSY_MS: Ms = 50;
export type SessionEnv = Pick<Env, 'clock' | 'log' | 'net' | 'pool' | 'random' | 'release'>;

const NO_MAP: ClusterMap = {cluster: '', epoch: 0, groups: [], fenced: []};

export interface SessionCall {
  deadlineMs?: Ms;
  urgent?: boolean;
  /** EINTR when it is given while the request is not on its way to the server. */
  signal?: AbortSignal;
  /** Called each time that the request is sent: gives away one reference of each slot. */
  payload?: () => readonly Segment[];
}

export interface SessionReply<R> extends Reply<R> {
  /** The request was sent more than once: the reply may be one that was kept. */
  resent: boolean;
  /** Of the session whose reply it is (`Session.generation`). */
  generation: number;
}

/**
 * The client's registration with the meta server: one connection that is dialled again when it breaks, under one
 * session id as long as the server knows it. Invariant: nothing that came from a lease is used while not `valid`.
 */
export class Session {
  readonly #env: SessionEnv;
  readonly #options: SessionOptions;
  readonly #events: SessionEvents;
  readonly #stats: Stats;
  readonly #redial: Redial;
  #id = 0;
  #lastId = 0;
  #root = 0;
  /** Of the meta server's process; 0: none yet. */
  #boot = 0;
  #term = 0;
  /** Grows when a session is lost: what was begun under an older one is void. */
  #generation = 0;
  #validUntil: Ms = Number.NEGATIVE_INFINITY;
  #map: ClusterMap = NO_MAP;
  #mapWaiters = new Set<() => void>();
  #refreshing: Promise<void> | null = null;
  readonly #mutations = new Mutations();
  #validWaiters = new Set<() => void>();
  #heartbeat: Timer | null = null;
  #heartbeatMs = HEARTBEAT_MS;
  #closed = false;

  constructor(env: SessionEnv, options: SessionOptions, events: SessionEvents, stats: Stats) {
    this.#env = env;
    this.#options = options;
    this.#events = events;
    this.#stats = stats;
    this.#redial = new Redial(env, {
      address: options.address,
      hello: (peer) => this.#hello(peer),
      onUp: () => {
        this.#planHeartbeat();
        for (const wake of this.#validWaiters) wake();
        events.up();
      },
      onDown: () => this.#planLapse(),
    });
  }

  get id(): number {
    return this.#id;
  }

  /** All that it sees is below; that it is another one after a reconnect changes nothing. */
  get root(): number {
    return this.#root;
  }

  get agent(): boolean {
    return this.#options.agent;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Another one: the meta server has restarted since. */
  get boot(): number {
    return this.#boot;
  }

  get connected(): boolean {
    return this.#redial.current !== null;
  }

  get map(): ClusterMap {
    return this.#map;
  }

  get valid(): boolean {
    return this.#id !== 0 && this.#env.clock.now() < this.#validUntil;
  }

  /** For how many ms it may still be relied on if nothing is heard. */
  get validMs(): Ms {
    return this.#id === 0 ? 0 : Math.max(0, this.#validUntil - this.#env.clock.now());
  }

  /** Is everything that was changed by requests of this client on stable storage over there? */
  get durable(): boolean {
    return this.#mutations.durable;
  }

  /** Resolves when the session may be relied on; EIO after `deadlineMs`, or with what the server refuses it for. */
  async ready(deadlineMs: Ms = CALL_MS_MAX): Promise<void> {
    const until = this.#env.clock.now() + deadlineMs;
    while (!this.valid) {
      const left = until - this.#env.clock.now();
      if (left <= 0 || this.#closed)
        throw new FsError('EIO', `meta server ${this.#options.address}: ${this.#redial.failure}`);
      await this.#validOr(Math.min(left, 1000));
    }
  }

  #validOr(ms: Ms): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        this.#validWaiters.delete(wake);
        resolve();
      };
      const timer = this.#env.clock.timer(ms, wake);
      this.#validWaiters.add(wake);
    });
  }

  /**
   * One request, sent again after a reconnect; mutating ones under the same id, so that they are done once. FsError
   * as answered, or EIO when the bound has passed or the session was lost while the outcome was open.
   */
  async call<Q, R>(
    op: Op<Q, R>,
    request: Partial<Q>,
    options: SessionCall = {},
  ): Promise<SessionReply<R>> {
    const code: number = op.code;
    if (code !== OPS.flush.code) {
      const settled = this.#events.settled(code, request);
      if (settled !== null) await unlessAborted(settled, options.signal);
    }
    const mutations = this.#mutations;
    const {made} = mutations;
    const boot = this.#boot;
    if (!op.mutates) {
      const reply = await this.#send(op, request, undefined, options);
      if (code === OPS.syncMeta.code && boot === this.#boot) mutations.synced(made);
      return reply;
    }
    const begun = mutations.begin(code === OPS.yieldLease.code || code === OPS.flush.code);
    const id = typeof begun === 'number' ? begun : await begun;
    let synced = false;
    try {
      const reply = await this.#send(op, request, id, options);
      synced = (request as Partial<FlushRequest>).durable === true && boot === this.#boot;
      return reply;
    } finally {
      if (synced) mutations.synced(made);
      else mutations.made++;
      mutations.end(id);
    }
  }

  /**
   * A request that the next reclaim makes needless, once: over the connection that is up, else not at all. False: it was
   * not sent.
   */
  tell<Q>(op: Op<Q, unknown>, request: Partial<Q>): boolean {
    const peer = this.#redial.current;
    if (peer === null || this.#closed) return false;
    this.#stats.metaCalls++;
    peer
      .call(op, request, {urgent: true})
      .catch((error: unknown) =>
        this.#env.log.debug('tell.failed', {op: op.name, reason: messageOf(error)}),
      );
    return true;
  }

  /** The same, with its answer; null: there is none, and the next reclaim does it. */
  async once<Q, R>(op: Op<Q, R>, request: Partial<Q>): Promise<R | null> {
    const peer = this.#redial.current;
    if (peer === null || this.#closed) return null;
    this.#stats.metaCalls++;
    try {
      return (await peer.call(op, request)).message;
    } catch (error) {
      if (error instanceof Lost || error instanceof Refusal) return null;
      throw error;
    }
  }

  async #send<Q, R>(
    op: Op<Q, R>,
    request: Partial<Q>,
    id: number | undefined,
    options: SessionCall,
  ): Promise<SessionReply<R>> {
    const {clock} = this.#env;
    const until = clock.now() + (options.deadlineMs ?? CALL_MS_MAX);
    const generation = this.#generation;
    for (let resent = false; ; resent = true) {
      if (this.#closed) throw new FsError('EIO', 'the client is closed');
      const left = until - clock.now();
      if (left <= 0) throw new FsError('EIO', `${op.name}: no answer from the meta server`);
      if (options.signal?.aborted === true) throw new FsError('EINTR', op.name);
      try {
        const peer = this.#redial.current ?? (await this.#connection(left, options.signal));
        if (id !== undefined && generation !== this.#generation)
          throw new FsError('EIO', `${op.name}: the session was lost`);
        const now = this.#generation;
        this.#stats.metaCalls++;
        const deadlineMs = Math.max(1, until - clock.now());
        const {payload} = options;
        const reply = await peer.call(op, request, {
          id,
          deadlineMs,
          urgent: options.urgent === true,
          ...(payload === undefined ? {} : {payload: payload()}),
        });
        return {...reply, resent, generation: now};
      } catch (error) {
        if (error instanceof FsError) throw error;
        if (error instanceof Refusal) await this.#refused(op.name, error);
        else if (!(error instanceof Lost)) throw error;
      }
    }
  }

  #connection(waitMs: Ms, signal: AbortSignal | undefined): Promise<Peer> {
    return unlessAborted(this.#redial.peer(Math.min(waitMs, CALL_MS_MAX)), signal);
  }

  async #refused(name: string, error: Refusal): Promise<void> {
    if (error.kind === 'NoSession' || error.kind === 'Fenced') {
      this.#lose(error.message);
      await sleep(this.#env.clock, BUSY_MS);
    } else if (error.kind === 'Busy') await sleep(this.#env.clock, BUSY_MS);
    else throw new FsError('EIO', `${name}: ${error.message}`);
  }

  /** Resolves when the map is newer than `epoch`, or after `timeoutMs`. */
  async newer(epoch: number, timeoutMs: Ms): Promise<void> {
    if (this.#map.epoch > epoch) return;
    this.refreshMap();
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        if (this.#map.epoch <= epoch) return;
        end();
      };
      const end = (): void => {
        timer.cancel();
        this.#mapWaiters.delete(wake);
        resolve();
      };
      const timer = this.#env.clock.timer(timeoutMs, end);
      this.#mapWaiters.add(wake);
    });
  }

  /** Asks for the map, once at a time. */
  refreshMap(): void {
    if (this.#refreshing !== null || this.#closed) return;
    this.#refreshing = this.#send(OPS.getMap, {}, undefined, {deadlineMs: 2000, urgent: true})
      .then(({message}) => this.#learnMap(mapFromWire(message.map)))
      .catch((error: unknown) =>
        this.#env.log.debug('map.refresh-failed', {reason: messageOf(error)}),
      )
      .finally(() => {
        this.#refreshing = null;
      });
  }

  /** A data server says that this session is fenced: what it held is void. */
  fencedByServer(): void {
    this.#lose('a data server refused the session');
  }

  /**
   * `goodbye`: what the session holds may be given on at once; else it times out and is fenced first. A meta server that is being restarted is waited for, at most
   * until the deadline: its next life would wait longer for a session that does not come back.
   */
  async close(deadlineMs: Ms, goodbye = true): Promise<void> {
    if (this.#closed) return;
    const {clock, log} = this.#env;
    const until = clock.now() + deadlineMs;
    for (let left = deadlineMs; goodbye && this.#id !== 0 && left > 0; left = until - clock.now()) {
      if (this.#redial.current === null) {
        await this.#validOr(left);
        continue;
      }
      try {
        await this.#send(OPS.goodbye, {}, undefined, {deadlineMs: left, urgent: true});
        break;
      } catch (error) {
        log.info('goodbye.failed', {reason: messageOf(error)});
        if (!(error instanceof Lost)) break;
        await this.#validOr(Math.min(left, AGAIN_MS));
      }
    }
    this.#closed = true;
    this.#heartbeat?.cancel();
    this.#redial.close('closed');
    for (const wake of this.#validWaiters) wake();
  }

  #learnMap(map: ClusterMap): void {
    if (map.epoch <= this.#map.epoch) return;
    this.#map = map;
    this.#events.mapChanged(map);
    if (this.#id !== 0 && map.fenced.includes(this.#id)) this.#lose('fenced');
    for (const wake of this.#mapWaiters) wake();
  }

  #handlers(): Handlers<null> {
    return new Handlers<null>()
      .on(OPS.mapPush, (request) => {
        this.#learnMap(mapFromWire(request.map));
        return {message: {epoch: this.#map.epoch}};
      })
      .on(OPS.recall, (request) => {
        // A lease that was granted just before this frame is known only after its promise has been served.
        this.#env.clock.soon(() => {
          const ranges = new Map(request.ranges.map((one) => [one.oid, one.ranges[0]]));
          const recall = (oid: number, keep: number): void =>
            this.#events.recall(oid, keep, ranges.get(oid) ?? EVERYTHING);
          recall(request.oid, request.keep);
          for (const [index, oid] of request.more.entries())
            recall(oid, request.keeps[index] ?? LEASE.none);
        });
        return {message: {}};
      })
      .on(OPS.lockRecall, async ({oid, delegation, give}) => {
        // What was left to this client just before is known only after its promise has been served.
        await new Promise<void>((resolve) => this.#env.clock.soon(resolve));
        return {message: {objects: this.#events.lockRecall(oid, delegation, give)}};
      })
      .on(OPS.readCopiesPush, ({oid, copies}) => {
        // Not later: what is granted next says itself what there is.
        this.#events.copied(oid, copies);
        return {message: {}};
      })
      .on(OPS.reportAttr, async ({oids}) => {
        const known = oids.filter((oid) => this.#events.report(oid) !== null);
        // Where nothing is to be told the lease for writing goes, and before the answer: then whoever asks may keep what he is told.
        for (let turns = known.length < oids.length ? 2 : 0; turns > 0; turns--)
          await new Promise<void>((resolve) => this.#env.clock.soon(resolve));
        return {message: {items: known.flatMap((oid) => this.#events.report(oid) ?? [])}};
      });
  }

  async #hello(peer: Peer): Promise<void> {
    peer.serve(this.#handlers(), null);
    const sentAt = this.#env.clock.now();
    const asked = this.#id;
    const hello = {
      role: 'client',
      cluster: this.#map.cluster,
      session: asked,
      lost: this.#lastId,
      name: this.#options.name,
      server: this.#options.server,
      unleased: this.#options.unleased,
      location: this.#options.location,
    };
    const message = await peer.hello(hello, HELLO_CALL).catch((error: unknown) => {
      if (error instanceof Refusal && ['NoSession', 'Fenced'].includes(error.kind))
        this.#forget(error.message);
      throw error;
    });
    if (message.term < this.#term)
      throw new Refusal('NotActive', 'the term of this meta server is over');
    this.#term = message.term;
    if (asked !== 0 && (!message.resumed || message.session !== asked))
      this.#forget('the meta server does not know the session');
    const resumed = asked !== 0 && message.resumed && message.session === asked;
    if (!resumed) this.#mutations.restart();
    this.#id = message.session;
    this.#root ||= message.root || ROOT_OID;
    this.#heartbeatMs = message.heartbeatMs > 0 ? message.heartbeatMs : HEARTBEAT_MS;
    await this.#reclaim(peer, resumed);
    if (resumed && message.boot !== this.#boot) this.#events.restarted();
    this.#boot = message.boot;
    const {map} = (await peer.call(OPS.getMap, {}, HELLO_CALL)).message;
    this.#learnMap(mapFromWire(map));
    this.#validUntil = sentAt + SESSION_MS;
    this.#env.log.info('session.up', {session: this.#id, resumed, epoch: map.epoch});
  }

  /**
   * After every resumption: opens and leases are in the server's memory only, and a grant may have been lost on the way.
   * A new session has no leases, but files may be open since the one before.
   */
  async #reclaim(peer: Peer, resumed: boolean): Promise<void> {
    await this.#events.returning();
    const holdings = this.#events.holdings();
    if (!resumed && holdings.oids.length === 0) return;
    this.#env.log.info('session.reclaim', {objects: holdings.oids.length});
    try {
      for (const objects of this.#events.locks())
        await peer.call(OPS.lockReclaim, {objects}, HELLO_CALL);
      for (const part of partsOf(holdings)) {
        const {message} = await peer.call(OPS.reclaim, part, HELLO_CALL);
        this.#events.gone(message.gone);
      }
      // One without oids says that this was all.
      await peer.call(OPS.reclaim, {}, HELLO_CALL);
    } catch (error) {
      if (!(error instanceof Lost)) this.#forget(`reclaim: ${messageOf(error)}`);
      throw error;
    }
  }

  #planHeartbeat(): void {
    this.#heartbeat?.cancel();
    this.#heartbeat = this.#env.clock.timer(this.#heartbeatMs, () => void this.#beat());
  }

  /** Without a connection: until leases are not to be relied on any more; for a process that was stopped that may be over. */
  #planLapse(): void {
    this.#heartbeat?.cancel();
    if (this.#closed || this.#id === 0) return;
    if (!this.valid) this.#events.lapsed();
    else this.#heartbeat = this.#env.clock.timer(this.validMs, () => this.#events.lapsed());
  }

  async #beat(): Promise<void> {
    const peer = this.#redial.current;
    if (peer === null) return;
    const sentAt = this.#env.clock.now();
    try {
      const {message} = await peer.call(
        OPS.heartbeat,
        {epoch: this.#map.epoch, counters: countersOf(this.#stats)},
        {deadlineMs: SESSION_MS / 3, urgent: true},
      );
      this.#validUntil = Math.max(this.#validUntil, sentAt + SESSION_MS);
      for (const wake of this.#validWaiters) wake();
      if (message.epoch > this.#map.epoch) this.refreshMap();
    } catch (error) {
      if (error instanceof Refusal && ['NoSession', 'Fenced'].includes(error.kind))
        this.#lose(error.message);
      else peer.close(`heartbeat: ${messageOf(error)}`);
    }
    if (this.#redial.current === peer) this.#planHeartbeat();
  }

  /** The session is void; the next hello asks for a new one. */
  #forget(reason: string): void {
    if (this.#id === 0) return;
    this.#env.log.error('session.lost', {session: this.#id, reason});
    this.#lastId = this.#id;
    this.#id = 0;
    this.#generation++;
    this.#validUntil = Number.NEGATIVE_INFINITY;
    this.#events.lost(reason);
  }

  #lose(reason: string): void {
    if (this.#id === 0) return;
    this.#forget(reason);
    this.#redial.current?.close(reason);
  }
}
