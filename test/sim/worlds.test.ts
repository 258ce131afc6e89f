import {describe, expect, test} from '@jest/globals';
import {secondFailures, swarm, type WorldShape} from '../../src/core/sim/swarm.js';
import {allTransitions, groupKey} from '../../src/core/sim/transitions.js';
import type {WorldResult} from '../../src/core/sim/world.js';
import {Worlds} from '../support/worlds.js';

// Whole clusters under one seed: clients' programs against a model while servers die, freeze and lose their disks.
// A failure names its seed; `npm run sim -- --seed N --verbose` shows that world.

const FIRST = 1;
const WORLDS = 200;
const BATCH = 100;
/** Every twentieth world runs twice and must take the same path. */
const TWICE = 20;

/** With second failures. */
const SECONDS = 12;
/** What hardly a world does to a group, or none; stories of the control do (`pool.test.ts`, "states of the group"). */
const STORIES = [
  ['creating', 'degraded'],
  ['creating', 'recovering'],
  ['creating', 'failed'],
  ['creating', 'draining'],
  ['ready', 'failed'],
  ['recovering', 'failed'],
  ['failed', 'draining'],
  ['draining', 'ready'],
  ['draining', 'failed'],
] as const;

const worlds = new Worlds();
const run = (shape: WorldShape): Promise<WorldResult> => worlds.run(shape);

describe('worlds: random traces with faults agree with the model (6.4 point 26, F11)', () => {
  for (let first = FIRST; first < FIRST + WORLDS; first += BATCH) {
    test(`seeds ${first} to ${first + BATCH - 1}: nothing acknowledged is lost, all comes to rest`, async () => {
      await worlds.all(first, first + BATCH - 1, TWICE, swarm);
    }, 180_000);
  }

  test.each([
    [51_127, 'fsync covers what others had written before'],
    [60_514, 'a layout may be known before the map that has its group'],
    [80_776, 'a write is never made without a server that has yet to join'],
  ])('seed %i: %s', async (seed) => {
    const shape = swarm(seed);
    // They were found before there were stories about locks, and opens ahead.
    await run({
      ...shape,
      openAhead: false,
      workload: {...shape.workload, locksChance: 0, piecesChance: 0, busyChance: 0},
    });
  });

  test('a size that a power cut of the meta server took back leaves no bytes beyond it (seed 532)', async () => {
    const shape = swarm(532);
    const workload = {...shape.workload, locksChance: 0, piecesChance: 0, busyChance: 0};
    await run({...shape, openAhead: false, fulls: false, workload, faults: ['meta-power']});
  });

  test.each([
    [2147, 'who waits for a cut beyond the size writes before the next one gets the lease'],
    [841_159, 'an open that a yield overtakes knows the size that went with it'],
    [840_301, 'who lost power is made from who was out of reach meanwhile'],
    [860_110, 'what is written after a loss is not given up when that is told'],
    [871_316, 'a block is not healed with what it was before it was written'],
    [903_969, 'a client that has closed takes no memory for zeros'],
    [913_112, 'who cuts a file is not fenced because of who died with a lease of its directory'],
    [906_498, 'a recovery removes nothing of what is made while it asks'],
  ])('seed %i: %s', async (seed) => {
    await run(swarm(seed));
  });

  // C91 and acceptance point 15 of 6.4: full disks, of one server, of all, of the meta server.
  test.each([
    [1_000_057, 'a write that fails for want of space takes no other with it'],
    [
      1_100_032,
      'what an append that failed added is not added again to a file that was cut meanwhile',
    ],
    [1_100_788, 'what was written half way gets redundancy of its own when it is tried again'],
  ])('seed %i with full disks: %s', async (seed) => {
    await run({...swarm(seed), fulls: true});
  });

  test(`seeds 1 to ${SECONDS}: who recovers is lost again, and others meanwhile`, async () => {
    for (let seed = 1; seed <= SECONDS; seed++) await run(secondFailures(seed));
  }, 180_000);

  test('all worlds together have taken every transition of slots and groups, and had second failures', () => {
    const elsewhere = STORIES.map(([from, to]) => groupKey(from, to));
    const all = allTransitions().filter((key) => !elsewhere.includes(key));
    expect(all.filter((key) => !worlds.taken.has(key))).toEqual([]);
  });

  test('a client that skips one recall is found out within 20 worlds', async () => {
    let found = 0;
    for (let seed = 1; seed <= 20 && found === 0; seed++) {
      const shape: WorldShape = {...swarm(seed), clients: 2, faults: [], sabotage: 'recall'};
      await run(shape).catch((error: unknown) => {
        expect(String(error)).toContain('nothing explains');
        found = seed;
      });
    }
    expect(found).toBeGreaterThan(0);
  }, 60_000);

  test('a client that now and then forgets the redundancy is found out within 20 worlds', async () => {
    let found = 0;
    for (let seed = 1; seed <= 20 && found === 0; seed++) {
      const shape: WorldShape = {...swarm(seed), faults: [], sabotage: 'redundancy'};
      await run(shape).catch((error: unknown) => {
        expect(String(error)).toContain('redundancy is not that of the data');
        found = seed;
      });
    }
    expect(found).toBeGreaterThan(0);
  }, 60_000);
});
