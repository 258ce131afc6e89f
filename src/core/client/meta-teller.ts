import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {KIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import type {AttrReply, Refused} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {type News, packInline} from './inline.js';
import type {InlineCache} from './inline-cache.js';
import type {Entry, Journal} from './journal.js';
import type {Session} from './session.js';

/** What goes in one message at most. */
const ITEMS_MAX = 256;
const INLINE_BYTES_MAX = 512 * KIB;
const CHANGES_MAX = 1024;
/** A message has 256 KiB at most (frame.ts), and there are items and their names besides. */
const CHANGES_BYTES_MAX = 160 * KIB;
/** Changes of names leave after so long at the latest. */
const JOURNAL_MS: Ms = 1000;
/** Some days: the session ends long before. */
const NEVER_MS: Ms = 1e9;

interface Waiting {
  news: News;
  durable: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

/** The same with the size and times of now. */
function atLast({held, item: {hasInline, inlineBytes}, inline}: News): News {
  return {held, item: {...held.report(), hasInline, inlineBytes}, inline};
}

/** Tells the meta server what holders of write leases know better: many objects in one message. */
export class MetaTeller {
  readonly #path: BytePath;
  readonly #session: Session;
  readonly #inlines: InlineCache;
  readonly #journal: Journal;
  #waiting: Waiting[] = [];
  /** With inline bytes that were told and may not be on stable storage over there. */
  #unsynced = new Set<Held>();
  #syncing = false;
  /** What the meta server made of what it was told. */
  onTold: (attrs: readonly AttrReply[]) => void = () => {};
  /** What was done here to these objects has not happened. */
  onRefused: (oids: readonly number[]) => void = () => {};
  #turn: Promise<void> = Promise.resolve();
  #timer: Timer | null = null;
  #leaving = false;

  constructor(path: BytePath, session: Session, inlines: InlineCache, journal: Journal) {
    this.#journal = journal;
    this.#path = path;
    this.#session = session;
    this.#inlines = inlines;
  }

  /** Soon, with those of others. */
  send(news: News, durable: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({news, durable, resolve, reject});
      if (this.#waiting.length === 1) this.#path.clock.soon(() => this.#sendAll());
    });
  }

  #sendAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
    let bytes = 0;
    let from = 0;
    for (let i = 0; i <= all.length; i++) {
      const more = all[i]?.news.inline?.length ?? 0;
      const full = i - from >= ITEMS_MAX || bytes + more > INLINE_BYTES_MAX;
      if (i > from && (full || i === all.length)) {
        this.#sendSome(all.slice(from, i));
        from = i;
        bytes = 0;
      }
      bytes += more;
    }
  }

  #sendSome(some: readonly Waiting[]): void {
    this.call(
      some.map(({news}) => news),
      some.some(({durable}) => durable),
    ).then(
      () => {
        for (const {resolve} of some) resolve();
      },
      (error: unknown) => {
        for (const {reject} of some) reject(error);
      },
    );
  }

  /**
   * Now, in one message, after all changes of names that were made before. `durable`: these, and all that was told before, are on
   * stable storage when it resolves.
   */
  call(news: readonly News[], durable: boolean): Promise<void> {
    if (this.#journal.empty) return this.#call(news, durable, []);
    const result = this.#turn.then(() => this.#carry(news, durable));
    this.#turn = result.catch(() => {});
    return result;
  }

  /** One message at a time, or one that is sent again could come after those that follow it. */
  async #carry(news: readonly News[], durable: boolean): Promise<void> {
    const journal = this.#journal;
    const {generation} = this.#session;
    let left = journal.waiting;
    let entries = journal.take(CHANGES_MAX, CHANGES_BYTES_MAX);
    for (; left > entries.length; entries = journal.take(CHANGES_MAX, CHANGES_BYTES_MAX)) {
      left -= entries.length;
      await this.#call([], true, entries);
      // What is in it now would be of the next one.
      if (generation !== this.#session.generation) throw new FsError('EIO', 'the session was lost');
    }
    if (entries.length === 0 && news.length === 0 && !durable) return;
    // What others may see from here on, and what is done on top of it, is not to be lost by a power cut over there.
    await this.#call(news.map(atLast), durable || entries.length > 0, entries);
  }

  /** There is something in the journal: it leaves soon. */
  plan(): void {
    if (this.#journal.waiting >= CHANGES_MAX / 2) this.#leave();
    else this.#timer ??= this.#path.clock.timer(JOURNAL_MS, () => this.#leave());
  }

  #leave(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#leaving || this.#journal.waiting === 0) return;
    this.#leaving = true;
    this.call([], false)
      .catch((error: unknown) => this.#path.log.info('names.unsent', {reason: messageOf(error)}))
      .finally(() => {
        this.#leaving = false;
        if (this.#journal.waiting > 0) this.plan();
      });
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  async #call(news: readonly News[], durable: boolean, entries: readonly Entry[]): Promise<void> {
    const {generation} = this.#session;
    const {pool} = this.#path;
    const before = this.#unsynced;
    if (durable) this.#unsynced = new Set();
    const inlined = news.some(({inline}) => inline !== null && inline.length > 0);
    const packed = inlined ? await packInline(this.#path, news) : null;
    // Sizes are those of the moment in which they leave: one that was cut meanwhile must not come after the cut.
    const told = inlined ? news.map(atLast) : news;
    const payload = (): [NonNullable<typeof packed>] => {
      pool.retain(packed!.slot);
      return [packed!];
    };
    try {
      if (generation !== this.#session.generation) throw new FsError('EIO', 'the session was lost');
      const changes = entries.map(({change}) => change);
      const request = {items: told.map(({item}) => item), durable, changes};
      const options = packed === null ? {urgent: true} : {urgent: true, payload};
      // Changes that were made are not given up before the session is.
      const deadline = entries.length === 0 ? {} : {deadlineMs: NEVER_MS};
      const {message, resent} = await this.#session.call(OPS.flush, request, {
        ...options,
        ...deadline,
      });
      if (generation !== this.#session.generation) throw new FsError('EIO', 'the session was lost');
      if (entries.length > 0) this.#took(entries, message.refused);
      this.#told(told, durable);
      if (durable) this.#synced(before);
      if (!resent) this.onTold(message.attrs);
    } catch (error) {
      if (durable) for (const held of before) this.#unsynced.add(held);
      if (entries.length > 0 && generation === this.#session.generation) {
        const status = error instanceof FsError ? error.number : 0;
        this.#took(
          entries,
          entries.map((_, index) => ({index, status})),
        );
      }
      throw error;
    } finally {
      if (packed !== null) pool.release(packed.slot);
    }
    if (this.#inlines.pressed) this.#sync();
  }

  /** The meta server has done them. None is refused unless it has lost what they rest on (a power cut of its machine). */
  #took(entries: readonly Entry[], refused: readonly Refused[]): void {
    this.#journal.done();
    for (const {index, status} of refused) {
      const {touches, change} = entries[index]!;
      this.#path.log.error('names.refused', {
        operation: change.code,
        objects: touches.join(),
        status,
      });
      this.#journal.refused(touches);
      this.onRefused(touches);
    }
  }

  #told(news: readonly News[], durable: boolean): void {
    for (const {held, item, inline} of news) {
      held.told(item);
      if (inline === null) continue;
      held.inlineNews = false;
      held.inlineUnsynced = !durable;
      if (!durable) this.#unsynced.add(held);
    }
  }

  #synced(before: ReadonlySet<Held>): void {
    for (const held of before) if (!this.#unsynced.has(held)) held.inlineUnsynced = false;
  }

  /** What is told and not synced may not be forgotten here, and there is too much of it. */
  #sync(): void {
    if (this.#syncing || this.#unsynced.size === 0) return;
    this.#syncing = true;
    this.call([], true)
      .catch(() => {})
      .finally(() => {
        this.#syncing = false;
      });
  }
}
