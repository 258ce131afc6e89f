// Goal: clients that write different parts of one file do so side by side: whoever looks sees what all have completed, the redundancy is
// that of the data, and they seldom have to ask. Method: the real servers and clients in a simulated world, beside a plain array of bytes.
import {describe, expect, test} from '@jest/globals';
import {auditColumns} from '../../../../src/core/sim/audit.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import type {TestClient} from '../../../support/client-cluster.js';
import {noise} from '../../../support/noise.js';
import {RealCluster} from '../../../support/real-cluster.js';
import {play} from '../../../support/sim.js';

const BLOCK = 4096;
const UNIT = 4 * BLOCK;
/** What the file has before anybody else comes: less would not be divided. */
const FILLED = 32 * BLOCK;
const SLICE = 16 * BLOCK;
/** By then nobody has used anything of it lately. */
const LONG_AGO_MS = 3000;
const LIMITS = {events: 20_000_000, time: 3_600_000};

/** What a file is to hold. */
class Model {
  bytes = Buffer.alloc(0);
  #seed = 0;

  get size(): number {
    return this.bytes.length;
  }

  /** New bytes for that place. */
  write(at: number, length: number): Buffer {
    const bytes = noise(length, ++this.#seed);
    this.place(at, bytes);
    return bytes;
  }

  place(at: number, bytes: Buffer): void {
    if (at + bytes.length > this.size) this.truncate(at + bytes.length);
    bytes.copy(this.bytes, at);
  }

  truncate(size: number): void {
    const before = this.bytes;
    this.bytes = Buffer.alloc(size);
    before.copy(this.bytes);
  }
}

/** One file and those who write it. */
class Shared {
  readonly model = new Model();
  clients: TestClient[] = [];
  oid = 0;

  private constructor(
    readonly cluster: RealCluster,
    readonly scheme: {k: number; m: number},
  ) {}

  /** On as many servers as the scheme takes, but at least five. The first client has filled the file, the others have opened it. */
  static run(
    scheme: string,
    names: string,
    story: (f: Shared) => Promise<void>,
    seed = 1,
  ): Promise<void> {
    const [k, m] = scheme.split('+').map(Number) as [number, number];
    const cluster = new RealCluster(seed);
    const servers = Math.max(5, k + m);
    Object.assign(cluster.meta.options, {groupSize: servers});
    const whole = async (): Promise<void> => {
      await cluster.meta.boot();
      for (let index = 0; index < servers; index++) {
        cluster.machines.push(cluster.meta.land.machine(`data${index}`));
        await cluster.start(index);
      }
      const file = new Shared(cluster, {k, m});
      await file.#begin(names);
      await story(file);
      await file.#end();
      if (cluster.meta.failures.length > 0) throw cluster.meta.failures[0];
    };
    return play(cluster.meta.land, whole, LIMITS);
  }

  async #begin(names: string): Promise<void> {
    for (const name of names) this.clients.push(await this.cluster.client(name));
    const [first, ...others] = this.clients;
    await first!.client.layoutSet(1, {...this.scheme, unitBytes: UNIT, chunkBytes: 16 * UNIT});
    this.oid = await first!.create('f');
    await this.write(first!, 0, FILLED);
    await first!.client.fsync(this.oid);
    for (const other of others) await other.open('f', true);
    await this.cluster.meta.pass(LONG_AGO_MS);
  }

  /** All of it is safe and even, before anybody has put it right; somebody new sees all of it; nobody has kept a slot. */
  async #end(): Promise<void> {
    await this.fsync();
    this.audit();
    const fresh = await this.cluster.client('fresh');
    expect(await this.size(fresh)).toBe(this.model.size);
    await this.look(fresh);
    for (const c of [...this.clients, fresh]) await c.close();
    this.audit();
  }

  async write(c: TestClient, at: number, length: number): Promise<void> {
    await c.write(this.oid, at, this.model.write(at, length));
  }

  async append(c: TestClient, length: number): Promise<void> {
    const at = this.model.size;
    const bytes = this.model.write(at, length);
    const {pool} = c.env;
    const slot = pool.alloc(length);
    const offset = pool.payload(slot);
    pool.view(offset, length).set(bytes);
    const segments = [{slot, offset, length}];
    expect(await c.client.write(this.oid, 0, segments, {append: true})).toBe(at);
  }

  async truncate(c: TestClient, size: number): Promise<void> {
    await c.client.setattr(this.oid, {size});
    this.model.truncate(size);
  }

  /** Reads and compares; up to beyond the end, unless it is said otherwise. */
  async look(c: TestClient, from = 0, to = this.model.size + BLOCK): Promise<void> {
    for (let at = from; at < to; at += SLICE) {
      const end = Math.min(to, at + SLICE);
      const seen = await c.read(this.oid, at, end - at);
      const wanted = this.model.bytes.subarray(at, end);
      if (seen.equals(wanted)) continue;
      const wrong = at + seen.findIndex((byte, i) => byte !== wanted[i]);
      const lengths = `${seen.length} of ${wanted.length} bytes`;
      throw new Error(`${c.machine.name} sees something else at ${wrong} (${lengths})`);
    }
  }

  async size(c: TestClient): Promise<number> {
    return (await c.client.getattr(this.oid)).size;
  }

  async fsync(): Promise<void> {
    await Promise.all(this.clients.map((c) => c.client.fsync(this.oid)));
  }

  /** Straight from the disks. */
  audit(): void {
    auditColumns(
      this.cluster.machines.map(({disk}) => disk),
      this.scheme,
    );
  }

  held(c: TestClient) {
    return c.client.parts.holder.get(this.oid);
  }

  sum(of: 'leases' | 'recalls' | 'deltaPieces' | 'wholeStripes'): number {
    return this.clients.reduce((sum, {client}) => sum + client.stats[of], 0);
  }

  /** How often one of them has asked for something, or has been asked for it. */
  get asked(): number {
    return this.sum('leases') + this.sum('recalls');
  }
}

describe('each has a piece of the file', () => {
  const HALF = 64 * BLOCK;

  test('two write their halves in turns: they meet once, however long they go on', () =>
    Shared.run('4+1', 'ab', async (f) => {
      const [a, b] = f.clients as [TestClient, TestClient];
      const turns = async (from: number, to: number): Promise<void> => {
        for (let round = from; round < to; round++) {
          const at = ((round * 7) % 64) * BLOCK;
          await f.write(a, at, BLOCK);
          await f.write(b, HALF + at + 100, 3000);
          const own = (round % 64) * BLOCK;
          await f.look(a, own, own + BLOCK);
          await f.look(b, HALF + own, HALF + own + BLOCK);
          if (round % 50 === 49) await f.cluster.meta.pass(LONG_AGO_MS);
        }
      };
      await turns(0, 5);
      const {asked} = f;
      expect(asked).toBeLessThanOrEqual(10);
      await turns(5, 200);
      expect(f.asked).toBe(asked);
      expect([f.held(a).split, f.held(b).split]).toEqual([true, true]);
      // Each sees all that the other has completed; then they go on as before.
      await f.look(b, 0, HALF);
      await f.look(a, HALF);
      await f.cluster.meta.pass(LONG_AGO_MS);
      await turns(200, 265);
      const {asked: after} = f;
      expect(after - asked).toBeLessThanOrEqual(40);
      await turns(265, 330);
      expect(f.asked).toBe(after);
    }));

  test.each([2, 5, 16])('%i stream into theirs: soon hardly anybody has to ask', (count) =>
    Shared.run('4+1', 'abcdefghijklmnop'.slice(0, count), async (f) => {
      const LENGTH = 70;
      const pass = async (from: number, to: number): Promise<void> => {
        for (let i = from; i < to; i++)
          for (const [index, c] of f.clients.entries())
            await f.write(c, (index * LENGTH + i) * BLOCK, BLOCK);
      };
      await pass(0, 8);
      // Who meets so many others at once is given little at first.
      expect(f.asked).toBeLessThanOrEqual(12 * count);
      await f.cluster.meta.pass(1000);
      await pass(8, 10);
      const {asked} = f;
      await pass(10, LENGTH);
      expect(f.asked - asked).toBeLessThanOrEqual(count);
    }),
  );

  test('each sees at once what the other has completed', () =>
    Shared.run('4+1', 'ab', async (f) => {
      const r = new SeededRandom(3);
      for (let round = 0; round < 100; round++) {
        const [writer, reader] = r.chance(0.5) ? f.clients : f.clients.toReversed();
        const [at, length] = [r.below(2 * HALF - 9000), r.range(1, 9000)];
        await f.write(writer!, at, length);
        await f.look(reader!, at, at + length);
      }
    }));
});

describe('records of all of them, one after the other', () => {
  const cases = ['4+1', '4+2', '1+1'].flatMap((scheme) => [
    [scheme, 'one block', BLOCK] as const,
    [scheme, 'one unit', UNIT] as const,
    [scheme, '1000 bytes', 1000] as const,
  ]);

  test.each(cases)('%s, %s each', (scheme, _, length) =>
    Shared.run(scheme, 'abc', async (f) => {
      const COUNT = 90;
      const all = async (): Promise<void> => {
        for (let i = 0; i < COUNT; i++) await f.write(f.clients[i % 3]!, i * length, length);
      };
      await all();
      await f.fsync();
      f.audit();
      // Where a stripe is one unit nobody has a part of one; and those who share blocks take turns with all of it.
      if (length === BLOCK || (length === UNIT && scheme !== '1+1'))
        expect(f.sum('deltaPieces')).toBeGreaterThan(0);
      if (length === UNIT && scheme === '1+1')
        expect(f.sum('wholeStripes')).toBeGreaterThan(COUNT / 2);
      const {asked} = f;
      await all();
      // Each has its own by now, unless a block is of two.
      if (length >= BLOCK) expect(f.asked).toBe(asked);
      for (const c of f.clients) await f.look(c);
    }),
  );
});

describe('size and times', () => {
  const FAR = 100 * BLOCK;

  /** Both have a part; the first one has the end. */
  async function divided(f: Shared): Promise<[TestClient, TestClient]> {
    const [a, b] = f.clients as [TestClient, TestClient];
    await f.write(a, 16 * BLOCK, BLOCK);
    await f.write(b, 0, BLOCK);
    expect([f.held(a).split, f.held(b).split]).toEqual([true, true]);
    return [a, b];
  }

  type Look = (f: Shared, c: TestClient) => Promise<unknown>;
  const looks: Record<string, Look> = {
    stats: async (f, c) => expect(await f.size(c)).toBe(f.model.size),
    'reads up to the end': (f, c) => f.look(c, f.model.size - 5000),
    'reads all of its own part': (f, c) => f.look(c, 0, 12 * BLOCK),
    'reads what lies between': (f, c) => f.look(c, FILLED - 10, FILLED + 10_000),
    appends: (f, c) => f.append(c, 5000),
    'cuts to something short': (f, c) => f.truncate(c, 6 * BLOCK + 7),
    'cuts a byte': (f, c) => f.truncate(c, f.model.size - 1),
    'cuts to something longer': (f, c) => f.truncate(c, f.model.size + 9000),
  };

  test.each(Object.keys(looks))('one writes far out and says nothing; another one %s', (how) =>
    Shared.run('4+1', 'abc', async (f) => {
      const [a, b] = await divided(f);
      await f.write(a, FAR, 3000);
      expect(f.held(b).size).toBe(FILLED);
      await looks[how]!(f, b);
      for (const c of f.clients) expect(await f.size(c)).toBe(f.model.size);
      for (const c of f.clients) await f.look(c);
      // And once more, with what came of it.
      await f.write(a, f.model.size + FAR + 1, 10);
      await f.write(b, 2 * BLOCK, 10);
      await looks[how]!(f, b);
      await looks[how]!(f, f.clients[2]!);
    }),
  );

  test('both make it longer, again and again: the size is what all have written', () =>
    Shared.run('4+1', 'abc', async (f) => {
      const both = await divided(f);
      const r = new SeededRandom(5);
      for (let round = 0; round < 60; round++) {
        await f.write(r.pick(both), f.model.size + r.below(9000), r.range(1, 500));
        if (r.chance(0.3)) await f.write(r.pick(both), r.below(9000), 100);
        const who = r.pick(f.clients);
        expect(await f.size(who)).toBe(f.model.size);
        await f.look(who, Math.max(0, f.model.size - 9000));
      }
    }));

  /** As everybody sees it, in ms. */
  function mtimes(f: Shared): Promise<number[]> {
    const all = f.clients.map(async ({client}) => {
      const {sec, nsec} = (await client.getattr(f.oid)).mtime!;
      return sec * 1000 + nsec / 1e6;
    });
    return Promise.all(all);
  }

  test.each(['the one with the end', 'the other one'])('%s writes last: that is its time', (who) =>
    Shared.run('4+1', 'abc', async (f) => {
      const both = await divided(f);
      const [first, last] = who === 'the other one' ? both : both.toReversed();
      await f.write(first!, (first === both[0] ? 17 : 1) * BLOCK, BLOCK);
      await f.cluster.meta.pass(300);
      const before = last!.env.clock.wall();
      await f.write(last!, (last === both[0] ? 17 : 1) * BLOCK, BLOCK);
      const after = last!.env.clock.wall();
      await f.cluster.meta.pass(300);
      expect([f.held(first!).split, f.held(last!).split]).toEqual([true, true]);
      const check = async (): Promise<void> => {
        for (const mtime of await mtimes(f)) {
          expect(mtime).toBeGreaterThanOrEqual(Math.floor(before));
          expect(mtime).toBeLessThanOrEqual(after);
        }
      };
      await check();
      // Who wrote first tells last.
      await last!.client.fsync(f.oid);
      await first!.client.fsync(f.oid);
      await check();
    }),
  );

  test.each([0, 1, 2])('a time that is set stays, whoever sets it (%i)', (setter) =>
    Shared.run('4+1', 'abc', async (f) => {
      const [a, b] = await divided(f);
      await f.clients[setter]!.client.setattr(f.oid, {mtime: {sec: 1_000_000, nsec: 5000}});
      const set = [1, 1, 1].map(() => 1_000_000_000.005);
      expect(await mtimes(f)).toEqual(set);
      await f.fsync();
      await f.cluster.meta.pass(8000);
      expect(await mtimes(f)).toEqual(set);
      const before = b.env.clock.wall();
      await f.write(a, 18 * BLOCK, BLOCK);
      await f.write(b, 3 * BLOCK, BLOCK);
      expect(Math.min(...(await mtimes(f)))).toBeGreaterThanOrEqual(Math.floor(before));
    }),
  );
});

test('with more than 512 parts a client gives all of them back, and goes on', () =>
  Shared.run('4+1', 'ab', async (f) => {
    const [a, b] = f.clients as [TestClient, TestClient];
    const lengths: number[] = [];
    for (let i = 0; i < 530; i++) {
      await f.write(a, 2 * i * BLOCK, 500);
      await f.write(b, (2 * i + 1) * BLOCK, 500);
      lengths.push(f.held(a).parts.length);
    }
    const drops = lengths.filter((length, i) => i > 100 && length < lengths[i - 1]! / 2);
    expect(drops).toHaveLength(1);
    expect(Math.max(...lengths)).toBeGreaterThan(450);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(512);
    for (let i = 0; i < 20; i++) {
      await f.write(b, (2 * i + 1) * BLOCK + 600, 500);
      await f.write(a, 2 * i * BLOCK + 600, 500);
      await f.look(i % 3 === 0 ? a : b, 2 * i * BLOCK, (2 * i + 2) * BLOCK);
    }
  }));

describe('a story of everything', () => {
  const SIZE_MAX = 80 * BLOCK;

  async function tell(f: Shared, r: SeededRandom, steps: number): Promise<void> {
    const place = (): [number, number] => {
      const blocks = r.chance(0.5);
      const at = blocks ? r.below(79) * BLOCK : r.below(SIZE_MAX - 1);
      const length = blocks ? r.range(1, 6) * BLOCK : r.range(1, r.pick([10, 5000, 30_000]));
      return [at, Math.min(length, SIZE_MAX - at)];
    };
    // Who went on somewhere does so again, now and then.
    const last = f.clients.map(() => 0);
    for (let step = 0; step < steps; step++) {
      const index = r.below(f.clients.length);
      const c = f.clients[index]!;
      const [from, length] = place();
      const at = r.chance(0.5) ? Math.min(last[index]!, SIZE_MAX - length) : from;
      const what = r.float();
      if (what < 0.5) {
        await f.write(c, at, length);
        last[index] = at + length;
      } else if (what < 0.8) await f.look(c, at, at + length);
      else if (what < 0.85) await f.truncate(c, r.below(SIZE_MAX));
      else if (what < 0.89 && f.model.size < SIZE_MAX) await f.append(c, r.range(1, 6000));
      else if (what < 0.93) await c.client.fsync(f.oid);
      else if (what < 0.97) expect(await f.size(c)).toBe(f.model.size);
      else await f.cluster.meta.pass(r.pick([10, 300, 1500, 7000]));
    }
  }

  test.each([
    ['4+1', 1],
    ['4+2', 2],
    ['1+1', 3],
    ['4+1', 4],
    ['2+1', 5],
  ])('%s, seed %i', (scheme, seed) =>
    Shared.run(scheme, 'abc', (f) => tell(f, new SeededRandom(seed), 450), seed),
  );
});

describe('at the same moment', () => {
  const COUNT = 48;
  /** It says whose it is, and which version it has. */
  const block = (index: number, version: number): Buffer =>
    Buffer.from(new Uint32Array(BLOCK / 4).fill(version * 1000 + index).buffer);

  test.each(['4+1', '4+2', '1+1'])('%s: each writes blocks of its own, all read all', (scheme) =>
    Shared.run(scheme, 'abc', async (f) => {
      const begun = new Array<number>(COUNT).fill(0);
      const done = new Array<number>(COUNT).fill(0);
      for (let i = 0; i < COUNT; i++) await f.clients[0]!.write(f.oid, i * BLOCK, block(i, 0));
      await f.fsync();
      const program = async (c: TestClient, me: number): Promise<void> => {
        const r = new SeededRandom(me).split(scheme);
        for (let step = 0; step < 250; step++) {
          const i = r.below(COUNT);
          const what = r.float();
          if (what < 0.1) await c.client.fsync(f.oid);
          else if (what < 0.2) await f.cluster.meta.pass(r.pick([1, 50, 1200]));
          else if (what < 0.7) {
            const own = i - (i % 3) + me;
            begun[own]!++;
            await c.write(f.oid, own * BLOCK, block(own, begun[own]!));
            done[own]!++;
          } else {
            const least = done[i]!;
            const seen = await c.read(f.oid, i * BLOCK, BLOCK);
            const version = (seen.readUInt32LE() - i) / 1000;
            expect(seen.equals(block(i, version))).toBe(true);
            expect(version).toBeGreaterThanOrEqual(least);
            expect(version).toBeLessThanOrEqual(begun[i]!);
          }
        }
      };
      await Promise.all(f.clients.map(program));
      for (let i = 0; i < COUNT; i++) f.model.place(i * BLOCK, block(i, done[i]!));
      expect(f.sum('deltaPieces')).toBeGreaterThan(20);
    }),
  );
});
