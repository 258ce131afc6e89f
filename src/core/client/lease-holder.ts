import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import {
  type ByteRange,
  EVERYTHING,
  isEverything,
  isWhole,
  NOTHING,
  plus,
  type Ranges,
  WHOLE,
  without,
} from '../lease/ranges.js';
import type {Attr, FlushItem, Layout, ReadCopy, ReclaimRequest} from '../protocol/gen/wire.js';
import {LEASE, type LeaseMode, OPS} from '../protocol/ops.js';
import {Closes} from './closes.js';
import {COLUMN_WAIT_MS} from './column-io.js';
import type {DirtyCache} from './dirty-cache.js';
import {Held} from './held.js';
import type {HolderOptions} from './holder-options.js';
import {inlineOf} from './inline.js';
import {laid} from './laid.js';
import {patiently} from './patience.js';
import {setCopies} from './read-copies.js';
import {Recalls} from './recalls.js';
import {idle, resting} from './resting.js';
import type {Session} from './session.js';
import type {Stats} from './stats.js';
import {Yields} from './yields.js';

/** Leases that are kept of objects that nobody here has open. */
const NO_BYTES = new Uint8Array(0);
const IDLE_MAX = 16_384;
/** Parts of one object that are held; with more of them all are given back. */
const PARTS_MAX = 512;

/** What comes with a grant. `ticket`: of the request; `parts`: what is held for writing, if it is not the whole. */
interface Grant {
  ticket: number;
  inlineBytes: number;
  inline: Uint8Array | null;
  created?: boolean;
  parts?: Ranges;
  /** As in Held. */
  overlong?: boolean;
  copies?: readonly ReadCopy[];
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
  readonly #recalls: Recalls;
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
    this.#recalls = new Recalls(env, session, this.#yields, this, options, stats);
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

  /** An object whose lease is held in `mode` as a whole, and can be relied on at this moment. */
  atHand(oid: number, mode: LeaseMode): Held | null {
    const held = this.#objects.get(oid);
    const usable = held !== undefined && held.mode >= mode && held.gate === null;
    return usable && this.#session.valid ? held : null;
  }

  /**
   * Runs an operation that relies on a lease of at least `mode` of `range`, which stays until it has ended. Rejects with FsError
   * as the meta server answers the request for the lease. `asIs`: it writes nothing, or sees to what may be beyond the size itself.
   */
  async use<T>(
    oid: number,
    mode: LeaseMode,
    run: (held: Held) => Promise<T>,
    range: ByteRange = EVERYTHING,
    asIs = false,
  ): Promise<T> {
    const held = this.get(oid);
    let needed = range;
    let until: Ms | null = null;
    for (;;) {
      if (!this.#session.valid) await this.#session.ready();
      else if (held.gate !== null) await held.gate;
      else if (!held.covers(mode, needed)) await this.#acquire(held, mode, needed);
      else if (asIs || mode !== LEASE.write || !held.cutFirst(range)) break;
      // Nobody cuts an object of which others hold parts.
      else if (held.split) needed = EVERYTHING;
      else {
        // So long servers may be away; waiting for the lease, or for the meta server, does not count.
        until ??= this.#env.clock.now() + COLUMN_WAIT_MS;
        held.users++;
        try {
          await this.#options.cut(held, until);
          // Who wants the lease would be told the same, and want it back before long: so what has waited for the cut happens first.
          const ready = this.#session.valid && held.covers(mode, needed);
          if (ready && !held.cutFirst(range)) return await run(held);
        } finally {
          held.done();
        }
        continue;
      }
      until = null;
    }
    held.users++;
    try {
      return await run(held);
    } finally {
      held.done();
    }
  }

  #acquire(held: Held, mode: LeaseMode, range: ByteRange): Promise<void> {
    const {oid} = held;
    const pending = this.#acquiring.get(oid);
    if (pending !== undefined) return pending.done;
    // Who holds parts of it for writing gets another part, whatever for.
    const done = this.#request(held, held.split ? LEASE.write : mode, range).finally(() =>
      this.#acquiring.delete(oid),
    );
    this.#acquiring.set(oid, {mode, done});
    return done;
  }

  async #request(held: Held, mode: LeaseMode, wanted: ByteRange): Promise<void> {
    const {oid} = held;
    await this.yielded(oid);
    const {ticket} = this;
    this.#stats.leases++;
    const range = mode === LEASE.write && !isEverything(wanted) ? wanted : null;
    const ahead = held.split && range !== null ? [...held.stride.after(range)] : [];
    const request = {oid, mode, reclaim: false, directory: false, range, ahead};
    const inlined = {inline: held.inline === null};
    const ask = () => this.#session.call(OPS.lease, {...request, ...inlined});
    const {message, payload} = await patiently(this.#env.clock, this.#options.tooFewWaitMs, ask);
    const {attr, layout, inlineBytes, parts, overlong, copies} = message;
    const inline = inlineOf(this.#cache.pool, inlineBytes, payload);
    const given = {ticket, inlineBytes, inline, parts, overlong, copies};
    this.granted(oid, message.mode, attr, layout, given);
  }

  /** Resolves when the meta server has everything that went with yields of the object. */
  yielded(oid: number): Promise<void> {
    return this.#yields.done(oid);
  }

  /**
   * Was the lease of an object given up since `ticket` was taken, or is a yield with its size still without an answer? Then what the meta server
   * answered in between may lack what came with the yield, which this resolves after; null: no.
   */
  yieldedSince(oid: number, ticket: number): Promise<void> | null {
    const told = this.#yields.current(oid, ticket) && !this.#yields.sized(oid);
    return told ? null : this.yielded(oid);
  }

  /** The meta server has granted `mode`; void if the lease was yielded since `ticket` was taken. */
  granted(oid: number, mode: number, attr: Attr, layout: Layout | null, given: Grant): Held {
    const {ticket, parts = NOTHING} = given;
    const held = this.get(oid);
    if (layout !== null) laid(held, layout);
    if (parts.length > 0 || (held.split && mode === LEASE.write))
      this.#grantedParts(held, attr, given);
    else if (!held.split && mode > held.mode) {
      if (this.#yields.current(oid, ticket)) {
        this.#begun(held, attr, given);
        held.mode = mode as LeaseMode;
        setCopies(held, given.copies ?? []);
        this.#env.log.debug('lease.granted', {oid, mode});
      }
      // Over there it is held now. Were it left, its recall would come while the next request is under way, and void that grant.
      else this.#yields.add(oid, held.mode, null);
    }
    held.learn(attr);
    return held;
  }

  #begun(held: Held, attr: Attr, given: Grant): void {
    held.begun(attr, given);
    held.alike = given.overlong === false || given.created ? this.#session.map.epoch : -1;
  }

  /** What is new of a part, or of everything, to who holds parts already; of that, what was not given up meanwhile. */
  #grantedParts(held: Held, attr: Attr, given: Grant): void {
    const {oid} = held;
    const {ticket, parts = NOTHING, overlong = false} = given;
    const before = held.parts;
    if (before.length === 0) this.#begun(held, attr, given);
    else held.regrown(attr, overlong);
    const all = parts.length === 0 ? WHOLE : parts.reduce(plus, NOTHING);
    const added = without(all, before);
    // To who holds parts already it does not matter whether attributes are known better since.
    const valid = before.length > 0 || this.#yields.current(oid, ticket);
    const kept = added.filter((range) => valid && this.#yields.kept(oid, ticket, range));
    held.parts = kept.reduce(plus, held.parts);
    if (kept.length < added.length) this.#yields.add(oid, LEASE.none, null, without(added, kept));
    if (isWhole(held.parts)) {
      held.mode = LEASE.write;
      held.parts = NOTHING;
    }
    this.#env.log.debug('lease.granted', {oid, mode: held.mode, parts: held.parts.length});
    if (held.parts.length > PARTS_MAX) this.recall(oid, LEASE.none);
  }

  /** An object that this client has made, and that nobody else knows yet. */
  made(attr: Attr, layout: Layout | null): Held {
    const given = {ticket: this.ticket, inlineBytes: 0, inline: NO_BYTES, created: true};
    return this.granted(attr.oid, LEASE.write, attr, layout, given);
  }

  /** Where the object's chunks are once more. What is granted and not known here yet is told with the lease. */
  copied(oid: number, copies: readonly ReadCopy[]): void {
    const held = this.#objects.get(oid);
    if (held?.mode === LEASE.read) setCopies(held, copies);
  }

  /** The meta server wants a lease back, or that of a range. */
  recall(oid: number, keep: number, range: ByteRange = EVERYTHING): void {
    this.#recalls.recall(oid, keep as LeaseMode, range);
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

  /** A new epoch is one that all data servers obey: they refuse what was sent under an older one. */
  doubts(held: Held): boolean {
    return held.doubtful >= this.#session.map.epoch;
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
    if (held === undefined || !held.writes || held.layout === null) return null;
    if (!idle(held) || this.#recalls.has(oid)) return held.report();
    if (held.split) {
      const last = held.report();
      this.recall(oid, LEASE.none);
      return last;
    }
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
    const open = held.close();
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
    const request: ReclaimRequest = {oids: [], modes: [], opens: [], yielding: [], ranges: []};
    const add = (oid: number, mode: LeaseMode, opens: number): void => {
      const yielding = this.#yields.sized(oid);
      if (mode === LEASE.none && opens === 0 && !yielding) return;
      request.oids.push(oid);
      request.modes.push(mode);
      request.opens.push(opens);
      request.yielding.push(yielding);
    };
    for (const held of this.#objects.values()) {
      if (this.#options.unsent(held.oid)) continue;
      held.toldOpens = held.opens;
      add(held.oid, held.split ? LEASE.write : held.mode, held.opens);
      if (held.split) request.ranges.push({oid: held.oid, ranges: [...held.parts]});
    }
    for (const oid of this.#options.removed()) add(oid, LEASE.write, 0);
    for (const oid of this.#yields.oids) if (!this.#objects.has(oid)) add(oid, LEASE.none, 0);
    this.closes.said();
    return request;
  }

  /** Sizes that were told and not synced may have gone with the meta server's machine: they are told again some time. */
  restarted(): void {
    for (const held of this.#objects.values()) if (held.writes) held.untold();
    this.#recalls.restarted();
  }

  /** A power cut of the meta server's machine took these back: no bytes of them may be written any more. */
  gone(oids: readonly number[]): void {
    for (const oid of oids) {
      const held = this.#objects.get(oid);
      if (held === undefined || this.#options.unborn(oid)) continue;
      held.gone = true;
      if (held.opens > 0) held.error ??= new FsError('ESTALE', `object ${oid} is gone`);
      this.drop(held);
    }
  }

  /** The session is gone. What was dirty is lost, and said so at the next fsync or close. */
  lost(): void {
    for (const held of this.#objects.values()) {
      if (held.unwritten || held.unsafe) {
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
      if (held.mode !== LEASE.none || held.split) this.recall(held.oid, LEASE.none);
    await this.#recalls.allDone();
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
      if (held.unsafe || this.#acquiring.has(held.oid)) continue;
      excess--;
      if (held.mode === LEASE.none && !held.split) this.#objects.delete(held.oid);
      else {
        this.recall(held.oid, LEASE.none);
        going.push(this.#recalls.done(held.oid));
      }
    }
  }
}
