import type {Ms} from '../../base/ids.js';
import type {Clock} from '../../env/clock.js';
import {
  type ByteRange,
  common,
  END,
  EVERYTHING,
  isWhole,
  minus,
  NOTHING,
  overlap,
  overlaps,
  plus,
  type Ranges,
  WHOLE,
} from '../../lease/ranges.js';

/** How long a request that came during an invalidation may wait for it: it may hold the page that the kernel waits for. */
const PARK_MS: Ms = 20;
/** The same, when one has had to be let through already. */
const PARK_AGAIN_MS: Ms = 2;
/** So often is read what is being written all the time. */
const READS_MAX = 4;
/** More ranges than this are dropped as one. */
const RANGES_MAX = 32;
/** For so long after a recall a file counts as one that others are using. */
const SHARED_MS: Ms = 1000;
const SHARED_MAX = 4096;

/** What becomes of a READ of pages that waits for a lease: it takes what is held, or it fails (the kernel asks again, for less at a time). */
export type Settled = 'shared' | 'refused';

/** A READ or WRITE between its arrival and its reply. */
export interface PageIo {
  oid: number;
  offset: number;
  length: number;
  /** It goes to the end of the file, wherever that is: it needs the lease of all of it. */
  append?: boolean;
  /** The lease mode that it needs (1 read, 2 write). */
  needs: 1 | 2;
  /** Of pages: the kernel has locked them, and keeps them when they have been answered. A fault, for instance. */
  kind: 'page-read' | 'direct-read' | 'write';
  /** The kernel's own write-back of pages that were written through a mapping: the invalidation waits for it. */
  urgent: boolean;
  /** The kernel asks for it a second time (KernelSizes): it is let through, since a notice would be waited for in vain. */
  again?: boolean;
  /** Carries it out through the client. `shared`: with the lease that is held, although it asked for more. Never rejects. */
  run(shared: boolean): Promise<void>;
  /** Stop waiting for the lease that a read asked for; `run` resolves then, or waits again. */
  settle(how: Settled): void;
  /** Sends the reply. */
  reply(): void;
}

interface Running {
  io: PageIo;
  /** The lease mode that it waits for or has. */
  needs: number;
  /** A READ of pages in which something was written since it began. */
  stale: boolean;
  /** It was told to take what is held, and that is still held. */
  settled: boolean;
}

interface Recall {
  /** What is being given up. */
  readonly gone: Ranges;
  /** Of requests begun under the lease since pages were last dropped: each may have put some into the kernel's cache. */
  served: Ranges;
  parked: PageIo[];
  parking: boolean;
}

export interface RecallHost {
  /** The lease mode that the client holds of what a request is about. */
  held(io: Pick<PageIo, 'oid' | 'offset' | 'length' | 'append'>): number;
  /** Drops the kernel's pages of a range (length 0: to the end), writing back dirty ones first. */
  invalidate(oid: number, offset: number, length: number): Promise<void>;
}

const bytesOf = ({offset, length}: PageIo): ByteRange => ({from: offset, to: offset + length});

const fewOf = (ranges: Ranges): Ranges =>
  ranges.length <= RANGES_MAX ? ranges : [{from: ranges[0]!.from, to: ranges.at(-1)!.to}];

/**
 * Gives up the kernel's pages of an object, without deadlock and without leaving a stale one behind.
 *
 * The kernel's invalidation waits for pages that are locked by READs which wait for us, and a READ that is answered
 * during the invalidation puts a page into the cache behind its back. So new requests are parked while the kernel
 * invalidates; if it has not finished within 20 ms it may be waiting for one of them, and all READs are let through under the lease that is still
 * held. What was let through is dropped in its turn, and that alone: of pages that are there nobody asks for, so it is over soon, however busy
 * programs are. What is parked at the end runs after the lease has been given up, and asks for a new one.
 *
 * Handles that may write are opened for direct I/O, so a WRITE that waits for a lease holds no page: else two mounts that both
 * hold the lease for reading and both want to write would wait for each other's pages. So it stays parked.
 *
 * Invariant: when `recall` resolves, no request that the lease covered is running.
 */
export class RecallGate {
  readonly #clock: Clock;
  readonly #host: RecallHost;
  readonly #recalls = new Map<number, Recall>();
  readonly #running = new Map<number, Set<Running>>();
  readonly #changed = new Map<number, (() => void)[]>();
  /** Objects of which the kernel may have pages. */
  readonly #cached = new Set<number>();
  /** Objects that were recalled lately, in that order, and when. */
  readonly #shared = new Map<number, Ms>();

  constructor(clock: Clock, host: RecallHost) {
    this.#clock = clock;
    this.#host = host;
  }

  /** Carries a request out now or, during a recall, a little later. */
  enter(io: PageIo): void {
    const recall = this.#recalls.get(io.oid);
    if (recall === undefined) {
      this.#run(io, false);
      return;
    }
    if (recall.parking && !io.urgent && io.again !== true) {
      recall.parked.push(io);
      return;
    }
    const held = this.#host.held(io);
    // A fault of a writable mapping wants to write; its page is locked, so it gets what the held lease allows, and loses it again.
    const shared = io.kind !== 'write' && held > 0 && held < io.needs;
    if (held === 0 && io.kind === 'page-read' && overlaps(recall.gone, bytesOf(io))) {
      // It needs more than is held, and has the pages of what is to be given up.
      this.#run(io, false);
      io.settle('refused');
      return;
    }
    if (shared || held >= io.needs)
      recall.served = common(recall.gone, [bytesOf(io)]).reduce(plus, recall.served);
    this.#run(io, shared);
  }

  /** The kernel has dropped the inode, and its pages. A read that comes later notes the object again. */
  forgotten(oid: number): void {
    this.#cached.delete(oid);
  }

  /** Drops all pages of an object. */
  drop(oid: number): void {
    void this.#drop(oid, EVERYTHING);
  }

  /** All leases are gone without having been given up: no recall waits any more for what relied on them. */
  dropAll(): void {
    for (const oid of this.#cached) this.drop(oid);
    for (const oid of [...this.#changed.keys()]) this.#wake(oid);
  }

  /** Have others wanted the object lately? */
  shared(oid: number): boolean {
    const at = this.#shared.get(oid);
    return at !== undefined && this.#clock.now() - at < SHARED_MS;
  }

  /** Resolves when the kernel has no page of what goes of the object and none can come before that has been given up. */
  async recall(oid: number, gone: Ranges = WHOLE): Promise<void> {
    this.#noteShared(oid);
    if (!this.#cached.has(oid) && !this.#running.has(oid)) return;
    const recall: Recall = {gone, served: NOTHING, parked: [], parking: true};
    this.#recalls.set(oid, recall);
    this.#settle(oid, gone);
    let patience = PARK_MS;
    for (let ranges = gone; ranges.length > 0; ranges = recall.served) {
      await this.#idle(oid, gone);
      const all = recall.served.reduce(plus, ranges);
      recall.served = NOTHING;
      await this.#pass(oid, recall, all, patience);
      patience = PARK_AGAIN_MS;
    }
    this.#recalls.delete(oid);
    if (isWhole(gone)) this.#cached.delete(oid);
    if (recall.parked.length === 0) return;
    // After the caller has given the lease up, which it does in the same turn: what was parked must ask for a new one.
    this.#clock.soon(() => {
      for (const io of recall.parked) this.enter(io);
    });
  }

  /**
   * READs that hold pages of what goes and wait for a lease, which nobody gets before we have yielded. A fault of a writable mapping, which waits for the
   * one for writing, takes what is held. So does one of which the lease has come with something else while it waits for its own. A READ that waits
   * for one part of the object, and has pages of another, fails.
   */
  #settle(oid: number, gone: Ranges): void {
    for (const running of this.#running.get(oid) ?? []) {
      const {io} = running;
      if (io.kind === 'page-read' && overlaps(gone, bytesOf(io))) this.#nudge(running);
    }
  }

  #nudge(running: Running): void {
    const {io} = running;
    const held = this.#host.held(io);
    running.needs = Math.min(running.needs, Math.max(1, held));
    if (held === 0) io.settle('refused');
    else if (!running.settled) io.settle('shared');
    running.settled = held > 0;
  }

  #noteShared(oid: number): void {
    const now = this.#clock.now();
    for (const [other, at] of this.#shared) {
      if (now - at < SHARED_MS && this.#shared.size < SHARED_MAX) break;
      this.#shared.delete(other);
    }
    this.#shared.delete(oid);
    this.#shared.set(oid, now);
  }

  async #pass(oid: number, recall: Recall, ranges: Ranges, patience: Ms): Promise<void> {
    let done = false;
    const drops = fewOf(ranges).map(({from, to}) =>
      this.#host.invalidate(oid, from, to === END ? 0 : to - from),
    );
    const pass = Promise.all(drops).then(() => {
      done = true;
    });
    for (let wait = patience; !done; wait = PARK_AGAIN_MS) {
      recall.parking = true;
      await this.#within(wait, pass);
      if (done) continue;
      this.#settle(oid, recall.gone);
      recall.parking = false;
      const parked = recall.parked.splice(0);
      recall.parked = parked.filter((io) => io.kind === 'write');
      for (const io of parked) if (io.kind !== 'write') this.enter(io);
    }
    recall.parking = true;
  }

  #run(io: PageIo, shared: boolean): void {
    const {oid} = io;
    let set = this.#running.get(oid);
    if (set === undefined) {
      set = new Set();
      this.#running.set(oid, set);
    }
    const running: Running = {io, needs: shared ? 1 : io.needs, stale: false, settled: false};
    set.add(running);
    const pages = io.kind === 'page-read' || io.urgent;
    if (pages) this.#cached.add(oid);
    void this.#carryOut(running, shared).then(() => {
      // A recall of other parts may have forgotten it meanwhile.
      if (pages) this.#cached.add(oid);
      if (io.kind === 'write' && !io.urgent && this.#cached.has(oid))
        void this.#dropAndReply(running);
      else this.#finish(running);
      if (running.stale) void this.#drop(oid, bytesOf(io));
    });
  }

  /** What was written to meanwhile is read again, so that nothing from before is answered after that. */
  async #carryOut(running: Running, shared: boolean): Promise<void> {
    for (let times = 0; times < READS_MAX; times++) {
      running.stale = false;
      await running.io.run(shared);
      if (!running.stale) return;
    }
  }

  /**
   * A direct WRITE drops cached pages before it is sent; a READ of this host that overtook it may have filled one
   * with what was there before. Pages of READs under way need no drop, which would wait for them: they are read again. The wait is
   * bounded all the same, since one may have come meanwhile.
   */
  async #dropAndReply(running: Running): Promise<void> {
    const {io} = running;
    const range = bytesOf(io);
    let ranges: Ranges = [range];
    for (const other of this.#reads(io.oid, range)) {
      other.stale = true;
      ranges = minus(ranges, bytesOf(other.io));
    }
    const drops = ranges.map((one) => this.#drop(io.oid, one));
    if (drops.length > 0) await this.#within(PARK_MS, Promise.all(drops));
    this.#finish(running);
  }

  /** Drops pages. Whoever waits for another part with one of them would keep all other notices waiting, too. */
  async #drop(oid: number, range: ByteRange): Promise<void> {
    let done = false;
    const {from, to} = range;
    const drop = this.#host.invalidate(oid, from, to === END ? 0 : to - from).then(() => {
      done = true;
    });
    for (;;) {
      await this.#within(PARK_MS, drop);
      if (done) return;
      for (const read of this.#reads(oid, range)) this.#nudge(read);
    }
  }

  /** READs under way of pages in a range. */
  *#reads(oid: number, range: ByteRange): Generator<Running> {
    for (const running of this.#running.get(oid) ?? [])
      if (running.io.kind === 'page-read' && overlap(range, bytesOf(running.io))) yield running;
  }

  /** Until it is done, or so long. */
  async #within(ms: Ms, done: Promise<unknown>): Promise<void> {
    let timer: {cancel(): void} | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#clock.timer(ms, resolve);
    });
    await Promise.race([done, late]);
    timer?.cancel();
  }

  #finish(running: Running): void {
    const {io} = running;
    const {oid} = io;
    io.reply();
    const set = this.#running.get(oid)!;
    set.delete(running);
    if (set.size === 0) this.#running.delete(oid);
    this.#wake(oid);
  }

  #wake(oid: number): void {
    const waiting = this.#changed.get(oid);
    if (waiting === undefined) return;
    this.#changed.delete(oid);
    for (const wake of waiting) wake();
  }

  /** Until nothing runs that the held lease covers and that leaves pages of what goes behind. */
  async #idle(oid: number, gone: Ranges): Promise<void> {
    const covered = () => {
      for (const {io, needs} of this.#running.get(oid) ?? [])
        if (io.kind === 'page-read' || io.urgent)
          if (overlaps(gone, bytesOf(io)) && this.#host.held(io) >= needs) return true;
      return false;
    };
    while (covered()) {
      await new Promise<void>((resolve) => {
        const waiting = this.#changed.get(oid);
        if (waiting === undefined) this.#changed.set(oid, [resolve]);
        else waiting.push(resolve);
      });
    }
  }
}
