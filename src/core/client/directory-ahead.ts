import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Clock} from '../env/clock.js';
import type {Log} from '../env/log.js';
import type {DirectoryPart} from '../namespace/inode.js';
import type {Attr} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {LeaseHolder} from './lease-holder.js';
import type {NameCache} from './name-cache.js';
import type {Session} from './session.js';

/** Directories that are listed, with a message each and soon after one another, before the next ones are asked for together. */
const LISTED_BEFORE = 2;
const LISTED_BEFORE_MAX = 64;
const SOON_MS: Ms = 1000;
const COUNT_MIN = 16;
const COUNT_MAX = 256;
/** How far up from a directory what follows it is looked for, and among how many names each time. */
const LEVELS_MAX = 16;
const NAMES_MAX = 1024;
/** Of the last listed directories it is noted whether they are changed. */
const WALKED_MAX = 32;
/** S_IFMT >> 12. */
const DIRECTORY = 4;

export interface DirectoryAheadParts {
  clock: Clock;
  log: Log;
  session: Session;
  holder: LeaseHolder;
  names: NameCache;
  /** A directory is held for writing since an answer that was asked for at `ticket`. Null: nothing is changed here. */
  lent: ((attr: Attr, part: DirectoryPart, ticket: number) => void) | null;
  /** See LISTED_BEFORE. */
  listedBefore?: number | undefined;
}

/**
 * Whoever lists one directory after another walks through a tree: the listings of those that come next in it are asked for in one message,
 * with the leases for changing them if the last ones were changed, too (`rm -r`). More of them if the last ones were used, fewer if not.
 */
export class DirectoryAhead {
  readonly #parts: DirectoryAheadParts;
  /** Listings that had to be asked for since the last batch, and when the last one was. */
  #asks = 0;
  /** How many it takes; more of them after each batch that was of no use. */
  #before: number;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** How many are asked for next; 0: nothing, for the last ones were of no use. */
  #count = 0;
  /** Of the last batch, those that have not been listed. */
  readonly #left = new Set<number>();
  #fetched = 0;
  /** Those on their way. */
  readonly #coming = new Set<number>();
  #running: Promise<void> | null = null;
  /** With leases for writing. */
  #writes = false;
  readonly #walked = new Set<number>();
  #changedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: DirectoryAheadParts) {
    this.#parts = parts;
    this.#before = this.#listedBefore;
  }

  /** A directory is listed from its beginning without a message. */
  listed(oid: number): void {
    if (this.#left.delete(oid)) this.#walk(oid);
  }

  /** A directory was changed for the first time. */
  changed(oid: number): void {
    if (!this.#walked.has(oid)) return;
    this.#changedAt = this.#parts.clock.now();
    if (this.#running !== null || this.#writes) return;
    // Those that came before it was known that they will be changed.
    const left = [...this.#left];
    if (left.length > 0) this.#run(left, left.length, true);
  }

  /** Resolves when its listing has come, or will not; null: it is not on its way. */
  coming(oid: number): Promise<void> | null {
    return this.#coming.has(oid) ? this.#running : null;
  }

  /** A directory was listed from its beginning, and the meta server had to be asked. */
  asked(oid: number): void {
    const now = this.#parts.clock.now();
    if (now - this.#askedAt > SOON_MS) {
      this.#asks = this.#count = 0;
      this.#before = this.#listedBefore;
    }
    this.#askedAt = now;
    this.#walk(oid);
    this.#asks++;
    if (this.#running !== null || (this.#count === 0 && this.#asks < this.#before)) return;
    this.#judge();
    if (this.#count === 0) return;
    const {clock} = this.#parts;
    const oids = this.#following(oid, this.#count);
    if (oids.length > 0) this.#run(oids, this.#count, clock.now() - this.#changedAt < SOON_MS);
  }

  #run(oids: readonly number[], max: number, write: boolean): void {
    for (const oid of oids) this.#coming.add(oid);
    this.#writes = write;
    this.#running = this.#fetch(oids, max, write)
      .catch((error: unknown) =>
        this.#parts.log.debug('readdir.not-ahead', {reason: messageOf(error)}),
      )
      .finally(() => {
        this.#running = null;
        this.#coming.clear();
      });
  }

  get #listedBefore(): number {
    return this.#parts.listedBefore ?? LISTED_BEFORE;
  }

  #walk(oid: number): void {
    this.#walked.delete(oid);
    this.#walked.add(oid);
    if (this.#walked.size > WALKED_MAX) this.#walked.delete(this.#walked.values().next().value!);
  }

  /** At least half of the last batch was listed: twice as many; else none, and from the next time on a few. */
  #judge(): void {
    this.#asks = 0;
    const useful = this.#fetched > 0 && 2 * this.#left.size <= this.#fetched;
    if (useful) this.#before = this.#listedBefore;
    if (!useful && this.#count > 0) {
      this.#count = 0;
      this.#before = Math.min(LISTED_BEFORE_MAX, 2 * this.#before);
    } else this.#count = Math.min(COUNT_MAX, Math.max(COUNT_MIN, 2 * this.#count));
    this.#left.clear();
    this.#fetched = 0;
  }

  async #fetch(oids: readonly number[], max: number, wanted: boolean): Promise<void> {
    const {session, holder, names, lent} = this.#parts;
    // The answer would be from before what a yield takes along.
    for (const oid of oids) await holder.yielded(oid);
    const write = wanted && lent !== null && names.quiet;
    const {ticket} = holder;
    const {changes} = names;
    const {message} = await session.call(OPS.readdirMany, {oids: [...oids], max, write});
    for (const {oid, page, part} of message.listings) {
      if (!names.granted(page.directory, page.directoryLease, ticket)) continue;
      names.enterPage(oid, 0, page, ticket);
      if (!this.#left.has(oid)) this.#fetched++;
      this.#left.add(oid);
      if (part === null || lent === null) continue;
      const {parent, nextCookie, layoutSet, ...layout} = part;
      // Whatever was under way over there may have come before or after this answer.
      if (names.changes === changes)
        lent(page.directory!, {parent, nextCookie, layoutSet, layout}, ticket);
    }
  }

  /**
   * Directories whose listings are not known, in the order in which a walk that has come to `oid` comes to them: those in it, those behind
   * it, those behind the one that it is in, and so on.
   */
  #following(oid: number, max: number): number[] {
    const {names} = this.#parts;
    const found: number[] = [];
    const behind = (parent: number, after: number): void => {
      for (const {oid: next, type} of names.after(parent, after, NAMES_MAX))
        if (type === DIRECTORY && names.extent(next)?.complete !== true && found.length < max)
          found.push(next);
    };
    behind(oid, 0);
    for (let level = 0, at = oid; level < LEVELS_MAX && found.length < max; level++) {
      const parent = names.extent(at)?.parent ?? 0;
      if (parent === 0 || parent === at) break;
      behind(parent, at);
      at = parent;
    }
    return found;
  }
}
