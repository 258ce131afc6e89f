import {FsError} from '../base/errors.js';
import {KIB} from '../base/units.js';
import type {AttrReply} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {type News, packInline} from './inline.js';
import type {InlineCache} from './inline-cache.js';
import type {Session} from './session.js';

/** What goes in one message at most. */
const ITEMS_MAX = 256;
const INLINE_BYTES_MAX = 512 * KIB;

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
  #waiting: Waiting[] = [];
  /** With inline bytes that were told and may not be on stable storage over there. */
  #unsynced = new Set<Held>();
  #syncing = false;
  /** What the meta server made of what it was told. */
  onTold: (attrs: readonly AttrReply[]) => void = () => {};

  constructor(path: BytePath, session: Session, inlines: InlineCache) {
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

  /** Now, in one message. `durable`: these, and all that was told before, are on stable storage when it resolves. */
  async call(news: readonly News[], durable: boolean): Promise<void> {
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
      const request = {items: told.map(({item}) => item), durable};
      const {message, resent} = await this.#session.call(
        OPS.flush,
        request,
        packed === null ? {urgent: true} : {urgent: true, payload},
      );
      if (generation !== this.#session.generation) throw new FsError('EIO', 'the session was lost');
      this.#told(told, durable);
      if (durable) this.#synced(before);
      if (!resent) this.onTold(message.attrs);
    } catch (error) {
      if (durable) for (const held of before) this.#unsynced.add(held);
      throw error;
    } finally {
      if (packed !== null) pool.release(packed.slot);
    }
    if (this.#inlines.pressed) this.#sync();
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
