// Goal: what clients with parts of one file were told to be safe is there whoever fails, and the redundancy is that of the data in the end.
// Method: the real servers and clients in a simulated world, with faults at chosen moments.
import {describe, expect, test} from '@jest/globals';
import type {Net} from '../../../../src/core/env/net.js';
import {WHOLE} from '../../../../src/core/lease/ranges.js';
import {LEASE, OPS} from '../../../../src/core/protocol/ops.js';
import {auditColumns} from '../../../../src/core/sim/audit.js';
import type {SimConnection} from '../../../../src/core/sim/connection.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {errnoOf} from '../../../support/meta.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

// 4+1 in five slots, one block of each column in a stripe. The columns lie in the slots with their numbers, the redundancy in the last one.
// Of each stripe `a` has the first block, `b` the second one, and nobody changes the third and the fourth.

const BLOCK = 4096;
const ROWS = 8;
const READY = 'RRRRR';
const [A, B, NOBODYS, REDUNDANCY] = [0, 1, 2, 4] as const;

class Shared {
  /** What the file is to hold. */
  readonly bytes = noise(ROWS * 4 * BLOCK, 0);
  #seed = 1;

  private constructor(
    readonly cluster: RealCluster,
    readonly a: TestClient,
    readonly b: TestClient,
    readonly oid: number,
    readonly links: readonly SimConnection[],
  ) {}

  /** Both have written all their blocks, and all of it is safe. */
  static run(story: (f: Shared) => Promise<void>): Promise<void> {
    return RealCluster.run(async (cluster) => {
      const links = keepLinks(cluster);
      const [a, b] = [await cluster.client('a'), await cluster.client('b')];
      await a.client.layoutSet(1, {k: 4, m: 1, unitBytes: BLOCK});
      let oid = 1;
      let name = '';
      for (let i = 0; oid % 5 !== 0; i++) {
        name = `f${i}`;
        oid = await a.create(name);
      }
      const file = new Shared(cluster, a, b, oid, links);
      await a.write(oid, 0, file.bytes);
      await a.client.fsync(oid);
      await b.open(name, true);
      await file.pass(3000);
      await file.turn();
      await file.fsync();
      await story(file);
    });
  }

  /** Whoever dies. */
  pass(ms: number): Promise<void> {
    const {scheduler} = this.cluster.meta.land;
    return new Promise((resolve) => {
      scheduler.schedule(null, ms, 'pass', resolve);
    });
  }

  held(c: TestClient) {
    return c.client.parts.holder.get(this.oid);
  }

  /** Bytes of a block. */
  block(row: number, column: number): Buffer {
    return this.bytes.subarray((4 * row + column) * BLOCK, (4 * row + column + 1) * BLOCK);
  }

  /** Dirty at the client, in a block that is its own unless it is said otherwise. */
  async write(c: TestClient, row: number, how: {part?: boolean; column?: number} = {}) {
    const column = how.column ?? (c === this.a ? A : B);
    const bytes = noise(how.part === true ? 1000 : BLOCK, this.#seed++);
    const from = how.part === true ? 100 : 0;
    bytes.copy(this.block(row, column), from);
    await c.write(this.oid, (4 * row + column) * BLOCK + from, bytes);
  }

  /** All blocks of both, some of them partly. */
  async turn(both = [this.a, this.b]): Promise<void> {
    for (let row = 0; row < ROWS; row++)
      for (const c of both) await this.write(c, row, {part: row % 3 === 0});
    for (const c of both) expect(this.held(c).split).toBe(true);
  }

  fsync(both = [this.a, this.b]): Promise<unknown> {
    return Promise.all(both.map((c) => c.client.fsync(this.oid)));
  }

  async look(c: TestClient): Promise<void> {
    const seen = await c.read(this.oid, 0, this.bytes.length + 1);
    const wrong: string[] = [];
    for (let at = 0; at < this.bytes.length; at += BLOCK)
      if (!seen.subarray(at, at + BLOCK).equals(this.bytes.subarray(at, at + BLOCK)))
        wrong.push(`row ${Math.floor(at / BLOCK / 4)} column ${(at / BLOCK) % 4}`);
    expect([seen.length, wrong]).toEqual([this.bytes.length, []]);
  }

  /** Each block of `a` is what it was or what it was to be: that is what it has to be from now on. */
  async settled(c: TestClient, old: Buffer): Promise<void> {
    const seen = await c.read(this.oid, 0, this.bytes.length + 1);
    const wrong: number[] = [];
    for (let row = 0; row < ROWS; row++) {
      const at = 4 * row * BLOCK;
      const now = seen.subarray(at, at + BLOCK);
      const was = old.subarray(at, at + BLOCK);
      if (![was, this.block(row, A)].some((one) => one.equals(now))) wrong.push(row);
      now.copy(this.block(row, A));
    }
    expect(wrong).toEqual([]);
    await this.look(c);
  }

  /** Straight from the disks. */
  audit(): void {
    const disks = this.cluster.machines.map(({disk}) => disk);
    auditColumns(disks, {k: 4, m: 1});
  }

  async lose(slot: number): Promise<void> {
    this.cluster.kill(slot, false);
    await this.cluster.until(`${READY.slice(0, slot)}a${READY.slice(slot + 1)}`);
  }

  async bring(slot: number): Promise<void> {
    await this.cluster.start(slot);
    await this.cluster.until(READY);
  }

  /** After whatever is in doubt was settled everything can be read without the server. */
  async lasting(c: TestClient, slot: number): Promise<void> {
    await this.pass(20_000);
    this.audit();
    await this.lose(slot);
    await this.look(c);
    await this.bring(slot);
    this.audit();
  }

  async fenced(session: number): Promise<void> {
    const gone = async (): Promise<boolean> =>
      (await this.cluster.meta.status()).map!.fenced.includes(session);
    while (!(await gone())) await this.pass(100);
  }

  async restartMeta(power: boolean): Promise<void> {
    this.cluster.meta.crash(power);
    await this.pass(300);
    await this.cluster.meta.boot();
  }

  get network() {
    return this.cluster.meta.land.network;
  }
}

/** Connections that are made from now on. */
function keepLinks(cluster: RealCluster): SimConnection[] {
  const {network} = cluster.meta.land;
  const attach = network.attach.bind(network);
  const links: SimConnection[] = [];
  network.attach = (actor, pool, host): Net => {
    const net = attach(actor, pool, host);
    const connect: Net['connect'] = async (address, timeoutMs) => {
      const link = await net.connect(address, timeoutMs);
      links.push(link as SimConnection);
      return link;
    };
    return {...net, connect};
  };
  return links;
}

/** Resolves when `act` has ended, which happens at the n-th action of a server on columns from now on. */
function atAction(f: Shared, slot: number, n: number, act: () => unknown): Promise<void> {
  const {disk} = f.cluster.machines[slot]!;
  let left = n;
  return new Promise((resolve) => {
    disk.fault = (_action, path) => {
      if (!path.startsWith('columns/') || --left !== 0) return null;
      disk.fault = () => null;
      void f
        .pass(0)
        .then(act)
        .then(() => resolve());
      return null;
    };
  });
}

/** From now on nothing of this kind leaves the client for data servers. */
function withhold(c: TestClient, op: unknown): void {
  const {columns} = c.client.parts.path;
  const call = columns.call.bind(columns);
  columns.call = ((...q: Parameters<typeof call>) =>
    q[2] === op ? new Promise(() => {}) : call(...q)) as typeof call;
}

/** How often the client has asked data servers for this from now on. */
function counted(c: TestClient, op: unknown): () => number {
  const {columns} = c.client.parts.path;
  const call = columns.call.bind(columns);
  let count = 0;
  columns.call = ((...q: Parameters<typeof call>) => {
    if (q[2] === op) count++;
    return call(...q);
  }) as typeof call;
  return () => count;
}

test('a change that the redundancy refuses is in doubt when fsync returns, and not settled before', () =>
  Shared.run(async (f) => {
    await f.turn();
    await f.fsync();
    await f.write(f.a, 2);
    const {columns} = f.a.client.parts.path;
    const call = columns.call.bind(columns);
    // As if it covered something else.
    columns.call = (async (...q: Parameters<typeof call>) =>
      q[2] === OPS.delta
        ? {message: {refused: [0], synced: true}, payload: null}
        : call(...q)) as typeof call;
    const [doubts, settles] = [counted(f.a, OPS.doubt), counted(f.a, OPS.settle)];
    await f.a.client.fsync(f.oid);
    expect(f.held(f.a).settle.size).toBe(0);
    await f.pass(100);
    expect(doubts()).toBeGreaterThan(0);
    expect(settles()).toBe(0);
    columns.call = call;
    await f.pass(20_000);
    f.audit();
    await f.look(f.b);
  }));

describe('a server is away', () => {
  test.each([
    ['of a column that one of them writes', A],
    ['of a column that nobody writes', NOBODYS],
    ['of the redundancy', REDUNDANCY],
  ])('%s', (_, slot) =>
    Shared.run(async (f) => {
      const c = await f.cluster.client('c');
      await f.turn();
      f.cluster.kill(slot, false);
      await f.fsync();
      await f.look(c);
      await f.turn();
      await f.fsync();
      await f.look(c);
      await f.turn();
      await f.bring(slot);
      await f.fsync();
      f.audit();
      await f.lasting(c, B);
      for (const one of [f.a, f.b, c]) await one.close();
    }),
  );

  const moments = [A, REDUNDANCY].flatMap((slot) => [1, 3, 4, 7].map((n) => [slot, n] as const));

  test.each(['is killed', 'loses power'])('it %s while both write back', (how) =>
    Shared.run(async (f) => {
      for (const [slot, n] of moments.filter(([slot, n]) => slot !== A || n < 7)) {
        await f.turn();
        const lost = atAction(f, slot, n, () => f.cluster.kill(slot, how === 'loses power'));
        await Promise.all([f.fsync(), lost]);
        await f.look(f.a);
        await f.turn();
        await f.fsync();
        await f.bring(slot);
        f.audit();
        for (const c of [f.a, f.b]) await f.look(c);
        await f.pass(2500);
      }
    }),
  );

  test('once it is whole again nothing that it is told is taken for lost, whoever is away then', () =>
    Shared.run(async (f) => {
      await f.pass(8000);
      f.cluster.kill(A, true);
      await f.cluster.until('aRRRR');
      await f.bring(A);
      await f.pass(8000);
      await f.lose(REDUNDANCY);
      // A whole stripe: nothing is read for it.
      f.bytes.fill(7, 0, 4 * BLOCK);
      await f.a.write(f.oid, 0, f.bytes.subarray(0, 4 * BLOCK));
      await f.a.client.fsync(f.oid);
      await f.look(f.b);
    }));

  /** `a` writes back while the redundancy has yet to hear of a change of the same row by `b`. */
  async function meanwhile(f: Shared, part: boolean): Promise<void> {
    await f.lose(A);
    await f.write(f.a, 1, {part});
    await f.write(f.b, 1);
    f.network.partition('b', 'data4');
    const late = errnoOf(() => f.b.client.fsync(f.oid));
    await f.pass(50);
    const told = errnoOf(() => f.a.client.fsync(f.oid));
    await f.pass(1000);
    f.network.heal();
    expect(await Promise.all([late, told])).toEqual([null, null]);
    await f.look(f.b);
    await f.bring(A);
    await f.look(f.b);
  }

  test('what is written to its column while the redundancy is late for another change is not lost', () =>
    Shared.run((f) => meanwhile(f, false)));

  test('it is no error either if only a part of the block is written', () =>
    Shared.run((f) => meanwhile(f, true)));

  test('where nobody can know what its column had, nothing that is written there is said to be safe', () =>
    Shared.run(async (f) => {
      await f.lose(A);
      // `b` dies half way: its block is new, and the redundancy covers the old one.
      await f.write(f.b, 1);
      f.network.partition('b', 'data4');
      void f.b.client.fsync(f.oid).catch(() => {});
      await f.pass(200);
      const {session} = f.b.client;
      f.b.machine.kill(false);
      await f.fenced(session);
      await f.write(f.a, 1);
      const told = await errnoOf(() => f.a.client.fsync(f.oid));
      const reading = f.a.read(f.oid, 4 * BLOCK, BLOCK);
      const seen = await reading.catch(() => Buffer.alloc(0));
      expect(told === 'EIO' || seen.equals(f.block(1, A))).toBe(true);
    }));
});

describe('the redundancy fails in the background, and is mended before that is tried again', () => {
  async function triedAgain(f: Shared): Promise<void> {
    const {disk} = f.cluster.machines[REDUNDANCY]!;
    await f.write(f.a, 2);
    disk.fault = (action, path) =>
      action === 'write' && path.startsWith('columns/') ? 'ENOSPC' : null;
    await f.pass(3000);
    disk.fault = () => null;
    expect(f.held(f.a).dirty.bytes).toBe(BLOCK);
    await f.pass(10_000);
    expect(f.held(f.a).dirty.bytes).toBe(0);
  }

  test.each(['beside another one', 'alone'])('it has the change then (%s)', (how) =>
    Shared.run(async (f) => {
      if (how === 'alone') {
        await f.a.client.setattr(f.oid, {size: f.bytes.length});
        expect(f.held(f.a).mode).toBe(LEASE.write);
      }
      await triedAgain(f);
      await f.lasting(f.b, A);
    }),
  );

  test('what was written then is synced before long, as anything is', () =>
    Shared.run(async (f) => {
      await triedAgain(f);
      expect([...f.held(f.a).unsynced.keys()]).toEqual([]);
    }));
});

describe('exactly once', () => {
  test('the connection to the redundancy breaks before the answer comes', () =>
    Shared.run(async (f) => {
      const [deltas, doubts] = [OPS.delta, OPS.doubt].map((op) => counted(f.a, op));
      const others = counted(f.b, OPS.doubt);
      const c = await f.cluster.client('c');
      for (const n of [1, 2, 3, 4, 5, 6]) {
        await f.turn();
        const broken = atAction(f, REDUNDANCY, n, () => {
          for (const link of f.links.filter(({peer}) => peer === 'data4:7000')) {
            link.reset('by the test');
            link.other.reset('by the test');
          }
        });
        await Promise.all([f.fsync(), broken]);
        // No resync has put it right.
        f.audit();
        await f.look(c);
      }
      expect(deltas!()).toBeGreaterThan(6);
      expect(doubts!() + others()).toBe(0);
      expect(await f.cluster.meta.states()).toBe(READY);
    }));

  test.each(['is killed', 'loses power'])('its server %s, and starts again at once', (how) =>
    Shared.run(async (f) => {
      for (const n of [1, 3, 5, 6, 7]) {
        await f.turn();
        const restarted = atAction(f, REDUNDANCY, n, () => {
          f.cluster.kill(REDUNDANCY, how === 'loses power');
          return f.cluster.start(REDUNDANCY);
        });
        await Promise.all([f.fsync(), restarted]);
        await f.cluster.until(READY);
        f.audit();
      }
      await f.look(f.a);
      await f.lasting(f.b, A);
    }),
  );
});

describe('the meta server', () => {
  test.each(['is killed', 'loses power'])('%s: both go on with what they had', (how) =>
    Shared.run(async (f) => {
      await f.turn();
      const {leases} = f.a.client.stats;
      await f.restartMeta(how === 'loses power');
      await f.turn();
      await f.fsync();
      f.audit();
      expect(f.a.client.stats.leases).toBe(leases);
      const c = await f.cluster.client('c');
      await f.look(c);
      // Once more, while one of them yields.
      await f.turn();
      const reading = f.look(c);
      await f.pass(1);
      await f.restartMeta(how === 'loses power');
      await reading;
      await f.turn();
      await f.fsync();
      f.audit();
      await f.look(c);
    }),
  );

  test('who claims what another one has been given is fenced', () =>
    Shared.run(async (f) => {
      const old = Buffer.from(f.block(3, B));
      await f.write(f.b, 3);
      await f.write(f.a, 3);
      f.network.partition('b', 'meta');
      await f.restartMeta(false);
      // As if it had not obeyed a recall.
      f.held(f.b).parts = WHOLE;
      await f.pass(1500);
      f.network.heal();
      const told = await errnoOf(() => f.b.client.fsync(f.oid));
      expect(told).toBe('EIO');
      // It may have been written back while nobody knew.
      const seen = await f.b.read(f.oid, 13 * BLOCK, BLOCK);
      expect([old, f.block(3, B)].some((one) => one.equals(seen))).toBe(true);
      seen.copy(f.block(3, B));
      await f.fsync();
      await f.turn();
      await f.fsync();
      f.audit();
      await f.look(f.b);
    }));

  test('who is not back when it grants again is fenced; what others have written since stays', () =>
    Shared.run(async (f) => {
      await f.write(f.b, 3);
      f.network.partition('b', 'meta');
      await f.restartMeta(false);
      await f.write(f.a, 3, {column: B});
      await f.a.client.fsync(f.oid);
      f.network.heal();
      expect(await errnoOf(() => f.b.client.fsync(f.oid))).toBe('EIO');
      await f.pass(5000);
      await f.look(f.b);
      await f.turn();
      await f.fsync();
      await f.lasting(f.a, B);
    }));
});

describe('a client', () => {
  test.each([
    ['before it has written anything back', null],
    ['before the redundancy has heard of its change', OPS.delta],
    ['when only the redundancy has heard of its change', OPS.write],
  ])('dies %s', (_, unheard) =>
    Shared.run(async (f) => {
      const old = Buffer.from(f.bytes);
      await f.turn([f.a]);
      if (unheard !== null) {
        withhold(f.a, unheard);
        void f.a.client.fsync(f.oid);
        await f.pass(50);
        expect(() => f.audit()).toThrow('column 4');
      }
      const {session} = f.a.client;
      f.a.machine.kill(false);
      await f.turn([f.b]);
      await f.fsync([f.b]);
      await f.fenced(session);
      await f.settled(f.b, old);
      // Its ranges are free.
      const before = f.cluster.meta.clock.now();
      await f.write(f.b, 5, {column: A});
      expect(f.cluster.meta.clock.now() - before).toBeLessThan(1000);
      await f.fsync([f.b]);
      await f.lasting(f.b, A);
    }),
  );

  test.each([null, 0.2, 0.7, 1])('is stopped for longer than a recall may take (%p)', (writing) =>
    Shared.run(async (f) => {
      const old = Buffer.from(f.bytes);
      await f.turn([f.a]);
      const told = writing === null ? null : errnoOf(() => f.a.client.fsync(f.oid));
      if (writing !== null) await f.pass(writing);
      f.a.machine.freeze();
      await f.turn([f.b]);
      await f.write(f.b, 3, {column: A});
      await f.fsync([f.b]);
      const mine = Buffer.from(f.block(3, A));
      f.a.machine.thaw();
      const errno = await (told ?? errnoOf(() => f.a.client.fsync(f.oid)));
      // What all servers had synced before counts, whenever the answers are seen.
      if (errno === null && writing !== null && writing > 0.5) await f.look(f.b);
      else expect(errno).toBe('EIO');
      await f.pass(20_000);
      f.audit();
      await f.settled(f.b, old);
      expect(mine.equals(f.block(3, A))).toBe(true);
      // Under a new session it goes on.
      await f.write(f.a, 3);
      await f.fsync();
      await f.lasting(f.a, A);
    }),
  );
});
