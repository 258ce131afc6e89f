import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {LockTable} from '../../../../src/core/lock/lock-table.js';
import {
  EXCLUSIVE,
  type Lock,
  type LockType,
  RANGE,
  UNLOCKED,
} from '../../../../src/core/lock/range-locks.js';

// Goal: ranges that split and merge say the same of every byte as a table of bytes would. Method: random locks of a few owners
// over a few bytes at both ends of what an offset can be, next to a table with one type for each owner and byte.

const OWNERS = 3;
const BYTES = 13;
const MIDDLE = 6;
/** Where the bytes of the model lie: the last of them is the last byte that there is, and the middle one stands for all between. */
const place = (index: number): bigint =>
  index <= MIDDLE ? BigInt(index) : 2n ** 63n - BigInt(BYTES - index);
const placeEnd = (index: number): bigint =>
  index === MIDDLE ? place(index + 1) - 1n : place(index);

const step = fc.record({
  owner: fc.integer({min: 0, max: OWNERS - 1}),
  type: fc.constantFrom<LockType>(0, 1, 2),
  from: fc.integer({min: 0, max: BYTES - 1}),
  length: fc.integer({min: 1, max: BYTES}),
});

function lockOf(s: {owner: number; type: LockType; from: number; length: number}): Lock {
  const to = Math.min(BYTES - 1, s.from + s.length - 1);
  const owner = {session: 1 + (s.owner % 2), owner: s.owner, pid: s.owner};
  return {kind: RANGE, type: s.type, start: place(s.from), end: placeEnd(to), ...owner};
}

test('every byte has the type that its owner gave it last', () => {
  fc.assert(
    fc.property(fc.array(step, {maxLength: 40, size: 'max'}), (steps) => {
      const table = new LockTable();
      const model = Array.from({length: OWNERS}, () => new Array<LockType>(BYTES).fill(UNLOCKED));
      for (const s of steps) {
        const lock = lockOf(s);
        const bytes = Array.from({length: BYTES}, (_, i) => i).filter(
          (i) => place(i) >= lock.start && place(i) <= lock.end,
        );
        const inTheWay = model.some((row, owner) =>
          bytes.some(
            (i) =>
              owner !== s.owner &&
              s.type !== UNLOCKED &&
              row[i] !== UNLOCKED &&
              (row[i] === EXCLUSIVE || s.type === EXCLUSIVE),
          ),
        );
        expect(table.set(7, lock) !== null).toBe(inTheWay);
        if (!inTheWay) for (const i of bytes) model[s.owner]![i] = s.type;
        const held = table.of(7);
        for (let owner = 0; owner < OWNERS; owner++) {
          const own = held.filter((one) => one.owner === owner);
          for (let i = 0; i < BYTES; i++) {
            const there = own.filter((one) => one.start <= place(i) && one.end >= placeEnd(i));
            expect(there.map((one) => one.type)).toEqual(
              model[owner]![i] === UNLOCKED ? [] : [model[owner]![i]],
            );
          }
          // No two that could be one.
          for (const a of own)
            for (const b of own) if (a.type === b.type) expect(a.end + 1n).not.toBe(b.start);
        }
        for (const session of [1, 2])
          expect(table.count(session)).toBe(held.filter((one) => one.session === session).length);
      }
    }),
    {numRuns: 150},
  );
});
