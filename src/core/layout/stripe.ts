import {alignUp, BLOCK_BYTES} from '../base/units.js';
import type {Layout} from './scheme.js';

/** Bytes of user data in one stripe. */
export const stripeBytes = (l: Layout): number => l.k * l.unitBytes;

/** Bytes of user data in one chunk: `chunkBytes` rounded down to whole stripes. */
export const chunkDataBytes = (l: Layout): number => l.chunkBytes - (l.chunkBytes % stripeBytes(l));

/** Bytes of one column of a full chunk. */
export const columnBytesMax = (l: Layout): number => chunkDataBytes(l) / l.k;

export const chunkOf = (l: Layout, offset: number): number =>
  Math.floor(offset / chunkDataBytes(l));

export const groupOf = (l: Layout, chunk: number): number => l.groups[chunk % l.groups.length]!;

/** Where the column 0 of a chunk lies: consecutive objects and chunks start one slot further, so that load spreads. */
export const rotation = (oid: number, chunk: number, slots: number): number =>
  (oid + chunk) % slots;

/** The slot (of a group of `slots`) that holds column `column` of a chunk. */
export const columnSlot = (oid: number, chunk: number, column: number, slots: number): number =>
  (rotation(oid, chunk, slots) + column) % slots;

/** The column that slot `slot` holds of a chunk, or -1 if it holds none. */
export function slotColumn(
  oid: number,
  chunk: number,
  slot: number,
  slots: number,
  l: Layout,
): number {
  const column = (slot - rotation(oid, chunk, slots) + slots) % slots;
  return column < l.k + l.m ? column : -1;
}

/** Where one byte of an object lies. */
export interface Place {
  chunk: number;
  /** Data column, 0 <= column < k. */
  column: number;
  /** Byte offset in the column. */
  columnOffset: number;
  /** Bytes from here to the end of the unit: what is contiguous in the column. */
  left: number;
}

export function place(l: Layout, offset: number): Place {
  const chunkBytes = chunkDataBytes(l);
  const chunk = Math.floor(offset / chunkBytes);
  const inChunk = offset - chunk * chunkBytes;
  const unit = Math.floor(inChunk / l.unitBytes);
  const inUnit = inChunk - unit * l.unitBytes;
  const stripe = Math.floor(unit / l.k);
  return {
    chunk,
    column: unit - stripe * l.k,
    columnOffset: stripe * l.unitBytes + inUnit,
    left: l.unitBytes - inUnit,
  };
}

/** The object offset of a byte of a data column; the inverse of `place`. */
export function objectOffset(
  l: Layout,
  chunk: number,
  column: number,
  columnOffset: number,
): number {
  const stripe = Math.floor(columnOffset / l.unitBytes);
  const inUnit = columnOffset - stripe * l.unitBytes;
  return chunk * chunkDataBytes(l) + (stripe * l.k + column) * l.unitBytes + inUnit;
}

/** Bytes of a column (rounded up to blocks) when its chunk holds `chunkLength` bytes of data; column >= k: redundancy. */
export function columnBytes(l: Layout, column: number, chunkLength: number): number {
  const stripe = stripeBytes(l);
  const full = Math.floor(chunkLength / stripe);
  const rest = chunkLength - full * stripe;
  const mine = column >= l.k ? rest : rest - column * l.unitBytes;
  return full * l.unitBytes + alignUp(Math.max(0, Math.min(mine, l.unitBytes)), BLOCK_BYTES);
}
