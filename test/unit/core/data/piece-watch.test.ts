import {describe, expect, test} from '@jest/globals';
import {CHANGED_PIECES_MAX, PieceWatches} from '../../../../src/core/data/piece-watch.js';

const KIB = 1024;
const of = {oid: 7, generation: 2, pieceBytes: 16 * KIB, piecesPerChunk: 4};
const chunk = (chunk: number, oid = 7, generation = 2) => ({oid, chunk, generation});
const range = (from: number, to: number) => [{offset: from * KIB, length: (to - from) * KIB}];

describe('what changes of an object while it is moved', () => {
  test('each pass tells the pieces that changed since the one before; asked again, the same', () => {
    const watches = new PieceWatches();
    watches.note(chunk(0), range(0, 4));
    expect(watches.pass('m', 1, of)).toEqual([]);
    watches.note(chunk(1), range(12, 20));
    watches.note(chunk(0), range(60, 64));
    expect(watches.pass('m', 2, of)).toEqual([3, 4, 5]);
    watches.note(chunk(0), range(16, 32));
    // The answer was lost.
    expect(watches.pass('m', 2, of)).toEqual([3, 4, 5]);
    expect(watches.pass('m', 3, of)).toEqual([1]);
    expect(watches.pass('m', 4, of)).toEqual([]);
  });

  test('a cut changes all that is behind it in its chunk; one at the end of any chunk nothing', () => {
    const watches = new PieceWatches();
    watches.pass('m', 1, of);
    watches.note(chunk(2), {from: 20 * KIB});
    watches.note(chunk(3), {from: 1024 * KIB});
    expect(watches.pass('m', 2, of)).toEqual([9, 10, 11]);
    watches.note(chunk(0), {from: 0});
    expect(watches.pass('m', 3, of)).toEqual([0, 1, 2, 3]);
  });

  test('other objects and generations are not noted', () => {
    const watches = new PieceWatches();
    watches.pass('m', 1, of);
    watches.note(chunk(0, 8), range(0, 64));
    watches.note(chunk(0, 7, 3), range(0, 64));
    expect(watches.pass('m', 2, of)).toEqual([]);
  });

  test('two movers are told apart; who was not told everything begins anew', () => {
    const watches = new PieceWatches();
    expect(watches.pass('m', 2, of)).toBeNull();
    watches.pass('m', 1, of);
    watches.pass('n', 1, of);
    watches.note(chunk(0), range(0, 4));
    expect(watches.pass('m', 2, of)).toEqual([0]);
    expect(watches.pass('n', 2, of)).toEqual([0]);
    // A gap, an end.
    expect(watches.pass('m', 4, of)).toBeNull();
    expect(watches.pass('m', 3, of)).toBeNull();
    watches.pass('n', 0, of);
    expect(watches.pass('n', 3, of)).toBeNull();
  });

  test('memory is bounded: too many changes, and too many movers, are forgotten', () => {
    const watches = new PieceWatches();
    watches.pass('m', 1, of);
    for (let i = 0; i <= CHANGED_PIECES_MAX / 4; i++) watches.note(chunk(i), {from: 0});
    expect(watches.pass('m', 2, of)).toBeNull();
    for (let i = 0; i < 9; i++) watches.pass(`m${i}`, 1, of);
    expect(watches.pass('m0', 2, of)).toBeNull();
    expect(watches.pass('m1', 2, of)).toEqual([]);
    expect(watches.pass('m8', 2, of)).toEqual([]);
  });
});
