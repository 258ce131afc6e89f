import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {MIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import {stripeBytes} from '../layout/stripe.js';
import {type ByteRange, EVERYTHING} from '../lease/ranges.js';
import type {AttrReply} from '../protocol/gen/wire.js';
import type {BytePath} from './columns.js';
import type {DirtyCache} from './dirty-cache.js';
import type {ExtentList} from './extents.js';
import type {Held} from './held.js';
import {
  asFsError,
  beginMove,
  compose,
  fitsInline,
  inlineNews,
  loadInline,
  type News,
} from './inline.js';
import type {Journal} from './journal.js';
import {MetaTeller} from './meta-teller.js';
import {RECENT_BYTES_MAX, type RecentBlocks, type Written} from './recent-blocks.js';
import type {Session} from './session.js';
import {writeStripes} from './stripe-writer.js';
import {LostWrites} from './syncer.js';
import {writeTarget} from './target.js';
import {Window} from './window.js';

/** Dirty data is not kept longer than this without trying to write it. */
const AGE_MS: Ms = 1000;
const TICK_MS: Ms = 250;
/** A flush that failed is tried again in the background after so long. */
const RETRY_MS: Ms = 5000;
/** An object with so much dirty data begins to be written, so that a stream keeps the servers busy. */
const STREAM_BYTES = 8 * MIB;
/** Objects whose columns are written at the same time in the background; and those whose bytes go with their inodes. */
const PARALLEL_MAX = 32;
const PARALLEL_INLINE_MAX = 512;
/** All bytes that are under way to columns at once, redundancy included. */
const WINDOW_BYTES_MAX = 32 * MIB;
const ITEMS_MAX = 256;

/** What is on stable storage after a flush: nothing need be, all, or all but times. */
export type Durable = boolean | 'bytes';

export interface FlusherOptions {
  /** Files up to this size are kept with their inodes; 0: none. */
  inlineBytesMax: number;
  journal: Journal;
  /** Columns were written: they are to be synced some time. */
  planSync(): void;
  /** As Syncer.sync. */
  sync(held: Held, losses: number): Promise<void>;
  /** Columns of the chunk (bits) were synced with the write that has just ended. */
  synced(held: Held, chunk: number, columns: number): void;
  recent(): RecentBlocks;
}

/** Writes dirty data back: when it is old, when there is much of it, when asked. */
export class Flusher {
  readonly #path: BytePath;
  readonly #session: Session;
  readonly #cache: DirtyCache;
  readonly window: Window;
  /** When a flush was last refused for want of space. */
  fullAt: Ms = Number.NEGATIVE_INFINITY;
  readonly #dirty = new Set<Held>();
  #timer: Timer | null = null;
  #running = 0;
  #runningInline = 0;
  /** More was to be flushed than may run at once. */
  #backlog = false;
  #news = new Set<Held>();
  #newsPlanned = false;
  /** Of which times are to be told soon. */
  readonly #times = new Set<Held>();
  #timesTimer: Timer | null = null;
  #closed = false;
  readonly #meta: MetaTeller;
  readonly #inlineMax: number;
  readonly #options: FlusherOptions;

  constructor(path: BytePath, session: Session, cache: DirtyCache, options: FlusherOptions) {
    this.#options = options;
    this.#inlineMax = options.inlineBytesMax;
    this.#meta = new MetaTeller(path, session, cache.inline, options.journal);
    this.#path = path;
    this.#session = session;
    this.#cache = cache;
    this.window = new Window(Math.min(WINDOW_BYTES_MAX, path.pool.memory.byteLength / 8));
  }

  /** What the meta server made of what it was told. */
  set onTold(onTold: (attrs: readonly AttrReply[]) => void) {
    this.#meta.onTold = onTold;
  }

  set onRefused(onRefused: (oids: readonly number[]) => void) {
    this.#meta.onRefused = onRefused;
  }

  /** Changes were made that the meta server is to be told. */
  planNames(): void {
    this.#meta.plan();
  }

  /** The meta server knows all changes that were made before. Rejects with FsError EIO if the session was lost. */
  async tellNames(): Promise<void> {
    if (!this.#options.journal.empty) await this.#meta.call([], false);
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  /** Something was written into the object's dirty cache. */
  wrote(held: Held): void {
    if (!this.#dirty.has(held)) {
      this.#dirty.add(held);
      held.dirtySince = this.#path.clock.now();
      this.#plan();
    }
    if (held.dirty.dirty.bytes >= STREAM_BYTES && held.dirty.flushing.count === 0) {
      // The stripe that is being filled stays: it would be written twice.
      this.#background(held, true);
    }
  }

  /** There is no room: writes back whatever there is, without waiting. */
  press(): void {
    for (const held of this.#dirty) {
      if (!this.#cache.pressed || !this.#background(held, false)) break;
    }
    this.#cache.sealArena();
  }

  /**
   * Everything that is dirty now is on the data servers, or with the meta server, when this resolves. `durable`: what
   * goes to the meta server is on stable storage then; false: nothing went there, or before a restart of it. `bytes`: times may follow later.
   * `range`: no more than what is in it need be there.
   */
  flush(held: Held, durable: Durable = false, range: ByteRange = EVERYTHING): Promise<boolean> {
    return held.exclusive(() => this.#inside(held, durable, range));
  }

  /** The same for a caller that runs inside `held.exclusive`. Up to byte `to`. */
  async flushInside(held: Held, to: number, path = this.#path): Promise<void> {
    await this.#inside(held, false, {from: 0, to}, path);
  }

  async #inside(
    held: Held,
    durable: Durable,
    range: ByteRange,
    path = this.#path,
  ): Promise<boolean> {
    const idle = (): boolean =>
      held.layout === null ||
      (held.dirty.dirty.count + held.pending.length === 0 && !held.inlineNews && !held.moving);
    if (idle()) return false;
    held.dirtySince = this.#path.clock.now();
    try {
      if (held.inline === null) await loadInline(this.#session, path, held);
      if (idle()) return false;
      if (fitsInline(held, this.#inlineMax))
        return await this.#flushInline(held, durable !== false);
      const moves = held.moving || held.inlineBytes > 0;
      const {losses} = held;
      if (moves) await beginMove(path, held);
      const told = await this.#flushColumns(held, moves ? EVERYTHING : range, path, durable);
      if (moves) await this.#endMove(held, losses);
      else if (held.inlineNews) await this.tell([held], false);
      else return told;
      return false;
    } catch (error) {
      const reason = asFsError(error);
      if (reason.errno === 'ENOSPC') this.fullAt = this.#path.clock.now();
      throw reason;
    } finally {
      if (held.unwritten) this.#plan();
      else this.#dirty.delete(held);
    }
  }

  async #flushInline(held: Held, durable: boolean): Promise<boolean> {
    const {boot} = this.#session;
    const {dirty} = held;
    dirty.take();
    const bytes = compose(this.#path, held);
    try {
      if (held.revoked) throw new FsError('EIO', 'the lease was recalled');
      await this.#meta.send(inlineNews(held, bytes), durable);
    } catch (error) {
      dirty.failed();
      throw error;
    }
    held.inline = bytes;
    dirty.flushed(0, Number.POSITIVE_INFINITY);
    held.retryAt = 0;
    return durable && boot === this.#session.boot;
  }

  /** Is what the meta server was told meanwhile on stable storage? Asked for by `durable`. */
  async #flushColumns(
    held: Held,
    {from, to}: ByteRange,
    path: BytePath,
    durable: Durable,
  ): Promise<boolean> {
    const {dirty} = held;
    const {boot} = this.#session;
    // A column of an object that the meta server does not know would be taken for one that was removed.
    if (this.#options.journal.unborn(held.oid)) await this.tellNames();
    dirty.take(to, from);
    const {end} = dirty.flushing;
    // A size that is told before the bytes come can only show zeros; bytes beyond a told size would be in the way
    // of whoever writes there after this client has died.
    const told = durable === true ? this.tell([held], true) : null;
    // Whoever rejects first is the answer.
    if (told !== null) told.catch(() => {});
    else if (durable === 'bytes' && end <= held.durableSize) this.#announceLater(held);
    else this.announce(held);
    try {
      const recent = this.#options.recent();
      const few = dirty.flushing.bytes <= RECENT_BYTES_MAX && !held.split;
      const target = writeTarget(held, held.layout!, {
        recent: held.split ? null : recent,
        synced: durable !== false ? (...a) => this.#options.synced(held, ...a) : null,
      });
      await writeStripes(path, this.window, target, dirty.flushing, (start, until) => {
        // Reads find these bytes in the columns from here on.
        held.flushedSize = Math.max(held.flushedSize, Math.min(until, end));
        recent.wrote(held.oid, extentsOf(dirty.flushing, start, until), few);
        dirty.flushed(start, until);
      });
      held.retryAt = 0;
      if (dirty.bytes + held.pending.length === 0) held.finished();
      if (told === null) return false;
      await told;
      return boot === this.#session.boot;
    } catch (error) {
      dirty.failed();
      this.#options.recent().forget(held.oid);
      throw error;
    } finally {
      held.flushedSize = Math.max(held.flushedSize, end);
      this.#options.planSync();
    }
  }

  /**
   * What were inline bytes is in columns. They hide those from others until the meta server drops them, and it must not before
   * they are safe there. If servers have lost them, what it has is the newest that there is.
   */
  async #endMove(held: Held, losses: number): Promise<void> {
    try {
      await this.#options.sync(held, losses);
    } catch (error) {
      if (error instanceof LostWrites) {
        held.moving = false;
        held.inline = null;
      }
      throw error;
    }
    held.moving = false;
    held.inlineNews = true;
    await this.tell([held], false);
  }

  /** Dirty data that was given up. */
  forget(held: Held): void {
    if (!held.unwritten) this.#dirty.delete(held);
  }

  /** False: too many run. */
  #background(held: Held, wholeStripes: boolean): boolean {
    if (held.doomed || held.layout === null || held.retryAt > this.#path.clock.now()) return true;
    if (held.dirty.flushing.count > 0) return true;
    const small = fitsInline(held, this.#inlineMax);
    if (small ? this.#runningInline >= PARALLEL_INLINE_MAX : this.#running >= PARALLEL_MAX) {
      this.#backlog = true;
      return false;
    }
    let to = Number.POSITIVE_INFINITY;
    if (wholeStripes) {
      const stripe = stripeBytes(held.layout);
      to = Math.floor(held.dirty.dirty.end / stripe) * stripe;
      if (to <= held.dirty.dirty.start) to = Number.POSITIVE_INFINITY;
    }
    if (small) this.#runningInline++;
    else this.#running++;
    held
      .exclusive(() => this.flushInside(held, to))
      .catch((error: unknown) => {
        held.error ??= error as FsError;
        held.retryAt = this.#path.clock.now() + RETRY_MS;
        this.#path.log.error('flush.failed', {oid: held.oid, error: messageOf(error)});
      })
      .finally(() => {
        if (small) this.#runningInline--;
        else this.#running--;
        if (this.#cache.pressed) this.press();
        else if (this.#backlog) this.#goOn();
      });
    return true;
  }

  /** Not at each end of one: they are looked for among all that are dirty. */
  #goOn(): void {
    if (this.#closed || this.#running > PARALLEL_MAX / 2) return;
    if (this.#runningInline > PARALLEL_INLINE_MAX / 2) return;
    this.#backlog = false;
    this.#timer?.cancel();
    this.#tick();
  }

  #plan(): void {
    if (this.#closed || this.#timer !== null || this.#dirty.size === 0) return;
    this.#timer = this.#path.clock.timer(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    this.#timer = null;
    const old = this.#path.clock.now() - AGE_MS;
    for (const held of this.#dirty) {
      if (!held.unwritten) this.#dirty.delete(held);
      else if (held.dirtySince <= old && !this.#background(held, false)) break;
    }
    if (this.#dirty.size === 0) this.#cache.sealArena();
    this.#plan();
  }

  /** Tells the meta server size and times soon, with those of others. */
  announce(held: Held): void {
    if (held.news() === null) return;
    this.#news.add(held);
    if (this.#newsPlanned) return;
    this.#newsPlanned = true;
    this.#path.clock.soon(() => {
      this.#newsPlanned = false;
      const all = [...this.#news];
      this.#news.clear();
      for (let at = 0; at < all.length; at += ITEMS_MAX) {
        this.tell(all.slice(at, at + ITEMS_MAX), false).catch((error: unknown) =>
          this.#path.log.info('size.unsent', {reason: messageOf(error)}),
        );
      }
    });
  }

  /** The same within a second: nothing but times is new. */
  #announceLater(held: Held): void {
    this.#times.add(held);
    this.#timesTimer ??= this.#path.clock.timer(AGE_MS, () => {
      this.#timesTimer = null;
      for (const one of this.#times) this.announce(one);
      this.#times.clear();
    });
  }

  /** Tells the meta server size and times now; `durable`: they, and all names, are on stable storage then. */
  async tell(helds: readonly Held[], durable: boolean): Promise<void> {
    const told: News[] = [];
    for (const held of helds) {
      const item = held.writes ? held.news() : null;
      if (item === null) continue;
      told.push(held.tellsInline ? inlineNews(held, held.inline!) : {held, item, inline: null});
    }
    if (told.length === 0 && !durable) return;
    const {boot} = this.#session;
    const before = helds.map((held) => ({held, size: held.toldSize}));
    await this.#meta.call(told, durable);
    // What had been told before may have been lost with it before this made it durable.
    if (durable && boot !== this.#session.boot) await this.tell(helds, durable);
    else if (durable) {
      for (const {held, size} of before) held.madeDurable(size);
      for (const {held, item} of told) held.madeDurable(item.size);
    }
  }

  /** Everything dirty; rejects with the first failure after all have ended. */
  async flushAll(): Promise<void> {
    const results = await Promise.allSettled([...this.#dirty].map((held) => this.flush(held)));
    const failed = results.find((result) => result.status === 'rejected');
    this.#cache.sealArena();
    if (failed !== undefined) throw failed.reason;
  }

  close(): void {
    this.#closed = true;
    this.#meta.close();
    this.#timer?.cancel();
    this.#timer = null;
    this.#timesTimer?.cancel();
    this.#cache.sealArena();
  }
}

function extentsOf(list: ExtentList, from: number, to: number): Written[] {
  const found: Written[] = [];
  list.visit(from, to, (offset, length, memory) => found.push({offset, length, memory}));
  return found;
}
