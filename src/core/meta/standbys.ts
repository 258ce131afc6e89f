import type {Member} from '../base/coordinator-keys.js';
import type {Durability} from '../base/durability.js';
import {messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {OPS} from '../protocol/ops.js';
import type {OutputGate} from '../transport/gated-connection.js';
import {Handlers} from '../transport/handlers.js';
import type {PeerLike} from '../transport/peer-api.js';
import {Feed} from './feed.js';
import type {Ledger} from './ledger.js';

/** Each gets everything. */
const STANDBYS_MAX = 8;
/** What is answered because standbys have it in memory is on the own disk after this, and a sync. */
const BEHIND_MS: Ms = 1000;

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
  durability: Durability;
  /** What was logged is on stable storage. Rejects: it cannot be, which has been told. */
  sync(): Promise<void>;
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
  /** The set names somebody who has everything in memory. */
  #inSync = false;
  #changing = false;
  /** Standbys are waited for, once they have everything. */
  #counts: boolean;
  #behind: Timer | null = null;
  #closed = false;
  readonly handlers: Handlers<Standby>;

  constructor(env: Pick<Env, 'clock' | 'pool' | 'log'>, ledger: Ledger, options: StandbysOptions) {
    this.#env = env;
    this.#ledger = ledger;
    this.#options = options;
    this.#counts = options.durability !== 'disk';
    this.handlers = new Handlers<Standby>().on(OPS.follow, async (request, standby) => ({
      message: {...(await standby.feed.follow(request)), durability: options.durability},
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

  /** Nothing leaves through it that they do not have. */
  gate(valid: () => boolean): OutputGate {
    const last = (): number => this.#ledger.last;
    const kept = (): number => this.kept;
    return {
      get needed() {
        return last();
      },
      get reached() {
        return kept();
      },
      get valid() {
        return valid();
      },
      onReached: (wake) => this.onKept(wake),
    };
  }

  /** What it takes now. */
  get durability(): Durability {
    return this.#inSync ? this.#options.durability : 'disk';
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
    this.#join(standby);
    this.#count();
  }

  #join(standby: Standby): void {
    if (this.#counts && standby.state === 'catching' && standby.feed.live) {
      standby.state = 'joining';
      standby.lacks = this.kept;
    }
    if (ready(standby)) this.#reconcile();
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
    ].map(({node, life, address}) => ({node, life, ...(address === undefined ? {} : {address})}));
    this.#changing = true;
    const {durability, set, sync} = this.#options;
    // Of what was in the memory of others nothing may be left but what is here.
    const alone = durability === 'memory' && members.length === 1;
    const change = alone ? sync().then(() => set.change(members)) : set.change(members);
    change.then(
      () => {
        this.#changing = false;
        for (const one of coming) if (one.state === 'joining') one.state = 'in';
        for (const {node} of going) this.#all.delete(node);
        const nodes = members.map(({node}) => node).join(' ');
        this.#env.log.info('standbys.in-sync', {nodes, sequence: this.#ledger.last});
        this.#count();
        this.#wake();
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
    let inSync = false;
    for (const {state, feed} of this.#all.values()) {
      if (state !== 'catching') kept = Math.min(kept, feed.acked);
      if (state === 'in') inSync = true;
    }
    if (kept === this.#kept && inSync === this.#inSync) return;
    this.#kept = kept;
    this.#inSync = inSync;
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) {
      this.#waiters.delete(wake);
      wake();
    }
  }

  /** Calls once, when more is kept, or others count. */
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

  /** What was logged before the call is as safe as an fsync makes it. Rejects as `sync` does. */
  async durable(): Promise<void> {
    const {last} = this.#ledger;
    while (this.durability === 'memory') {
      if (this.kept >= last) {
        this.#syncBehind();
        return;
      }
      await new Promise<void>((resolve) => this.onKept(resolve));
    }
    await this.#options.sync();
  }

  #syncBehind(): void {
    if (this.#closed) return;
    this.#behind ??= this.#env.clock.timer(BEHIND_MS, () => {
      this.#behind = null;
      this.#options.sync().catch(() => {});
    });
  }

  /**
   * For the end, when nothing is logged any more: resolves when all that follow have everything, and the set names them, so that one of them may go on;
   * false: not within that time.
   */
  async settled(ms: Ms): Promise<boolean> {
    this.#counts = true;
    for (const standby of this.#all.values()) this.#join(standby);
    this.#count();
    let late: (value: boolean) => void = () => {};
    const timer = this.#env.clock.timer(ms, () => late(false));
    const all = this.#allSettled().then(() => true);
    const result = await Promise.race([all, new Promise<boolean>((resolve) => (late = resolve))]);
    timer.cancel();
    return result;
  }

  async #allSettled(): Promise<void> {
    const {last} = this.#ledger;
    const open = (): boolean =>
      this.kept < last || [...this.#all.values()].some(({state}) => state === 'joining');
    while (open()) await new Promise<void>((resolve) => this.onKept(resolve));
  }

  /** Nothing is kept any more, and nobody is let through. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#behind?.cancel();
    for (const {feed} of [...this.#all.values()]) feed.end('the meta server stops');
    this.#ledger.onRecord = null;
  }
}
