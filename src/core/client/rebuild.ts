import {FsError} from '../base/errors.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import {chunkDataBytes, columnBytes} from '../layout/stripe.js';
import {OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import {type ColumnData, readColumn, rowsAtOnce, sumAt, WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {Pace} from './pace.js';
import {type ChunkPlace, columnReadable, columnRef, locate} from './place.js';
import {Torn} from './reconstruct.js';
import {differing, sameRows} from './same-rows.js';
import {fetchColumns, type Got, type ReadTarget, type Want} from './stripe-reader.js';
import {touch, unsynced} from './unsynced.js';

/** So much of a column is rebuilt at a time, if no pace says how much. */
const WINDOW_BYTES = 256 * KIB;

/** What a rebuild works on. */
interface Rebuild {
  place: ChunkPlace;
  column: number;
  target: ReadTarget;
  /** The column was certainly written without its slot, so what it has proves nothing. */
  lacks: boolean;
  done: Rebuilt;
}

/** How far the rebuild of a column is. */
export interface Rebuilt {
  /** All of it. */
  all: boolean;
  /** Bytes of the column. */
  bytes: number;
  /** Some block can neither be made nor be shown to be right, and stays as it is: a resync has to compare the columns. */
  left: boolean;
}

export const nothingDone = (): Rebuilt => ({all: false, bytes: 0, left: false});

/**
 * Makes one column of a chunk anew from the others, in the slot that lacks it, and cuts it to its length. Under the
 * object's write lease, inside `held.exclusive`. A block that can neither be reconstructed nor be shown to be right is
 * marked if the column `lacks` it, so that it is EIO until it is written again; if it lacks it only maybe, the block stays as it is.
 * Rows in which it has what the others have are left alone, unless the `whole` of it is in doubt. It begins where `done` says, and goes no further
 * when others want the object: who writes it meanwhile writes this column, too.
 */
export async function rebuildColumn(
  path: BytePath,
  held: Held,
  chunk: number,
  column: number,
  how: {lacks: boolean; whole: boolean; pace?: Pace | undefined},
  done: Rebuilt,
): Promise<void> {
  const layout = held.layout!;
  const chunkBytes = chunkDataBytes(layout);
  const length = Math.min(chunkBytes, Math.max(0, held.size - chunk * chunkBytes));
  const bytes = columnBytes(layout, column, length);
  const place = locate(path.columns.map, layout, held.oid, chunk);
  const slot = place.slots[column]!;
  const entry = unsynced(path, 1 << column);
  touch(held, chunk, entry);
  held.settle.delete(chunk);
  const target: ReadTarget = {oid: held.oid, layout, heal: null};
  const job: Rebuild = {place, column, target, lacks: how.lacks, done};
  const data = column < layout.k || layout.k === 1;
  const page = rowsAtOnce(layout.k) * BLOCK_BYTES;
  const begun = path.clock.now();
  const wanted = (): boolean => held.gate !== null;
  while (done.bytes < bytes) {
    const at = done.bytes;
    const rows = Math.min(page, bytes - at) / BLOCK_BYTES;
    const same = how.whole ? null : await sameRows(path, place, column, at, rows);
    const most = (): number => how.pace?.pieceBytes ?? WINDOW_BYTES;
    for (const part of differing(same ?? Array(rows).fill(false), at, most)) {
      if (data) await rebuildData(path, job, part.offset, part.length);
      else await rebuildRedundancy(path, job, part.offset, part.length);
      done.bytes = part.offset + part.length;
      if ((await how.pace?.moved(begun, wanted)) !== false) continue;
      touch(held, chunk, entry);
      return;
    }
    done.bytes = at + rows * BLOCK_BYTES;
  }
  path.stats.dataCalls++;
  const cut = {ref: columnRef(place, column, true), bytes};
  await path.columns.call(place.group, slot, OPS.truncate, cut, {deadlineMs: WRITE_LATE_MS});
  touch(held, chunk, entry);
  done.all = true;
}

async function rebuildData(
  path: BytePath,
  job: Rebuild,
  offset: number,
  length: number,
): Promise<void> {
  const {place, column, target} = job;
  // With one data column any copy will do; the one that is rebuilt is not readable, so it is none of them.
  let got: Got;
  try {
    [got] = (await fetchColumns(path, target, place.chunk, [{column, offset, length}])) as [Got];
  } catch (error) {
    if (!(error instanceof FsError) || error.errno !== 'EIO') throw error;
    if (length > BLOCK_BYTES) {
      for (let at = 0; at < length; at += BLOCK_BYTES)
        await rebuildData(path, job, offset + at, BLOCK_BYTES);
      return;
    }
    if (await coveredAsItIs(path, place, column, offset)) return;
    await giveUp(path, job, offset, error);
    return;
  }
  try {
    await put(path, place, column, offset, length, got, null);
  } finally {
    if (got.slot !== -1) path.pool.release(got.slot);
  }
}

/** Does some redundancy cover exactly the block that the column has? Then it missed nothing there. */
async function coveredAsItIs(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  offset: number,
): Promise<boolean> {
  const {k, m} = place.layout;
  const mine = await readColumn(path, place, column, offset, BLOCK_BYTES, false);
  if (mine.slot !== -1) path.pool.release(mine.slot);
  if (mine.bad !== null) return false;
  for (let other = k; other < k + m; other++) {
    if (!columnReadable(place, other)) continue;
    const data: ColumnData = await readColumn(path, place, other, offset, BLOCK_BYTES, true);
    if (data.slot !== -1) path.pool.release(data.slot);
    if (data.bad === null && sumAt(data.covered, column) === sumAt(mine.sums, 0)) return true;
  }
  return false;
}

/**
 * A block that cannot be had any more: zeros, with a sum that zeros do not have. Throws `error` if a server that is away now may
 * still have it.
 */
async function giveUp(path: BytePath, job: Rebuild, offset: number, error: unknown): Promise<void> {
  const {place, column} = job;
  if (!job.lacks) {
    job.done.left = true;
    return;
  }
  if (!(error instanceof Torn)) throw error;
  const {columns, log, pool, slots} = path;
  const {oid, chunk, layout} = place;
  log.error('block.lost', {oid, chunk, column, offset});
  const slot = await slots.zeros();
  pool.retain(slot);
  const covered = new Uint8Array(column < layout.k ? 0 : 4 * layout.k).fill(0xff);
  await columns.call(
    place.group,
    place.slots[column]!,
    OPS.write,
    {
      ref: columnRef(place, column, true),
      ranges: [{offset, length: BLOCK_BYTES}],
      sums: new Uint8Array(4).fill(0xff),
      covered,
      lost: true,
    },
    {
      payload: [{slot, offset: pool.payload(slot), length: BLOCK_BYTES}],
      deadlineMs: WRITE_LATE_MS,
    },
  );
}

async function rebuildRedundancy(
  path: BytePath,
  job: Rebuild,
  offset: number,
  length: number,
): Promise<void> {
  const {place, column, target} = job;
  const {k, m} = place.layout;
  const {codec, pool, slots} = path;
  const wants: Want[] = [...Array(k).keys()].map((data) => ({column: data, offset, length}));
  let got: Got[];
  try {
    got = await fetchColumns(path, target, place.chunk, wants);
  } catch (error) {
    if (!(error instanceof FsError) || error.errno !== 'EIO') throw error;
    if (length === BLOCK_BYTES) {
      await giveUp(path, job, offset, error);
      return;
    }
    for (let at = 0; at < length; at += BLOCK_BYTES)
      await rebuildRedundancy(path, job, offset + at, BLOCK_BYTES);
    return;
  }
  const owned = got.filter((one) => one.slot !== -1).map((one) => one.slot);
  try {
    const zeros = pool.payload(await slots.zeros());
    const sources = got.map((one) => (one.slot === -1 ? zeros : one.memory));
    const parities: number[] = [];
    for (let row = 0; row < m; row++) {
      const slot = await slots.alloc(length);
      owned.push(slot);
      parities.push(pool.payload(slot));
    }
    codec.encode(pool.memory, k, m, sources, parities, length);
    const mine = {slot: owned[owned.length - m + column - k]!, memory: parities[column - k]!};
    const covered = coveredSums(path, sources, length);
    await put(path, place, column, offset, length, mine, covered);
  } finally {
    for (const slot of owned) pool.release(slot);
  }
}

/** The sums of data blocks, row by row, as redundancy keeps them. */
export function coveredSums(
  path: BytePath,
  sources: readonly number[],
  length: number,
): Uint8Array {
  const k = sources.length;
  const rows = length / BLOCK_BYTES;
  const covered = new Uint8Array(rows * k * 4);
  sources.forEach((memory, column) => {
    const sums = storedSums(path.codec, path.pool.memory, memory, length);
    for (let row = 0; row < rows; row++)
      covered.set(sums.subarray(row * 4, row * 4 + 4), (row * k + column) * 4);
  });
  return covered;
}

/** Writes a range of one column; zeros as a hole. `covered` null: a data column, or a copy, which covers itself. */
export async function put(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  offset: number,
  length: number,
  got: Got,
  covered: Uint8Array | null,
): Promise<void> {
  const {columns, pool, stats} = path;
  const slot = place.slots[column]!;
  const ref = columnRef(place, column, true);
  stats.dataCalls++;
  if (got.slot === -1) {
    const hole = {ref, ranges: [{offset, length}]};
    await columns.call(place.group, slot, OPS.punch, hole, {deadlineMs: WRITE_LATE_MS});
    return;
  }
  const sums = storedSums(path.codec, pool.memory, got.memory, length);
  pool.retain(got.slot);
  await columns.call(
    place.group,
    slot,
    OPS.write,
    {
      ref,
      ranges: [{offset, length}],
      sums,
      covered: column < place.layout.k ? new Uint8Array(0) : (covered ?? sums),
    },
    {payload: [{slot: got.slot, offset: got.memory, length}], deadlineMs: WRITE_LATE_MS},
  );
  stats.dataBytesOut += length;
}
