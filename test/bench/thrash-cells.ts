import {assert} from '../../src/core/base/assert.js';

/** Each says of which file, where in it, and by which write it is, so that any wrong byte says where it came from. */
export const CELL_BYTES = 512;
const STAMP_BYTES = 16;
const MAGIC = 0x74687273;

const stamp = Buffer.alloc(STAMP_BYTES);

/** Fills `count` cells of `into`, which are those from `first` on in the file; a cell of write 0 is a hole. */
function fillCells(
  into: Buffer,
  file: number,
  first: number,
  count: number,
  write: (i: number) => number,
): void {
  for (let i = 0; i < count; i++) {
    const at = i * CELL_BYTES;
    const number = write(first + i);
    if (number === 0) {
      into.fill(0, at, at + CELL_BYTES);
      continue;
    }
    stamp.writeUInt32LE(MAGIC, 0);
    stamp.writeUInt32LE(file, 4);
    stamp.writeUInt32LE(first + i, 8);
    stamp.writeUInt32LE(number, 12);
    into.fill(stamp, at, at + CELL_BYTES);
  }
}

/** What a cell says that it is. */
function describe(cell: Buffer): string {
  if (cell.every((byte) => byte === 0)) return 'zeros';
  const whole = cell.equals(Buffer.alloc(CELL_BYTES, cell.subarray(0, STAMP_BYTES)));
  if (cell.readUInt32LE(0) !== MAGIC) return `${cell.subarray(0, STAMP_BYTES).toString('hex')}…`;
  const [file, at, write] = [4, 8, 12].map((offset) => cell.readUInt32LE(offset));
  return `write ${write} of cell ${at} of file ${file}${whole ? '' : ', and something else after it'}`;
}

/** What one file must hold. Writes are numbered from 1 in each file; the numbers of its cells say which was the last one there. */
export class Cells {
  readonly file: number;
  /** The last write of each cell. */
  #newest: Uint32Array;
  /** The last write of each cell that was fsynced. */
  #synced: Uint32Array;
  #count = 0;
  #writes = 0;

  constructor(file: number, countMax: number) {
    this.file = file;
    this.#newest = new Uint32Array(countMax);
    this.#synced = new Uint32Array(countMax);
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#count * CELL_BYTES;
  }

  /** How many writes there were. */
  get writes(): number {
    return this.#writes;
  }

  get countMax(): number {
    return this.#newest.length;
  }

  /** The bytes of a new write of `count` cells from `first` on; it counts as made. */
  write(first: number, count: number): Buffer {
    assert(first + count <= this.countMax, 'the file has room');
    const number = ++this.#writes;
    this.#newest.fill(number, first, first + count);
    this.#count = Math.max(this.#count, first + count);
    const bytes = Buffer.allocUnsafe(count * CELL_BYTES);
    fillCells(bytes, this.file, first, count, () => number);
    return bytes;
  }

  cut(count: number): void {
    if (count < this.#count) this.#newest.fill(0, count, this.#count);
    this.#count = count;
  }

  synced(): void {
    this.#synced.set(this.#newest);
  }

  /**
   * Null if `bytes`, read from cell `first` on, are what was written. `unsure`: what was not synced may be there or not, for the program
   * was told of an error.
   */
  wrong(first: number, bytes: Buffer, unsure: boolean): string | null {
    if (bytes.length % CELL_BYTES !== 0) return `${bytes.length} bytes, which is half a cell`;
    const count = bytes.length / CELL_BYTES;
    const expected = Buffer.allocUnsafe(bytes.length);
    fillCells(expected, this.file, first, count, (i) => this.#newest[i]!);
    if (bytes.equals(expected)) return null;
    for (let i = 0; i < count; i++) {
      const cell = bytes.subarray(i * CELL_BYTES, (i + 1) * CELL_BYTES);
      const there = first + i;
      if (cell.equals(expected.subarray(i * CELL_BYTES, (i + 1) * CELL_BYTES))) continue;
      if (unsure && this.#between(there, cell)) continue;
      return `cell ${there} (byte ${there * CELL_BYTES}) has ${describe(cell)}; the last write was ${this.#newest[there]}, the last synced one ${this.#synced[there]}`;
    }
    return null;
  }

  /** Is it of one of the writes since the last one that was synced? */
  #between(there: number, cell: Buffer): boolean {
    const zeros = cell.every((byte) => byte === 0);
    const number = zeros ? 0 : cell.readUInt32LE(12);
    const [low, high] = [this.#synced[there]!, this.#newest[there]!];
    // A cut is a write of zeros that has no number.
    if (number < low || (number > high && high !== 0)) return false;
    const expected = Buffer.allocUnsafe(CELL_BYTES);
    fillCells(expected, this.file, there, 1, () => number);
    return cell.equals(expected);
  }
}
