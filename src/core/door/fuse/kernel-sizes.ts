import type {Ms} from '../../base/ids.js';
import {type Clock, sleep} from '../../env/clock.js';
import type {Attr} from '../../protocol/gen/wire.js';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
/** So long after the answer the thread that waited for it has most surely run. */
const TAKEN_MS: Ms = 50;
/** The same of one that cuts: it may be waiting for the very page that waits for it. */
const CUT_MS: Ms = 20;
/** A read waits no longer than this: what it waits for may be waiting for a lease, and that for the read. */
const WAIT_MS_MAX: Ms = 100;
/** A thread that is to read again has done so by then, or never will. */
const AGAIN_MS: Ms = 200;
/** A request that arrives so long after an answer may have left before that one was taken. */
const LATE_MS: Ms = 5;
const POLL_MS: Ms = 1;

/** What the kernel may take the size of a file for. */
interface Belief {
  /** At most this. */
  size: number;
  /** Others may have changed the size since. */
  doubtful: boolean;
  /** When it was last given reason to disregard what older requests are answered, and the size by which it goes then. */
  since: Ms;
  limit: number;
}

/** What makes the kernel disregard where answers end, and is not over. */
interface Unsettled {
  /** Truncations by programs of this mount. */
  cuts: number;
  notices: number;
  /** Threads that have been answered and not been heard since; until when they are waited for. */
  readonly unseen: Map<number, Ms>;
  /** What the kernel takes the file to be long when they have run; null: what it does now. */
  size: number | null;
}

/** A read into the kernel's cache, from its arrival to its answer. */
export interface CachedRead {
  readonly oid: number;
  readonly pid: number;
  /** It is one that the kernel makes again since the answer to the first was refused. */
  readonly again: boolean;
  /** Where an answer ends before this, the kernel disregards it. */
  limit: number;
}

/**
 * What the kernel takes files to be long. It fills up pages of which an answer has less than it wanted, and takes the end of the answer for
 * that of the file; but not if since the request it has had a notice about the inode, attributes, or an answer to a write, or if a program of
 * its own is setting the size. Then a reader that goes by a size that was true before another client cut the file gets zeros where there is
 * nothing.
 *
 * So such an answer waits for what will soon be over, and then is refused (EIO). The kernel reads ahead of the program, and does not tell it: it asks
 * again for the page that is wanted. Until it has, and has the answer, there is no notice about the inode, and no write is answered.
 */
export class KernelSizes {
  readonly #clock: Clock;
  readonly #files = new Map<number, Belief>();
  readonly #unsettled = new Map<number, Unsettled>();
  readonly #reads = new Map<number, Set<CachedRead>>();
  /** Threads that have been told where a file ends, by file, or whose read was refused, and until when nothing may come in between. */
  readonly #again = new Map<number, Map<number, {until: Ms; answered: boolean}>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Attributes are about to be answered to a request that came at `arrived`. `kept`: nobody changes them without a notice before. */
  told({oid, mode, size}: Attr, arrived: Ms, kept: boolean): void {
    if ((mode & S_IFMT) !== S_IFREG) return;
    const belief = this.#files.get(oid);
    const since = this.#clock.now();
    if (belief === undefined) {
      this.#files.set(oid, {size, doubtful: !kept, since, limit: size});
      return;
    }
    if (arrived - belief.since >= LATE_MS && !this.#unsettled.has(oid)) {
      belief.size = size;
      belief.doubtful = !kept;
    } else if (size > belief.size) belief.size = size;
    this.#disregarded(oid, belief, size);
  }

  /** The kernel has dropped the inode. */
  forgotten(oid: number): void {
    this.#files.delete(oid);
  }

  /** A thread sets a size; what is returned is called when it is answered, with the size that the file has then, if it was set. */
  cutting(oid: number, pid: number): (size?: number) => void {
    const unsettled = this.#of(oid);
    unsettled.cuts++;
    return (size) => {
      unsettled.cuts--;
      if (size !== undefined) unsettled.size = size;
      this.#answered(oid, unsettled, pid, CUT_MS);
    };
  }

  /** A notice about an inode leaves; what is returned is called when the kernel has carried it out. */
  noticing(oid: number): () => void {
    const belief = this.#files.get(oid);
    if (belief === undefined) return () => {};
    const unsettled = this.#of(oid);
    unsettled.notices++;
    belief.doubtful = true;
    return () => {
      unsettled.notices--;
      this.#disregarded(oid, belief, belief.size);
      this.#settled(oid);
    };
  }

  /** May the kernel take a file for longer than it is? Then the answer to a write waits for `readAgain`. */
  doubtful(oid: number): boolean {
    return this.#files.get(oid)?.doubtful === true;
  }

  /** A thread is about to be told that it has written up to `end`. */
  wrote(oid: number, pid: number, end: number): void {
    const belief = this.#files.get(oid);
    if (belief === undefined) return;
    const unsettled = this.#unsettled.get(oid);
    if (unsettled !== undefined && unsettled.size !== null)
      unsettled.size = Math.max(unsettled.size, end);
    if (end > belief.size) {
      belief.size = end;
      this.#disregarded(oid, belief, end);
    }
    if (belief.doubtful) this.#answered(oid, this.#of(oid), pid, TAKEN_MS);
  }

  /** A thread wants pages. To be ended when it is answered. */
  begin(oid: number, pid: number): CachedRead {
    const threads = this.#again.get(oid);
    const again = threads?.get(pid)?.answered === false;
    if (again) this.#expect(oid, pid, false);
    else if (threads !== undefined) this.#heard(oid, pid);
    const read = {oid, pid, again, limit: threads === undefined ? this.#late(oid) : 0};
    const reads = this.#reads.get(oid);
    if (reads === undefined) this.#reads.set(oid, new Set([read]));
    else reads.add(read);
    return read;
  }

  /** False: the answer, which ends at `end` instead of `wanted`, has to be refused. */
  end(read: CachedRead, end: number, wanted: number): boolean {
    const {oid, pid, limit} = read;
    const reads = this.#reads.get(oid)!;
    reads.delete(read);
    if (reads.size === 0) this.#reads.delete(oid);
    if (read.again) this.#heard(oid, pid);
    if (end >= wanted) return true;
    const settled = this.#settled(oid);
    const belief = this.#files.get(oid);
    if (belief === undefined || end >= belief.size) return true;
    const good = settled && end >= limit;
    // The kernel takes that for the end of the file, and most often it is the thread that does.
    if (good) belief.size = end;
    this.#expect(oid, pid, good);
    return good;
  }

  /** The thread has asked for something; for pages of the file `reading` (0: for something else). */
  heard(pid: number, reading: number): void {
    if (this.#unsettled.size > 0)
      for (const [oid, {unseen}] of this.#unsettled) if (unseen.delete(pid)) this.#seen(oid);
    if (this.#again.size > 0)
      for (const [oid, threads] of this.#again)
        if (oid !== reading && threads.has(pid)) this.#heard(oid, pid);
  }

  /** Resolves when an answer that ends at `end` instead of `wanted` may be given, or has to be refused; null: now. */
  passed(oid: number, end: number, wanted: number): Promise<void> | null {
    if (end >= wanted || !this.#passing(oid) || end >= this.#size(oid)) return null;
    return this.#poll(WAIT_MS_MAX, () => !this.#passing(oid));
  }

  /** Resolves when no thread is about to read the file again, or to learn where it ends; null: now. */
  readAgain(oid: number): Promise<void> | null {
    if (!this.#reading(oid)) return null;
    return this.#poll(2 * AGAIN_MS, () => !this.#reading(oid));
  }

  async #poll(ms: Ms, done: () => boolean): Promise<void> {
    for (let waited = 0; waited < ms && !done(); waited += POLL_MS)
      await sleep(this.#clock, POLL_MS);
  }

  #reading(oid: number): boolean {
    const threads = this.#again.get(oid);
    if (threads === undefined) return false;
    const now = this.#clock.now();
    for (const [pid, {until}] of threads) if (until <= now) threads.delete(pid);
    if (threads.size > 0) return true;
    this.#again.delete(oid);
    return false;
  }

  #expect(oid: number, pid: number, answered: boolean): void {
    const until = this.#clock.now() + (answered ? TAKEN_MS : AGAIN_MS);
    const threads = this.#again.get(oid);
    if (threads === undefined) this.#again.set(oid, new Map([[pid, {until, answered}]]));
    else threads.set(pid, {until, answered});
  }

  #heard(oid: number, pid: number): void {
    const threads = this.#again.get(oid);
    threads?.delete(pid);
    if (threads?.size === 0) this.#again.delete(oid);
  }

  #size(oid: number): number {
    return this.#files.get(oid)?.size ?? 0;
  }

  /** What a read that arrives now may have been overtaken by. */
  #late(oid: number): number {
    const belief = this.#files.get(oid);
    return belief !== undefined && this.#clock.now() - belief.since < LATE_MS ? belief.limit : 0;
  }

  /** The kernel goes by this size, whatever is answered to what was asked for until now. */
  #disregarded(oid: number, belief: Belief, limit: number): void {
    for (const read of this.#reads.get(oid) ?? []) read.limit = Math.max(read.limit, limit);
    const now = this.#clock.now();
    belief.limit = now - belief.since < LATE_MS ? Math.max(belief.limit, limit) : limit;
    belief.since = now;
  }

  #answered(oid: number, unsettled: Unsettled, pid: number, ms: Ms): void {
    unsettled.unseen.set(pid, this.#clock.now() + ms);
    this.#clock.timer(ms, () => this.#settled(oid));
  }

  /** A thread has taken over what it was answered. */
  #seen(oid: number): void {
    const belief = this.#files.get(oid);
    const size = this.#unsettled.get(oid)?.size ?? null;
    if (belief !== undefined) this.#disregarded(oid, belief, size ?? belief.size);
    this.#settled(oid);
  }

  #of(oid: number): Unsettled {
    let unsettled = this.#unsettled.get(oid);
    if (unsettled === undefined) {
      unsettled = {cuts: 0, notices: 0, unseen: new Map(), size: null};
      this.#unsettled.set(oid, unsettled);
    }
    return unsettled;
  }

  /** Is there something under way that is soon over, whatever a read does? */
  #passing(oid: number): boolean {
    if (this.#settled(oid)) return false;
    const {cuts, unseen} = this.#unsettled.get(oid)!;
    return cuts > 0 || unseen.size > 0;
  }

  #settled(oid: number): boolean {
    const unsettled = this.#unsettled.get(oid);
    if (unsettled === undefined) return true;
    const {cuts, notices, unseen} = unsettled;
    const now = this.#clock.now();
    let late = false;
    for (const [pid, until] of unseen) if (until <= now) late = unseen.delete(pid);
    const belief = this.#files.get(oid);
    if (late && belief !== undefined) this.#disregarded(oid, belief, unsettled.size ?? belief.size);
    if (cuts > 0 || notices > 0 || unseen.size > 0) return false;
    this.#unsettled.delete(oid);
    if (unsettled.size !== null && belief !== undefined) belief.size = unsettled.size;
    return true;
  }
}
