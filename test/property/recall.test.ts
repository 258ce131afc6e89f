// Goal: giving up a lease leaves no stale page in the kernel and never deadlocks. Method: a small kernel (pages with
// locks, an invalidation that waits for them, one notice thread), two holders that take the lease from each other,
// random READs and WRITEs under virtual time; a page's content is the number of the last write that was carried out.
import {describe, expect, test} from '@jest/globals';
import {type PageIo, RecallGate, type Settled} from '../../src/core/door/fuse/recall.js';
import {NOTHING, plus, type Ranges} from '../../src/core/lease/ranges.js';
import {SimClock} from '../../src/core/sim/clock.js';
import {SeededRandom} from '../../src/core/sim/random.js';
import {Actor, Scheduler} from '../../src/core/sim/scheduler.js';
import {defer} from '../support/sim.js';

const OID = 7;
const PAGES = 6;
const PAGE = 4096;

interface Page {
  locked: boolean;
  /** What a reader of this host would get without asking; null: nothing cached. */
  value: number | null;
  waiters: (() => void)[];
}

/** The truth, and who may touch it. Recalls take turns: a request for the lease waits for the other's yield. */
class Server {
  readonly values = new Array<number>(PAGES).fill(0);
  /** The newest write of each page that has returned to its program: nobody may see less from then on. */
  readonly completed = new Array<number>(PAGES).fill(0);
  version = 0;
  holder: Host | null = null;
  mode = 0;
  #queue: {host: Host; mode: 1 | 2; grant: () => void}[] = [];
  #recalling = false;

  request(host: Host, mode: 1 | 2): Promise<void> {
    return new Promise((grant) => {
      this.#queue.push({host, mode, grant});
      this.#next();
    });
  }

  #next(): void {
    const first = this.#queue[0];
    if (first === undefined || this.#recalling) return;
    if (this.holder === null || this.holder === first.host) {
      this.#queue.shift();
      this.holder = first.host;
      this.mode = Math.max(this.mode, first.mode);
      first.host.mode = this.mode;
      first.grant();
      this.#next();
      return;
    }
    this.#recalling = true;
    const holder = this.holder;
    // A recall takes its time over the network: who was granted something has begun to use it.
    const arrived = new Promise<void>((resolve) => holder.clock.timer(1, resolve));
    void arrived
      .then(() => holder.giveUp())
      .then(() => {
        this.#recalling = false;
        this.holder = null;
        this.mode = 0;
        this.#next();
      });
  }
}

/** A mount: its kernel's pages and the part of the client that a gate sees. */
class Host {
  mode = 0;
  readonly pages: Page[] = Array.from({length: PAGES}, () => ({
    locked: false,
    value: null,
    waiters: [],
  }));
  readonly gate: RecallGate;
  #inFlight = 0;
  #quiet: (() => void)[] = [];
  #recalled = false;
  #wanted: Promise<void> | null = null;
  notices: Promise<void> = Promise.resolve();

  constructor(
    readonly clock: SimClock,
    readonly random: SeededRandom,
    readonly server: Server,
  ) {
    this.gate = new RecallGate(clock, {
      held: () => this.mode,
      invalidate: (_oid, offset, length) => {
        this.notices = this.notices.then(() => this.#invalidate(offset, length));
        return this.notices;
      },
    });
  }

  async #invalidate(offset: number, length: number): Promise<void> {
    const last = length === 0 ? PAGES : Math.ceil((offset + length) / PAGE);
    for (let i = Math.floor(offset / PAGE); i < last; i++) {
      await this.lock(i);
      this.pages[i]!.value = null;
      this.unlock(i);
    }
  }

  async lock(i: number): Promise<void> {
    const page = this.pages[i]!;
    while (page.locked) await new Promise<void>((resolve) => page.waiters.push(resolve));
    page.locked = true;
  }

  unlock(i: number): void {
    const page = this.pages[i]!;
    page.locked = false;
    for (const wake of page.waiters.splice(0)) wake();
  }

  pause(): Promise<void> {
    return new Promise((resolve) => this.clock.timer(this.random.below(8), resolve));
  }

  /** The client: a recall waits for what is in flight, lets the gate clear the kernel, and yields in the same turn. */
  async giveUp(): Promise<void> {
    this.#recalled = true;
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#quiet.push(resolve));
    await this.gate.recall(OID);
    this.mode = 0;
    this.#recalled = false;
  }

  /** An operation of the client. Under a recall the held lease still serves what it covers. */
  async operate(needs: 1 | 2, work: () => void): Promise<void> {
    while (this.mode < needs) {
      this.#wanted ??= this.server.request(this, needs).finally(() => {
        this.#wanted = null;
      });
      await this.#wanted;
    }
    void this.#recalled;
    this.#inFlight++;
    await this.pause();
    work();
    this.#inFlight--;
    if (this.#inFlight === 0) for (const wake of this.#quiet.splice(0)) wake();
  }

  /** A program's read of one page, or a fault of a writable mapping; gives what it saw. */
  async read(i: number, fault = false): Promise<number> {
    await this.lock(i);
    const page = this.pages[i]!;
    if (page.value !== null) {
      const seen = page.value;
      this.unlock(i);
      return seen;
    }
    let value = 0;
    await this.#enter(
      i,
      fault ? 2 : 1,
      'page-read',
      () => {
        value = this.server.values[i]!;
      },
      () => {
        page.value = value;
      },
    );
    this.unlock(i);
    return value;
  }

  /** A program's direct write: drops the page before it is sent (and waits for a reader that has it locked), holds no lock. */
  async write(i: number): Promise<void> {
    let version = 0;
    await this.lock(i);
    this.pages[i]!.value = null;
    this.unlock(i);
    await this.#enter(
      i,
      2,
      'write',
      () => {
        version = ++this.server.version;
        this.server.values[i] = version;
      },
      () => {},
    );
    this.server.completed[i] = Math.max(this.server.completed[i]!, version);
  }

  #enter(
    i: number,
    needs: 1 | 2,
    kind: PageIo['kind'],
    work: () => void,
    reply: () => void,
  ): Promise<void> {
    return new Promise((resolve) => {
      let settle = () => {};
      const settled = new Promise<true>((yes) => {
        settle = () => yes(true);
      });
      const io: PageIo = {
        oid: OID,
        offset: i * PAGE,
        length: PAGE,
        needs,
        kind,
        urgent: false,
        settle: () => settle(),
        run: async (shared) => {
          if (needs === 1 || shared) return this.operate(1, work);
          if (await Promise.race([this.operate(2, work), settled])) await this.operate(1, work);
        },
        reply: () => {
          reply();
          resolve();
        },
      };
      this.gate.enter(io);
    });
  }
}

async function world(seed: number): Promise<{reads: number; writes: number}> {
  const random = new SeededRandom(seed);
  const scheduler = new Scheduler(defer);
  const server = new Server();
  const hosts = [0, 1].map((n) => {
    const actor = new Actor(`host${n}`, n);
    const clock = new SimClock(scheduler, actor, {zero: 0, skew: 0, rate: 1});
    return new Host(clock, random.split(`host${n}`), server);
  });
  const done = {programs: 0, reads: 0, writes: 0};
  const program = async (host: Host, mine: SeededRandom, writes: boolean) => {
    for (let step = 0; step < 12; step++) {
      await host.pause();
      const page = mine.below(PAGES);
      if (writes && mine.below(2) === 0) {
        await host.write(page);
        done.writes++;
      } else {
        const before = server.completed[page]!;
        const seen = await host.read(page, mine.below(4) === 0);
        if (seen < before)
          throw new Error(`page ${page}: read ${seen}, was ${before} before (seed ${seed})`);
        done.reads++;
      }
    }
    done.programs++;
  };
  const programs = hosts.flatMap((host, h) =>
    [0, 1, 2].map((n) => {
      const mine = random.split(`program${h}.${n}`);
      return program(host, mine, n < 2).catch((error) => scheduler.fail(error));
    }),
  );
  await scheduler.run(() => done.programs === programs.length, {events: 200_000, time: 60_000});
  return done;
}

/** A page is held by one host at a time, whatever for. */
class PartServer {
  readonly values = new Array<number>(PAGES).fill(0);
  readonly completed = new Array<number>(PAGES).fill(0);
  version = 0;
  readonly holders = new Array<PartHost | null>(PAGES).fill(null);
  #queue: {host: PartHost; pages: number[]; grant: () => void}[] = [];
  #recalling = false;

  request(host: PartHost, pages: number[]): Promise<void> {
    return new Promise((grant) => {
      this.#queue.push({host, pages, grant});
      this.#next();
    });
  }

  #next(): void {
    const first = this.#queue[0];
    if (first === undefined || this.#recalling) return;
    const {host, pages, grant} = first;
    const other = pages.map((i) => this.holders[i]!).find((one) => one !== null && one !== host);
    if (other === undefined) {
      this.#queue.shift();
      for (const i of pages) this.holders[i] = host;
      grant();
      this.#next();
      return;
    }
    this.#recalling = true;
    const theirs = pages.filter((i) => this.holders[i] === other);
    const arrived = new Promise<void>((resolve) => other!.clock.timer(1, resolve));
    void arrived
      .then(() => other!.giveUp(theirs))
      .then(() => {
        this.#recalling = false;
        for (const i of theirs) this.holders[i] = null;
        this.#next();
      });
  }
}

/** A mount that holds parts of a file. Its kernel reads several pages with one request, and one alone when that has failed. */
class PartHost {
  readonly pages: Page[] = Array.from({length: PAGES}, () => ({
    locked: false,
    value: null,
    waiters: [],
  }));
  readonly gate: RecallGate;
  refused = 0;
  #notices: Promise<void> = Promise.resolve();

  constructor(
    readonly clock: SimClock,
    readonly random: SeededRandom,
    readonly server: PartServer,
  ) {
    this.gate = new RecallGate(clock, {
      held: ({offset, length}) => (this.#holds(pagesOf(offset, length)) ? 2 : 0),
      invalidate: (_oid, offset, length) => {
        this.#notices = this.#notices.then(async () => {
          for (const i of pagesOf(offset, length)) {
            await this.#lock(i);
            this.pages[i]!.value = null;
            this.#unlock(i);
          }
        });
        return this.#notices;
      },
    });
  }

  #holds(pages: number[]): boolean {
    return pages.every((i) => this.server.holders[i] === this);
  }

  async #lock(i: number): Promise<void> {
    const page = this.pages[i]!;
    while (page.locked) await new Promise<void>((resolve) => page.waiters.push(resolve));
    page.locked = true;
  }

  #unlock(i: number): void {
    const page = this.pages[i]!;
    page.locked = false;
    for (const wake of page.waiters.splice(0)) wake();
  }

  pause(): Promise<void> {
    return new Promise((resolve) => this.clock.timer(this.random.below(4), resolve));
  }

  giveUp(pages: number[]): Promise<void> {
    return this.gate.recall(
      OID,
      pages.reduce<Ranges>((all, i) => plus(all, {from: i * PAGE, to: (i + 1) * PAGE}), NOTHING),
    );
  }

  async #operate(pages: number[], work: () => void): Promise<void> {
    // What it has asked for may come with something else, while its own request is behind one that wants something of this host.
    while (!this.#holds(pages)) await this.server.request(this, pages);
    work();
  }

  /** What a program sees of the page `i`; the kernel reads on up to `last`. */
  async read(i: number, last: number): Promise<number> {
    for (let to = last; ; to = i) {
      const missing: number[] = [];
      let seen: number | null = null;
      for (let n = i; n <= to; n++) {
        // It reads up to what is there already, or on its way.
        if (n > i && (this.pages[n]!.locked || this.pages[n]!.value !== null)) break;
        await this.#lock(n);
        const {value} = this.pages[n]!;
        if (value === null) missing.push(n);
        else {
          seen = value;
          this.#unlock(n);
          break;
        }
      }
      if (seen !== null) return seen;
      if (await this.#fill(missing)) this.refused++;
      const {value} = this.pages[i]!;
      for (const n of missing) this.#unlock(n);
      if (value !== null) return value;
    }
  }

  /** True: it was refused. */
  #fill(pages: number[]): Promise<boolean> {
    return new Promise((resolve) => {
      let values: number[] = [];
      let settle = (_how: Settled): void => {};
      let failed = false;
      this.gate.enter({
        oid: OID,
        offset: pages[0]! * PAGE,
        length: pages.length * PAGE,
        needs: 1,
        kind: 'page-read',
        urgent: false,
        settle: (how) => settle(how),
        run: async () => {
          for (let how: Settled | undefined = 'shared'; how === 'shared'; ) {
            const settled = new Promise<Settled>((yes) => {
              settle = yes;
            });
            const read = this.#operate(pages, () => {
              values = pages.map((n) => this.server.values[n]!);
            });
            how = (await Promise.race([read, settled])) ?? undefined;
            failed = how === 'refused';
          }
          await this.pause();
        },
        reply: () => {
          for (const [k, n] of pages.entries()) if (!failed) this.pages[n]!.value = values[k]!;
          resolve(failed);
        },
      });
    });
  }

  async write(i: number): Promise<void> {
    let version = 0;
    await this.#lock(i);
    this.pages[i]!.value = null;
    this.#unlock(i);
    await new Promise<void>((resolve) => {
      this.gate.enter({
        oid: OID,
        offset: i * PAGE,
        length: PAGE,
        needs: 2,
        kind: 'write',
        urgent: false,
        settle: () => {},
        run: () =>
          this.#operate([i], () => {
            version = ++this.server.version;
            this.server.values[i] = version;
          }),
        reply: resolve,
      });
    });
    this.server.completed[i] = Math.max(this.server.completed[i]!, version);
  }
}

const pagesOf = (offset: number, length: number): number[] => {
  const end = length === 0 ? PAGES : Math.ceil((offset + length) / PAGE);
  return Array.from({length: end - offset / PAGE}, (_, n) => offset / PAGE + n);
};

async function parts(seed: number): Promise<number> {
  const random = new SeededRandom(seed);
  const scheduler = new Scheduler(defer);
  const server = new PartServer();
  const hosts = [0, 1].map((n) => {
    const actor = new Actor(`host${n}`, n);
    const clock = new SimClock(scheduler, actor, {zero: 0, skew: 0, rate: 1});
    return new PartHost(clock, random.split(`host${n}`), server);
  });
  let done = 0;
  const program = async (host: PartHost, mine: SeededRandom) => {
    for (let step = 0; step < 12; step++) {
      await host.pause();
      const page = mine.below(PAGES);
      if (mine.below(2) === 0) await host.write(page);
      else {
        const before = server.completed[page]!;
        const seen = await host.read(page, page + mine.below(PAGES - page));
        if (seen < before) throw new Error(`page ${page}: read ${seen}, was ${before} before`);
      }
    }
    done++;
  };
  for (const [h, host] of hosts.entries())
    for (let n = 0; n < 3; n++)
      void program(host, random.split(`program${h}.${n}`)).catch((error) => scheduler.fail(error));
  await scheduler.run(() => done === 6, {events: 200_000, time: 60_000});
  return hosts[0]!.refused + hosts[1]!.refused;
}

/** The longest that a write took, ms, while programs of the other mount read and write all the time. */
async function hammered(seed: number): Promise<number> {
  const random = new SeededRandom(seed);
  const scheduler = new Scheduler(defer);
  const server = new Server();
  const [busy, other] = [0, 1].map((n) => {
    const actor = new Actor(`host${n}`, n);
    const clock = new SimClock(scheduler, actor, {zero: 0, skew: 0, rate: 1});
    return new Host(clock, random.split(`host${n}`), server);
  });
  let longest = -1;
  const hammer = async (mine: SeededRandom, writes: boolean) => {
    while (longest < 0) {
      if (writes) await busy!.write(mine.below(2));
      else await busy!.read(mine.below(PAGES));
      // A hit takes no time at all, and would take all of it.
      await new Promise<void>((resolve) => busy!.clock.timer(mine.below(2) / 4, resolve));
    }
  };
  for (let n = 0; n < 6; n++)
    void hammer(random.split(`program${n}`), n < 2).catch((error) => scheduler.fail(error));
  const work = async () => {
    let most = 0;
    for (let step = 0; step < 10; step++) {
      await other!.pause();
      const begun = other!.clock.now();
      await other!.write(random.below(PAGES));
      most = Math.max(most, other!.clock.now() - begun);
    }
    longest = most;
  };
  void work().catch((error) => scheduler.fail(error));
  await scheduler.run(() => longest >= 0, {events: 2_000_000, time: 600_000});
  return longest;
}

describe('property: recall', () => {
  test('two mounts with parts of a file, and reads that span parts: never a stale page, never a deadlock', async () => {
    let refused = 0;
    for (let seed = 1; seed <= 1000; seed++) {
      refused += await parts(seed).catch((error) => {
        throw new Error(`seed ${seed}: ${error}`);
      });
    }
    expect(refused).toBeGreaterThan(0);
  }, 120_000);

  test('however busy programs are with a file, another mount has it soon', async () => {
    for (let seed = 1; seed <= 50; seed++) {
      const ms = await hammered(seed).catch((error) => {
        throw new Error(`seed ${seed}: ${error}`);
      });
      expect(ms).toBeLessThan(300);
    }
  }, 120_000);

  test('two mounts that read and write the same pages: never a stale page after a write of the other, never a deadlock', async () => {
    for (let seed = 1; seed <= 1000; seed++) {
      const {reads, writes} = await world(seed).catch((error) => {
        throw new Error(`seed ${seed}: ${error}`);
      });
      expect(reads + writes).toBe(72);
    }
  }, 120_000);
});
