import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {SimClock} from '../../../../src/core/sim/clock.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';
import {Actor, Scheduler, SimFailure} from '../../../../src/core/sim/scheduler.js';
import {defer} from '../../../support/sim.js';

const LIMITS = {events: 10_000, time: 1_000_000};

describe('scheduler', () => {
  test('events run in order of time, then of making (any delays)', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(20), {minLength: 1, maxLength: 60}), async (delays) => {
        const scheduler = new Scheduler(defer);
        const seen: number[] = [];
        delays.forEach((delay, i) => {
          scheduler.schedule(null, delay, 't', () => seen.push(i));
        });
        await scheduler.run(() => seen.length === delays.length, LIMITS);
        const wanted = delays.map((_, i) => i).sort((x, y) => delays[x]! - delays[y]! || x - y);
        expect(seen).toEqual(wanted);
      }),
    );
  });

  test('all promises are drained between two events, however long the chain', async () => {
    const scheduler = new Scheduler(defer);
    const seen: string[] = [];
    const chain = async (): Promise<void> => {
      for (let i = 0; i < 50; i++) await Promise.resolve();
      scheduler.soon(null, 's', () => seen.push('soon'));
      for (let i = 0; i < 50; i++) await null;
      seen.push('chain');
    };
    scheduler.schedule(null, 1, 't', () => void chain());
    scheduler.schedule(null, 1, 't', () => seen.push('next'));
    await scheduler.run(() => seen.length === 3, LIMITS);
    expect(seen).toEqual(['chain', 'soon', 'next']);
  });

  test('a deadlock, an endless run and a thrown error end it', async () => {
    const scheduler = new Scheduler(defer);
    await expect(scheduler.run(() => false, LIMITS)).rejects.toThrow(SimFailure);
    const again = (): void => void scheduler.schedule(null, 1, 't', again);
    again();
    await expect(scheduler.run(() => false, {events: 50, time: 1e9})).rejects.toThrow('50 events');
    await expect(scheduler.run(() => false, {events: 1e9, time: 50})).rejects.toThrow('50 virtual');
    scheduler.schedule(null, 0, 't', () => {
      throw new RangeError('mine');
    });
    await expect(scheduler.run(() => false, LIMITS)).rejects.toThrow('mine');
  });

  test('a frozen actor runs late and in order, a dead one never; cancelled timers stay quiet', async () => {
    const scheduler = new Scheduler(defer);
    const seen: string[] = [];
    const one = new Actor('one', 1);
    const two = new Actor('two', 2);
    scheduler.schedule(one, 1, 't', () => seen.push('a'));
    scheduler.schedule(one, 2, 't', () => seen.push('b'));
    const cancelled = scheduler.schedule(one, 3, 't', () => seen.push('never'));
    scheduler.schedule(two, 1, 't', () => seen.push('dead'));
    one.freeze();
    two.kill();
    scheduler.schedule(null, 5, 't', () => {
      seen.push('thaw');
      cancelled.cancel();
      scheduler.thaw(one);
    });
    let done = false;
    scheduler.schedule(null, 6, 't', () => {
      done = true;
    });
    await scheduler.run(() => done, LIMITS);
    expect(seen).toEqual(['thaw', 'a', 'b']);
  });

  test('the same seed gives the same numbers and digest; labels give independent streams', async () => {
    const run = async (seed: number): Promise<string> => {
      const scheduler = new Scheduler(defer);
      const random = new SeededRandom(seed).split('x');
      let left = 100;
      const go = (): void => {
        if (left-- > 0) scheduler.schedule(null, random.float() * 5, 't', go);
      };
      go();
      await scheduler.run(() => left < 0, LIMITS);
      return scheduler.digest;
    };
    expect(await run(7)).toBe(await run(7));
    expect(await run(7)).not.toBe(await run(8));
    const values = new Set(
      ['a', 'b', 'a b', ''].map((label) => new SeededRandom(2 ** 40 + 5).split(label).hex(8)),
    );
    expect(values.size).toBe(4);
    const random = new SeededRandom(3);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) {
      const n = random.below(10);
      counts[n] = counts[n]! + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  test('a clock that runs fast fires early in virtual time, never early in its own', async () => {
    const scheduler = new Scheduler(defer);
    const clock = new SimClock(scheduler, new Actor('one', 1), {zero: 50, skew: -5, rate: 1.25});
    let at = 0;
    const start = clock.now();
    clock.timer(100, () => {
      at = clock.now();
    });
    await scheduler.run(() => at > 0, LIMITS);
    expect(scheduler.now).toBeCloseTo(80);
    expect(at - start).toBeGreaterThanOrEqual(100 - 1e-6);
  });
});
