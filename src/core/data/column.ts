import {FsError} from '../base/errors.js';
import type {BufferPool, Slot} from '../base/pool.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {Codec} from '../env/codec.js';
import type {DiskFile, DiskRange} from '../env/disk.js';
import {
  type ColumnId,
  type ColumnShape,
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  HEADER_OFFSET,
  nameOf,
  SUMS_OFFSET,
  sumBytes,
  sumOffset,
  ZERO_BLOCK_CRC,
} from './format.js';
import {Turns} from './turns.js';

export interface ColumnRange {
  offset: number;
  length: number;
}

export interface ColumnBytes {
  /** One reference is the caller's; null when nothing of the ranges was ever written. */
  slot: Slot | null;
  offset: number;
  length: number;
  sums: Uint8Array;
  covered: Uint8Array;
}

/** A slot with room for `bytes`, when there is one. */
export async function allocate(pool: BufferPool, bytes: number): Promise<Slot> {
  for (;;) {
    const slot = pool.alloc(bytes);
    if (slot >= 0) return slot;
    await new Promise<void>((resolve) => pool.onFree(resolve));
  }
}

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

/**
 * One open column file. Operations that overlap take turns, so nobody sees data without its sums.
 * Invariant: `bytes`, up to which the column was written, is what the length of the sums says.
 */
export class Column {
  readonly id: ColumnId;
  readonly shape: ColumnShape;
  readonly turns = new Turns();
  /** Operations that hold it open. */
  users = 0;
  /** The file was removed: whoever still has it works on a file without a name. */
  removed = false;
  readonly #file: DiskFile;
  readonly #pool: BufferPool;
  #bytes: number;

  private constructor(
    id: ColumnId,
    shape: ColumnShape,
    file: DiskFile,
    pool: BufferPool,
    bytes: number,
  ) {
    this.id = id;
    this.shape = shape;
    this.#file = file;
    this.#pool = pool;
    this.#bytes = bytes;
  }

  /**
   * Takes the file over. A new one gets its header now; FsError EIO for a header that is not this column's. A power
   * cut may leave a file whose header never reached the disk: then nothing of it was ever synced, so it is as new
   * with a shape, and null without.
   */
  static async open(
    id: ColumnId,
    shape: ColumnShape | null,
    file: DiskFile,
    pool: BufferPool,
  ): Promise<Column | null> {
    const slot = await allocate(pool, HEADER_BYTES);
    try {
      const at = pool.payload(slot);
      const size = await file.size();
      let lacking = size < SUMS_OFFSET;
      if (!lacking) {
        await file.read([{fileOffset: HEADER_OFFSET, memoryOffset: at, length: HEADER_BYTES}]);
        lacking = pool.view(at, HEADER_BYTES).every((byte) => byte === 0);
      }
      if (lacking) {
        if (shape === null) return null;
        if (size > 0) await file.truncate(0);
        pool.bytes.set(encodeHeader(id, shape), at);
        await file.write([{fileOffset: HEADER_OFFSET, memoryOffset: at, length: HEADER_BYTES}]);
        return new Column(id, shape, file, pool, 0);
      }
      const found = decodeHeader(pool.view(at, HEADER_BYTES), id);
      if (typeof found === 'string') throw new FsError('EIO', `${nameOf(id)}: ${found}`);
      const blocks = Math.ceil((size - SUMS_OFFSET) / sumBytes(found));
      return new Column(id, found, file, pool, blocks * BLOCK_BYTES);
    } finally {
      pool.release(slot);
    }
  }

  /** Up to here it was written. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Data first, then sums: a crash, or a failure, in between leaves blocks that fail their sums, never wrong ones. What a
   * failed write added beyond the old end becomes zeros again.
   */
  write(
    ranges: readonly ColumnRange[],
    payload: number,
    sums: Uint8Array,
    covered: Uint8Array,
  ): Promise<void> {
    return this.turns.write(async () => {
      const before = this.#bytes;
      const data: DiskRange[] = [];
      let memoryOffset = payload;
      let end = before;
      for (const {offset, length} of ranges) {
        data.push({fileOffset: offset, memoryOffset, length});
        memoryOffset += length;
        end = Math.max(end, offset + length);
      }
      try {
        await this.#file.write(data);
        await this.#writeSums(ranges, sums, covered);
        this.#bytes = end;
      } catch (error) {
        await this.#undo(ranges, before).catch(() => {});
        throw error;
      }
    });
  }

  read(ranges: readonly ColumnRange[], wantCovered: boolean): Promise<ColumnBytes> {
    return this.turns.read(async () => {
      const length = ranges.reduce((sum, r) => sum + r.length, 0);
      const {sums, covered} = await this.#readSums(ranges, wantCovered);
      if (ranges.every((r) => r.offset >= this.#bytes))
        return {slot: null, offset: 0, length, sums, covered};
      const slot = await allocate(this.#pool, length);
      const offset = this.#pool.payload(slot);
      try {
        let memoryOffset = offset;
        await this.#file.read(
          ranges.map((r) => {
            const range = {fileOffset: r.offset, memoryOffset, length: r.length};
            memoryOffset += r.length;
            return range;
          }),
        );
      } catch (error) {
        this.#pool.release(slot);
        throw error;
      }
      return {slot, offset, length, sums, covered};
    });
  }

  /** Forgets everything from `bytes` on, a multiple of the block. */
  truncate(bytes: number): Promise<void> {
    return this.turns.write(async () => {
      if (bytes >= this.#bytes) return;
      // Sums last: until then the blocks fail them, which a reader sees, rather than reading as what they were.
      await this.#file.punch(bytes, this.#bytes - bytes);
      await this.#file.truncate(sumOffset(this.shape, bytes));
      this.#bytes = bytes;
    });
  }

  /** Makes ranges zeros and frees their space. */
  punch(ranges: readonly ColumnRange[]): Promise<void> {
    return this.turns.write(async () => {
      for (const {offset, length} of ranges) {
        const end = Math.min(offset + length, this.#bytes);
        if (end <= offset) continue;
        await this.#file.punch(offset, end - offset);
        await this.#zeroSums(offset, end - offset);
      }
    });
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  allocated(): Promise<number> {
    return this.#file.allocated();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** Own sums and covered ones of a redundancy column lie together, block by block. */
  async #writeSums(
    ranges: readonly ColumnRange[],
    sums: Uint8Array,
    covered: Uint8Array,
  ): Promise<void> {
    const each = sumBytes(this.shape);
    const slot = await allocate(this.#pool, (sums.length / 4) * each);
    try {
      const base = this.#pool.payload(slot);
      const {bytes} = this.#pool;
      if (each === 4) {
        bytes.set(sums, base);
      } else {
        for (let block = 0; block * 4 < sums.length; block++) {
          const at = base + block * each;
          bytes.set(sums.subarray(block * 4, block * 4 + 4), at);
          bytes.set(covered.subarray(block * (each - 4), (block + 1) * (each - 4)), at + 4);
        }
      }
      await this.#file.write(this.#sumRanges(ranges, base));
    } finally {
      this.#pool.release(slot);
    }
  }

  async #readSums(
    ranges: readonly ColumnRange[],
    wantCovered: boolean,
  ): Promise<{sums: Uint8Array; covered: Uint8Array}> {
    const each = sumBytes(this.shape);
    const blocks = ranges.reduce((sum, r) => sum + r.length, 0) / BLOCK_BYTES;
    const slot = await allocate(this.#pool, blocks * each);
    try {
      const base = this.#pool.payload(slot);
      await this.#file.read(this.#sumRanges(ranges, base));
      const all = this.#pool.view(base, blocks * each);
      if (each === 4) return {sums: new Uint8Array(all), covered: new Uint8Array(0)};
      const sums = new Uint8Array(blocks * 4);
      const covered = new Uint8Array(wantCovered ? blocks * (each - 4) : 0);
      for (let block = 0; block < blocks; block++) {
        const at = block * each;
        sums.set(all.subarray(at, at + 4), block * 4);
        if (wantCovered) covered.set(all.subarray(at + 4, at + each), block * (each - 4));
      }
      return {sums, covered};
    } finally {
      this.#pool.release(slot);
    }
  }

  async #zeroSums(offset: number, length: number): Promise<void> {
    const bytes = (length / BLOCK_BYTES) * sumBytes(this.shape);
    const piece = Math.min(bytes, 16 * 1024);
    const slot = await allocate(this.#pool, piece);
    try {
      const base = this.#pool.payload(slot);
      this.#pool.bytes.fill(0, base, base + piece);
      const from = sumOffset(this.shape, offset);
      for (let at = 0; at < bytes; at += piece) {
        const part = Math.min(piece, bytes - at);
        await this.#file.write([{fileOffset: from + at, memoryOffset: base, length: part}]);
      }
    } finally {
      this.#pool.release(slot);
    }
  }

  /** After a failed write: what lies beyond the old end goes; below it, blocks with new bytes fail their old sums. */
  async #undo(ranges: readonly ColumnRange[], before: number): Promise<void> {
    for (const {offset, length} of ranges) {
      const from = Math.max(offset, before);
      if (from < offset + length) await this.#file.punch(from, offset + length - from);
    }
    await this.#file.truncate(sumOffset(this.shape, before));
  }

  #sumRanges(ranges: readonly ColumnRange[], memory: number): DiskRange[] {
    const each = sumBytes(this.shape);
    let memoryOffset = memory;
    return ranges.map(({offset, length}) => {
      const bytes = (length / BLOCK_BYTES) * each;
      const range = {fileOffset: sumOffset(this.shape, offset), memoryOffset, length: bytes};
      memoryOffset += bytes;
      return range;
    });
  }
}
