// Goal: a recovery keeps to its rate, gives way to clients, and keeps nobody waiting who wants what it holds. Method: a pace under a manual clock.
import {beforeEach, expect, test} from '@jest/globals';
import {MIB} from '../../../../src/core/base/units.js';
import {Pace} from '../../../../src/core/client/pace.js';
import {Stats} from '../../../../src/core/client/stats.js';
import {ManualClock} from '../../../support/manual-clock.js';

let clock: ManualClock;
let stats: Stats;
let order: {paused: boolean; rate: number; busy: boolean};
let pace: Pace;
beforeEach(() => {
  clock = new ManualClock();
  stats = new Stats();
  order = {paused: false, rate: MIB, busy: false};
  pace = new Pace(clock, stats, () => order);
});

/** How long a piece of so many bytes keeps it waiting, in ms, if nobody wants the object. */
async function waited(bytes: number): Promise<number> {
  const from = clock.now();
  stats.dataBytesIn += bytes;
  let going: boolean | null = null;
  const moved = pace
    .moved(from, () => false)
    .then((one) => {
      going = one;
    });
  while (going === null) await clock.advance(10);
  await moved;
  expect(going).toBe(true);
  return clock.now() - from;
}

test('goes at its rate where nobody else is served', async () => {
  expect(await waited(MIB)).toBeGreaterThanOrEqual(1000);
  expect(await waited(MIB)).toBeLessThanOrEqual(1020);
  expect(pace.speed.givesWay).toBe(false);
});

test('goes an eighth as fast, in smaller pieces, while its own server has clients to serve, or another one says so', async () => {
  const {pieceBytes} = pace;
  order.busy = true;
  expect(await waited(MIB)).toBeGreaterThanOrEqual(7900);
  expect(pace.pieceBytes).toBeLessThan(pieceBytes);
  expect(pace.speed.givesWay).toBe(true);
  order.busy = false;
  await clock.advance(1000);
  expect(await waited(MIB)).toBeLessThanOrEqual(1020);
  stats.busyReplies++;
  expect(await waited(MIB)).toBeGreaterThanOrEqual(7900);
  await clock.advance(1000);
  expect(pace.pieceBytes).toBe(pieceBytes);
});

test('waits for the rate no longer when others want the object, and gives it up to them soon', async () => {
  let wanted = false;
  const begun = clock.now();
  stats.dataBytesIn += 100 * MIB;
  const moved = pace.moved(begun, () => wanted);
  await clock.advance(500);
  wanted = true;
  await clock.advance(20);
  expect(await moved).toBe(false);
  // What it has just been given it keeps for a moment, or it would never end.
  expect(await pace.moved(clock.now(), () => true)).toBe(true);
  // What it owes it waits for without the object.
  let going = false;
  const next = pace
    .wait(() => false)
    .then(() => {
      going = true;
    });
  await clock.advance(50_000);
  expect(going).toBe(false);
  await clock.advance(50_000);
  await next;
  order.paused = true;
  expect(await pace.moved(clock.now(), () => false)).toBe(false);
});
