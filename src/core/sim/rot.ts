import {BLOCK_BYTES} from '../base/units.js';
import type {SimDisk} from './disk.js';
import type {SeededRandom} from './random.js';

/** A bit that was turned over, and the block that this made. */
interface Flip {
  disk: SimDisk;
  path: string;
  start: number;
  offset: number;
  bit: number;
  after: Uint8Array;
}

/** Bits that turn over in columns. */
export class Rot {
  readonly #flips: Flip[] = [];

  /** False: the disk has no column with anything in it, or the one that was drawn has nothing. */
  flip(disk: SimDisk, random: SeededRandom): boolean {
    const columns = disk.paths.filter((path) => path.startsWith('columns/'));
    if (columns.length === 0) return false;
    const path = random.pick(columns);
    const file = disk.file(path)!;
    const pages = file.pages().filter((page) => page * BLOCK_BYTES < 2 ** 40);
    if (pages.length === 0) return false;
    const start = random.pick(pages) * BLOCK_BYTES;
    const offset = start + random.below(BLOCK_BYTES);
    const bit = random.below(8);
    file.flip(offset, bit);
    this.#flips.push({disk, path, start, offset, bit, after: disk.peek(path, start, BLOCK_BYTES)});
    return true;
  }

  /** Turns back what rotted and was not mended by a read since: redundancy, for one, is read only when it is needed. */
  unflip(): void {
    for (const {disk, path, start, offset, bit, after} of this.#flips.reverse()) {
      if (Buffer.compare(disk.peek(path, start, BLOCK_BYTES), after) !== 0) continue;
      disk.file(path)?.flip(offset, bit);
    }
  }
}
