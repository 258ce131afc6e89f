import {describe, test} from '@jest/globals';
import {severalMetas} from '../../src/core/sim/swarm.js';
import {Worlds} from '../support/worlds.js';

// Whole clusters with two or three meta servers and a coordinator: the active one is killed, stopped, loses power, is cut off from the
// others, from the coordinator, or from its users; the coordinator is away. Programs are judged as in worlds.test.ts: by the linearizability of
// what they were told.

const worlds = new Worlds();

describe('worlds with several meta servers (SEEDS.md 6.4 points 11, 14, 17)', () => {
  for (let first = 1; first <= 40; first += 20) {
    test(`seeds ${first} to ${first + 19}: nothing that was answered is lost, never two histories`, async () => {
      await worlds.all(first, first + 19, 20, severalMetas, ' --metas');
    }, 240_000);
  }

  for (const durability of ['disk', 'memory'] as const) {
    test(`seeds 167 to 172, durability ${durability}: what an fsync was answered for is there`, async () => {
      const draw = (seed: number) => ({...severalMetas(seed), durability});
      await worlds.all(167, 172, 7, draw, ` --metas --durability ${durability}`);
    }, 120_000);
  }
});
