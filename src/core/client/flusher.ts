import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {MIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import {stripeBytes} from '../layout/stripe.js';
import type {AttrReply, FlushItem} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {DirtyCache} from './dirty-cache.js';
import type {Held} from './held.js';
import type {Session} from './session.js';
import {writeStripes} from './stripe-writer.js';
import {writeTarget} from './target.js';
import {Window} from './window.js';

/** Dirty data is not kept longer than this without trying to write it. */
const AGE_MS: Ms = 1000;
const TICK_MS: Ms = 250;
/** A flush that failed is tried again in the background after so long. */
const RETRY_MS: Ms = 5000;
/** An object with so much dirty data begins to be written, so that a stream keeps the servers busy. */
const STREAM_BYTES = 8 * MIB;
/** Objects that are flushed at the same time in the background. */
const PARALLEL_MAX = 32;
/** All bytes that are under way to columns at once, redundancy included. */
const WINDOW_BYTES_MAX = 32 * MIB;
const ITEMS_MAX = 256;

/** Writes dirty data back: when it is old, when there is much of it, when asked. */
export class Flusher {
  readonly #path: BytePath;
  readonly #session: Session;
  readonly #cache: DirtyCache;
  readonly window: Window;
  readonly #dirty = new Set<Held>();
  #timer: Timer | null = null;
  #running = 0;
  #news = new Set<Held>();
  #newsPlanned = false;
  #closed = false;
  /** What the meta server made of what it was told. */
  onTold: (attrs: readonly AttrReply[]) => void = () => {};

  constructor(path: BytePath, session: Session, cache: DirtyCache) {
    this.#path = path;
    this.#session = session;
    this.#cache = cache;
    this.window = new Window(Math.min(WINDOW_BYTES_MAX, path.pool.memory.byteLength / 8));
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
      if (!this.#cache.pressed || this.#running >= PARALLEL_MAX) break;
      this.#background(held, false);
    }
    this.#cache.sealArena();
  }

  /** Everything that is dirty now is on the data servers when this resolves. */
  flush(held: Held): Promise<void> {
    return held.exclusive(() => this.flushInside(held, Number.POSITIVE_INFINITY));
  }

  /** The same for a caller that runs inside `held.exclusive`. Up to byte `to`. */
  async flushInside(held: Held, to: number, path = this.#path): Promise<void> {
    const {dirty, layout} = held;
    if (dirty.dirty.count === 0 || layout === null) return;
    held.dirtySince = this.#path.clock.now();
    dirty.take(to);
    const {end} = dirty.flushing;
    // A size that is told before the bytes come can only show zeros; bytes beyond a told size would be in the way
    // of whoever writes there after this client has died.
    this.announce(held);
    try {
      const target = writeTarget(held, layout);
      await writeStripes(path, this.window, target, dirty.flushing, (from, until) => {
        // Reads find these bytes in the columns from here on.
        held.flushedSize = Math.max(held.flushedSize, Math.min(until, end));
        dirty.flushed(from, until);
      });
      held.retryAt = 0;
      if (dirty.bytes === 0) held.unfinished.clear();
    } catch (error) {
      dirty.failed();
      throw error instanceof FsError ? error : new FsError('EIO', messageOf(error));
    } finally {
      held.flushedSize = Math.max(held.flushedSize, end);
      if (dirty.bytes === 0) this.#dirty.delete(held);
      else this.#plan();
    }
  }

  /** Dirty data that was given up. */
  forget(held: Held): void {
    if (held.dirty.bytes === 0) this.#dirty.delete(held);
  }

  #background(held: Held, wholeStripes: boolean): void {
    if (held.doomed || held.layout === null || held.retryAt > this.#path.clock.now()) return;
    if (held.dirty.flushing.count > 0) return;
    let to = Number.POSITIVE_INFINITY;
    if (wholeStripes) {
      const stripe = stripeBytes(held.layout);
      to = Math.floor(held.dirty.dirty.end / stripe) * stripe;
      if (to <= held.dirty.dirty.start) to = Number.POSITIVE_INFINITY;
    }
    this.#running++;
    held
      .exclusive(() => this.flushInside(held, to))
      .catch((error: unknown) => {
        held.error ??= error as FsError;
        held.retryAt = this.#path.clock.now() + RETRY_MS;
        this.#path.log.error('flush.failed', {oid: held.oid, error: messageOf(error)});
      })
      .finally(() => {
        this.#running--;
        if (this.#cache.pressed) this.press();
      });
  }

  #plan(): void {
    if (this.#closed || this.#timer !== null || this.#dirty.size === 0) return;
    this.#timer = this.#path.clock.timer(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    this.#timer = null;
    const old = this.#path.clock.now() - AGE_MS;
    for (const held of this.#dirty) {
      if (this.#running >= PARALLEL_MAX) break;
      if (held.dirty.bytes === 0) this.#dirty.delete(held);
      else if (held.dirtySince <= old) this.#background(held, false);
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

  /** Tells the meta server size and times now; `durable`: they, and all names, are on stable storage then. */
  async tell(helds: readonly Held[], durable: boolean): Promise<void> {
    const told: {held: Held; item: FlushItem}[] = [];
    for (const held of helds) {
      const item = held.mode === 2 ? held.news() : null;
      if (item !== null) told.push({held, item});
    }
    if (told.length === 0 && !durable) return;
    const {generation, boot} = this.#session;
    const items = told.map(({item}) => item);
    const {message, resent} = await this.#session.call(OPS.flush, {items, durable});
    if (generation !== this.#session.generation) return;
    for (const {held, item} of told) held.told(item);
    if (!resent) this.onTold(message.attrs);
    // What had been told before may have been lost with it before this made it durable.
    if (durable && boot !== this.#session.boot) await this.tell(helds, durable);
    else if (durable) for (const held of helds) held.durable = true;
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
    this.#timer?.cancel();
    this.#timer = null;
    this.#cache.sealArena();
  }
}
