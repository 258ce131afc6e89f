import type {Codec, Numbers} from '../env/codec.js';
import {invalidScheme} from '../layout/scheme.js';
import {crc32cOf} from './crc32c.js';
import {addMultiple, invert, multiply, reciprocal} from './galois.js';

const LENGTH_STEP = 64;
const LENGTH_MAX = 2 ** 30;

/** What redundancy row `row` takes of data column `column` (see Codec). */
function coefficient(k: number, m: number, row: number, column: number): number {
  return k === 1 || m === 1 ? 1 : reciprocal((k + row) ^ column);
}

/** Row `index` of the generator: identity above redundancy. */
function generatorRow(k: number, m: number, index: number): number[] {
  return Array.from({length: k}, (_, column) =>
    index < k ? Number(index === column) : coefficient(k, m, index - k, column),
  );
}

/** The codec in plain TypeScript: the same bytes as native/codec, for the simulator and for tests without a compiler. */
export class PlainCodec implements Codec {
  createMemory(bytes: number): ArrayBuffer {
    if (!isWhole(bytes, 64 * 2 ** 30) || bytes === 0) {
      throw new RangeError('bytes is not 1 to 64 GiB');
    }
    return new ArrayBuffer(bytes);
  }

  crc32c(memory: ArrayBuffer | Uint8Array, offset: number, length: number, seed = 0): number {
    const bytes = bytesOf(memory);
    checkRange(bytes, offset, length);
    if (!isWhole(seed, 2 ** 32 - 1)) throw new RangeError('seed is no 32-bit number');
    return crc32cOf(bytes, offset, offset + length, seed);
  }

  crc32cBlocks(
    memory: ArrayBuffer | Uint8Array,
    offset: number,
    length: number,
    blockBytes: number,
    out: Uint32Array,
    outIndex: number,
  ): void {
    const bytes = bytesOf(memory);
    if (!(out instanceof Uint32Array)) throw new TypeError('out is no Uint32Array');
    checkRange(bytes, offset, length);
    if (!isWhole(blockBytes, LENGTH_MAX) || blockBytes === 0 || length % blockBytes !== 0) {
      throw new RangeError('length is no multiple of blockBytes');
    }
    if (!isWhole(outIndex, out.length) || length / blockBytes > out.length - outIndex) {
      throw new RangeError('out has no room for the sums');
    }
    for (let at = offset; at < offset + length; at += blockBytes) {
      out[outIndex++] = crc32cOf(bytes, at, at + blockBytes, 0);
    }
  }

  encode(
    memory: ArrayBuffer,
    k: number,
    m: number,
    sources: Numbers,
    parities: Numbers,
    length: number,
  ): void {
    const bytes = bytesOf(memory);
    checkScheme(k, m, length);
    if (sources.length !== k || parities.length !== m) {
      throw new RangeError(`${sources.length} and ${parities.length} columns for ${k}+${m}`);
    }
    for (let i = 0; i < k; i++) checkRange(bytes, sources[i]!, length);
    for (let i = 0; i < m; i++) checkRange(bytes, parities[i]!, length);
    for (let row = 0; row < m; row++) {
      combine(bytes, sources, generatorRow(k, m, k + row), parities[row]!, length);
    }
  }

  reconstruct(
    memory: ArrayBuffer,
    k: number,
    m: number,
    present: Numbers,
    presentOffsets: Numbers,
    missing: Numbers,
    missingOffsets: Numbers,
    length: number,
  ): void {
    const bytes = bytesOf(memory);
    const count = missing.length;
    checkScheme(k, m, length);
    if (present.length !== k || count > m) {
      throw new RangeError(`${present.length} present and ${count} missing columns for ${k}+${m}`);
    }
    if (presentOffsets.length !== k || missingOffsets.length !== count) {
      throw new RangeError('each column needs one offset');
    }
    const indices = [...Array.from(present), ...Array.from(missing)];
    if (indices.some((index) => !isWhole(index, k + m - 1))) throw new RangeError('no such column');
    if (new Set(indices).size !== indices.length) throw new RangeError('a column is named twice');
    for (let i = 0; i < k; i++) checkRange(bytes, presentOffsets[i]!, length);
    for (let i = 0; i < count; i++) checkRange(bytes, missingOffsets[i]!, length);
    if (count === 0) return;
    const inverse = invert(Array.from(present, (index) => generatorRow(k, m, index)));
    if (inverse === null) throw new RangeError('the matrix is singular');
    for (let i = 0; i < count; i++) {
      const wanted = generatorRow(k, m, missing[i]!);
      const row = Array.from({length: k}, (_, c) =>
        wanted.reduce((sum, factor, j) => sum ^ multiply(factor, inverse[j]![c]!), 0),
      );
      combine(bytes, presentOffsets, row, missingOffsets[i]!, length);
    }
  }
}

/** out = sum of row[i] * source[i]. */
function combine(
  bytes: Uint8Array,
  sources: Numbers,
  row: readonly number[],
  out: number,
  length: number,
): void {
  const target = bytes.subarray(out, out + length).fill(0);
  for (let i = 0; i < row.length; i++) {
    addMultiple(target, bytes.subarray(sources[i]!, sources[i]! + length), row[i]!);
  }
}

const isWhole = (value: number, max: number): boolean =>
  Number.isInteger(value) && value >= 0 && value <= max;

function bytesOf(memory: ArrayBuffer | Uint8Array): Uint8Array {
  if (memory instanceof Uint8Array) return memory;
  if (memory instanceof ArrayBuffer)
    return memory.detached ? new Uint8Array(0) : new Uint8Array(memory);
  throw new TypeError('memory is no ArrayBuffer or Uint8Array');
}

function checkRange(bytes: Uint8Array, offset: number, length: number): void {
  if (!isWhole(offset, bytes.length) || !isWhole(length, bytes.length - offset)) {
    throw new RangeError('offset and length are outside the memory');
  }
}

function checkScheme(k: number, m: number, length: number): void {
  const reason = invalidScheme({k, m});
  if (reason !== null) throw new RangeError(reason);
  if (!isWhole(length, LENGTH_MAX) || length % LENGTH_STEP !== 0) {
    throw new RangeError('length is no multiple of 64, or above 1 GiB');
  }
}
