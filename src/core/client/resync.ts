import {BLOCK_BYTES} from '../base/units.js';
import {type SlotInfo, writable} from '../cluster/map.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes, columnBytes, objectOffset} from '../layout/stripe.js';
import {OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import {type ColumnData, LOST_SUM, READ_LATE_MS, readColumn, sumAt} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {type ChunkPlace, canWrite, columnReadable, columnRef, locate} from './place.js';
import {coveredSums, put} from './rebuild.js';
import {solve} from './reconstruct.js';
import {touch, unsynced} from './unsynced.js';

/** So much of each column is checked at a time. */
const WINDOW_BYTES = 64 * 1024;

/** What is checked at a time: the same range of each column. */
interface Window {
  offset: number;
  length: number;
  /** Memory with as many zeros. */
  zeros: number;
  /** How long each column is. One that the crash tore gets longer when it is mended: bytes behind its last sum are part of it then. */
  bytes: number[];
}

/**
 * Makes the columns of a chunk agree after a crash: a data block that fails its sum is rebuilt where the redundancy covers
 * the survivors, else its bytes are kept and summed anew (an unsynced write that the crash tore); then redundancy
 * that is not that of the data is written anew. Under the object's write lease, inside `held.exclusive`. Resolves with the end
 * of what the columns hold, as a byte of the object. Rows with a data column that cannot be had stay as they are; so does everything
 * if fewer than k columns can be read: those that are away would be taken for older than what is written now. Null then.
 */
export async function resyncChunk(
  path: BytePath,
  held: Held,
  chunk: number,
): Promise<number | null> {
  const layout = held.layout!;
  const {k} = layout;
  const place = locate(path.columns.map, layout, held.oid, chunk);
  if (!canWrite(place)) return null;
  const bytes = await columnLengths(path, place);
  const entry = unsynced(path, liveMask(place));
  touch(held, chunk, entry);
  held.settle.delete(chunk);
  const most = Math.max(...bytes);
  const zeros = path.pool.payload(await path.slots.zeros());
  for (let offset = 0; offset < most; offset += WINDOW_BYTES) {
    const length = Math.min(WINDOW_BYTES, most - offset);
    await resyncWindow(path, place, {offset, length, zeros, bytes});
  }
  touch(held, chunk, entry);
  const complete = (info: SlotInfo, column: number): boolean =>
    writable(info) && (column >= k || columnReadable(place, column));
  if (place.infos.every(complete)) held.checked.add(chunk);
  return endOf(layout, chunk, bytes);
}

/** How long the columns of a chunk are; 0: there is none, or its server is away. */
export async function columnLengths(path: BytePath, place: ChunkPlace): Promise<number[]> {
  const {k, m} = place.layout;
  const bytes: number[] = [];
  for (let column = 0; column < k + m; column++) {
    bytes.push(0);
    if (!writable(place.infos[column]!)) continue;
    path.stats.dataCalls++;
    const {message} = await path.columns.call(
      place.group,
      place.slots[column]!,
      OPS.stat,
      {
        ref: columnRef(place, column),
      },
      {deadlineMs: READ_LATE_MS},
    );
    if (message.present) bytes[column] = message.bytes;
  }
  return bytes;
}

/** The end of what columns of these lengths hold, as a byte of the object. */
export function endOf(layout: Layout, chunk: number, bytes: readonly number[]): number {
  const {k, m} = layout;
  let end = 0;
  for (let column = 0; column < k; column++) {
    if (bytes[column]! > 0)
      end = Math.max(end, objectOffset(layout, chunk, column, bytes[column]! - 1) + 1);
  }
  const base = chunk * chunkDataBytes(layout);
  // Redundancy longer than what the data columns explain belongs to data that never came.
  for (let column = k; column < k + m; column++)
    if (bytes[column]! > columnBytes(layout, column, Math.max(0, end - base)))
      end = Math.max(end, objectOffset(layout, chunk, 0, bytes[column]! - 1) + 1);
  return end;
}

export function liveMask(place: ChunkPlace): number {
  let mask = 0;
  place.infos.forEach((info, column) => {
    if (writable(info)) mask |= 1 << column;
  });
  return mask;
}

async function resyncWindow(path: BytePath, place: ChunkPlace, window: Window): Promise<void> {
  const {k, m} = place.layout;
  const {offset, length} = window;
  const rows: (ColumnData | null)[] = new Array<ColumnData | null>(k + m).fill(null);
  try {
    const reads = await Promise.allSettled(
      rows.map(async (_row, column) => {
        if (columnReadable(place, column))
          rows[column] = await readColumn(path, place, column, offset, length, column >= k);
      }),
    );
    // Only now: what the others read is known, and so will be released.
    for (const read of reads) if (read.status === 'rejected') throw read.reason;
    for (let column = 0; column < k; column++) await mendData(path, place, rows, column, window);
    if (m > 0 && rows.slice(0, k).every((row) => row !== null))
      await mendRedundancy(path, place, rows, window);
  } finally {
    for (const row of rows) if (row !== null && row.slot !== -1) path.pool.release(row.slot);
  }
}

/** Blocks that fail their sums get their bytes back, or their sums anew. */
async function mendData(
  path: BytePath,
  place: ChunkPlace,
  rows: (ColumnData | null)[],
  column: number,
  {offset, length, zeros, bytes}: Window,
): Promise<void> {
  const {pool, slots, codec} = path;
  const row = rows[column];
  if (row === null || row === undefined || row.bad === null) return;
  if (row.slot === -1) {
    row.slot = await slots.alloc(length);
    row.memory = pool.payload(row.slot);
    pool.bytes.fill(0, row.memory, row.memory + length);
  }
  let lost = false;
  for (const block of row.bad) {
    const at = block * BLOCK_BYTES;
    const mended = solve(path, place, column, rows, at, BLOCK_BYTES, row.memory + at, zeros);
    if (!mended && sumAt(row.sums, block) === LOST_SUM) {
      // Lost for good and marked so by a recovery: not a torn write whose bytes might be kept.
      lost = true;
      continue;
    }
    if (!mended) path.log.warn('block.torn', {oid: place.oid, chunk: place.chunk, column, block});
    const one = {slot: row.slot, memory: row.memory + at};
    await put(path, place, column, offset + at, BLOCK_BYTES, one, null);
    bytes[column] = Math.max(bytes[column]!, offset + at + BLOCK_BYTES);
  }
  if (lost) {
    if (row.slot !== -1) pool.release(row.slot);
    rows[column] = null;
    return;
  }
  row.bad = null;
  row.sums = storedSums(codec, pool.memory, row.memory, length);
}

/** Redundancy whose sums, or covered sums, are not those of the data is written anew. */
async function mendRedundancy(
  path: BytePath,
  place: ChunkPlace,
  rows: readonly (ColumnData | null)[],
  {offset, length, zeros, bytes}: Window,
): Promise<void> {
  const {k, m} = place.layout;
  const {pool, slots, codec} = path;
  const sources = rows.slice(0, k).map((row) => (row!.slot === -1 ? zeros : row!.memory));
  const parities: {slot: number; memory: number}[] = [];
  try {
    for (let parity = 0; parity < m; parity++) {
      const slot = await slots.alloc(length);
      parities.push({slot, memory: pool.payload(slot)});
    }
    const memories = parities.map((parity) => parity.memory);
    codec.encode(pool.memory, k, m, sources, memories, length);
    const covered = coveredSums(path, sources, length);
    for (let parity = 0; parity < m; parity++) {
      const column = k + parity;
      if (!writable(place.infos[column]!)) continue;
      const row = rows[column];
      const sums = storedSums(codec, pool.memory, memories[parity]!, length);
      if (row && row.bad === null && equal(row.sums, sums) && equal(row.covered, covered)) continue;
      await put(path, place, column, offset, length, parities[parity]!, covered);
      bytes[column] = Math.max(bytes[column]!, offset + length);
    }
  } finally {
    for (const {slot} of parities) pool.release(slot);
  }
}

/** A hole has no sums: it is as if all were zeros. */
function equal(stored: Uint8Array, wanted: Uint8Array): boolean {
  if (stored.length === wanted.length) return Buffer.compare(stored, wanted) === 0;
  for (let at = 0; at * 4 < wanted.length; at++)
    if (sumAt(wanted, at) !== sumAt(stored, at)) return false;
  return true;
}
