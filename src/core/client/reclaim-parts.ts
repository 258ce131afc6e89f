import type {ReclaimRequest} from '../protocol/gen/wire.js';

/** Objects in one message, and ranges of all of them together. */
const OBJECTS_MAX = 4096;
const RANGES_MAX = 8192;

/** What a client holds, in messages that are not too long. */
export function* partsOf(all: ReclaimRequest): Iterable<ReclaimRequest> {
  const {oids, modes, opens, yielding} = all;
  const rangesOf = new Map(all.ranges.map((one) => [one.oid, one]));
  for (let from = 0, to = 0; from < oids.length; from = to) {
    const ranges: ReclaimRequest['ranges'] = [];
    for (let left = RANGES_MAX; to < oids.length && to < from + OBJECTS_MAX; to++) {
      const its = rangesOf.get(oids[to]!);
      left -= its?.ranges.length ?? 0;
      if (left < 0 && to > from) break;
      if (its !== undefined) ranges.push(its);
    }
    yield {
      oids: oids.slice(from, to),
      modes: modes.slice(from, to),
      opens: opens.slice(from, to),
      yielding: yielding.slice(from, to),
      ranges,
    };
  }
}
