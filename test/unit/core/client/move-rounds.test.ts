// Goal: an object that programs never leave alone is moved all the same, with every byte that they write meanwhile (SEEDS U37, B13).
import {describe, expect, test} from '@jest/globals';
import type {MoveOptions, Target} from '../../../../src/core/client/move.js';
import {type Moved, moveObject} from '../../../../src/core/client/relocate.js';
import {columnNames} from '../../../../src/core/sim/audit.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';

const READY = 'RRRRR';
const BYTES = 300_000;
const target: Target = {
  k: 2,
  m: 1,
  unitBytes: 8192,
  chunkBytes: 65_536,
  groups: [1],
  groupCount: 1,
};

/** What a file should have, and the program that writes it. */
class Mirror {
  bytes: Buffer = Buffer.alloc(0);
  longestMs = 0;
  #seed = 100;

  constructor(
    readonly client: TestClient,
    readonly oid: number,
  ) {}

  async write(offset: number, length: number): Promise<void> {
    const some = noise(length, ++this.#seed);
    await this.#timed(() => this.client.write(this.oid, offset, some));
    this.#size(Math.max(this.bytes.length, offset + length));
    some.copy(this.bytes, offset);
  }

  async cut(size: number): Promise<void> {
    await this.#timed(() => this.client.client.setattr(this.oid, {size}));
    this.#size(size);
  }

  async matches(client = this.client): Promise<void> {
    const got = await client.read(this.oid, 0, 5 * BYTES);
    expect(got.length).toBe(this.bytes.length);
    expect(got.equals(this.bytes)).toBe(true);
  }

  #size(size: number): void {
    const before = this.bytes;
    this.bytes = Buffer.alloc(size);
    before.copy(this.bytes, 0, 0, Math.min(size, before.length));
  }

  async #timed(run: () => Promise<unknown>): Promise<void> {
    const {clock} = this.client.client.parts.path;
    const start = clock.now();
    await run();
    this.longestMs = Math.max(this.longestMs, clock.now() - start);
  }
}

interface World {
  cluster: RealCluster;
  mover: TestClient;
  mirror: Mirror;
  /** `step`: after each piece that is copied without the lease; counts from 1. */
  move(step: (nth: number) => Promise<void>): Promise<Moved>;
  generations(): number[];
}

async function story(run: (world: World) => Promise<void>): Promise<void> {
  await RealCluster.run(async (cluster) => {
    await cluster.until(READY);
    const mover = await cluster.client('mover');
    const a = await cluster.client('a');
    const oid = await a.create('f');
    const mirror = new Mirror(a, oid);
    await mirror.write(0, BYTES);
    await a.client.fsync(oid);
    const move = (step: (nth: number) => Promise<void>): Promise<Moved> => {
      let nth = 0;
      const pace = {wait: () => step(++nth), moved: () => Promise.resolve(true)};
      const options = {stopped: () => false, pace, sizes: {wholeBytes: 0, stepBytes: 32_768}};
      return moveObject(mover.client, oid, () => target, options as unknown as MoveOptions);
    };
    const generations = (): number[] => {
      const names = columnNames(cluster.machines.map(({disk}) => disk));
      const mine = names.filter((name) => name.oid === oid);
      return [...new Set(mine.map(({generation}) => generation))].sort();
    };
    await run({cluster, mover, mirror, move, generations});
    const b = await cluster.client('b');
    await mirror.matches();
    await mirror.matches(b);
    for (const one of [b, a]) await one.close();
    if (!mover.env.actor.dead) await mover.close();
    await cluster.meta.pass(60_000);
    // Nothing is left of what it was moved from, or was to be moved to.
    expect(generations().length).toBe(1);
  });
}

describe('an object that is moved while programs use it', () => {
  test('has what was written over what was copied already, and only that is copied again', () =>
    story(async ({mirror, move, generations}) => {
      await mirror.write(0, 4 * BYTES);
      const {is, rounds, bytes, copied} = await move(async (nth) => {
        if (nth !== 30) return;
        await mirror.write(10_000, 20_000);
        await mirror.client.client.fsync(mirror.oid);
      });
      expect([is, rounds]).toEqual(['moved', 1]);
      // In the last step; a piece is a stripe of where it was.
      expect(bytes).toBe(4 * BYTES);
      expect(copied).toBeGreaterThan(4 * BYTES + 200_000);
      expect(copied).toBeLessThan(4 * BYTES + 350_000);
      expect(generations()).toContain(1);
    }));

  test('is cut, and grows again: what was cut off does not come back', () =>
    story(async ({mirror, move}) => {
      await mirror.write(0, 4 * BYTES);
      const {is} = await move(async (nth) => {
        if (nth === 30) await mirror.cut(70_001);
        if (nth === 31) await mirror.cut(3 * BYTES);
        if (nth === 32) await mirror.write(4 * BYTES, 3000);
      });
      expect(is).toBe('moved');
      expect(mirror.bytes.length).toBe(4 * BYTES + 3000);
    }));

  test('is cut, and stays so', () =>
    story(async ({mirror, move}) => {
      await mirror.write(0, 4 * BYTES);
      const {is} = await move(async (nth) => {
        if (nth === 30) await mirror.cut(50_001);
      });
      expect(is).toBe('moved');
      await mirror.matches();
      // Nor does it when it grows later.
      await mirror.cut(4 * BYTES);
    }));

  test('is emptied, and written anew from its middle on', () =>
    story(async ({mirror, move}) => {
      const {is} = await move(async (nth) => {
        if (nth === 9) {
          await mirror.cut(0);
          await mirror.write(150_000, 30_000);
          await mirror.client.client.fsync(mirror.oid);
        }
      });
      expect(is).toBe('moved');
    }));

  test('is moved though a program writes it with every step, which waits for a second at most', () =>
    story(async ({mirror, move}) => {
      const random = new SeededRandom(3);
      const {is, rounds} = await move(async (nth) => {
        if (nth > 400) throw new Error('it does not end');
        await mirror.write(random.below(BYTES), 3000);
      });
      expect(is).toBe('moved');
      expect(rounds).toBeGreaterThanOrEqual(1);
      expect(mirror.longestMs).toBeLessThan(1500);
    }));

  test('is given up if it changes faster than it is copied, and nobody has waited long', () =>
    story(async ({cluster, mover, mirror, move, generations}) => {
      const {columns} = mover.client.parts.path;
      const {call} = columns;
      // Half a second for each read: everything takes longer than anybody may be kept waiting.
      columns.call = (async (...args: Parameters<typeof call>) => {
        if (args[2].name === 'data.read') await cluster.pause(2000);
        return call.apply(columns, args);
      }) as never;
      const {is, rounds} = await move(async () => {
        for (let at = 0; at < BYTES; at += 20_000) await mirror.write(at, 4000);
        await mirror.client.client.fsync(mirror.oid);
      });
      expect(is).toBe('busy');
      expect(rounds).toBeGreaterThan(2);
      expect(mirror.longestMs).toBeLessThan(10_000);
      await cluster.meta.pass(5000);
      expect(generations()).toEqual([0]);
    }));

  test('is copied anew when a server that notes its changes was started again', () =>
    story(async ({cluster, mirror, move}) => {
      const {is, copied} = await move(async (nth) => {
        if (nth !== 7) return;
        await mirror.write(5000, 9000);
        await mirror.client.client.fsync(mirror.oid);
        cluster.kill(1, false);
        await cluster.start(1);
        await cluster.until(READY);
      });
      expect(is).toBe('moved');
      expect(copied).toBeGreaterThan(2 * BYTES - 100_000);
    }));

  test('goes on when somebody else dies, and a resync finds what was copied so far', () =>
    story(async ({cluster, mirror, move, generations}) => {
      const c = await cluster.client('c');
      const other = await c.create('g');
      await c.write(other, 0, noise(50_000, 9));
      const {is} = await move(async (nth) => {
        if (nth !== 5) return;
        c.machine.kill(false);
        await mirror.write(0, 5000);
        await cluster.meta.pass(60_000);
        expect(generations()).toEqual([0, 1]);
      });
      expect(is).toBe('moved');
      await cluster.meta.pass(5000);
      expect(generations()).toEqual([1]);
    }));

  test('is given up when its mover dies in the middle of a round, and what was copied goes', () =>
    story(async ({cluster, mover, mirror, move, generations}) => {
      const ended = move(async (nth) => {
        if (nth !== 5) return;
        mover.machine.kill(false);
        await new Promise(() => {});
      });
      void ended;
      await cluster.meta.pass(3000);
      expect(generations()).toEqual([0, 1]);
      await mirror.write(0, 5000);
      await cluster.meta.pass(90_000);
      expect(generations()).toEqual([0]);
    }));

  test('is given up when the meta server has ended the move, and what was copied goes', () =>
    story(async ({cluster, mirror, move, generations}) => {
      const {is} = await move(async (nth) => {
        if (nth !== 5) return;
        cluster.meta.crash(false);
        await cluster.meta.boot();
        // The resync that follows does not know that its mover lives.
        const c = await cluster.client('c');
        const other = await c.create('g');
        await c.write(other, 0, noise(50_000, 9));
        c.machine.kill(false);
        await mirror.write(0, 5000);
        await cluster.meta.pass(90_000);
        expect(generations()).toEqual([0]);
      });
      expect(is).toBe('busy');
      await cluster.meta.pass(5000);
      expect(generations()).toEqual([0]);
    }));
});
