import type {Ms} from '../../base/ids.js';
import type {Clock} from '../../env/clock.js';

/** A thread that has not run for so long since its answer came is taken to have seen it. */
const SEEN_MS: Ms = 10_000;
const THREADS_MAX = 16_384;
const CHANGES_MAX = 1024;

interface Thread {
  at: Ms;
  /** Directories whose attributes are on their way to it. */
  readonly oids: Set<number>;
}

/**
 * Answers with attributes of directories that come after a change that they do not know. After a change in a directory the
 * kernel marks the attributes that it has as old, but does not note that older answers may still come: to stay for as long as it was told that it
 * may keep them. So an answer that is made after a change, to a request that came before, may not be kept; and where
 * a thread may have yet to put an older answer into the cache, a notice goes out before the change is answered, which the kernel does note.
 *
 * A thread that asks for something else has seen what was answered before.
 */
export class AttrRaces {
  readonly #clock: Clock;
  /** The longest waiting first. */
  readonly #threads = new Map<number, Thread>();
  readonly #waiting = new Map<number, Set<number>>();
  /** By directory: the moment of its last change, in their order. */
  readonly #changed = new Map<number, number>();
  /** Changes of others were not later than this. */
  #forgotten = 0;
  #moment = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Grows with every change. */
  get moment(): number {
    return this.#moment;
  }

  /** Was the directory changed after this moment? */
  changedSince(oid: number, moment: number): boolean {
    return (this.#changed.get(oid) ?? this.#forgotten) > moment;
  }

  /** The thread has asked for something. */
  heard(pid: number): void {
    const thread = this.#threads.get(pid);
    if (thread !== undefined) this.#forget(pid, thread);
  }

  /** Attributes of a directory, which may be kept, are answered to a thread. */
  given(oid: number, pid: number): void {
    const at = this.#clock.now();
    for (const [other, thread] of this.#threads) {
      if (thread.at > at - SEEN_MS && this.#threads.size < THREADS_MAX) break;
      this.#forget(other, thread);
    }
    const thread = this.#threads.get(pid);
    if (thread === undefined) this.#threads.set(pid, {at, oids: new Set([oid])});
    else thread.oids.add(oid);
    const pids = this.#waiting.get(oid);
    if (pids === undefined) this.#waiting.set(oid, new Set([pid]));
    else pids.add(pid);
  }

  /** Something in the directory was changed for a thread. May another one have yet to see older attributes of it? Asked once. */
  changed(oid: number, pid: number): boolean {
    this.#changed.delete(oid);
    this.#changed.set(oid, ++this.#moment);
    if (this.#changed.size > CHANGES_MAX) {
      const [oldest, moment] = this.#changed.entries().next().value!;
      this.#changed.delete(oldest);
      this.#forgotten = moment;
    }
    const pids = this.#waiting.get(oid);
    if (pids === undefined || (pids.size === 1 && pids.has(pid))) return false;
    for (const one of pids) this.#threads.get(one)?.oids.delete(oid);
    this.#waiting.delete(oid);
    return true;
  }

  #forget(pid: number, {oids}: Thread): void {
    this.#threads.delete(pid);
    for (const oid of oids) {
      const pids = this.#waiting.get(oid);
      pids?.delete(pid);
      if (pids?.size === 0) this.#waiting.delete(oid);
    }
  }
}
