import type {Segment, Slot} from '../base/pool.js';
import {alignDown, BLOCK_BYTES} from '../base/units.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes, stripeBytes} from '../layout/stripe.js';
import {ZERO_BLOCK_CRC} from './blocks.js';
import type {BytePath} from './columns.js';
import type {ExtentList} from './extents.js';
import type {Got, Want} from './stripe-reader.js';

/** Rows of one stripe that are written together. */
export interface Piece {
  stripe: number;
  /** First row, counted from the start of the stripe, and how many. */
  row: number;
  rows: number;
  /** The changed blocks of each data column: rows [from, to) of the piece; empty: not written. */
  from: number[];
  to: number[];
  /** Where the rows of each column lie, and in which slot (of which the piece owns a reference); -1: not known yet. */
  memory: number[];
  slot: Slot[];
  /** As stored, column by column. */
  sums: Uint32Array;
  /** The sums of the data blocks, row by row. */
  covered: Uint8Array;
}

/**
 * The pieces of the stripe that begins at byte `base` of the object: runs of rows with something dirty. `exact`: in each row of a piece the
 * same columns have something dirty.
 */
export function piecesOf(
  layout: Layout,
  dirty: ExtentList,
  base: number,
  stripe: number,
  exact = false,
): Piece[] {
  const {k, m, unitBytes} = layout;
  const rows = unitBytes / BLOCK_BYTES;
  const touched = new Uint8Array(rows);
  // Per column the first and last touched row of the stripe would do for one run; runs are cut below.
  const marks = new Uint8Array(rows * k);
  dirty.visit(base, base + k * unitBytes, (offset, length) => {
    for (let at = offset - base; at < offset - base + length; ) {
      const column = Math.floor(at / unitBytes);
      const end = Math.min((column + 1) * unitBytes, offset - base + length);
      const first = Math.floor((at - column * unitBytes) / BLOCK_BYTES);
      const last = Math.ceil((end - column * unitBytes) / BLOCK_BYTES);
      touched.fill(1, first, last);
      marks.fill(1, column * rows + first, column * rows + last);
      at = end;
    }
  });
  const pieces: Piece[] = [];
  for (let row = 0; row < rows; ) {
    if (touched[row] === 0) {
      row++;
      continue;
    }
    let end = touched.indexOf(0, row);
    if (end === -1) end = rows;
    if (exact) end = sameMarks(marks, rows, row, end);
    const piece: Piece = {
      stripe,
      row,
      rows: end - row,
      from: [],
      to: [],
      memory: new Array<number>(k + m).fill(-1),
      slot: new Array<Slot>(k + m).fill(-1),
      sums: new Uint32Array((k + m) * (end - row)),
      covered: new Uint8Array(0),
    };
    for (let column = 0; column < k; column++) {
      const mine = marks.subarray(column * rows + row, column * rows + end);
      const first = mine.indexOf(1);
      piece.from.push(first === -1 ? 0 : first);
      piece.to.push(first === -1 ? 0 : mine.lastIndexOf(1) + 1);
    }
    pieces.push(piece);
    row = end;
  }
  return pieces;
}

/** How far the rows from `row` on, at most to `end`, have marks in the same columns. */
function sameMarks(marks: Uint8Array, rows: number, row: number, end: number): number {
  for (let next = row + 1; next < end; next++) {
    for (let at = 0; at < marks.length; at += rows)
      if (marks[at + next] !== marks[at + row]) return next;
  }
  return end;
}

/** Byte of the object at which the rows of a piece begin in a data column. */
export function pieceStart(layout: Layout, chunk: number, piece: Piece, column: number): number {
  const unit = piece.stripe * layout.k + column;
  return chunk * chunkDataBytes(layout) + unit * layout.unitBytes + piece.row * BLOCK_BYTES;
}

/** The ranges that must be read before the piece can be written; they are appended to `wants`. */
export function wantsOf(
  layout: Layout,
  chunk: number,
  piece: Piece,
  dirty: ExtentList,
  flushedSize: number,
  wants: Want[],
): void {
  const length = piece.rows * BLOCK_BYTES;
  for (let column = 0; column < layout.k; column++) {
    const changed = piece.to[column]! > piece.from[column]!;
    // Without redundancy nobody needs the blocks that do not change.
    if (layout.m === 0 && !changed) continue;
    const start = pieceStart(layout, chunk, piece, column);
    // What was never written, and what is overwritten, need not be read.
    const old = Math.min(start + length, flushedSize);
    if (old <= start || dirty.covered(start, old) === old - start) continue;
    const offset = piece.stripe * layout.unitBytes + piece.row * BLOCK_BYTES;
    wants.push({column, offset, length});
  }
}

/**
 * Gives every data column of the piece its memory: the dirty bytes where they lie if they lie well, else a copy of
 * them over what was read or over zeros. `got` is what was read, by column; what is taken over leaves it.
 */
export async function fillPiece(
  path: BytePath,
  layout: Layout,
  chunk: number,
  piece: Piece,
  dirty: ExtentList,
  got: Map<number, Got>,
): Promise<void> {
  const {pool, slots} = path;
  const length = piece.rows * BLOCK_BYTES;
  for (let column = 0; column < layout.k; column++) {
    const changed = piece.to[column]! > piece.from[column]!;
    if (layout.m === 0 && !changed) continue;
    const start = pieceStart(layout, chunk, piece, column);
    const whole = dirty.contiguous(start, start + length);
    const read = got.get(column);
    if (whole !== -1) {
      const slot = dirty.slotAt(start);
      pool.retain(slot);
      piece.slot[column] = slot;
      piece.memory[column] = whole;
      continue;
    }
    if (read !== undefined && read.slot !== -1) {
      got.delete(column);
      piece.slot[column] = read.slot;
      piece.memory[column] = read.memory;
    } else if (!changed) {
      const zeros = await slots.zeros();
      pool.retain(zeros);
      piece.slot[column] = zeros;
      piece.memory[column] = pool.payload(zeros);
      continue;
    } else {
      const slot = await slots.alloc(length);
      piece.slot[column] = slot;
      piece.memory[column] = pool.payload(slot);
      pool.bytes.fill(0, piece.memory[column], piece.memory[column]! + length);
    }
    const memory = piece.memory[column]!;
    dirty.visit(start, start + length, (offset, bytes, from) => {
      pool.bytes.copyWithin(memory + (offset - start), from, from + bytes);
    });
  }
}

/** Computes the redundancy of a filled piece and the sums of everything in it. */
export async function encodePiece(path: BytePath, layout: Layout, piece: Piece): Promise<void> {
  const {k, m} = layout;
  const {codec, pool, slots} = path;
  const length = piece.rows * BLOCK_BYTES;
  for (let column = k; column < k + m; column++) {
    if (k === 1) {
      // A copy is redundancy with k = 1 (DESIGN.md section 3).
      pool.retain(piece.slot[0]!);
      piece.slot[column] = piece.slot[0]!;
      piece.memory[column] = piece.memory[0]!;
    } else {
      piece.slot[column] = await slots.alloc(length);
      piece.memory[column] = pool.payload(piece.slot[column]!);
    }
  }
  if (k > 1 && m > 0) {
    codec.encode(pool.memory, k, m, piece.memory.slice(0, k), piece.memory.slice(k), length);
  }
  const {rows, sums} = piece;
  for (let column = 0; column < k + m; ) {
    const memory = piece.memory[column]!;
    if (memory === -1) {
      column++;
      continue;
    }
    // Columns that follow one another in memory take one call.
    let run = 1;
    while (column + run < k + m && piece.memory[column + run] === memory + run * length) run++;
    codec.crc32cBlocks(pool.memory, memory, run * length, BLOCK_BYTES, sums, column * rows);
    column += run;
  }
  for (let at = 0; at < sums.length; at++) sums[at] = sums[at]! ^ ZERO_BLOCK_CRC;
  if (m === 0) return;
  const covered = new Uint32Array(rows * k);
  for (let column = 0; column < k; column++)
    for (let row = 0; row < rows; row++) covered[row * k + column] = sums[column * rows + row]!;
  piece.covered = new Uint8Array(covered.buffer);
}

export function releasePiece(path: BytePath, piece: Piece): void {
  for (const slot of piece.slot) if (slot !== -1) path.pool.release(slot);
  piece.slot.fill(-1);
}

/** The request of one column for pieces of one chunk: merged ranges, bytes in order, sums. Null: nothing to write. */
export function columnWrite(
  path: BytePath,
  layout: Layout,
  pieces: readonly Piece[],
  column: number,
): {
  ranges: {offset: number; length: number}[];
  payload: Segment[];
  sums: Uint8Array;
  covered: Uint8Array;
} | null {
  const data = column < layout.k;
  const ranges: {offset: number; length: number}[] = [];
  const payload: Segment[] = [];
  const sums: Uint8Array[] = [];
  for (const piece of pieces) {
    const from = data ? piece.from[column]! : 0;
    const to = data ? piece.to[column]! : piece.rows;
    if (to === from) continue;
    const offset = piece.stripe * layout.unitBytes + (piece.row + from) * BLOCK_BYTES;
    const length = (to - from) * BLOCK_BYTES;
    const last = ranges.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else ranges.push({offset, length});
    const slot = piece.slot[column]!;
    const memory = piece.memory[column]! + from * BLOCK_BYTES;
    const segment = payload.at(-1);
    if (segment?.slot === slot && segment.offset + segment.length === memory)
      segment.length += length;
    else payload.push({slot, offset: memory, length});
    const first = (column * piece.rows + from) * 4;
    sums.push(new Uint8Array(piece.sums.buffer, first, (to - from) * 4));
  }
  if (ranges.length === 0) return null;
  for (const segment of payload) path.pool.retain(segment.slot);
  const covered = data ? [] : pieces.map((piece) => piece.covered);
  return {ranges, payload, sums: Buffer.concat(sums), covered: Buffer.concat(covered)};
}

/** Start of the stripe that holds byte `offset` of the object, and its number in the chunk. */
export function stripeAt(
  layout: Layout,
  offset: number,
): {chunk: number; stripe: number; base: number} {
  const chunkBytes = chunkDataBytes(layout);
  const chunk = Math.floor(offset / chunkBytes);
  const inChunk = alignDown(offset - chunk * chunkBytes, stripeBytes(layout));
  return {chunk, stripe: inChunk / stripeBytes(layout), base: chunk * chunkBytes + inChunk};
}
