import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import type {Attr, FlushItem, Layout, ReclaimRequest} from '../protocol/gen/wire.js';
import {LEASE, type LeaseMode, OPS} from '../protocol/ops.js';
import type {CacheOwner} from './api.js';
import {Closes} from './closes.js';
import type {DirtyCache} from './dirty-cache.js';
import {Held, idle, resting} from './held.js';
import {inlineOf} from './inline.js';
import type {Session} from './session.js';
import type {Stats} from './stats.js';
import {Yields} from './yields.js';

/** Leases that are kept of objects that nobody here has open. */
const NO_BYTES = new Uint8Array(0);
const IDLE_MAX = 16_384;
/** The recall time is 10 s; what has not been written back by then goes with an error rather than with the whole session. */
const RECALL_FLUSH_MS: Ms = 8000;

export interface HolderOptions {
  cacheOwner: CacheOwner | null;
  /** Writes back everything dirty of an object; rejects if it cannot. */
  flush(held: Held): Promise<unknown>;
  /** What a lease covered is not believed any more. */
  ended(oid: number): void;
  /** What is dirty of it need not be written. */
  dropped(held: Held): void;
  /** A directory is not held for writing any more. */
  returned(oid: number): void;
  /** The meta server knows everything that was done to the object here. */
  settle(oid: number): Promise<void>;
  /** Is there something of it that the meta server does not know; does it not know the object? */
  unsettled(oid: number): boolean;
  unborn(oid: number): boolean;
  /** Directories that were removed here: claimed until the meta server knows what was done under their leases. */
  removed(): Iterable<number>;
  /** The meta server knows size and times of this client; what it said before is older. */
  told(item: FlushItem): void;
  /** Tells servers which chunks have columns that differ. Never rejects; what they were told is not `torn` any more. */
  doubt(held: Held): Promise<void>;
}

/** Which objects this client may cache and change, and for whom: the client's side of leases (docs, "Leases"). */
export class LeaseHolder {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #session: Session;
  readonly #cache: DirtyCache;
  readonly #options: HolderOptions;
  readonly #stats: Stats;
  readonly #objects = new Map<number, Held>();
  readonly #acquiring = new Map<number, {mode: LeaseMode; done: Promise<void>}>();
  /** Recalls being carried out, with the mode that may stay. */
  readonly #recalls = new Map<number, {keep: LeaseMode; done: Promise<void>}>();
  readonly #yields: Yields;
  #trimming = false;
  readonly closes: Closes;

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    session: Session,
    cache: DirtyCache,
    options: HolderOptions,
    stats: Stats,
  ) {
    this.#env = env;
    this.#session = session;
    this.#cache = cache;
    this.#options = options;
    this.#stats = stats;
    this.#yields = new Yields(env, session);
    this.closes = new Closes(env.clock, session);
  }

  /** What is known of an object, or undefined. */
  peek(oid: number): Held | undefined {
    return this.#objects.get(oid);
  }

  all(): Iterable<Held> {
    return this.#objects.values();
  }

  get(oid: number): Held {
    let held = this.#objects.get(oid);
    if (held === undefined) {
      held = new Held(oid, this.#cache, this.#options.told);
      this.#objects.set(oid, held);
      if (this.#objects.size > IDLE_MAX) this.#trim();
    }
    return held;
  }

  /** To be kept by whoever asks for a grant, and given to `granted`. */
  get ticket(): number {
    return this.#yields.ticket;
  }

  /**
   * Runs an operation that relies on a lease of at least `mode`, which stays until it has ended. Rejects with FsError
   * as the meta server answers the request for the lease.
   */
  async use<T>(oid: number, mode: LeaseMode, run: (held: Held) => Promise<T>): Promise<T> {
    const held = this.get(oid);
    for (;;) {
      if (!this.#session.valid) await this.#session.ready();
      else if (held.gate !== null) await held.gate;
      else if (held.mode >= mode) break;
      else await this.#acquire(held, mode);
    }
    held.users++;
    try {
      return await run(held);
    } finally {
      held.done();
    }
  }

  #acquire(held: Held, mode: LeaseMode): Promise<void> {
    const {oid} = held;
    const pending = this.#acquiring.get(oid);
    if (pending !== undefined) return pending.done;
    const done = this.#request(held, mode).finally(() => this.#acquiring.delete(oid));
    this.#acquiring.set(oid, {mode, done});
    return done;
  }

  async #request(held: Held, mode: LeaseMode): Promise<void> {
    const {oid} = held;
    await this.yielded(oid);
    const {ticket} = this;
    this.#stats.leases++;
    const wanted = held.inline === null;
    const request = {oid, mode, reclaim: false, inline: wanted, directory: false};
    const {message, payload} = await this.#session.call(OPS.lease, request);
    const {attr, layout, inlineBytes} = message;
    const inline = inlineOf(this.#cache.pool, inlineBytes, payload);
    this.granted(oid, message.mode, attr, layout, {ticket, inlineBytes, inline});
  }

  /** Resolves when the meta server has everything that went with yields of the object. */
  yielded(oid: number): Promise<void> {
    return this.#yields.done(oid);
  }

  /**
   * Was the lease of an object given up since `ticket` was taken? Then what the meta server answered in between may
   * lack what came with the yield, which this resolves after; null: no.
   */
  yieldedSince(oid: number, ticket: number): Promise<void> | null {
    return this.#yields.current(oid, ticket) ? null : this.yielded(oid);
  }

  /** The meta server has granted `mode`; void if the lease was yielded since `ticket` was taken. */
  granted(
    oid: number,
    mode: number,
    attr: Attr,
    layout: Layout | null,
    given: {ticket: number; inlineBytes: number; inline: Uint8Array | null; created?: boolean},
  ): Held {
    const {ticket, inlineBytes, inline, created = false} = given;
    const held = this.get(oid);
    if (layout !== null) held.layout = layout;
    const current = this.#yields.current(oid, ticket);
    if (current && mode > held.mode) {
      if (held.mode === LEASE.none || held.inline === null) held.inline = inline;
      held.mode = mode as LeaseMode;
      held.size = held.toldSize = attr.size;
      held.durableSize = -1;
      // Where inline bytes go to the end, columns have nothing that anybody can have seen.
      held.flushedSize = inlineBytes > 0 && attr.size <= inlineBytes ? 0 : attr.size;
      held.known.clear();
      held.fresh = created;
    }
    // Over there it is held now. Were it left, its recall would come while the next request is under way, and void that grant.
    else if (!current && mode > held.mode) this.#yields.add(oid, held.mode, null);
    held.learn(attr);
    return held;
  }

  /** An object that this client has made, and that nobody else knows yet. */
  made(attr: Attr, layout: Layout | null): Held {
    const given = {ticket: this.ticket, inlineBytes: 0, inline: NO_BYTES, created: true};
    return this.granted(attr.oid, LEASE.write, attr, layout, given);
  }

  /** The meta server wants a lease back. */
  recall(oid: number, keep: number): void {
    this.#stats.recalls++;
    const running = this.#recalls.get(oid);
    if (running !== undefined) {
      running.keep = Math.min(running.keep, keep) as LeaseMode;
      return;
    }
    const held = this.#objects.get(oid);
    if (held === undefined || held.mode <= keep) {
      this.#yields.add(oid, held?.mode ?? LEASE.none, null);
      return;
    }
    const recall = {keep: keep as LeaseMode, done: Promise.resolve()};
    this.#recalls.set(oid, recall);
    recall.done = this.#giveUp(held, recall)
      .catch((error: unknown) =>
        this.#env.log.error('recall.failed', {oid, error: messageOf(error)}),
      )
      .finally(() => this.#recalls.delete(oid));
  }

  /**
   * In this order: no new operation; those under way end; what is dirty is written back; the cache owner gives up
   * what it has (it may read and write meanwhile, under the old lease); once more what came by that; then, in one
   * step, the mode changes and the yield leaves.
   */
  async #giveUp(held: Held, recall: {keep: LeaseMode}): Promise<void> {
    const {generation} = this.#session;
    let open = this.#close(held);
    try {
      await held.idle();
      if (held.layout === null) await this.#options.settle(held.oid);
      else await this.#settled(held);
      if (this.#options.cacheOwner !== null) {
        // Under a directory's lease nothing has to be done first, and nothing may be told any more.
        if (held.layout !== null) open();
        // Answers that were computed under the lease reach the cache owner before it is asked to forget.
        await new Promise<void>((resolve) => this.#env.clock.soon(resolve));
        for (let keep = -1; keep !== recall.keep; ) {
          keep = recall.keep;
          await this.#options.cacheOwner.invalidate(held.oid, keep === 0 ? 0 : 1);
        }
        if (held.layout !== null) open = this.#close(held);
        await held.idle();
        if (held.layout !== null) await this.#settled(held);
      }
      if (generation !== this.#session.generation) return;
      // A write that may still arrive must not meet the next holder's: the recall time passes and the fence stops it.
      // Nor may the next holder settle what this one left half written.
      if (held.torn.size > 0) await this.#options.doubt(held);
      if (recall.keep === LEASE.none) await this.tellOpen(held);
      if (generation !== this.#session.generation) return;
      if (this.doubts(held) || held.torn.size > 0) return;
      const news = held.mode === LEASE.write && held.layout !== null ? held.news() : null;
      if (held.layout === null) held.contended(this.#env.clock.now());
      held.mode = recall.keep;
      held.tenure++;
      if (held.layout === null) this.#options.returned(held.oid);
      if (recall.keep === LEASE.none) {
        held.settle.clear();
        held.current = false;
        held.inline = null;
        this.#options.ended(held.oid);
        held.checked.clear();
      }
      this.#yields.add(held.oid, recall.keep, news);
      if (news !== null) held.told(news);
    } finally {
      open();
    }
  }

  /** A directory that was held for writing, and of which nothing is left to be told, is kept for reading. */
  keepForReading(oid: number): void {
    const held = this.#objects.get(oid);
    if (held === undefined || held.mode !== LEASE.write || held.layout !== null) return;
    if (held.gate !== null || this.#recalls.has(oid) || this.#options.unsettled(oid)) return;
    held.mode = LEASE.read;
    held.tenure++;
    this.#options.returned(oid);
    this.#yields.add(oid, LEASE.read, null);
  }

  /** Without the lease the object must be known to be open, or it ends with its last name. */
  async tellOpen(held: Held): Promise<void> {
    if (held.opens === 0 || held.toldOpens > 0) return;
    try {
      await this.#session.call(OPS.open, {oid: held.oid}, {urgent: true});
      held.toldOpens++;
    } catch (error) {
      this.#env.log.info('open.untold', {oid: held.oid, reason: messageOf(error)});
    }
    this.tellCloses(held);
  }

  /** What was told to be open and is not any more. */
  tellCloses(held: Held): void {
    for (; held.toldOpens > held.opens; held.toldOpens--) this.closes.add(held.oid);
  }

  /** New operations wait until what is returned is called. */
  #close(held: Held): () => void {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = () => {
        if (held.gate === gate) held.gate = null;
        resolve();
      };
    });
    held.gate = gate;
    return open;
  }

  /** A new epoch is one that all data servers obey: they refuse what was sent under an older one. */
  doubts(held: Held): boolean {
    return held.doubtful >= this.#session.map.epoch;
  }

  /** Written back, or noted as lost: a lease is given up in time either way. */
  async #settled(held: Held): Promise<void> {
    if (!held.unwritten) return;
    const flush = this.#options.flush(held).then(
      () => null,
      (error: unknown) => error,
    );
    const late = this.#env.clock.timer(RECALL_FLUSH_MS, () => {
      held.revoked = true;
    });
    const error = await flush;
    late.cancel();
    held.revoked = false;
    if (error === null && !held.unwritten) return;
    const reason = error === null ? 'dirty again' : messageOf(error);
    this.#env.log.error('data.lost', {oid: held.oid, bytes: held.dirty.bytes, reason});
    held.error ??= error instanceof FsError ? error : new FsError('EIO', reason);
    held.giveUp();
  }

  /** What was asked for until now about this object is not to be believed. */
  outdate(oid: number): void {
    this.#yields.outdate(oid);
  }

  /**
   * What another client's getattr wants to know; at once, from what is here. Where nothing of it is going to change here, the write lease
   * becomes one for reading: else others would have to ask each time.
   */
  report(oid: number): FlushItem | null {
    const held = this.#objects.get(oid);
    if (held === undefined || held.mode !== LEASE.write || held.layout === null) return null;
    if (!idle(held) || this.#recalls.has(oid)) return held.report();
    held.mode = LEASE.read;
    held.tenure++;
    this.#yields.add(oid, LEASE.read, null);
    return null;
  }

  /**
   * The object is about to lose a name. If nothing is under way of it, and nothing is left to be written back (which a recall would do at any time),
   * nothing begins until `end`, which says whether it is gone, and its lease with it.
   */
  lend(oid: number): {idle: boolean; end(gone: boolean): void} {
    const held = this.#objects.get(oid);
    if (held === undefined) return {idle: true, end: () => {}};
    if (!resting(held) || held.unwritten || this.#recalls.has(oid))
      return {idle: false, end: () => {}};
    const open = this.#close(held);
    const end = (gone: boolean): void => {
      if (gone) {
        this.outdate(oid);
        this.drop(held);
      }
      open();
    };
    return {idle: true, end};
  }

  /**
   * The object has lost its last name, and the meta server is going to be told. True: its lease goes with that; it is not in use,
   * and what has not been written of it nobody else can know of.
   */
  giveAway(oid: number): boolean {
    const held = this.#objects.get(oid);
    if (held === undefined) return true;
    const unknown = this.#options.unborn(oid);
    const writes = held.dirty.flushing.count > 0 || held.syncing !== null;
    if (!resting(held) || writes || this.#recalls.has(oid)) return false;
    if (held.unwritten && !unknown) return false;
    this.outdate(oid);
    this.drop(held);
    this.#options.dropped(held);
    return true;
  }

  /**
   * Leases of directories are not claimed after a reconnect, but where something is still to be told: what they cover is asked for anew, and an older state of the
   * meta server (after a power cut) cannot hide behind them.
   */
  async returning(): Promise<void> {
    for (const held of this.#objects.values()) {
      if (held.layout !== null || held.mode === LEASE.none) continue;
      // What was done under it is still to be told, and nobody may come in between.
      if (held.mode === LEASE.write && this.#options.unsettled(held.oid))
        this.#options.returned(held.oid);
      else {
        held.mode = LEASE.none;
        held.attr = null;
      }
      held.current = false;
      this.outdate(held.oid);
      this.#options.ended(held.oid);
    }
    await this.#options.cacheOwner?.voidNames();
  }

  holdings(): ReclaimRequest {
    const request: ReclaimRequest = {oids: [], modes: [], opens: [], yielding: []};
    const add = (oid: number, mode: LeaseMode, opens: number): void => {
      const yielding = this.#yields.sized(oid);
      if (mode === LEASE.none && opens === 0 && !yielding) return;
      request.oids.push(oid);
      request.modes.push(mode);
      request.opens.push(opens);
      request.yielding.push(yielding);
    };
    for (const held of this.#objects.values()) {
      if (this.#options.unborn(held.oid)) continue;
      held.toldOpens = held.opens;
      add(held.oid, held.mode, held.opens);
    }
    for (const oid of this.#options.removed()) add(oid, LEASE.write, 0);
    for (const oid of this.#yields.oids) if (!this.#objects.has(oid)) add(oid, LEASE.none, 0);
    this.closes.said();
    return request;
  }

  /** Sizes that were told and not synced may have gone with the meta server's machine: they are told again some time. */
  restarted(): void {
    for (const held of this.#objects.values()) if (held.mode === LEASE.write) held.untold();
  }

  /** A power cut of the meta server's machine took these back: no bytes of them may be written any more. */
  gone(oids: readonly number[]): void {
    for (const oid of oids) {
      const held = this.#objects.get(oid);
      if (held === undefined) continue;
      held.gone = true;
      if (held.opens > 0) held.error ??= new FsError('ESTALE', `object ${oid} is gone`);
      this.drop(held);
    }
  }

  /** The session is gone. What was dirty is lost, and said so at the next fsync or close. */
  lost(): void {
    for (const held of this.#objects.values()) {
      if (held.unwritten || held.unsynced.size > 0) {
        const {oid} = held;
        this.#env.log.error('data.lost', {oid, bytes: held.dirty.bytes, reason: 'session lost'});
        held.error ??= new FsError('EIO', 'the session was lost before this was written back');
      }
      held.forget();
      this.#options.ended(held.oid);
    }
    // They end with an error: the next session owes nothing.
    this.#yields.lost();
    this.#options.cacheOwner?.fenced();
  }

  /** Gives everything back. Dirty data must have been flushed before. */
  async yieldAll(): Promise<void> {
    for (const held of this.#objects.values())
      if (held.mode !== LEASE.none) this.recall(held.oid, LEASE.none);
    await Promise.all([...this.#recalls.values()].map((recall) => recall.done));
    await this.#yields.allDone();
  }

  /** The object is gone for everybody. */
  drop(held: Held): void {
    held.forget();
    this.#options.ended(held.oid);
    if (held.users === 0 && held.opens === 0) this.#objects.delete(held.oid);
  }

  /** Gives up leases of idle objects, oldest first. */
  #trim(): void {
    // Those of the last time take a moment to go.
    if (this.#trimming) return;
    this.#trimming = true;
    const going: Promise<void>[] = [];
    this.#trimSome(going);
    void Promise.allSettled(going).then(() => {
      this.#trimming = false;
    });
  }

  #trimSome(going: Promise<void>[]): void {
    let excess = this.#objects.size - Math.floor(IDLE_MAX * 0.9);
    for (const held of this.#objects.values()) {
      if (excess <= 0) return;
      if (held.users > 0 || held.opens > 0 || held.unwritten || held.error !== null) continue;
      if (held.unsynced.size > 0 || this.#acquiring.has(held.oid)) continue;
      excess--;
      if (held.mode === LEASE.none) this.#objects.delete(held.oid);
      else {
        this.recall(held.oid, LEASE.none);
        going.push(this.#recalls.get(held.oid)?.done ?? Promise.resolve());
      }
    }
  }
}
