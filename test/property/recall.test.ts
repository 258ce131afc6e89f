// Goal: giving up a lease leaves no stale page in the kernel and never deadlocks. Method: a small kernel (pages with
// locks, an invalidation that waits for them, one notice thread), two holders that take the lease from each other,
// random READs and WRITEs under virtual time; a page's content is the number of the last write that was carried out.
import {describe, expect, test} from '@jest/globals';
import {type PageIo, RecallGate} from '../../src/core/door/fuse/recall.js';
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
      fault ? 'direct-read' : 'cached-read',
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
      'write',
      () => {
        version = ++this.server.version;
        this.server.values[i] = version;
      },
      () => {},
    );
    this.server.completed[i] = Math.max(this.server.completed[i]!, version);
  }

  #enter(i: number, kind: PageIo['kind'], work: () => void, reply: () => void): Promise<void> {
    return new Promise((resolve) => {
      let settle = () => {};
      const settled = new Promise<true>((yes) => {
        settle = () => yes(true);
      });
      const io: PageIo = {
        oid: OID,
        offset: i * PAGE,
        length: PAGE,
        needs: kind === 'cached-read' ? 1 : 2,
        kind,
        urgent: false,
        settle,
        run: async (shared) => {
          if (kind === 'cached-read' || shared) return this.operate(1, work);
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

describe('property: recall', () => {
  test('two mounts that read and write the same pages: never a stale page after a write of the other, never a deadlock', async () => {
    for (let seed = 1; seed <= 1000; seed++) {
      const {reads, writes} = await world(seed).catch((error) => {
        throw new Error(`seed ${seed}: ${error}`);
      });
      expect(reads + writes).toBe(72);
    }
  }, 120_000);
});
