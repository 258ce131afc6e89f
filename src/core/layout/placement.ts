import {assert} from '../base/assert.js';

export interface GroupSpace {
  id: number;
  /** Least free bytes of the group's servers; null: not known yet. */
  freeBytes: number | null;
}

/**
 * The groups of a new object (DESIGN.md section 4), drawn without repetition, each time with probability proportional
 * to the square of the free space; full groups are left out. As long as any group's space is unknown, all count alike. At
 * most `count`, fewer when there are not so many. Any first part of a result is itself such a draw.
 */
export function drawGroups(
  groups: readonly GroupSpace[],
  count: number,
  random: {float(): number},
): number[] {
  const candidates = groups.filter((group) => group.freeBytes !== 0);
  const known = candidates.every((group) => group.freeBytes !== null);
  // Scaled to the largest, so that squares of large disks keep their precision.
  const largest = Math.max(1, ...candidates.map((group) => group.freeBytes ?? 0));
  const left = candidates.map(({id, freeBytes}) => ({
    id,
    weight: known ? ((freeBytes ?? 0) / largest) ** 2 : 1,
  }));
  const drawn: number[] = [];
  while (drawn.length < count && left.length > 0) {
    const total = left.reduce((sum, {weight}) => sum + weight, 0);
    let point = random.float() * total;
    let index = left.findIndex(({weight}) => {
      point -= weight;
      return point < 0;
    });
    if (index < 0) index = left.length - 1; // Rounding: the point fell on the very end.
    const [group] = left.splice(index, 1);
    assert(group !== undefined, 'the index is inside the list');
    drawn.push(group.id);
  }
  return drawn;
}

/**
 * The same groups in an order that follows from `seed` alone: a draw tends to name the emptiest group first, and the first
 * group of an object gets its first chunk, which most objects end in.
 */
export function shuffled(groups: readonly number[], seed: number): number[] {
  const result = [...groups];
  let state = seed >>> 0;
  for (let last = result.length - 1; last > 0; last--) {
    // Numerical Recipes' linear congruential step; its high bits are what is used.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor((state / 0x1_0000_0000) * (last + 1));
    [result[last], result[other]] = [result[other]!, result[last]!];
  }
  return result;
}
