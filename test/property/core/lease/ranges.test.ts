import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {
  type ByteRange,
  common,
  END,
  EVERYTHING,
  gapAround,
  hull,
  includes,
  isEverything,
  isWhole,
  minus,
  NOTHING,
  overlap,
  overlaps,
  plus,
  type Ranges,
  WHOLE,
  without,
} from '../../../../src/core/lease/ranges.js';

// Goal: sets of byte ranges do what sets do, and are always in their one normal form. Method: a twin that has a boolean for each of
// eleven cells; the last cell is all from byte 10 to wherever the object ends.

const CELLS = 11;
const RUNS = {numRuns: 3_000, seed: Date.now() % 0x7fffffff};
const edge = (cell: number): number => (cell < CELLS ? cell : END);

type Cells = readonly boolean[];
const cellsOf = (ranges: Ranges): Cells =>
  Array.from({length: CELLS}, (_, cell) =>
    ranges.some(({from, to}) => from <= cell && edge(cell + 1) <= to),
  );

/** The only way to write a set down, and nothing that would change it when it is shared. */
function rangesOf(cells: Cells): Ranges {
  const ranges: ByteRange[] = [];
  for (let cell = 0; cell < CELLS; cell++) {
    if (!cells[cell]) continue;
    const from = cell;
    while (cells[cell + 1]) cell++;
    ranges.push(Object.freeze({from, to: edge(cell + 1)}));
  }
  return Object.freeze(ranges);
}

const either = (a: Cells, b: Cells): Cells => a.map((one, cell) => one || b[cell]!);
const both = (a: Cells, b: Cells): Cells => a.map((one, cell) => one && b[cell]!);
const minusCells = (a: Cells, b: Cells): Cells => a.map((one, cell) => one && !b[cell]);
const any = (cells: Cells): boolean => cells.includes(true);

const set = fc.array(fc.boolean(), {minLength: CELLS, maxLength: CELLS}).map(rangesOf);
const range = fc
  .uniqueArray(fc.nat(CELLS), {minLength: 2, maxLength: 2})
  .map(([a, b]): ByteRange => ({from: edge(Math.min(a!, b!)), to: edge(Math.max(a!, b!))}));

test('what is one range more, and one less, is as in the twin, and in normal form', () => {
  const law = fc.property(set, range, (ranges, one) => {
    const [cells, other] = [cellsOf(ranges), cellsOf([one])];
    expect(plus(ranges, one)).toEqual(rangesOf(either(cells, other)));
    expect(minus(ranges, one)).toEqual(rangesOf(minusCells(cells, other)));
  });
  fc.assert(law, RUNS);
});

test('what is in two sets, whichever comes first, and what is in one of them only is in normal form', () => {
  const law = fc.property(set, set, (a, b) => {
    const [one, other] = [cellsOf(a), cellsOf(b)];
    const expected = rangesOf(both(one, other));
    expect(common(a, b)).toEqual(expected);
    expect(common(b, a)).toEqual(expected);
    expect(without(a, b)).toEqual(rangesOf(minusCells(one, other)));
  });
  fc.assert(law, RUNS);
});

test('some of a range is in a set, or all of it, or none, as in the twin', () => {
  const law = fc.property(set, range, (ranges, one) => {
    const [cells, other] = [cellsOf(ranges), cellsOf([one])];
    expect(overlaps(ranges, one)).toBe(any(both(cells, other)));
    expect(includes(ranges, one)).toBe(!any(minusCells(other, cells)));
    expect(isWhole(ranges)).toBe(!cells.includes(false));
    expect(isEverything(one)).toBe(!other.includes(false));
  });
  fc.assert(law, RUNS);
});

test('two ranges: what they share, and what is around both', () => {
  const law = fc.property(range, range, (a, b) => {
    const [one, other] = [cellsOf([a]), cellsOf([b])];
    expect(overlap(a, b)).toBe(any(both(one, other)));
    const joined = cellsOf([hull(a, b)]);
    const sum = either(one, other);
    // From the first to the last cell of either.
    const between = sum.map(
      (_, cell) => any(sum.slice(0, cell + 1)) && any(sum.slice(cell, CELLS)),
    );
    expect(joined).toEqual(between);
  });
  fc.assert(law, RUNS);
});

test('a gap: free, with the range in it, and no larger one is; none around what is taken', () => {
  let gaps = 0;
  const law = fc.property(set, range, (taken, one) => {
    const cells = cellsOf(taken);
    if (overlaps(taken, one)) {
      expect(() => gapAround(taken, one)).toThrow('nothing of it is taken');
      return;
    }
    gaps++;
    const gap = gapAround(taken, one);
    expect(includes([gap], one)).toBe(true);
    expect(overlaps(taken, gap)).toBe(false);
    expect(gap.from === 0 || cells[gap.from - 1]).toBe(true);
    expect(gap.to === END || cells[gap.to]).toBe(true);
  });
  fc.assert(law, RUNS);
  expect(gaps).toBeGreaterThan(RUNS.numRuns / 20);
});

test('a set that grows and shrinks stays what the twin says, and what it was made of stays as it was', () => {
  const step = fc.record({grows: fc.boolean(), one: range});
  const law = fc.property(fc.array(step, {maxLength: 30}), (steps) => {
    let ranges: Ranges = NOTHING;
    let cells: Cells = cellsOf(NOTHING);
    for (const {grows, one} of steps) {
      const before = structuredClone(ranges);
      const next = grows ? plus(ranges, one) : minus(ranges, one);
      cells = (grows ? either : minusCells)(cells, cellsOf([one]));
      expect(next).toEqual(rangesOf(cells));
      expect(ranges).toEqual(before);
      ranges = next;
    }
  });
  fc.assert(law, RUNS);
});

test('edges: the first byte, the end, ranges that touch, an empty one', () => {
  expect(plus(NOTHING, {from: 0, to: 1})).toEqual([{from: 0, to: 1}]);
  expect(plus([{from: 1, to: 2}], {from: 0, to: 1})).toEqual([{from: 0, to: 2}]);
  expect(plus([{from: 2, to: 3}], {from: 0, to: 1})).toEqual([
    {from: 0, to: 1},
    {from: 2, to: 3},
  ]);
  expect(plus([{from: 0, to: 1}], {from: 1, to: END})).toEqual(WHOLE);
  const around = [
    {from: 0, to: 4},
    {from: 8, to: END},
  ];
  expect(plus(around, {from: 4, to: 8})).toEqual(WHOLE);
  expect(minus(WHOLE, {from: 4, to: 8})).toEqual(around);
  expect(minus(WHOLE, EVERYTHING)).toEqual(NOTHING);
  // Nothing more; and at a place where something could be joined.
  for (const at of [0, 4, 6, 8]) expect(plus(around, {from: at, to: at})).toBe(around);
  expect(gapAround(NOTHING, {from: 3, to: 4})).toEqual(EVERYTHING);
});
