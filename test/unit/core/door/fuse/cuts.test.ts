import {expect, test} from '@jest/globals';
import {Cuts} from '../../../../../src/core/door/fuse/cuts.js';
import {ManualClock} from '../../../../support/manual-clock.js';

function waiting(cuts: Cuts, oid: number) {
  const wait = {over: false};
  void cuts.passed(oid)?.then(() => {
    wait.over = true;
  });
  return wait;
}

test('a short answer to a read waits until the thread that cuts the file has asked for something else', async () => {
  const clock = new ManualClock();
  const cuts = new Cuts(clock);
  expect(cuts.passed(7)).toBeNull();
  const answered = cuts.begin(7, 1);
  expect(cuts.passed(8)).toBeNull();
  const read = waiting(cuts, 7);
  await clock.advance(10);
  expect(read.over).toBe(false);
  answered();
  await clock.advance(3);
  expect(read.over).toBe(false);
  cuts.heard(2);
  await clock.advance(3);
  expect(read.over).toBe(false);
  cuts.heard(1);
  await clock.advance(2);
  expect(read.over).toBe(true);
  expect(cuts.passed(7)).toBeNull();
});

test('it waits for a bounded time, whatever happens to the cut or its thread', async () => {
  const clock = new ManualClock();
  const cuts = new Cuts(clock);
  const answered = cuts.begin(7, 1);
  const read = waiting(cuts, 7);
  await clock.advance(60);
  expect(read.over).toBe(true);
  answered();
  const next = waiting(cuts, 7);
  await clock.advance(25);
  expect(next.over).toBe(true);
  expect(cuts.passed(7)).toBeNull();
});
