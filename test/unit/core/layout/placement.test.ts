import {describe, expect, test} from '@jest/globals';
import {drawGroups, shuffled} from '../../../../src/core/layout/placement.js';
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

describe('C20: the choice of groups', () => {
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
