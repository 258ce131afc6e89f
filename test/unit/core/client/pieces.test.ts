import {describe, expect, test} from '@jest/globals';
import {Bits, Pieces} from '../../../../src/core/client/pieces.js';
import {place} from '../../../../src/core/layout/stripe.js';

const KIB = 1024;
const layout = (k: number, unitKib: number, chunkKib: number) => ({
  k,
  m: 1,
  unitBytes: unitKib * KIB,
  chunkBytes: chunkKib * KIB,
  groups: [1],
  generation: 0,
});

describe('an object in pieces', () => {
  test('lies in them without a gap, and the place of a byte in its column says in which', () => {
    for (const l of [layout(4, 4, 64), layout(3, 8, 100), layout(1, 16, 16), layout(2, 4, 40)]) {
      for (const size of [1, 4 * KIB, 100 * KIB, 517 * KIB + 3]) {
        const pieces = new Pieces(l, size);
        let end = 0;
        for (let piece = 0; piece < pieces.count(size); piece++) {
          const {from, to} = pieces.range(piece);
          expect(from).toBe(end);
          for (const at of [from, to - 1]) {
            const {chunk, columnOffset} = place(l, at);
            const inChunk = Math.floor(columnOffset / pieces.pieceBytes);
            expect(chunk * pieces.perChunk + inChunk).toBe(piece);
          }
          end = to;
        }
        expect(end).toBeGreaterThanOrEqual(size);
        expect(pieces.range(pieces.count(size) - 1).from).toBeLessThan(size);
      }
    }
  });

  test('of a large object are not too many', () => {
    const TIB = 1024 ** 4;
    const large = layout(4, 64, 64 * KIB);
    expect(new Pieces(large, 300 * KIB * KIB).pieceBytes).toBe(64 * KIB);
    for (const size of [TIB / 100, TIB, 9 * TIB]) {
      const pieces = new Pieces(large, size);
      // No piece is larger than a chunk.
      expect(pieces.count(size)).toBeLessThan(16_385 * Math.max(1, Math.ceil(size / TIB)));
      expect(pieces.pieceBytes % large.unitBytes).toBe(0);
    }
  });

  test('a set of them can be cut', () => {
    const bits = new Bits();
    for (const bit of [0, 31, 32, 63, 64, 1000]) bits.add(bit);
    bits.cut(63);
    expect([0, 1, 31, 32, 62, 63, 64, 1000].filter((bit) => bits.has(bit))).toEqual([0, 31, 32]);
    bits.cut(32);
    expect([0, 31, 32].filter((bit) => bits.has(bit))).toEqual([0, 31]);
  });
});
