import type {Ms} from '../../base/ids.js';
import {type Clock, sleep} from '../../env/clock.js';
import type {Attr} from '../../protocol/gen/wire.js';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
/** So long after the answer the thread that waited for it has taken it over, if nothing is known of the thread. */
const TAKEN_MS: Ms = 50;
/** The same of one that cuts: it may be waiting for the very page that waits for it. */
const CUT_MS: Ms = 20;
/** A thread that has had no processor for so much longer is not waited for. */
const STARVED_MS: Ms = 1000;
/** An answer has left, and woken the thread. */
const SENT_MS: Ms = 2;
/** A read waits no longer than this: what it waits for may be waiting for a lease, and that for the read. */
const WAIT_MS_MAX: Ms = 100;
/** A thread that is to read again has done so by then, or never will. */
const AGAIN_MS: Ms = 200;
/** What a thread was about to do, when the queue of requests was empty or the notice begun, it has done after this time. */
const LATE_MS: Ms = 5;
const POLL_MS: Ms = 1;

/** What the kernel may take the size of a file for. */
interface Belief {
  /** At most this. */
  size: number;
  /** Others may have changed the size since. */
  doubtful: boolean;
  /**
   * Until when requests may come that were made before it was last given reason to disregard what they are answered, and the size by which it goes
   * then. Null: some are still in the queue.
   */
  old: Ms | null;
  limit: number;
}

/** What makes the kernel disregard where answers end, and is not over. */
interface Unsettled {
  /** Truncations by programs of this mount. */
  cuts: number;
  /** At most one. */
  notice: Notice | null;
  /** Threads that have been answered and not been heard since. */
  readonly unseen: Map<number, Woken>;
  /** What the kernel takes the file to be long when they have run; null: what it does now. */
  size: number | null;
}

/** A thread that is about to be answered. */
interface Woken {
  /** From then on it counts that it has run. */
  readonly from: Ms;
  /** So long it is waited for if that is not known. */
  readonly until: Ms;
  /** How long it had run when it was first looked at, and did not sleep. */
  ran: number | null;
}

/** A thread that has been told where a file ends (`answered`), or was refused that and reads again. */
interface Reader extends Woken {
  readonly at: Ms;
  readonly answered: boolean;
}

/** How long a thread has run, in a unit of its own; -1: it waits for something other than a processor. */
export type Ran = number;

/** About an inode, on its way to the kernel. */
export interface Notice {
  /** Its number in the channel, when it has one. */
  id: number;
  /** When the kernel was first seen to have it. */
  begun: Ms | null;
  /** The kernel has carried it out. */
  done(): void;
}

/** What can be known of requests, notices and threads. */
export interface KernelView {
  /** Is no request waiting to be taken? */
  empty(): boolean;
  /** The number of the last notice that has begun to leave. */
  begun(): number;
  /** Null: unknown. */
  ran(tid: number): Ran | null;
}

/** A read into the kernel's cache, from its arrival to its answer. */
export interface CachedRead {
  readonly oid: number;
  readonly pid: number;
  /** The kernel made it after this time. */
  readonly after: Ms;
  /** It is one that the kernel makes again since the answer to the first was refused. */
  readonly again: boolean;
  /** Where an answer ends before this, the kernel disregards it. */
  limit: number;
}

/** Does nothing come any more, at this time, from before? */
const isOver = ({old}: Belief, at: Ms): boolean => old !== null && at >= old;

/**
 * What the kernel takes files to be long. It fills up pages of which an answer has less than it wanted, and takes the end of the answer for
 * that of the file; but not if since the request it has had a notice about the inode, attributes, or an answer to a write, or if a program of
 * its own is setting the size. Then a reader that goes by a size that was true before another client cut the file gets zeros where there is
 * nothing.
 *
 * So such an answer waits for what will soon be over, and then is refused (EIO). The kernel reads ahead of the program, and does not tell it: it asks
 * again for the page that is wanted. Until it has, and has the answer, there is no notice about the inode, and no write is answered. A notice that is
 * under way may be waiting for that page, but does no more to the inode then.
 */
export class KernelSizes {
  readonly #clock: Clock;
  readonly #kernel: KernelView;
  readonly #files = new Map<number, Belief>();
  readonly #unsettled = new Map<number, Unsettled>();
  readonly #reads = new Map<number, Set<CachedRead>>();
  /** Readers, by file and thread: nothing may come in between. */
  readonly #again = new Map<number, Map<number, Reader>>();
  /** Of which files threads are unseen. */
  readonly #unseen = new Map<number, Set<number>>();
  #looking = false;
  /** Those with requests in the queue that are too old. */
  readonly #old = new Set<Belief>();

  constructor(clock: Clock, kernel: KernelView) {
    this.#clock = clock;
    this.#kernel = kernel;
  }

  /** Attributes are about to be answered to a request that came at `arrived`. `kept`: nobody changes them without a notice before. */
  told(
    {oid, mode, size}: Attr,
    {pid, arrived, kept}: {pid: number; arrived: Ms; kept: boolean},
  ): void {
    if ((mode & S_IFMT) !== S_IFREG) return;
    const belief = this.#files.get(oid);
    if (belief === undefined) {
      const first = {size, doubtful: !kept, old: null, limit: size};
      this.#files.set(oid, first);
      this.#ageing(first);
      return;
    }
    if (isOver(belief, arrived) && !this.#unsettled.has(oid)) {
      belief.size = size;
      belief.doubtful = !kept;
    } else if (size > belief.size) belief.size = size;
    this.#disregarded(oid, belief, size);
    if (!kept) this.#answered(oid, this.#of(oid), pid, TAKEN_MS);
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

  /** A notice about an inode is about to leave, when that before is done. */
  noticing(oid: number): Notice {
    const belief = this.#files.get(oid);
    if (belief === undefined) return {id: 0, begun: null, done: () => {}};
    const unsettled = this.#of(oid);
    belief.doubtful = true;
    unsettled.notice = {
      id: 0,
      begun: null,
      done: () => {
        const notice = unsettled.notice!;
        unsettled.notice = null;
        this.#disregarded(oid, belief, belief.size, notice);
        this.#settled(oid);
      },
    };
    return unsettled.notice;
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
    const reader = threads?.get(pid);
    const again = reader?.answered === false;
    if (again) this.#expect(oid, pid, false);
    else if (threads !== undefined) this.#heard(oid, pid);
    const limit = threads === undefined ? this.#late(oid) : 0;
    const read = {oid, pid, again, after: again ? reader!.at : Number.NEGATIVE_INFINITY, limit};
    const reads = this.#reads.get(oid);
    if (reads === undefined) this.#reads.set(oid, new Set([read]));
    else reads.add(read);
    return read;
  }

  /** False: the answer, which ends at `end` instead of `wanted`, has to be refused. */
  end(read: CachedRead, end: number, wanted: number): boolean {
    const {oid, pid} = read;
    // May tell the read of something that is over since just now.
    const settled = end >= wanted || this.#settled(oid) || this.#passedBefore(read);
    const reads = this.#reads.get(oid)!;
    reads.delete(read);
    if (reads.size === 0) this.#reads.delete(oid);
    if (read.again) this.#heard(oid, pid);
    if (end >= wanted) return true;
    const belief = this.#files.get(oid);
    if (belief === undefined || end >= belief.size) return true;
    const good = settled && end >= read.limit;
    // The kernel takes that for the end of the file, and most often it is the thread that does.
    if (good) belief.size = end;
    this.#expect(oid, pid, good);
    return good;
  }

  /** The thread has asked for something; for pages of the file `reading` (0: for something else). */
  heard(pid: number, reading: number): void {
    const oids = this.#unseen.get(pid);
    if (oids !== undefined) {
      this.#unseen.delete(pid);
      for (const oid of oids)
        if (this.#unsettled.get(oid)?.unseen.delete(pid) === true) this.#seen(oid);
    }
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
    return this.#poll(AGAIN_MS + STARVED_MS, () => !this.#reading(oid));
  }

  async #poll(ms: Ms, done: () => boolean): Promise<void> {
    for (let waited = 0; waited < ms && !done(); waited += POLL_MS)
      await sleep(this.#clock, POLL_MS);
  }

  #reading(oid: number): boolean {
    const threads = this.#again.get(oid);
    if (threads === undefined) return false;
    for (const [pid, reader] of threads) if (this.#wasTaken(pid, reader)) threads.delete(pid);
    if (threads.size > 0) return true;
    this.#again.delete(oid);
    return false;
  }

  #expect(oid: number, pid: number, answered: boolean): void {
    const at = this.#clock.now();
    const until = at + (answered ? TAKEN_MS : AGAIN_MS);
    const reader = {from: answered ? at + SENT_MS : until, until, ran: null, at, answered};
    const threads = this.#again.get(oid);
    if (threads === undefined) this.#again.set(oid, new Map([[pid, reader]]));
    else threads.set(pid, reader);
  }

  /** Has the thread had the time to take its answer over? */
  #wasTaken(pid: number, woken: Woken): boolean {
    const {from, until} = woken;
    const now = this.#clock.now();
    if (now < from) return false;
    if (now >= until + STARVED_MS) return true;
    const ran = this.#kernel.ran(pid);
    if (ran === null) return now >= until;
    if (ran < 0) return true;
    woken.ran ??= ran;
    return woken.ran !== ran;
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
    return belief === undefined || isOver(belief, this.#clock.now()) ? 0 : belief.limit;
  }

  /** The kernel goes by this size, whatever is answered to what was asked for until now, or until it had the notice. */
  #disregarded(oid: number, belief: Belief, limit: number, notice?: Notice): void {
    for (const read of this.#reads.get(oid) ?? [])
      if (notice === undefined || !this.#wasBegun(notice, read.after))
        read.limit = Math.max(read.limit, limit);
    belief.limit = isOver(belief, this.#clock.now()) ? limit : Math.max(belief.limit, limit);
    this.#ageing(belief);
  }

  /** Requests that are in the queue now are old ones. */
  #ageing(belief: Belief): void {
    belief.old = null;
    if (this.#old.size === 0) this.#clock.soon(this.#taken);
    this.#old.add(belief);
  }

  readonly #taken = (): void => {
    if (!this.#kernel.empty()) {
      this.#clock.timer(POLL_MS, this.#taken);
      return;
    }
    const now = this.#clock.now();
    for (const belief of this.#old) belief.old = now + LATE_MS;
    this.#old.clear();
  };

  #answered(oid: number, unsettled: Unsettled, pid: number, ms: Ms): void {
    const now = this.#clock.now();
    unsettled.unseen.set(pid, {from: now + SENT_MS, until: now + ms, ran: null});
    const oids = this.#unseen.get(pid);
    if (oids !== undefined) oids.add(oid);
    else this.#unseen.set(pid, new Set([oid]));
    this.#look();
  }

  /** Whoever ends without having asked for anything else is not kept for ever. */
  #look(): void {
    if (this.#looking) return;
    this.#looking = true;
    this.#clock.timer(TAKEN_MS, () => {
      this.#looking = false;
      for (const [oid, {unseen}] of this.#unsettled) if (unseen.size > 0) this.#settled(oid);
      if (this.#unseen.size > 0) this.#look();
    });
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
      unsettled = {cuts: 0, notice: null, unseen: new Map(), size: null};
      this.#unsettled.set(oid, unsettled);
    }
    return unsettled;
  }

  /** Is there something under way that is soon over, whatever a read does? */
  #passing(oid: number): boolean {
    if (this.#settled(oid)) return false;
    const {cuts, unseen, notice} = this.#unsettled.get(oid)!;
    // One of which the turn has come long ago is waiting for a page, maybe for that of the read.
    const coming = notice !== null && !this.#wasBegun(notice, this.#clock.now());
    return cuts > 0 || unseen.size > 0 || coming;
  }

  /** Did the read come when the one thing that is unsettled, a notice, had no say in sizes any more? */
  #passedBefore({oid, after}: CachedRead): boolean {
    const {cuts, unseen, notice} = this.#unsettled.get(oid)!;
    return cuts === 0 && unseen.size === 0 && notice !== null && this.#wasBegun(notice, after);
  }

  /** Had the kernel noted it by this time? That is the first thing that it does. */
  #wasBegun(notice: Notice, at: Ms): boolean {
    const {id, begun} = notice;
    if (begun === null && id > 0 && this.#kernel.begun() >= id) notice.begun = this.#clock.now();
    return notice.begun !== null && at - notice.begun >= LATE_MS;
  }

  #settled(oid: number): boolean {
    const unsettled = this.#unsettled.get(oid);
    if (unsettled === undefined) return true;
    const {cuts, notice, unseen} = unsettled;
    let late = false;
    for (const [pid, woken] of unseen)
      if (this.#wasTaken(pid, woken)) {
        late = unseen.delete(pid);
        this.#unseen.get(pid)?.delete(oid);
        if (this.#unseen.get(pid)?.size === 0) this.#unseen.delete(pid);
      }
    const belief = this.#files.get(oid);
    if (late && belief !== undefined) this.#disregarded(oid, belief, unsettled.size ?? belief.size);
    if (cuts > 0 || notice !== null || unseen.size > 0) return false;
    this.#unsettled.delete(oid);
    if (unsettled.size !== null && belief !== undefined) belief.size = unsettled.size;
    return true;
  }
}
