import {describe, expect, test} from '@jest/globals';
import {drawGroups, shuffled} from '../../../../src/core/layout/placement.js';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {SeededRandom} from '../../../../src/core/sim/random.js';

const SEED = 7;
const TIB = 2 ** 40;

/** How often each group is named first, of `rounds` draws. */
function shares(free: readonly (number | null)[], rounds: number): number[] {
  const random = new SeededRandom(SEED);
  const groups = free.map((freeBytes, id) => ({id, freeBytes}));
  const counts = free.map(() => 0);
  for (let i = 0; i < rounds; i++) {
    const [first] = drawGroups(groups, 1, random);
    if (first !== undefined) counts[first]!++;
  }
  return counts.map((count) => count / rounds);
}

/** The sum of (found - wanted)^2 / wanted. */
const chiSquare = (found: readonly number[], wanted: readonly number[]): number =>
  found.reduce((sum, count, i) => sum + (count - wanted[i]!) ** 2 / wanted[i]!, 0);

describe('C20: the choice of groups (6.4 point 25)', () => {
  test('chi-square: ten groups, first and second of each draw, at p = 0.001 (20,000 draws)', () => {
    const random = new SeededRandom(SEED);
    const groups = Array.from({length: 10}, (_, id) => ({id, freeBytes: (id + 2) * TIB}));
    const weights = groups.map(({freeBytes}) => (freeBytes / TIB) ** 2);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const rounds = 20_000;
    const pairs = new Map<string, number>();
    for (let i = 0; i < rounds; i++) {
      const key = drawGroups(groups, 2, random).join();
      pairs.set(key, (pairs.get(key) ?? 0) + 1);
    }
    const first = groups.map(({id}) =>
      groups.reduce((sum, other) => sum + (pairs.get(`${id},${other.id}`) ?? 0), 0),
    );
    // 9 and 89 degrees of freedom.
    expect(
      chiSquare(
        first,
        weights.map((weight) => (rounds * weight) / total),
      ),
    ).toBeLessThan(27.88);
    const wanted: number[] = [];
    const found: number[] = [];
    for (const [i, one] of weights.entries())
      for (const [j, other] of weights.entries()) {
        if (i === j) continue;
        wanted.push((rounds * one * other) / (total * (total - one)));
        found.push(pairs.get(`${i},${j}`) ?? 0);
      }
    expect(chiSquare(found, wanted)).toBeLessThan(135.98);
  });

  test('chi-square: columns of objects with random ids spread evenly over the slots of a group (B12)', () => {
    const random = new SeededRandom(SEED);
    const slots = 7;
    for (const column of [0, 4]) {
      const found = new Array<number>(slots).fill(0);
      const rounds = 14_000;
      for (let i = 0; i < rounds; i++)
        found[columnSlot(random.below(2 ** 32), random.below(100), column, slots)]!++;
      // 6 degrees of freedom, p = 0.001.
      expect(chiSquare(found, new Array<number>(slots).fill(rounds / slots))).toBeLessThan(22.46);
    }
  });

  test(`follows the square of the free space (20,000 draws, seed ${SEED})`, () => {
    const found = shares([TIB, 2 * TIB, 3 * TIB], 20_000);
    // Standard deviation of a share is at most 0.0035; four of them are allowed.
    for (const [i, wanted] of [1 / 14, 4 / 14, 9 / 14].entries()) {
      expect(Math.abs(found[i]! - wanted)).toBeLessThan(0.014);
    }
  });

  test('a small group is neither starved nor full ones used', () => {
    const found = shares([TIB, 0, TIB / 10], 20_000);
    expect(found[1]).toBe(0);
    expect(Math.abs(found[2]! - 1 / 101)).toBeLessThan(0.003);
  });

  test('is uniform while the space of any is unknown', () => {
    for (const share of shares([TIB, null, TIB / 100], 20_000)) {
      expect(Math.abs(share - 1 / 3)).toBeLessThan(0.014);
    }
  });

  test('names no group twice and never more than there are', () => {
    const random = new SeededRandom(SEED);
    const groups = [1, 2, 3, 4].map((id) => ({id, freeBytes: id * TIB}));
    for (let count = 0; count < 7; count++) {
      const drawn = drawGroups(groups, count, random);
      expect(new Set(drawn).size).toBe(drawn.length);
      expect(drawn.length).toBe(Math.min(count, 4));
    }
    expect(drawGroups([{id: 1, freeBytes: 0}], 1, random)).toEqual([]);
  });

  test('shuffling keeps the groups and puts each of them first about equally often', () => {
    const first = [0, 0, 0, 0];
    for (let seed = 0; seed < 8000; seed++) {
      const order = shuffled([0, 1, 2, 3], seed);
      expect([...order].sort()).toEqual([0, 1, 2, 3]);
      first[order[0]!]!++;
    }
    for (const count of first) expect(Math.abs(count - 2000)).toBeLessThan(200);
  });
});
