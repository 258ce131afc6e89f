/**
 * Where backtraces lie. A shard has one group, and there as many slots as survive the loss of m servers: a group that has lost more
 * has lost files, too. Group and slots are those with the highest numbers that a hash draws for the shard, so a new group takes
 * its share of the shards and the others stay where they are.
 */
export interface KeepingGroup {
  id: number;
  slots: number;
}

export interface Keeper {
  group: number;
  slot: number;
}

/** Murmur3's last step: every bit of the input moves every bit of the result. */
function mix(a: number, b: number, c: number): number {
  let h =
    Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b) ^ Math.imul(c + 1, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Who keeps a shard: `copies` slots of one group, or as many as it has. Empty without groups. */
export function keepersOf(
  shard: number,
  groups: readonly KeepingGroup[],
  copies: number,
): Keeper[] {
  let best: KeepingGroup | null = null;
  for (const group of groups)
    if (best === null || mix(shard, group.id, 0) > mix(shard, best.id, 0)) best = group;
  if (best === null) return [];
  const {id, slots} = best;
  return Array.from({length: slots}, (_, slot) => ({slot, rank: mix(shard, id, slot + 1)}))
    .sort((a, b) => b.rank - a.rank)
    .slice(0, copies)
    .map(({slot}) => ({group: id, slot}));
}
