import {messageOf} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
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
/** S_IFREG >> 12. */
const REGULAR = 8;

interface Ahead {
  readonly directory: number;
  /** Opens that had to be asked for since the last batch. */
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
}

export interface OpenAheadParts {
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
 * are kept with their inodes, come in one message. More of them if the last ones were used, fewer if not.
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
    this.#used = Math.min(USED_MAX, ahead.count);
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
    if ((++ahead.opens < this.#opensBefore && !next) || ahead.running) return;
    ahead.opens = 0;
    if (next) {
      ahead.count = this.#used;
      this.#used = 0;
    }
    this.#judge(ahead);
    if (ahead.count > 0) this.#begin(ahead, oid);
  }

  #begin(ahead: Ahead, after: number): void {
    const {directory} = ahead;
    ahead.running = true;
    this.#fetch(ahead, after)
      .catch((error: unknown) =>
        this.#parts.log.debug('open.not-ahead', {directory, reason: messageOf(error)}),
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
    const {session, holder, names, pool} = this.#parts;
    const next = names.after(ahead.directory, after, ahead.count);
    ahead.last = next.at(-1)?.oid ?? 0;
    const oids = next
      .filter(({oid, type}) => type === REGULAR && (holder.peek(oid)?.mode ?? 0) === LEASE.none)
      .map(({oid}) => oid);
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
      ahead.left.add(attr.oid);
      ahead.asked++;
      this.#left.set(attr.oid, ahead);
    }
    if (payload !== null) pool.release(payload.slot);
  }

  #ahead(directory: number): Ahead {
    let ahead = this.#directories.get(directory);
    if (ahead === undefined) {
      ahead = {directory, opens: 0, count: 0, left: new Set(), asked: 0, last: 0, running: false};
      if (this.#directories.size >= DIRECTORIES_MAX) this.#drop();
    } else this.#directories.delete(directory);
    this.#directories.set(directory, ahead);
    return ahead;
  }

  #drop(): void {
    const [oldest, {left}] = this.#directories.entries().next().value!;
    for (const oid of left) this.#left.delete(oid);
    this.#directories.delete(oldest);
  }
}
