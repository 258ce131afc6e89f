import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {KernelListings} from '../../../../../src/core/door/fuse/kernel-listings.js';
import {ALL, NAMES, type Step, THREADS, World, type WorldOptions} from './listings-world.js';

// Goal: whoever begins to list a directory after others changed it sees what they did, whatever the kernel keeps, and it does keep listings.
// Method: the module next to a model of the kernel, of which threads ask, answers and notices arrive, leases come and go as steps say.
//
// What nobody can tell from outside the kernel, and what is left out where every listing is looked at: an answer without a lease, or from before a
// recall, that arrives between the last drop before another thread's end and that end, when the pages have begun anew meanwhile. Those are the worlds of
// the second property: everything arrives within 3 ms, and what came to be nevertheless is gone with the last of the drops.

const make: WorldOptions['make'] = (clock, host) => new KernelListings(clock, host);
/** Less than what a thread is given until it is taken to have seen its answer. */
const LATE_MS = 8000;
const strict: WorldOptions = {make, lateMs: LATE_MS, endsFirst: true, strict: true};
const hasty: WorldOptions = {make, lateMs: 3, endsFirst: false, strict: false};

const thread = fc.nat(THREADS - 1);
const plain = <Do extends Step['do']>(what: Do) => fc.constant({do: what});
const weighted: {weight: number; arbitrary: fc.Arbitrary<Step>}[] = [
  {
    weight: 24,
    arbitrary: fc.record({
      do: fc.constant('go' as const),
      thread,
      times: fc.constantFrom(1, 1, 1, 2, 4, 8),
      count: fc.constantFrom(1, 2, 3, ALL, ALL, ALL),
    }),
  },
  {weight: 3, arbitrary: fc.record({do: fc.constant('list' as const), thread})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('open' as const), thread})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('ask' as const), thread})},
  {weight: 6, arbitrary: plain('notice')},
  {weight: 3, arbitrary: plain('notices')},
  {weight: 2, arbitrary: plain('lease')},
  {weight: 2, arbitrary: plain('recall')},
  {
    weight: 2,
    arbitrary: fc.record({do: fc.constant('change' as const), name: fc.nat(2 * NAMES - 1)}),
  },
  {weight: 1, arbitrary: fc.record({do: fc.constant('local' as const), name: fc.nat(1)})},
  {weight: 1, arbitrary: plain('stat')},
  {weight: 1, arbitrary: fc.record({do: fc.constant('evict' as const), page: fc.nat(3)})},
  {
    weight: 2,
    arbitrary: fc.record({do: fc.constant('sleep' as const), ms: fc.constantFrom(4, 60, 11_000)}),
  },
];
const single = fc.oneof(...weighted).map((step) => [step]);
/** Others get the lease, and give it back. */
const handover = fc
  .nat(2 * NAMES - 1)
  .map((name): Step[] => [{do: 'recall'}, {do: 'notices'}, {do: 'change', name}, {do: 'lease'}]);
const schedule = fc
  .array(fc.oneof({weight: 12, arbitrary: single}, {weight: 2, arbitrary: handover}), {
    minLength: 40,
    maxLength: 100,
    size: 'max',
  })
  .map((phrases) => phrases.flat());

async function run(options: WorldOptions, steps: readonly Step[]): Promise<World> {
  const world = new World(options);
  for (const step of steps) await world.step(step);
  return world;
}

test('a listing that begins after a change by others shows it', async () => {
  let listed = 0;
  await fc.assert(
    fc.asyncProperty(schedule, async (steps) => {
      listed += (await run(strict, steps)).listed;
    }),
    {numRuns: 1500},
  );
  expect(listed).toBeGreaterThan(7500);
});

test('whatever overtakes what within 3 ms, in the end there is no old listing', async () => {
  await fc.assert(
    fc.asyncProperty(schedule, async (steps) => {
      const world = await run(hasty, steps);
      await world.quiet();
      world.final = true;
      await world.step({do: 'open', thread: 0});
      await world.list(0);
    }),
    {numRuns: 700},
  );
});

test('under a lease the third listing at the latest is not asked for, and nothing is left when all is over', async () => {
  let kept = 0;
  const runs = 500;
  await fc.assert(
    fc.asyncProperty(schedule, async (steps) => {
      const world = await run({...hasty, endsFirst: true}, steps);
      await world.quiet();
      await world.step({do: 'lease'});
      for (let n = 0; n < 3; n++) {
        await world.step({do: 'open', thread: 0});
        await world.list(0);
      }
      await world.step({do: 'open', thread: 0});
      // A drop while a listing is half there, and the kernel never completes one again.
      if (world.stuck) return;
      expect(await world.list(0)).toBe(0);
      kept++;
      await world.step({do: 'recall'});
      await world.quiet();
      await world.step({do: 'ask', thread: 0});
      world.listings.forgotten(7);
      await world.quiet();
      expect(world.listings.size).toBe(0);
    }),
    {numRuns: runs},
  );
  expect(kept).toBeGreaterThan(runs / 5);
});

const go = (who: number, times: number, count = ALL): Step => ({
  do: 'go',
  thread: who,
  times,
  count,
});
const list = (who: number): Step => ({do: 'list', thread: who});
const sleep = (ms: number): Step => ({do: 'sleep', ms});
const lease: Step = {do: 'lease'};
const recall: Step = {do: 'recall'};
const notice: Step = {do: 'notice'};
const notices: Step = {do: 'notices'};
const change = (name: number): Step => ({do: 'change', name});

describe('of a directory that others change', () => {
  test.each<[string, Step[]]>([
    [
      'whose readers were forgotten when the next one came',
      [lease, list(1), recall, sleep(11_000), lease, list(0), list(2), recall, notices, change(0)],
    ],
    [
      'of which an answer arrived after the recall',
      [lease, go(0, 3), recall, notices, change(0), lease, go(0, 1), list(0)],
    ],
    [
      'of which an answer arrived long after the recall, to a thread that asked for nothing more',
      [lease, go(0, 3), recall, sleep(70), change(2), lease, go(0, 1), sleep(11_000), list(1)],
    ],
    [
      'of which an answer without a lease arrived after the drop for another thread',
      [go(0, 4), list(1), change(0), go(1, 1), go(0, 1), lease, list(0)],
    ],
    [
      'that two threads came to the end of, one of which began anew',
      [
        ...[go(1, 1), go(0, 5), go(1, 4), go(1, 4), go(0, 4)],
        ...[notice, notice, notice, go(1, 1), go(1, 5), go(1, 4), change(0), notice, go(0, 1)],
      ],
    ],
    [
      'which grew while an end waited, and whose listing began anew under a lease',
      [
        ...[go(0, 1), go(1, 5), go(1, 4), notice, notice, go(0, 4), go(0, 4), notice, go(1, 1)],
        ...[change(3), lease, go(2, 1), go(2, 2, 6), go(2, 1), notice, go(0, 1)],
      ],
    ],
  ])('a listing is as it is: %s', async (_, steps) => {
    const world = await run(strict, [...steps, list(2), list(3)]);
    expect(world.listed).toBeGreaterThan(1);
  });
});

test('an answer and an end that both overtook the next drop make an old listing, and not for long', async () => {
  const world = await run(hasty, [
    // A listing is complete, and its pages are not there.
    ...[go(1, 1), go(2, 5), go(2, 4), notice, notice, go(1, 4), go(2, 1)],
    // So the next one begins anew. Its answer arrives after the drop for the end of another one, and before that end.
    ...[go(2, 4), go(1, 4), notice, notice, go(2, 1), go(1, 1)],
    ...[change(0), lease, sleep(60)],
  ]);
  world.final = true;
  await world.list(3);
});

describe('the model finds', () => {
  class WithoutRecall extends KernelListings {
    override recall(): Promise<void> {
      return Promise.resolve();
    }
  }

  class WithoutClean extends KernelListings {
    override ended(oid: number, pid: number, leased: boolean): null {
      this.answered(oid, pid, leased);
      return null;
    }
  }

  /** Late answers make ends wait until their threads are heard of, and nothing more. */
  class WithoutSpoil extends KernelListings {
    readonly #readers = new Set<number>();
    readonly #late = new Set<number>();

    override heard(pid: number): void {
      this.#readers.delete(pid);
      this.#late.delete(pid);
      super.heard(pid);
    }

    override answered(oid: number, pid: number, leased: boolean): void {
      this.#readers.add(pid);
      super.answered(oid, pid, leased);
    }

    override ended(oid: number, pid: number, leased: boolean): Promise<void> | null {
      this.#readers.add(pid);
      return super.ended(oid, pid, leased && this.#late.size === 0);
    }

    override recall(oid: number): Promise<void> {
      for (const pid of this.#readers) {
        this.#late.add(pid);
        super.heard(pid);
      }
      this.#readers.clear();
      return super.recall(oid);
    }
  }

  test.each([
    ['a recall that drops nothing', WithoutRecall],
    ['ends that wait for nothing', WithoutClean],
    ['late answers that are forgotten when their threads are heard of', WithoutSpoil],
  ])('%s', async (_, Broken) => {
    const options: WorldOptions = {...strict, make: (clock, host) => new Broken(clock, host)};
    const property = fc.asyncProperty(schedule, async (steps) => {
      await run(options, steps);
    });
    // The last one takes a rare schedule: with other seeds it takes up to some ten thousands.
    const found = await fc.check(property, {seed: 1, numRuns: 10_000, endOnFailure: true});
    expect(found.failed).toBe(true);
  });
});
