import {describe, test} from '@jest/globals';
import {swarm} from '../../src/core/sim/swarm.js';
import {Worlds} from '../support/worlds.js';

// As worlds.test.ts, with other seeds: two files run at the same time.

const worlds = new Worlds();

describe('more worlds: random traces with faults agree with the model (6.4 point 26, F11)', () => {
  for (let first = 501; first <= 600; first += 100) {
    test(`seeds ${first} to ${first + 99}: nothing acknowledged is lost, all comes to rest`, async () => {
      await worlds.all(first, first + 99, 20, swarm);
    }, 240_000);
  }
});
