import {assert} from '../base/assert.js';
import {crc32c} from '../base/crc32c.js';
import {BLOCK_BYTES} from '../base/units.js';

/** Which column this is; the header of its file says the same. */
export interface ColumnId {
  oid: number;
  chunk: number;
  generation: number;
}

export interface ColumnShape {
  column: number;
  k: number;
  m: number;
  unitBytes: number;
}

/** Data below, header and sums from here on: one file, so one create, one descriptor, one sync for all of it. */
export const HEADER_OFFSET = 2 ** 40;
export const HEADER_BYTES = 4096;
export const SUMS_OFFSET = HEADER_OFFSET + HEADER_BYTES;
/** CRC32C of a block of zeros: stored sums are xored with it, so that a hole in the sums says "zeros". */
export const ZERO_BLOCK_CRC = 0x98f94189;

/** What `decodeHeader` says of bytes that are no header of ours any more. */
export const ROTTEN = 'the header fails its sum';
const MAGIC = 0x43504643;
const VERSION = 1;
/** Bytes of the header that are covered by its own sum. */
const SUMMED_BYTES = 56;

/** Bytes that one block has among the sums: its own, and in redundancy columns those of the data blocks it covers. */
export const sumBytes = (shape: ColumnShape): number =>
  shape.column < shape.k ? 4 : 4 * (1 + shape.k);

/** Where the sums of the block at this offset of the column lie. */
export const sumOffset = (shape: ColumnShape, offset: number): number =>
  SUMS_OFFSET + (offset / BLOCK_BYTES) * sumBytes(shape);

const FOLDERS = 256;

export const folderOf = (oid: number): string =>
  `columns/${(oid % FOLDERS).toString(16).padStart(2, '0')}`;
export const nameOf = ({oid, chunk, generation}: ColumnId): string =>
  `${oid.toString(16)}.${chunk}.${generation.toString(16)}`;
export const pathOf = (id: ColumnId): string => `${folderOf(id.oid)}/${nameOf(id)}`;
export const folders = (): string[] =>
  Array.from({length: FOLDERS}, (_, i) => i.toString(16).padStart(2, '0'));

/** What a file's name says; null for a file that is none of ours. */
export function parseName(name: string): ColumnId | null {
  const match = /^([0-9a-f]+)\.(\d+)\.([0-9a-f]+)$/.exec(name);
  if (match === null) return null;
  const id = {
    oid: Number.parseInt(match[1]!, 16),
    chunk: Number(match[2]),
    generation: Number.parseInt(match[3]!, 16),
  };
  return Number.isSafeInteger(id.oid) && nameOf(id) === name ? id : null;
}

export function encodeHeader(id: ColumnId, shape: ColumnShape): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setFloat64(8, id.oid, true);
  view.setUint32(16, id.chunk, true);
  view.setUint32(20, id.generation, true);
  view.setUint32(24, shape.column, true);
  view.setUint32(28, shape.k, true);
  view.setUint32(32, shape.m, true);
  view.setUint32(36, shape.unitBytes, true);
  view.setUint32(SUMMED_BYTES, crc32c(bytes, 0, SUMMED_BYTES), true);
  return bytes;
}

/** The shape in a header; a reason if it is not the header of this column. */
export function decodeHeader(bytes: Uint8Array, id: ColumnId): ColumnShape | string {
  assert(bytes.length === HEADER_BYTES, 'a whole header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== MAGIC) return ROTTEN;
  if (view.getUint32(SUMMED_BYTES, true) !== crc32c(bytes, 0, SUMMED_BYTES)) return ROTTEN;
  if (view.getUint32(4, true) !== VERSION) return `format version ${view.getUint32(4, true)}`;
  const here = {
    oid: view.getFloat64(8, true),
    chunk: view.getUint32(16, true),
    generation: view.getUint32(20, true),
  };
  if (nameOf(here) !== nameOf(id)) return `the header is that of ${nameOf(here)}`;
  return {
    column: view.getUint32(24, true),
    k: view.getUint32(28, true),
    m: view.getUint32(32, true),
    unitBytes: view.getUint32(36, true),
  };
}
