import {expect, test} from '@jest/globals';
import {Reserved} from '../../../../src/core/client/reserved.js';
import type {Session} from '../../../../src/core/client/session.js';
import {ManualClock} from '../../../support/manual-clock.js';

/** A meta server with these groups that have room. */
function reserved(clock: ManualClock, groups: () => number[]): Reserved {
  const call = () =>
    Promise.resolve({message: {first: 100, count: 10, draws: [{groups: groups()}]}});
  return new Reserved(clock, {call} as unknown as Session);
}

test('groups that were drawn hold for half a minute', async () => {
  const clock = new ManualClock();
  const one = reserved(clock, () => [1]);
  await one.ask();
  await clock.advance(29_000);
  expect(one.ready).toBe(true);
  await clock.advance(1_000);
  expect(one.ready).toBe(false);
});

test('where all were full they are asked for again after a second: room is found soon after it is there', async () => {
  const clock = new ManualClock();
  let full = true;
  const one = reserved(clock, () => (full ? [] : [1]));
  await one.ask();
  expect([one.ready, one.draw()]).toEqual([true, []]);
  await clock.advance(1_000);
  expect(one.ready).toBe(false);
  full = false;
  await one.ask();
  await clock.advance(5_000);
  expect([one.ready, one.draw()]).toEqual([true, [1]]);
});
