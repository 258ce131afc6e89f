import {describe, expect, test} from '@jest/globals';
import type {Codec} from '../../src/core/env/codec.js';
import {IsalCodec} from '../../src/core/os/codec-isal.js';
import {loadNative} from '../../src/core/os/native.js';
import {PlainCodec} from '../../src/core/sim/codec.js';

// By name: an addon's errors are those of the process, not of jest's context.
const RANGE = expect.objectContaining({name: 'RangeError'});
const KIND = expect.objectContaining({name: 'TypeError'});
const BYTES = 64 * 1024;
const twins: [string, Codec][] = [
  ['native', new IsalCodec()],
  ['plain', new PlainCodec()],
];
/** Offsets and lengths of which none is inside the memory. */
const OUTSIDE = [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 64, BYTES - 63];

describe.each(twins)('codec %s: misuse throws and changes nothing', (_, codec) => {
  const memory = codec.createMemory(BYTES);
  const before = Buffer.from(memory.slice(0));
  const unchanged = (): void => expect(Buffer.compare(Buffer.from(memory), before)).toBe(0);

  test('createMemory: zeroed and as long as asked; refuses sizes that are none', () => {
    expect(memory.byteLength).toBe(BYTES);
    expect(before.every((byte) => byte === 0)).toBe(true);
    for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 40]) {
      expect(() => codec.createMemory(bytes)).toThrow(RANGE);
    }
  });

  test.each(OUTSIDE)('a column at %p', (offset) => {
    expect(() => codec.encode(memory, 2, 1, [0, offset], [64], 64)).toThrow(RANGE);
    expect(() => codec.encode(memory, 2, 1, [0, 64], [offset], 64)).toThrow(RANGE);
    expect(() => codec.encode(memory, 2, 2, [0, 64], [128, offset], 64)).toThrow(RANGE);
    const rebuild = (a: number, b: number, c: number): void =>
      codec.reconstruct(memory, 2, 1, [0, 2], [a, b], [1], [c], 64);
    expect(() => rebuild(offset, 64, 128)).toThrow(RANGE);
    expect(() => rebuild(0, offset, 128)).toThrow(RANGE);
    expect(() => rebuild(0, 64, offset)).toThrow(RANGE);
    unchanged();
  });

  test.each([1, 63, -64, 0.5, Number.NaN, 2 ** 31, BYTES + 64])(
    'columns of length %p',
    (length) => {
      expect(() => codec.encode(memory, 2, 1, [0, 0], [0], length)).toThrow(RANGE);
      expect(() => codec.reconstruct(memory, 2, 1, [0, 2], [0, 0], [1], [0], length)).toThrow(
        RANGE,
      );
      unchanged();
    },
  );

  test.each([
    [0, 1],
    [-1, 1],
    [33, 0],
    [1.5, 1],
    [31, 2],
    [Number.NaN, 1],
    [4, -1],
  ])('scheme %p+%p', (k, m) => {
    const some = (count: number): number[] => Array(Math.max(0, Math.floor(count) || 0)).fill(0);
    expect(() => codec.encode(memory, k, m, some(k), some(m), 64)).toThrow(RANGE);
    expect(() => codec.reconstruct(memory, k, m, some(k), some(k), [], [], 64)).toThrow(RANGE);
  });

  test('too few, too many, doubled and unknown columns', () => {
    const rebuild = (present: number[], missing: number[]): void =>
      codec.reconstruct(
        memory,
        2,
        2,
        present,
        present.map((i) => i * 64 || 0),
        missing,
        missing.map((i) => i * 64 || 0),
        64,
      );
    expect(() => rebuild([0], [1])).toThrow(RANGE);
    expect(() => rebuild([0, 1, 2], [3])).toThrow(RANGE);
    expect(() => rebuild([0, 0], [1])).toThrow(RANGE);
    expect(() => rebuild([0, 1], [1])).toThrow(RANGE);
    expect(() => rebuild([0, 4], [1])).toThrow(RANGE);
    expect(() => rebuild([0, 1], [-1])).toThrow(RANGE);
    expect(() => rebuild([0, 1], [2.5])).toThrow(RANGE);
    expect(() => rebuild([0, 1], [2, 3, 4])).toThrow(RANGE);
    expect(() => codec.reconstruct(memory, 2, 2, [0, 1], [0], [2], [128], 64)).toThrow(RANGE);
    expect(() => codec.reconstruct(memory, 2, 2, [0, 1], [0, 64], [2], [], 64)).toThrow(RANGE);
    expect(() => codec.encode(memory, 2, 2, [0, 64], [128], 64)).toThrow(RANGE);
    unchanged();
  });

  test('sums: out of range, half a block, no room', () => {
    const out = new Uint32Array(2);
    for (const offset of OUTSIDE) {
      expect(() => codec.crc32c(memory, offset, 64)).toThrow(RANGE);
      expect(() => codec.crc32cBlocks(memory, offset, 64, 64, out, 0)).toThrow(RANGE);
    }
    for (const length of [-1, 0.5, Number.NaN, BYTES + 1, 2 ** 53]) {
      expect(() => codec.crc32c(memory, 0, length)).toThrow(RANGE);
    }
    for (const seed of [-1, 0.5, 2 ** 32]) {
      expect(() => codec.crc32c(memory, 0, 1, seed)).toThrow(RANGE);
    }
    for (const block of [0, -1, 48, 0.5, Number.NaN, 2 ** 40]) {
      expect(() => codec.crc32cBlocks(memory, 0, 64, block, out, 0)).toThrow(RANGE);
    }
    expect(() => codec.crc32cBlocks(memory, 0, 192, 64, out, 0)).toThrow(RANGE);
    expect(() => codec.crc32cBlocks(memory, 0, 64, 64, out, 2)).toThrow(RANGE);
    expect(() => codec.crc32cBlocks(memory, 0, 64, 64, out, -1)).toThrow(RANGE);
    expect([...out]).toEqual([0, 0]);
  });

  test('kinds of argument', () => {
    const wrong = 'memory' as unknown as ArrayBuffer;
    const words = ['a', 'b'] as unknown as number[];
    expect(() => codec.crc32c(wrong, 0, 1)).toThrow(KIND);
    expect(() => codec.encode(wrong, 2, 1, [0, 64], [128], 64)).toThrow(KIND);
    expect(() => codec.encode(memory, 2, 1, words, [128], 64)).toThrow(RANGE);
    const signed = new Int32Array(2) as unknown as Uint32Array;
    expect(() => codec.crc32cBlocks(memory, 0, 64, 64, signed, 0)).toThrow(KIND);
  });

  test('a detached memory has no bytes', () => {
    const gone = new ArrayBuffer(4096);
    gone.transfer();
    expect(() => codec.encode(gone, 2, 1, [0, 64], [128], 64)).toThrow(RANGE);
    expect(() => codec.crc32c(gone, 0, 1)).toThrow(RANGE);
  });

  test('nothing to do is nothing', () => {
    codec.encode(memory, 4, 0, [0, 64, 128, 192], [], 64);
    codec.encode(memory, 2, 1, [0, 64], [BYTES], 0);
    codec.reconstruct(memory, 2, 1, [0, 1], [0, 64], [], [], 64);
    expect(codec.crc32c(memory, BYTES, 0)).toBe(0);
    unchanged();
  });
});

test('native: page-aligned memory, and more patterns of loss than the cache holds', () => {
  const codec = new IsalCodec();
  const memory = codec.createMemory(16 * 64);
  const bytes = new Uint8Array(memory);
  for (let i = 0; i < 512; i++) bytes[i] = i * 31;
  const at = Array.from({length: 12}, (_, i) => i * 64);
  codec.encode(memory, 8, 4, at.slice(0, 8), at.slice(8), 64);
  const whole = Buffer.from(bytes.subarray(0, 12 * 64));
  // 12 choose 4 = 495 patterns, twice over, through a cache of 128.
  for (let round = 0; round < 2; round++) {
    for (let mask = 0; mask < 4096; mask++) {
      const missing = at.map((_, i) => i).filter((i) => (mask >> i) & 1);
      if (missing.length !== 4) continue;
      const present = at.map((_, i) => i).filter((i) => !((mask >> i) & 1));
      for (const i of missing) bytes.fill(0, i * 64, i * 64 + 64);
      const offsets = (indices: number[]): number[] => indices.map((i) => i * 64);
      codec.reconstruct(memory, 8, 4, present, offsets(present), missing, offsets(missing), 64);
      expect(Buffer.compare(whole, bytes.subarray(0, 12 * 64))).toBe(0);
    }
  }
});

test('loadNative: a module that is not built is one sentence with the next step', () => {
  expect(() => loadNative('nothing')).toThrow(
    /module nothing is not built .*; run: npm run setup$/,
  );
});

test('native: methods called on what is no addon throw', () => {
  const addon = loadNative<Record<string, (...args: unknown[]) => unknown>>('codec');
  for (const name of ['createMemory', 'crc32c', 'crc32cBlocks', 'encode', 'reconstruct']) {
    expect(() => addon[name]!()).toThrow();
    expect(() => addon[name]!(null, null, null, null, null, null)).toThrow();
    expect(() => addon[name]!({}, {}, {}, {}, {}, {})).toThrow();
  }
});
