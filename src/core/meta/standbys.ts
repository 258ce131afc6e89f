import {messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import type {PeerLike} from '../transport/peer-api.js';
import {Feed} from './feed.js';
import type {Ledger} from './ledger.js';

/** Each gets everything. */
const STANDBYS_MAX = 8;

/** A meta server that may become the active one. */
export interface Member {
  /** Its folder's id. */
  node: string;
  /** Changes when what it had not synced may be gone. */
  life: string;
}

/** Those who may become active: they have everything that was answered. It is kept where they all see it. */
export interface InSyncSet {
  /** From when it resolves it is these. Rejects when this server is not, or may not be, the active one any more. */
  change(members: readonly Member[]): Promise<void>;
}

export interface StandbyInfo extends Member {
  /** Where it listens. */
  address: string;
  inSync: boolean;
  /** Last record that it has. */
  sequence: number;
}

/** `catching`: it gets what it lacks. From `joining` to `leaving`, both included, nothing is answered that it does not have. */
type State = 'catching' | 'joining' | 'in' | 'leaving';

interface Standby extends Member {
  readonly address: string;
  readonly peer: PeerLike;
  readonly feed: Feed;
  state: State;
  /** While it joins: the last record that was answered without it. */
  lacks: number;
}

/** It has what was answered before it counted, too. */
const ready = ({state, feed, lacks}: Standby): boolean =>
  state === 'joining' && feed.acked >= lacks;

export interface StandbysOptions {
  /** This server. */
  self: Member;
  set: InSyncSet;
  /** It is not the active one any more. Once. */
  onDeposed(error: unknown): void;
  silentMs?: Ms;
}

/**
 * The standbys of an active meta server: what each has of the log, and up to where all that count have it. They count from before
 * the in-sync set names one until it does not: so whoever takes over has everything that anybody was told.
 */
export class Standbys {
  readonly #env: Pick<Env, 'clock' | 'pool' | 'log'>;
  readonly #ledger: Ledger;
  readonly #options: StandbysOptions;
  readonly #all = new Map<string, Standby>();
  /** What was sent beyond `kept`, in the order of their waiting. */
  readonly #waiters = new Set<() => void>();
  #kept = Number.POSITIVE_INFINITY;
  #changing = false;
  #closed = false;
  readonly handlers: Handlers<Standby>;

  constructor(env: Pick<Env, 'clock' | 'pool' | 'log'>, ledger: Ledger, options: StandbysOptions) {
    this.#env = env;
    this.#ledger = ledger;
    this.#options = options;
    this.handlers = new Handlers<Standby>().on(OPS.follow, async (request, standby) => ({
      message: await standby.feed.follow(request),
    }));
    ledger.onRecord = (sequence, record) => {
      for (const {feed} of this.#all.values()) feed.logged(sequence, record);
    };
    ledger.keptBy = (sequence) => this.#until(sequence);
  }

  /** Whoever must have it has the log up to here. */
  get kept(): number {
    return Math.min(this.#kept, this.#ledger.last);
  }

  describe(): StandbyInfo[] {
    return [...this.#all.values()].map(({node, life, address, feed, state}) => ({
      node,
      life,
      address,
      inSync: state === 'in',
      sequence: feed.acked,
    }));
  }

  /** A standby has said hello. Throws Refusal. The context of `handlers`; `left` is for when its connection closes. */
  add(peer: PeerLike, {node, life}: Member, address: string): {standby: Standby; left: () => void} {
    const before = this.#all.get(node);
    if (node === this.#options.self.node)
      throw new Refusal('WrongServer', 'it has the id of the active server: is its folder a copy?');
    if (before === undefined && this.#all.size >= STANDBYS_MAX)
      throw new Refusal('Busy', `${STANDBYS_MAX} standbys`);
    // Of a connection that is still counted nothing comes any more; the next attempt finds it gone.
    if (before !== undefined) {
      before.feed.end('it has a newer connection');
      throw new Refusal('Busy', 'its last connection is still counted');
    }
    const {silentMs} = this.#options;
    const feed = new Feed(this.#env, this.#ledger, peer, {
      kept: () => this.kept,
      onAck: () => this.#acked(standby),
      onFailed: (reason) => this.#failed(standby, reason),
      ...(silentMs === undefined ? {} : {silentMs}),
    });
    const standby: Standby = {node, life, address, peer, feed, state: 'catching', lacks: 0};
    this.#all.set(node, standby);
    this.#env.log.info('standby.came', {node, address});
    return {standby, left: () => feed.end('its connection has closed')};
  }

  #acked(standby: Standby): void {
    if (standby.state === 'catching' && standby.feed.live) {
      standby.state = 'joining';
      standby.lacks = this.kept;
    }
    if (ready(standby)) this.#reconcile();
    this.#count();
  }

  #failed(standby: Standby, reason: string): void {
    const {node, address, peer} = standby;
    this.#env.log.warn('standby.lost', {node, address, state: standby.state, reason});
    this.#env.clock.soon(() => peer.close(reason));
    if (standby.state === 'catching') this.#all.delete(node);
    else {
      standby.state = 'leaving';
      this.#reconcile();
    }
    this.#count();
  }

  /** Brings the set to what it should be; one change at a time. */
  #reconcile(): void {
    if (this.#changing || this.#closed) return;
    const all = [...this.#all.values()];
    const coming = all.filter(ready);
    const going = all.filter(({state}) => state === 'leaving');
    if (coming.length + going.length === 0) return;
    const members = [
      this.#options.self,
      ...all.filter((one) => ready(one) || one.state === 'in'),
    ].map(({node, life}) => ({node, life}));
    this.#changing = true;
    this.#options.set.change(members).then(
      () => {
        this.#changing = false;
        for (const one of coming) if (one.state === 'joining') one.state = 'in';
        for (const {node} of going) this.#all.delete(node);
        const nodes = members.map(({node}) => node).join(' ');
        this.#env.log.info('standbys.in-sync', {nodes, sequence: this.#ledger.last});
        this.#count();
        this.#reconcile();
      },
      (error: unknown) => {
        // It stays closed: what was not answered is not.
        if (this.#closed) return;
        this.#env.log.error('standbys.deposed', {error: messageOf(error)});
        this.#options.onDeposed(error);
      },
    );
  }

  #count(): void {
    let kept = Number.POSITIVE_INFINITY;
    for (const {state, feed} of this.#all.values())
      if (state !== 'catching') kept = Math.min(kept, feed.acked);
    if (kept === this.#kept) return;
    this.#kept = kept;
    for (const wake of [...this.#waiters]) {
      this.#waiters.delete(wake);
      wake();
    }
  }

  /** Calls once, when more is kept. */
  onKept(wake: () => void): void {
    this.#waiters.add(wake);
  }

  #until(sequence: number): Promise<void> {
    if (this.kept >= sequence) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.kept >= sequence) resolve();
        else this.onKept(look);
      };
      this.onKept(look);
    });
  }

  /** Resolves when all that count have everything; false: not within that time. */
  async settled(ms: Ms): Promise<boolean> {
    let late: (value: boolean) => void = () => {};
    const timer = this.#env.clock.timer(ms, () => late(false));
    const all = this.#until(this.#ledger.last).then(() => true);
    const result = await Promise.race([all, new Promise<boolean>((resolve) => (late = resolve))]);
    timer.cancel();
    return result;
  }

  /** Nothing is kept any more, and nobody is let through. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const {feed} of [...this.#all.values()]) feed.end('the meta server stops');
    this.#ledger.onRecord = null;
  }
}
