import {Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type ClusterMap, writable} from '../cluster/map.js';
import {OPS, type Op} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import type {CallOptions, Reply} from '../transport/peer-api.js';
import {Redial} from '../transport/redial.js';
import type {Columns} from './columns.js';
import {Lives} from './lives.js';
import type {Session, SessionEnv} from './session.js';

/** A server that the map calls ready but that takes no connection for so long is treated as lost. */
const CONNECT_MS_MAX: Ms = 2000;
/** The same column is reported again only after this. */
const REPORT_AGAIN_MS: Ms = 1000;

/** Connections to data servers: made when first needed, given up when the map says that the server is away. */
export class DataServers implements Columns {
  readonly #env: SessionEnv;
  readonly #session: Session;
  readonly lives = new Lives();
  readonly #links = new Map<string, {redial: Redial; address: string}>();
  readonly #states = new Map<string, {state: number; at: Ms}>();
  readonly #reported = new Map<string, Ms>();
  /** How long the last call that failed took, by slot. */
  readonly #waited = new Map<string, Ms>();

  constructor(env: SessionEnv, session: Session) {
    this.#env = env;
    this.#session = session;
  }

  get map(): ClusterMap {
    return this.#session.map;
  }

  newer(epoch: number, timeoutMs: Ms): Promise<void> {
    return this.#session.newer(epoch, timeoutMs);
  }

  async call<Q, R>(
    group: number,
    slot: number,
    op: Op<Q, R>,
    request: Partial<Q>,
    options: CallOptions = {},
  ): Promise<Reply<R>> {
    let peer: Peer;
    const start = this.#env.clock.now();
    try {
      const redial = this.#link(group, slot);
      peer = redial.current ?? (await redial.peer(CONNECT_MS_MAX));
    } catch (error) {
      for (const segment of options.payload ?? []) this.#env.pool.release(segment.slot);
      this.#waited.set(`${group}.${slot}`, this.#env.clock.now() - start);
      throw error instanceof Lost ? new Lost(error.detail, true) : this.#judge(error);
    }
    try {
      return await peer.call(op, request, options);
    } catch (error) {
      this.#waited.set(`${group}.${slot}`, this.#env.clock.now() - start);
      throw this.#judge(error);
    }
  }

  reach(group: number, slot: number): Promise<void> | null {
    try {
      const redial = this.#link(group, slot);
      if (redial.current !== null) return null;
      return redial.peer(CONNECT_MS_MAX).then(
        () => {},
        () => {},
      );
    } catch {
      return null;
    }
  }

  report(group: number, slot: number, epoch: number, reason: string): void {
    const key = `${group}.${slot}.${epoch}`;
    const now = this.#env.clock.now();
    if (now - (this.#reported.get(key) ?? Number.NEGATIVE_INFINITY) < REPORT_AGAIN_MS) return;
    if (this.#reported.size > 1000) this.#reported.clear();
    this.#reported.set(key, now);
    this.#env.log.warn('column.lost', {group, slot, epoch, reason});
    const waitedMs = Math.round(this.#waited.get(`${group}.${slot}`) ?? 0);
    const request = {group, slot, epoch, reason, waitedMs};
    this.#session
      .call(OPS.report, request, {deadlineMs: 5000, urgent: true})
      .catch((error: unknown) => this.#env.log.debug('report.unsent', {reason: messageOf(error)}));
  }

  /** Calls to servers that are not in the map any more, or not to be written, end with Lost now. */
  mapChanged(map: ClusterMap): void {
    const addresses = new Map<string, string>();
    for (const group of map.groups) {
      for (const [index, slot] of group.slots.entries()) {
        this.#seen(`${group.id}.${index}`, slot.state);
        if (slot.server !== null && writable(slot))
          addresses.set(slot.server.uuid, slot.server.address);
      }
    }
    for (const [uuid, link] of this.#links) {
      if (addresses.get(uuid) === link.address) continue;
      this.#links.delete(uuid);
      link.redial.close(`not in epoch ${map.epoch}`);
    }
  }

  cameAt(group: number, slot: number): Ms {
    return this.#states.get(`${group}.${slot}`)?.at ?? this.#env.clock.now();
  }

  #seen(slot: string, state: number): void {
    if (this.#states.get(slot)?.state !== state)
      this.#states.set(slot, {state, at: this.#env.clock.now()});
  }

  /** Connections carry the session's id: a new session needs new ones. */
  closeAll(reason: string): void {
    for (const link of this.#links.values()) link.redial.close(reason);
    this.#links.clear();
  }

  #link(group: number, slot: number): Redial {
    const info = this.map.groups.find((candidate) => candidate.id === group)?.slots[slot];
    if (info === undefined || info.server === null || !writable(info))
      throw new Lost(`slot ${group}.${slot} is away`);
    const {uuid, address} = info.server;
    let link = this.#links.get(uuid);
    if (link === undefined) {
      const redial = new Redial(this.#env, {
        address,
        hello: async (peer) => {
          this.lives.seen(group, slot, await this.#hello(peer, uuid));
        },
      });
      link = {redial, address};
      this.#links.set(uuid, link);
    }
    return link.redial;
  }

  /** Resolves with the server's life. */
  async #hello(peer: Peer, uuid: string): Promise<number> {
    const session = this.#session.id;
    if (session === 0) throw new Lost('no session yet');
    const {boot} = await peer.hello({
      role: this.#session.agent ? 'agent' : 'client',
      cluster: this.map.cluster,
      session,
      server: uuid,
      name: '',
    });
    return boot;
  }

  /** A fenced session is found out by whoever hears of it first. */
  #judge(error: unknown): unknown {
    if (error instanceof Refusal && error.kind === 'Fenced') this.#session.fencedByServer();
    return error;
  }
}
