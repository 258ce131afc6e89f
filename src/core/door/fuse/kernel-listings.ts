import type {Ms} from '../../base/ids.js';
import {type Clock, sleep} from '../../env/clock.js';
import {ListingOffsets} from './listing-offsets.js';

/** A thread that has not run for so long since its answer came is taken to have seen it. */
const SEEN_MS: Ms = 10_000;
/** After a recall pages are dropped again so much later: what was on its way to the last reader may have come to be one. */
const AGAIN_MS: readonly Ms[] = [5, 50];

export interface KernelListingsHost {
  /** Drops the kernel's pages of a directory. */
  dropListing(oid: number): Promise<unknown>;
}

interface Listing {
  /** Threads that may have yet to put an answer into the pages. */
  readonly readers: Set<number>;
  /** The same, of answers from before the last recall, and those without a lease; and which of their answers. */
  readonly late: Map<number, number>;
  /** There may be pages. */
  filled: boolean;
  /** And what is in them may not be kept. */
  spoiled: boolean;
  /** The kernel may call them complete. */
  complete: boolean;
  /** The last of the drops under way. */
  dropping: Promise<unknown> | null;
}

/**
 * Listings of directories in the kernel's memory. The kernel reads them without asking anybody (FUSE_NO_OPENDIR_SUPPORT), but only when
 * they are complete, and it calls them complete at the answer that says that nothing follows. So whatever came into the pages that may not
 * stay there, an answer that was on its way while the lease was given up, say, is dropped before that answer leaves. Of pages of which the first is
 * missing the kernel begins anew.
 *
 * A thread that asks for something else has seen what was answered before.
 */
export class KernelListings {
  readonly #clock: Clock;
  readonly #host: KernelListingsHost;
  readonly offsets = new ListingOffsets();
  readonly #listings = new Map<number, Listing>();
  /** By thread: the directory of which an answer is on its way to it. The longest on its way first. */
  readonly #reads = new Map<number, {oid: number; at: Ms}>();
  #unknown = 0;
  #answers = 0;

  constructor(clock: Clock, host: KernelListingsHost) {
    this.#clock = clock;
    this.#host = host;
  }

  /** The thread has asked for something. */
  heard(pid: number): void {
    const read = this.#reads.get(pid);
    if (read !== undefined) this.#seen(pid, read.oid);
  }

  /** Entries are about to be answered to a thread. `leased`: nobody else can change them before the lease is recalled. */
  answered(oid: number, pid: number, leased: boolean): void {
    const {listing, thread} = this.#reading(oid, pid);
    if (leased) listing.readers.add(thread);
    else listing.late.set(thread, ++this.#answers);
    listing.filled = true;
    // A drop that is under way may be over before this answer arrives.
    if (!leased || listing.dropping !== null) listing.spoiled = true;
  }

  /** The thread is about to be told that nothing follows. Resolves when that may leave; null: at once. */
  ended(oid: number, pid: number, leased: boolean): Promise<void> | null {
    const {listing, thread} = this.#reading(oid, pid);
    listing.readers.add(thread);
    listing.complete = true;
    if (!leased) listing.spoiled = true;
    if (!listing.spoiled && listing.late.size === 0 && listing.dropping === null) return null;
    return this.#clean(oid, listing);
  }

  /** The lease of the directory is about to be given up; nothing is answered under it any more. */
  async recall(oid: number): Promise<void> {
    this.#expire();
    const listing = this.#listings.get(oid);
    if (listing === undefined) return;
    for (const pid of listing.readers) listing.late.set(pid, ++this.#answers);
    listing.readers.clear();
    // Of what is not complete nothing is read. It is dropped when it is about to be: were it now, the kernel could never complete it.
    if (!listing.complete) listing.spoiled ||= listing.filled;
    else if (listing.filled || listing.spoiled) {
      listing.filled = listing.spoiled = listing.complete = false;
      await this.#drop(oid, listing);
      if (listing.late.size > 0) void this.#again(oid, listing);
    }
    this.#tidy(oid, listing);
  }

  /** All leases are gone. */
  async recallAll(): Promise<void> {
    await Promise.all([...this.#listings.keys()].map((oid) => this.recall(oid)));
  }

  /** The kernel has dropped the inode, and its pages. */
  forgotten(oid: number): void {
    this.offsets.forgotten(oid);
    const listing = this.#listings.get(oid);
    if (listing !== undefined) listing.filled = listing.spoiled = listing.complete = false;
    void this.recall(oid);
  }

  /** Directories that are known here. */
  get size(): number {
    return this.#listings.size;
  }

  async #again(oid: number, listing: Listing): Promise<void> {
    const answers = new Map(listing.late);
    for (const ms of AGAIN_MS) {
      await sleep(this.#clock, ms);
      if (this.#listings.get(oid) !== listing) return;
      for (const [pid, answer] of answers)
        if (listing.late.get(pid) !== answer) answers.delete(pid);
      // None of them is on its way any more. What came in is dropped before the kernel calls it complete; a drop now might meet an answer
      // that is just being put in, and of what is half there then the kernel makes nothing any more.
      if (answers.size === 0) break;
      await this.#drop(oid, listing);
    }
    this.#tidy(oid, listing);
  }

  async #clean(oid: number, listing: Listing): Promise<void> {
    listing.spoiled = true;
    // A drop that another answer waits for counts, too: what it is for came in after one that is over.
    while (listing.spoiled || listing.dropping !== null) {
      const drop = listing.spoiled ? this.#drop(oid, listing) : listing.dropping;
      listing.spoiled = false;
      await drop;
    }
    void this.#again(oid, listing);
  }

  /** One that is under way may have passed what is to be dropped. */
  #drop(oid: number, listing: Listing): Promise<unknown> {
    const before = listing.dropping ?? Promise.resolve();
    const drop = before
      .then(() => this.#host.dropListing(oid))
      .finally(() => {
        if (listing.dropping === drop) listing.dropping = null;
      });
    listing.dropping = drop;
    return drop;
  }

  #reading(oid: number, pid: number): {listing: Listing; thread: number} {
    // First: it may drop what is known of this directory.
    this.#expire();
    const listing = this.#of(oid);
    // Threads of other namespaces all have the number 0.
    const thread = pid === 0 ? --this.#unknown : pid;
    this.#reads.set(thread, {oid, at: this.#clock.now()});
    return {listing, thread};
  }

  #expire(): void {
    const since = this.#clock.now() - SEEN_MS;
    for (const [pid, {oid, at}] of this.#reads) {
      if (at > since) break;
      this.#seen(pid, oid);
    }
  }

  /** What was answered to the thread is in the pages, if it came into them at all. */
  #seen(pid: number, oid: number): void {
    this.#reads.delete(pid);
    const listing = this.#listings.get(oid);
    if (listing === undefined) return;
    listing.readers.delete(pid);
    if (listing.late.delete(pid)) listing.spoiled = true;
    this.#tidy(oid, listing);
  }

  #of(oid: number): Listing {
    let listing = this.#listings.get(oid);
    if (listing === undefined) {
      listing = {
        readers: new Set(),
        late: new Map(),
        filled: false,
        spoiled: false,
        complete: false,
        dropping: null,
      };
      this.#listings.set(oid, listing);
    }
    return listing;
  }

  #tidy(oid: number, listing: Listing): void {
    const {filled, spoiled, readers, late, dropping} = listing;
    if (filled || spoiled || dropping !== null || readers.size + late.size > 0) return;
    if (this.#listings.get(oid) === listing) this.#listings.delete(oid);
  }
}
