// Goal: what goes on behind the backs of clients knows when there are any. Method: a load under a manual clock.
import {expect, test} from '@jest/globals';
import {Load} from '../../../../src/core/data/load.js';
import {ManualClock} from '../../../support/manual-clock.js';

test('a server is busy while requests come often, and not for the sake of a few', async () => {
  const clock = new ManualClock();
  const load = new Load(clock);
  for (let i = 0; i < 20; i++) {
    load.served();
    await clock.advance(200);
    expect(load.busy).toBe(false);
  }
  for (let i = 0; i < 50; i++) {
    load.served();
    await clock.advance(10);
  }
  expect(load.busy).toBe(true);
  await clock.advance(500);
  expect(load.busy).toBe(false);
});
