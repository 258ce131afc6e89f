import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {BufferPool} from '../base/pool.js';
import type {Clock} from '../env/clock.js';
import type {Log} from '../env/log.js';
import {LEASE, OPS} from '../protocol/ops.js';
import type {LeaseHolder} from './lease-holder.js';
import type {NameCache} from './name-cache.js';
import type {Session} from './session.js';

/** Files of a directory that are opened for reading, with a message each, before the next ones are asked for together. */
const OPENS_BEFORE = 4;
const COUNT_MIN = 16;
const COUNT_MAX = 128;
const USED_MAX = 32;
const DIRECTORIES_MAX = 64;
/** Opens in one directory after another belong together if they come so soon. */
const SOON_MS: Ms = 1000;
/** How far up and down from a directory what follows it is looked for, and among how many names. */
const LEVELS_MAX = 16;
const NAMES_MAX = 1024;
/** S_IFMT >> 12. */
const DIRECTORY = 4;
const REGULAR = 8;

interface Ahead {
  /** Opens that had to be asked for since the last batch; of a walk: of those the first ones of directories. */
  opens: number;
  /** How many are asked for next; 0: nothing, for the last ones were of no use. */
  count: number;
  /** Of what came, those that have not been opened. */
  readonly left: Set<number>;
  /** Of how many they are what is left. */
  asked: number;
  /** The last one that came; 0: none, or there are no more. */
  last: number;
  running: boolean;
  dropped: boolean;
}

const newAhead = (): Ahead => ({
  opens: 0,
  count: 0,
  left: new Set(),
  asked: 0,
  last: 0,
  running: false,
  dropped: false,
});

export interface OpenAheadParts {
  clock: Clock;
  log: Log;
  pool: BufferPool;
  session: Session;
  holder: LeaseHolder;
  names: NameCache;
  /** See OPENS_BEFORE. */
  opensBefore?: number;
}

/**
 * Whoever reads several files of a directory most often reads all of them: the leases of those that come next in it, and their bytes if they
 * are kept with their inodes, come in one message. More of them if the last ones were used, fewer if not. And so for whoever reads files in one
 * directory after another, as far as their names are known.
 */
export class OpenAhead {
  readonly #parts: OpenAheadParts;
  readonly #opensBefore: number;
  /** By directory, least recently used first. */
  readonly #directories = new Map<number, Ahead>();
  /** Files of last batches that have not been opened, with their directory. */
  readonly #left = new Map<number, Ahead>();
  /** As many came last, and half of them were opened; then another directory begins with twice as many. 0: they were not. */
  #used = 0;
  /** Files of one directory after another; the last one of those, and when it was asked for. */
  readonly #walk = newAhead();
  #walked = 0;
  #walkedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: OpenAheadParts) {
    this.#parts = parts;
    this.#opensBefore = parts.opensBefore ?? OPENS_BEFORE;
  }

  /** A file was opened without a message. Before the last of what came is used the next ones are asked for. */
  opened(oid: number): void {
    const ahead = this.#left.get(oid);
    if (ahead === undefined) return;
    this.#left.delete(oid);
    ahead.left.delete(oid);
    if (2 * ahead.left.size > ahead.asked) return;
    if (ahead !== this.#walk) this.#used = Math.min(USED_MAX, ahead.count);
    if (ahead.last === 0 || ahead.running) return;
    ahead.opens = 0;
    ahead.count = Math.min(COUNT_MAX, 2 * ahead.count);
    ahead.asked = ahead.left.size;
    this.#begin(ahead, ahead.last);
  }

  /** A file was opened for reading, and the meta server had to be asked. */
  asked(oid: number): void {
    const {names} = this.#parts;
    const directory = names.coveredBy(oid);
    if (directory === 0 || directory === oid) return;
    const ahead = this.#ahead(directory);
    // Whoever has read all of other directories begins another one.
    const next = this.#used > 0 && ahead.count === 0 && ahead.opens === 0;
    if (ahead.running || this.#walk.running) return;
    if (++ahead.opens < this.#opensBefore && !next) {
      this.#step(directory, oid);
      return;
    }
    ahead.opens = 0;
    if (next) {
      ahead.count = this.#used;
      this.#used = 0;
    }
    this.#judge(ahead);
    if (ahead.count > 0) this.#begin(ahead, oid);
  }

  /** Another one of a walk, if it is in another directory than the last one. */
  #step(directory: number, oid: number): void {
    const now = this.#parts.clock.now();
    const walk = this.#walk;
    if (now - this.#walkedAt > SOON_MS) walk.opens = walk.count = 0;
    this.#walkedAt = now;
    if (directory === this.#walked) return;
    this.#walked = directory;
    const used = walk.asked > 0 && 2 * walk.left.size <= walk.asked;
    if (++walk.opens < this.#opensBefore && !used) return;
    walk.opens = 0;
    this.#judge(walk);
    if (walk.count > 0) this.#begin(walk, oid);
  }

  #begin(ahead: Ahead, after: number): void {
    ahead.running = true;
    this.#fetch(ahead, after)
      .catch((error: unknown) =>
        this.#parts.log.debug('open.not-ahead', {after, reason: messageOf(error)}),
      )
      .finally(() => {
        ahead.running = false;
      });
  }

  /** At least half of the last batch was opened: twice as many; else none, and from the next time on a few. */
  #judge(ahead: Ahead): void {
    const useful = 2 * ahead.left.size <= ahead.asked;
    if (!useful && ahead.count > 0) ahead.count = 0;
    else ahead.count = Math.min(COUNT_MAX, Math.max(COUNT_MIN, 2 * ahead.count));
    for (const oid of ahead.left) this.#left.delete(oid);
    ahead.left.clear();
    ahead.asked = 0;
  }

  async #fetch(ahead: Ahead, after: number): Promise<void> {
    const {session, holder, pool} = this.#parts;
    const oids = this.#following(after, ahead.count, ahead === this.#walk);
    ahead.last = oids.at(-1) ?? 0;
    if (oids.length === 0) return;
    // The answer would be from before what a yield takes along.
    for (const oid of oids) await holder.yielded(oid);
    const {ticket} = holder;
    const {message, payload} = await session.call(OPS.leaseMany, {oids});
    let at = payload?.offset ?? 0;
    for (const {mode, attr, layout, inlineBytes} of message.leases) {
      const there = payload !== null || inlineBytes === 0;
      const inline = there ? new Uint8Array(pool.view(at, inlineBytes)) : null;
      at += inlineBytes;
      holder.granted(attr.oid, mode, attr, layout, {ticket, inlineBytes, inline});
      if (ahead.dropped) continue;
      ahead.left.add(attr.oid);
      ahead.asked++;
      this.#left.set(attr.oid, ahead);
    }
    if (payload !== null) pool.release(payload.slot);
  }

  /** Files without a lease that come after one in its directory; `on`: then in those that a walk comes to after it. */
  #following(after: number, max: number, on: boolean): number[] {
    const {holder, names} = this.#parts;
    const found: number[] = [];
    let looks = on ? NAMES_MAX : max;
    const behind = (directory: number, last: number, levels: number): void => {
      for (const {oid, type} of names.after(directory, last, looks)) {
        if (found.length === max || looks-- <= 0) return;
        if (type === REGULAR && (holder.peek(oid)?.mode ?? 0) === LEASE.none) found.push(oid);
        else if (on && type === DIRECTORY && levels > 0 && names.leased(oid))
          behind(oid, 0, levels - 1);
      }
    };
    let directory = names.coveredBy(after);
    behind(directory, after, LEVELS_MAX);
    for (let level = 0; on && level < LEVELS_MAX && found.length < max; level++) {
      const parent = names.extent(directory)?.parent ?? 0;
      if (parent === 0 || parent === directory) break;
      behind(parent, directory, LEVELS_MAX);
      directory = parent;
    }
    return found;
  }

  #ahead(directory: number): Ahead {
    let ahead = this.#directories.get(directory);
    if (ahead === undefined) {
      ahead = newAhead();
      if (this.#directories.size >= DIRECTORIES_MAX) this.#drop();
    } else this.#directories.delete(directory);
    this.#directories.set(directory, ahead);
    return ahead;
  }

  #drop(): void {
    const [oldest, ahead] = this.#directories.entries().next().value!;
    ahead.dropped = true;
    for (const oid of ahead.left) this.#left.delete(oid);
    this.#directories.delete(oldest);
  }
}
