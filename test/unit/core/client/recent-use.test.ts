// Goal: who is asked for a range keeps what he works on, and who works at even distances asks ahead. Method: the rules alone.
import {describe, expect, test} from '@jest/globals';
import {RecentUse, Stride, staysOf} from '../../../../src/core/client/recent-use.js';
import {
  type ByteRange,
  END,
  NOTHING,
  type Ranges,
  WHOLE,
} from '../../../../src/core/lease/ranges.js';

const range = (from: number, to: number): ByteRange => ({from, to});

describe('what a writer keeps when others want a range', () => {
  const wanted = range(100, 110);
  test.each<[string, Ranges, Ranges]>([
    ['nothing was used', NOTHING, NOTHING],
    ['all was used before the range', [range(0, 50)], [range(0, 100)]],
    ['all was used behind it', [range(200, 210)], [range(200, END)]],
    [
      'on both sides',
      [range(0, 10), range(90, 100), range(110, 120)],
      [range(0, 10), range(90, 100), range(110, 120)],
    ],
    ['some of it was used, too', [range(0, 10), range(105, 106)], NOTHING],
  ])('%s', (_, used, stays) => {
    expect(staysOf(WHOLE, wanted, used)).toEqual(stays);
  });

  test('of parts, only what is held', () => {
    const held = [range(0, 40), range(100, 300)];
    expect(staysOf(held, wanted, [range(0, 50)])).toEqual([range(0, 40)]);
    expect(staysOf(held, wanted, [range(30, 50), range(200, 210)])).toEqual([
      range(30, 40),
      range(200, 210),
    ]);
  });
});

describe('recent use', () => {
  test('a stream is one range; what is older than two seconds is forgotten, what is younger than one is not', () => {
    const use = new RecentUse();
    for (let i = 0; i < 10_000; i++) use.note(range(i * 10, i * 10 + 10), i / 10_000);
    expect(use.ranges(1)).toEqual([range(0, 100_000)]);
    use.note(range(500_000, 500_010), 900);
    expect(use.ranges(1500)).toEqual([range(0, 100_000), range(500_000, 500_010)]);
    expect(use.ranges(4000)).toEqual([]);
  });

  test('it is bounded, however much is used at once', () => {
    const use = new RecentUse();
    for (let i = 0; i < 5000; i++) use.note(range(i * 20, i * 20 + 10), 1);
    const ranges = use.ranges(1);
    expect(ranges.length).toBeLessThanOrEqual(512);
    expect(ranges.length).toBeGreaterThanOrEqual(256);
    expect(ranges.at(-1)).toEqual(range(4999 * 20, 4999 * 20 + 10));
  });
});

describe('asking ahead', () => {
  test('at even distances, twice as much each time, up to 32', () => {
    const stride = new Stride();
    const counts: number[] = [];
    for (let at = 0; at < 3000; ) {
      const ahead = stride.after(range(at, at + 10));
      counts.push(ahead.length);
      for (const [index, one] of ahead.entries())
        expect(one).toEqual(range(at + 30 * (index + 1), at + 30 * (index + 1) + 10));
      // Those need not be asked for.
      at += 30 * (ahead.length + 1);
    }
    expect(counts.slice(0, 8)).toEqual([0, 0, 2, 4, 8, 16, 32, 32]);
  });

  test('a stream of short writes gets one longer range', () => {
    const stride = new Stride();
    stride.after(range(0, 10));
    stride.after(range(10, 20));
    expect(stride.after(range(20, 30))).toEqual([range(30, 50)]);
  });

  test.each([
    ['going back', [50, 40, 30, 20, 10]],
    ['at uneven distances', [0, 30, 70, 90, 200, 207]],
  ])('nothing %s', (_, starts) => {
    const stride = new Stride();
    for (const at of starts) expect(stride.after(range(at, at + 5))).toEqual([]);
  });

  test('never beyond the largest offset', () => {
    const stride = new Stride();
    const start = END - 100;
    for (let i = 0; i < 4; i++)
      for (const {to} of stride.after(range(start + 20 * i, start + 20 * i + 10)))
        expect(to).toBeLessThanOrEqual(END);
  });
});
