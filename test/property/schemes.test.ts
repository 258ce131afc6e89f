// Goal: every scheme k+m with k up to 16 and m up to 4 gives back whatever m columns are lost (issue 5, item 6). Method: all of them, and
// for each all patterns of loss; the native codec and its plain twin must agree with what was encoded, and so with one another. The
// twin, which is slow, takes a sample where patterns are thousands.
import {describe, expect, test} from '@jest/globals';
import type {Codec} from '../../src/core/env/codec.js';
import {formatScheme, invalidLayout, type Scheme} from '../../src/core/layout/scheme.js';
import {IsalCodec} from '../../src/core/os/codec-isal.js';
import {PlainCodec} from '../../src/core/sim/codec.js';
import {pattern} from '../support/frames.js';

const K_MAX = 16;
const M_MAX = 4;
/** The least that a codec takes: the matrices differ from scheme to scheme, not from byte to byte. */
const LENGTH = 64;

/** One of so many patterns; not a divisor of the numbers that they come in. */
const SAMPLED = 29;

interface Rig {
  codec: Codec;
  memory: ArrayBuffer;
}
const [native, plain] = [new IsalCodec(), new PlainCodec()].map(
  (codec): Rig => ({codec, memory: codec.createMemory((K_MAX + M_MAX) * LENGTH)}),
) as [Rig, Rig];

const range = (count: number): number[] => Array.from({length: count}, (_, i) => i);
const offsets = (columns: readonly number[]): number[] => columns.map((i) => i * LENGTH);

/** All sets of `count` out of `n`. */
function* subsets(n: number, count: number, from = 0): Generator<number[]> {
  if (count === 0) yield [];
  else
    for (let i = from; i <= n - count; i++)
      for (const rest of subsets(n, count - 1, i + 1)) yield [i, ...rest];
}

/** All columns, as the codec makes them. */
function encoded({codec, memory}: Rig, k: number, m: number): Buffer {
  const bytes = Buffer.from(memory);
  bytes.set(pattern(k * LENGTH, 100 * k + m));
  codec.encode(memory, k, m, offsets(range(k)), offsets(range(k + m).slice(k)), LENGTH);
  return Buffer.from(bytes.subarray(0, (k + m) * LENGTH));
}

/** Tries each `step`th pattern; gives how many there are. */
function reconstructs({codec, memory}: Rig, {k, m}: Scheme, whole: Buffer, step: number): number {
  const bytes = Buffer.from(memory, 0, whole.length);
  let patterns = 0;
  for (const lost of subsets(k + m, m)) {
    if (patterns++ % step > 0) continue;
    const left = range(k + m).filter((i) => !lost.includes(i));
    for (const i of lost) bytes.fill(0xee, i * LENGTH, (i + 1) * LENGTH);
    codec.reconstruct(memory, k, m, left, offsets(left), lost, offsets(lost), LENGTH);
    if (!bytes.equals(whole)) throw new Error(`${k}+${m} without ${lost.join(', ')}`);
  }
  return patterns;
}

const choose = (n: number, count: number): number =>
  range(count).reduce((product, i) => (product * (n - i)) / (i + 1), 1);

describe.each(range(M_MAX + 1))('schemes with %i redundancy columns', (m) => {
  test(`k from 1 to ${K_MAX}: any ${m} columns are made again from the others, by both codecs`, () => {
    for (let k = 1; k <= K_MAX; k++) {
      const whole = encoded(native, k, m);
      expect(encoded(plain, k, m).equals(whole)).toBe(true);
      expect(reconstructs(native, {k, m}, whole, 1)).toBe(choose(k + m, m));
      reconstructs(plain, {k, m}, whole, m < 3 ? 1 : SAMPLED);
    }
  });
});

test('each of them is a layout, with the smallest and the largest unit', () => {
  for (let k = 1; k <= K_MAX; k++)
    for (let m = 0; m <= M_MAX; m++)
      for (const unitBytes of [4096, 2 ** 20]) {
        const why = invalidLayout({k, m, unitBytes, chunkBytes: 64 * 2 ** 20});
        expect([formatScheme({k, m}), why]).toEqual([`${k}+${m}`, null]);
      }
});
