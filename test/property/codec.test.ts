import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import type {Codec} from '../../src/core/env/codec.js';
import {IsalCodec} from '../../src/core/os/codec-isal.js';
import {PlainCodec} from '../../src/core/sim/codec.js';

const SCHEMES = [
  [4, 1],
  [4, 2],
  [1, 1],
  [1, 2],
  [2, 1],
  [4, 0],
  [8, 3],
  [16, 16],
  [29, 3],
] as const;

const twins: [string, Codec][] = [
  ['native', new IsalCodec()],
  ['plain', new PlainCodec()],
];

interface Case {
  k: number;
  m: number;
  length: number;
  /** A column starts at a multiple of this: the kernels differ for aligned and unaligned columns. */
  align: number;
  seed: number;
  /** Columns from which the others are made again, k of them, in any order. */
  present: number[];
  /** Of the others, those that are made again: bit i for the i-th. */
  wanted: number;
}

const cases = (k: number, m: number): fc.Arbitrary<Case> =>
  fc.record({
    k: fc.constant(k),
    m: fc.constant(m),
    length: fc.oneof(
      fc.integer({min: 0, max: 16}).map((n) => n * 64),
      fc.constantFrom(4096, 12288, 65536),
    ),
    align: fc.constantFrom(1, 32, 64),
    seed: fc.integer(),
    present: fc.shuffledSubarray([...Array(k + m).keys()], {minLength: k, maxLength: k}),
    wanted: fc.oneof(fc.constant(2 ** m - 1), fc.nat(2 ** m - 1)),
  });

/** Bytes that differ for each seed; quick, because there are megabytes of them. */
function fill(bytes: Uint8Array, seed: number): void {
  let state = seed | 1;
  for (let i = 0; i < bytes.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
}

/** One pool for the native codec: its memory is never given back. */
const MEMORY_BYTES = 70 * 65536;
const memories = new Map(twins.map(([name, codec]) => [name, codec.createMemory(MEMORY_BYTES)]));

function offsetsOf({k, m, length, align}: Case): number[] {
  const stride = Math.ceil((length + 1) / align) * align;
  return Array.from({length: k + m}, (_, i) => align + i * stride);
}

/** Data columns filled from the seed, and redundancy from `codec`. */
function encoded(codec: Codec, memory: ArrayBuffer, one: Case): Uint8Array[] {
  const offsets = offsetsOf(one);
  const columns = offsets.map((offset) => new Uint8Array(memory, offset, one.length));
  for (let i = 0; i < one.k; i++) fill(columns[i]!, one.seed + i * 7919);
  codec.encode(
    memory,
    one.k,
    one.m,
    offsets.slice(0, one.k),
    Float64Array.from(offsets.slice(one.k)),
    one.length,
  );
  return columns;
}

describe.each(SCHEMES)('codec %i+%i', (k, m) => {
  test.each(twins)(
    '%s: any k of k+m columns give back all others, whichever are lost',
    (name, codec) => {
      const memory = memories.get(name)!;
      const law = (one: Case): void => {
        const columns = encoded(codec, memory, one);
        const before = columns.map((column) => Buffer.from(column));
        const offsets = offsetsOf(one);
        const others = offsets.map((_, i) => i).filter((i) => !one.present.includes(i));
        const missing = others.filter((_, bit) => (one.wanted >> bit) & 1);
        for (const i of missing) columns[i]!.fill(0xee);
        codec.reconstruct(
          memory,
          k,
          m,
          one.present,
          one.present.map((i) => offsets[i]!),
          missing,
          missing.map((i) => offsets[i]!),
          one.length,
        );
        for (const [i, column] of columns.entries()) {
          if (Buffer.compare(column, before[i]!) !== 0) throw new Error(`column ${i} differs`);
        }
      };
      fc.assert(fc.property(cases(k, m), law), {numRuns: k + m > 12 ? 15 : 60});
    },
  );

  test('native and plain twin give the same redundancy, byte for byte', () => {
    const law = (one: Case): void => {
      const [native, plain] = twins.map(([name, codec]) =>
        encoded(codec, memories.get(name)!, one).map((column) => Buffer.from(column)),
      );
      for (let i = 0; i < k + m; i++) {
        if (Buffer.compare(native![i]!, plain![i]!) !== 0) throw new Error(`column ${i} differs`);
      }
    };
    fc.assert(fc.property(cases(k, m), law), {numRuns: k + m > 12 ? 15 : 60});
  });
});

test.each(twins)('codec %s: the redundancy of k+1 is the XOR, of 1+m the copies', (name, codec) => {
  const memory = memories.get(name)!;
  const xor = encoded(codec, memory, {
    k: 3,
    m: 1,
    length: 4096,
    align: 64,
    seed: 5,
    present: [],
    wanted: 0,
  });
  const expected = xor[0]!.map((byte, i) => byte ^ xor[1]![i]! ^ xor[2]![i]!);
  expect(Buffer.compare(xor[3]!, expected)).toBe(0);
  const copies = encoded(codec, memory, {
    k: 1,
    m: 2,
    length: 4096,
    align: 64,
    seed: 6,
    present: [],
    wanted: 0,
  });
  expect(Buffer.compare(copies[0]!, copies[1]!)).toBe(0);
  expect(Buffer.compare(copies[0]!, copies[2]!)).toBe(0);
});

test.each(twins)(
  'codec %s: the bytes of 4+2 never change (what is on disk depends on them)',
  (name, codec) => {
    const memory = memories.get(name)!;
    const columns = encoded(codec, memory, {
      k: 4,
      m: 2,
      length: 64,
      align: 64,
      seed: 9,
      present: [],
      wanted: 0,
    });
    // One byte of each data column is enough: rows 1/(4^c) and 1/(5^c) over GF(2^8), worked out by hand for 1, 0, 0, 0.
    for (let i = 0; i < 4; i++) columns[i]!.fill(i === 0 ? 1 : 0);
    codec.encode(
      memory,
      4,
      2,
      [64, 192, 320, 448].map((_, i) => columns[i]!.byteOffset),
      [columns[4]!.byteOffset, columns[5]!.byteOffset],
      64,
    );
    expect([columns[4]![0], columns[5]![0]]).toEqual([0x47, 0xa7]);
  },
);

test('crc32c: native equals the plain twin for any bytes, seed and alignment', () => {
  const [[, native], [, plain]] = twins as [[string, Codec], [string, Codec]];
  fc.assert(
    fc.property(
      fc.uint8Array({maxLength: 300}),
      fc.nat(16),
      fc.integer({min: 0, max: 2 ** 32 - 1}),
      (bytes, skip, seed) => {
        const offset = Math.min(skip, bytes.length);
        const length = bytes.length - offset;
        expect(native.crc32c(bytes, offset, length, seed)).toBe(
          plain.crc32c(bytes, offset, length, seed),
        );
      },
    ),
  );
});

test.each(twins)('crc32c %s: the sum of two parts, seeded, is the sum of the whole', (_, codec) => {
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 300}), fc.nat(), (bytes, cut) => {
      const middle = bytes.length === 0 ? 0 : cut % bytes.length;
      const first = codec.crc32c(bytes, 0, middle);
      expect(codec.crc32c(bytes, middle, bytes.length - middle, first)).toBe(
        codec.crc32c(bytes, 0, bytes.length),
      );
    }),
  );
});

test.each(twins)('crc32c %s: the check value, and a sum for each block', (_, codec) => {
  expect(codec.crc32c(Buffer.from('123456789'), 0, 9)).toBe(0xe3069283);
  const bytes = new Uint8Array(4 * 4096 + 8);
  fill(bytes, 11);
  const out = new Uint32Array(6).fill(7);
  codec.crc32cBlocks(bytes, 8, 4 * 4096, 4096, out, 1);
  const single = (i: number): number => codec.crc32c(bytes, 8 + i * 4096, 4096);
  expect([...out]).toEqual([7, single(0), single(1), single(2), single(3), 7]);
});
