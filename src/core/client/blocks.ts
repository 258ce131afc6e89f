import {BLOCK_BYTES} from '../base/units.js';
import type {Codec} from '../env/codec.js';

/** CRC32C of a block of zeros. */
export const ZERO_BLOCK_CRC = 0x98f94189;

/**
 * The sums of [memory, memory + length) as data servers keep and send them: 4 bytes for each block, little-endian,
 * CRC32C xor CRC32C of a block of zeros, so that a hole in the sums says "zeros" (docs, "A column file").
 */
export function storedSums(
  codec: Codec,
  pool: ArrayBuffer,
  memory: number,
  length: number,
): Uint8Array {
  const count = length / BLOCK_BYTES;
  const sums = new Uint32Array(count);
  codec.crc32cBlocks(pool, memory, length, BLOCK_BYTES, sums, 0);
  for (let block = 0; block < count; block++) sums[block] = sums[block]! ^ ZERO_BLOCK_CRC;
  return new Uint8Array(sums.buffer);
}
