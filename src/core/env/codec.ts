/** Byte offsets into a memory, or column indices. Only read during the call. */
export type Numbers = ArrayLike<number>;

/**
 * The erasure code and the checksum. Works in place on one memory (the pool's): columns are absolute byte offsets
 * of equal `length`, and nothing is copied, kept or allocated per call.
 *
 * The code of k+m: redundancy is XOR when m = 1, copies when k = 1, else Reed-Solomon over GF(2^8) (polynomial
 * 0x11d) with the Cauchy rows 1 / ((k + row) xor column). Any k columns give back all others, for k + m <= 32.
 * Column indices: 0..k-1 data, k..k+m-1 redundancy. The bytes on disk depend on this choice: it never changes.
 *
 * Misuse (a range outside the memory, no scheme, a length that is no multiple of 64) throws RangeError, a wrong
 * kind of argument TypeError; then no output byte has changed. Outputs must not overlap one another or an input.
 */
export interface Codec {
  /** Page-aligned zeroed memory for a pool, 1 byte to 64 GiB; lives as long as the process, so make few. */
  createMemory(bytes: number): ArrayBuffer;
  /** CRC32C of `length` bytes at `offset`; `seed` is the sum of what came before (default: nothing). */
  crc32c(memory: ArrayBuffer | Uint8Array, offset: number, length: number, seed?: number): number;
  /** CRC32C of each block of `blockBytes` in [offset, offset + length) into out[outIndex...]; length is whole blocks. */
  crc32cBlocks(
    memory: ArrayBuffer | Uint8Array,
    offset: number,
    length: number,
    blockBytes: number,
    out: Uint32Array,
    outIndex: number,
  ): void;
  /** Fills the m redundancy columns at `parities` from the k data columns at `sources`. */
  encode(
    memory: ArrayBuffer,
    k: number,
    m: number,
    sources: Numbers,
    parities: Numbers,
    length: number,
  ): void;
  /**
   * Fills the `missing` columns (at most m, data or redundancy) from k `present` ones, in any order; each index
   * occurs once. The sums must have been checked before: the code itself notices nothing.
   */
  reconstruct(
    memory: ArrayBuffer,
    k: number,
    m: number,
    present: Numbers,
    presentOffsets: Numbers,
    missing: Numbers,
    missingOffsets: Numbers,
    length: number,
  ): void;
}
