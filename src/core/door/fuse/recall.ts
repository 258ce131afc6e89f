import type {Clock} from '../../env/clock.js';

/** How long a request that came during an invalidation may wait for it: it may hold the page that the kernel waits for. */
const PARK_MS = 20;

/** A READ or WRITE between its arrival and its reply. */
export interface PageIo {
  oid: number;
  offset: number;
  length: number;
  /** It goes to the end of the file, wherever that is: it needs the lease of all of it. */
  append?: boolean;
  /** The lease mode that it needs (1 read, 2 write). */
  needs: 1 | 2;
  kind: 'cached-read' | 'direct-read' | 'write';
  /** The kernel's own write-back of pages that were written through a mapping: the invalidation waits for it. */
  urgent: boolean;
  /** Carries it out through the client. `shared`: with the lease that is held, although it asked for more. Never rejects. */
  run(shared: boolean): Promise<void>;
  /** Stop waiting for the lease that a read asked for and take what is held; `run` resolves then. */
  settle(): void;
  /** Sends the reply. */
  reply(): void;
}

interface Running {
  io: PageIo;
  /** The lease mode that it waits for or has. */
  needs: number;
}

interface Recall {
  /** Requests begun under the lease since this recall began; each may have put a page into the kernel's cache. */
  served: number;
  parked: PageIo[];
  parking: boolean;
}

export interface RecallHost {
  /** The lease mode that the client holds of what a request is about. */
  held(io: Pick<PageIo, 'oid' | 'offset' | 'length' | 'append'>): number;
  /** Drops the kernel's pages of a range (length 0: to the end), writing back dirty ones first. */
  invalidate(oid: number, offset: number, length: number): Promise<void>;
}

/**
 * Gives up the kernel's pages of an object, without deadlock and without leaving a stale one behind.
 *
 * The kernel's invalidation waits for pages that are locked by READs which wait for us, and a READ that is answered
 * during the invalidation puts a page into the cache behind its back. So new requests are parked while the kernel
 * invalidates; if it has not finished within 20 ms it may be waiting for one of them, and all are let through under the lease that is still
 * held. Whenever something was let through, the invalidation is done again. What is parked at the end runs after the lease has been
 * given up, and asks for a new one.
 *
 * Handles that may write are opened for direct I/O, so a WRITE that waits for a lease holds no page: else two mounts that both
 * hold the lease for reading and both want to write would wait for each other's pages.
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
    if (recall.parking && !io.urgent) {
      recall.parked.push(io);
      return;
    }
    const held = this.#host.held(io);
    // A fault of a writable mapping wants to write; its page is locked, so it gets what the held lease allows, and loses it again.
    const shared = io.kind !== 'write' && held < io.needs;
    if (shared || held >= io.needs) recall.served++;
    this.#run(io, shared);
  }

  /**
   * The kernel gave references to the inode back: most often all of them, and then its pages are gone. To be sure
   * they are dropped, which costs nothing where there are none; a read that comes later notes the object again.
   */
  forgotten(oid: number): void {
    if (!this.#cached.delete(oid)) return;
    void this.#host.invalidate(oid, 0, 0);
  }

  /** All leases are gone without having been given up. */
  dropAll(): void {
    for (const oid of this.#cached) void this.#host.invalidate(oid, 0, 0);
  }

  /** Resolves when the kernel has no page of the object and none can come before the lease has been given up. */
  async recall(oid: number): Promise<void> {
    if (!this.#cached.has(oid) && !this.#running.has(oid)) return;
    const recall: Recall = {served: 0, parked: [], parking: true};
    this.#recalls.set(oid, recall);
    this.#settleFaults(oid);
    for (;;) {
      await this.#idle(oid);
      const before = recall.served;
      await this.#pass(oid, recall);
      if (recall.served === before) break;
    }
    this.#recalls.delete(oid);
    this.#cached.delete(oid);
    if (recall.parked.length === 0) return;
    // After the caller has given the lease up, which it does in the same turn: what was parked must ask for a new one.
    this.#clock.soon(() => {
      for (const io of recall.parked) this.enter(io);
    });
  }

  /** A fault of a writable mapping that waits for the lease for writing holds its page; nobody gets that lease before we have yielded. */
  #settleFaults(oid: number): void {
    for (const running of this.#running.get(oid) ?? []) {
      const held = this.#host.held(running.io);
      if (running.io.kind !== 'direct-read' || running.needs <= held) continue;
      running.needs = held;
      running.io.settle();
    }
  }

  async #pass(oid: number, recall: Recall): Promise<void> {
    let done = false;
    const pass = this.#host.invalidate(oid, 0, 0).then(() => {
      done = true;
    });
    while (!done) {
      recall.parking = true;
      let timer: {cancel(): void} | undefined;
      const late = new Promise<void>((resolve) => {
        timer = this.#clock.timer(PARK_MS, resolve);
      });
      await Promise.race([pass, late]);
      timer?.cancel();
      if (done || recall.parked.length === 0) continue;
      recall.parking = false;
      for (const io of recall.parked.splice(0)) this.enter(io);
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
    const running: Running = {io, needs: shared ? 1 : io.needs};
    set.add(running);
    if (io.kind !== 'write' || io.urgent) this.#cached.add(oid);
    void io.run(shared).then(() => {
      if (io.kind === 'write' && !io.urgent && this.#cached.has(oid))
        void this.#dropAndReply(running);
      else this.#finish(running);
    });
  }

  /**
   * A direct WRITE drops cached pages before it is sent; a READ of this host that overtook it may have filled one
   * with what was there before. The wait is bounded: such a page may be locked by a READ that waits for us.
   */
  async #dropAndReply(running: Running): Promise<void> {
    const {io} = running;
    let timer: {cancel(): void} | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#clock.timer(PARK_MS, resolve);
    });
    await Promise.race([this.#host.invalidate(io.oid, io.offset, io.length), late]);
    timer?.cancel();
    this.#finish(running);
  }

  #finish(running: Running): void {
    const {io} = running;
    const {oid} = io;
    io.reply();
    const set = this.#running.get(oid)!;
    set.delete(running);
    if (set.size === 0) this.#running.delete(oid);
    const waiting = this.#changed.get(oid);
    if (waiting === undefined) return;
    this.#changed.delete(oid);
    for (const wake of waiting) wake();
  }

  /** Until nothing runs that the held lease covers. */
  async #idle(oid: number): Promise<void> {
    const covered = () => {
      for (const running of this.#running.get(oid) ?? [])
        if (this.#host.held(running.io) >= running.needs) return true;
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
