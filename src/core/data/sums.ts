import type {BufferPool} from '../base/pool.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {Codec} from '../env/codec.js';
import type {DiskRange} from '../env/disk.js';
import {type ColumnShape, sumBytes, sumOffset, ZERO_BLOCK_CRC} from './format.js';

/** Bytes of a column; multiples of the block. */
export interface ColumnRange {
  offset: number;
  length: number;
}

export const totalLength = (ranges: readonly ColumnRange[]): number =>
  ranges.reduce((sum, range) => sum + range.length, 0);

/** Stored sums (CRC32C xor that of zeros) of whole blocks of memory. */
export function storedSums(
  codec: Codec,
  memory: ArrayBuffer,
  offset: number,
  length: number,
): Uint32Array {
  const sums = new Uint32Array(length / BLOCK_BYTES);
  codec.crc32cBlocks(memory, offset, length, BLOCK_BYTES, sums, 0);
  for (let i = 0; i < sums.length; i++) sums[i] = (sums[i]! ^ ZERO_BLOCK_CRC) >>> 0;
  return sums;
}

/** Data between file and memory, where it lies in one piece. What follows one another in both is one step. */
export function dataSteps(ranges: readonly ColumnRange[], memory: number): DiskRange[] {
  return steps(
    ranges.map(({offset, length}) => [offset, length]),
    memory,
  );
}

/** The same for the sums of these ranges. */
export function sumSteps(
  shape: ColumnShape,
  ranges: readonly ColumnRange[],
  memory: number,
): DiskRange[] {
  const each = sumBytes(shape);
  return steps(
    ranges.map(({offset, length}) => [sumOffset(shape, offset), (length / BLOCK_BYTES) * each]),
    memory,
  );
}

function steps(pieces: readonly [number, number][], memory: number): DiskRange[] {
  const made: DiskRange[] = [];
  let memoryOffset = memory;
  for (const [fileOffset, length] of pieces) {
    const last = made.at(-1);
    if (last !== undefined && last.fileOffset + last.length === fileOffset) last.length += length;
    else made.push({fileOffset, memoryOffset, length});
    memoryOffset += length;
  }
  return made;
}

/** Lays own and covered sums together, block by block, as a file has them. */
export function joinSums(
  pool: BufferPool,
  shape: ColumnShape,
  sums: Uint8Array,
  covered: Uint8Array,
  at: number,
): void {
  const each = sumBytes(shape);
  if (each === 4) {
    pool.bytes.set(sums, at);
    return;
  }
  for (let block = 0; block * 4 < sums.length; block++) {
    const to = at + block * each;
    pool.bytes.set(sums.subarray(block * 4, block * 4 + 4), to);
    pool.bytes.set(covered.subarray(block * (each - 4), (block + 1) * (each - 4)), to + 4);
  }
}

/** The inverse of `joinSums`; `covered` stays empty unless wanted. */
export function splitSums(
  pool: BufferPool,
  shape: ColumnShape,
  blocks: number,
  wantCovered: boolean,
  at: number,
): {sums: Uint8Array; covered: Uint8Array} {
  const each = sumBytes(shape);
  const all = pool.view(at, blocks * each);
  if (each === 4) return {sums: new Uint8Array(all), covered: new Uint8Array(0)};
  const sums = new Uint8Array(blocks * 4);
  const covered = new Uint8Array(wantCovered ? blocks * (each - 4) : 0);
  for (let block = 0; block < blocks; block++) {
    const from = block * each;
    sums.set(all.subarray(from, from + 4), block * 4);
    if (wantCovered) covered.set(all.subarray(from + 4, from + each), block * (each - 4));
  }
  return {sums, covered};
}

export const allZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** Parts of one row of blocks for which `is` gives the same, as [first, count, answer]. */
export function runs(
  blocks: number,
  is: (block: number) => boolean,
): [first: number, count: number, answer: boolean][] {
  const found: [number, number, boolean][] = [];
  for (let block = 0; block < blocks; block++) {
    const answer = is(block);
    const last = found.at(-1);
    if (last !== undefined && last[2] === answer) last[1]++;
    else found.push([block, 1, answer]);
  }
  return found;
}
