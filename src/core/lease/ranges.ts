import {assert} from '../base/assert.js';

/** Bytes [from, to) of an object. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/** Sorted, without overlap, none empty, and between two of them lies something. */
export type Ranges = readonly ByteRange[];

/** As `to`: wherever the object ends. */
export const END = Number.MAX_SAFE_INTEGER;
export const EVERYTHING: ByteRange = {from: 0, to: END};
export const WHOLE: Ranges = [EVERYTHING];
export const NOTHING: Ranges = [];

export const isEverything = ({from, to}: ByteRange): boolean => from === 0 && to === END;

export const isWhole = (ranges: Ranges): boolean => ranges.length === 1 && isEverything(ranges[0]!);

export const overlap = (a: ByteRange, b: ByteRange): boolean => a.from < b.to && b.from < a.to;

/** Index of the first range that ends after `offset`. */
function firstAfter(ranges: Ranges, offset: number): number {
  let low = 0;
  for (let high = ranges.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (ranges[middle]!.to <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Is some of `range` in there? */
export function overlaps(ranges: Ranges, range: ByteRange): boolean {
  const first = ranges[firstAfter(ranges, range.from)];
  return first !== undefined && first.from < range.to;
}

/** Is all of `range` in there? */
export function includes(ranges: Ranges, range: ByteRange): boolean {
  const first = ranges[firstAfter(ranges, range.from)];
  return first !== undefined && first.from <= range.from && range.to <= first.to;
}

export function plus(ranges: Ranges, {from, to}: ByteRange): Ranges {
  if (from >= to || includes(ranges, {from, to})) return ranges;
  const first = firstAfter(ranges, from - 1);
  let last = first;
  for (; last < ranges.length && ranges[last]!.from <= to; last++);
  const joined =
    first === last
      ? {from, to}
      : {from: Math.min(from, ranges[first]!.from), to: Math.max(to, ranges[last - 1]!.to)};
  return ranges.toSpliced(first, last - first, joined);
}

export function minus(ranges: Ranges, {from, to}: ByteRange): Ranges {
  const first = firstAfter(ranges, from);
  let last = first;
  const left: ByteRange[] = [];
  for (; last < ranges.length && ranges[last]!.from < to; last++) {
    const range = ranges[last]!;
    if (range.from < from) left.push({from: range.from, to: from});
    if (range.to > to) left.push({from: to, to: range.to});
  }
  return first === last ? ranges : ranges.toSpliced(first, last - first, ...left);
}

/** What is left of `ranges` without all of `gone`. */
export const without = (ranges: Ranges, gone: Ranges): Ranges => gone.reduce(minus, ranges);

/** What is in both. */
export function common(a: Ranges, b: Ranges): Ranges {
  const both: ByteRange[] = [];
  for (const {from, to} of b) {
    for (let at = firstAfter(a, from); at < a.length && a[at]!.from < to; at++)
      both.push({from: Math.max(from, a[at]!.from), to: Math.min(to, a[at]!.to)});
  }
  return both;
}

export const hull = (a: ByteRange, b: ByteRange): ByteRange => ({
  from: Math.min(a.from, b.from),
  to: Math.max(a.to, b.to),
});

/** The largest range around `range`, of which nothing is in there. */
export function gapAround(taken: Ranges, range: ByteRange): ByteRange {
  const next = firstAfter(taken, range.from);
  const after = taken[next];
  assert(after === undefined || after.from >= range.to, 'nothing of it is taken');
  return {from: taken[next - 1]?.to ?? 0, to: after?.from ?? END};
}
