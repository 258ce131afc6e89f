import type {Segment} from '../base/pool.js';
import {BLOCK_BYTES} from '../base/units.js';
import {SLOT} from '../cluster/map.js';
import {sleep} from '../env/clock.js';
import type {Layout} from '../layout/scheme.js';
import {OPS} from '../protocol/ops.js';
import {ZERO_BLOCK_CRC} from './blocks.js';
import {WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {ExtentList} from './extents.js';
import {type Piece, pieceStart} from './piece.js';
import {type ChunkPlace, columnRef, locate} from './place.js';
import {Disagree} from './reconstruct.js';
import {fetchColumns, type Got, releaseGot, type Want} from './stripe-reader.js';
import type {WriteTarget} from './stripe-writer.js';

/** What one piece changes of the data blocks: their sums before; which blocks, as bits of columns, row by row. */
interface Change {
  before: Uint32Array;
  changed: Uint32Array;
}

/** Pieces of one chunk; `refused`: redundancy does not cover what some of the data columns had. */
interface DeltaBatch {
  chunk: number;
  pieces: readonly Piece[];
  refused: boolean;
  readonly sync: boolean;
  /** Data columns with blocks that redundancy is told nothing of. */
  alone: number;
}

/** What a data column had in the rows of a piece. */
interface Old {
  got: Got;
  /** Rows that nobody can know any more; null: none. */
  lost: ReadonlySet<number> | null;
}

const changes = new WeakMap<Piece, Change>();

/** So soon columns that do not agree are looked at again. */
const AGAIN_MS = 250;

/**
 * Pieces of stripes that others may be writing at the same time, in blocks of their own (DESIGN.md section 6, "Shared"): each data column
 * gets its new blocks; each redundancy column what is to be added to it, which is computed from what was there before. That is read
 * first, so whatever fails later can be sent again.
 */
export async function prepareDelta(
  path: BytePath,
  target: WriteTarget,
  dirty: ExtentList,
  batch: DeltaBatch,
): Promise<void> {
  const {chunk, pieces} = batch;
  const {layout} = target;
  const wants: Want[] = [];
  const owners: Piece[] = [];
  for (const piece of pieces) {
    path.stats.deltaPieces++;
    const offset = piece.stripe * layout.unitBytes + piece.row * BLOCK_BYTES;
    const length = piece.rows * BLOCK_BYTES;
    for (const column of columnsOf(layout, piece)) {
      const start = pieceStart(layout, chunk, piece, column);
      // What was never written is zeros; and without redundancy only blocks that are not whole matter.
      if (start >= target.flushedSize) continue;
      if (layout.m === 0 && dirty.covered(start, start + length) === length) continue;
      wants.push({column, offset, length});
      owners.push(piece);
    }
  }
  const dispensable = (want: Want, row: number): boolean => {
    const piece = owners[wants.indexOf(want)]!;
    const at = pieceStart(layout, chunk, piece, want.column) + row * BLOCK_BYTES;
    return dirty.covered(at, at + BLOCK_BYTES) === BLOCK_BYTES;
  };
  const got = await oldOf(path, target, batch, wants, owners, dispensable);
  const before = new Map(pieces.map((piece) => [piece, new Map<number, Old>()]));
  for (let i = 0; i < wants.length; i++) before.get(owners[i]!)!.set(wants[i]!.column, got[i]!);
  try {
    for (const [piece, old] of before) {
      await fillNew(path, layout, chunk, piece, dirty, old);
      if (layout.m > 0) await encodeDelta(path, layout, batch, piece, old);
    }
  } finally {
    for (const old of before.values())
      releaseGot(
        path,
        [...old.values()].map(({got: one}) => one),
      );
  }
}

/** What is to be changed: as this client knows that columns have it, else as they say. */
async function oldOf(
  path: BytePath,
  target: WriteTarget,
  {chunk}: DeltaBatch,
  wants: readonly Want[],
  owners: readonly Piece[],
  dispensable: (want: Want, row: number) => boolean,
): Promise<Old[]> {
  const old: (Old | null)[] = [];
  try {
    for (const [index, {column, length}] of wants.entries())
      old.push(
        await known(path, target, pieceStart(target.layout, chunk, owners[index]!, column), length),
      );
    const missing = wants.filter((_, index) => old[index] === null);
    if (missing.length > 0) {
      const found = await fetchOld(path, target, chunk, missing, dispensable);
      for (const [index, want] of missing.entries()) old[wants.indexOf(want)] = found[index]!;
    }
    return old as Old[];
  } catch (error) {
    releaseGot(
      path,
      old.flatMap((one) => one?.got ?? []),
    );
    throw error;
  }
}

async function known(
  {pool, slots}: BytePath,
  {oid, recent}: WriteTarget,
  from: number,
  length: number,
): Promise<Old | null> {
  if (recent?.has(oid, from, from + length) !== true) return null;
  const slot = await slots.alloc(length);
  const memory = pool.payload(slot);
  if (recent.copy(oid, from, from + length, memory)) return {got: {slot, memory}, lost: null};
  pool.release(slot);
  return null;
}

/**
 * Reads what is to be changed. What columns do not agree about may be lost; it can do without where a whole block is written to a server that has
 * it then. Else others may be about to make them agree: waits as for a server, then EIO.
 */
async function fetchOld(
  path: BytePath,
  target: WriteTarget,
  chunk: number,
  wants: readonly Want[],
  dispensable: (want: Want, row: number) => boolean,
): Promise<Old[]> {
  const until = path.clock.now() + path.columnWaitMs;
  for (;;) {
    try {
      const all = await fetchColumns(path, target, chunk, wants, target);
      return all.map((got) => ({got, lost: null}));
    } catch (error) {
      if (!(error instanceof Disagree)) throw error;
      const found = await fetchEach(path, target, chunk, wants);
      const {infos} = locate(path.columns.map, target.layout, target.oid, chunk);
      const done = found.every(({lost}, index) => {
        const want = wants[index]!;
        const rows = [...(lost ?? [])];
        const ready = infos[want.column]!.state === SLOT.ready;
        return rows.every((row) => ready && dispensable(want, row));
      });
      if (done) return found;
      releaseGot(
        path,
        found.map(({got}) => got),
      );
      if (target.revoked() || path.clock.now() >= until) throw error;
      await sleep(path.clock, AGAIN_MS);
    }
  }
}

async function fetchEach(
  path: BytePath,
  target: WriteTarget,
  chunk: number,
  wants: readonly Want[],
): Promise<Old[]> {
  const found: Old[] = [];
  try {
    for (const want of wants) found.push(await fetchBlocks(path, target, chunk, want));
    return found;
  } catch (error) {
    releaseGot(
      path,
      found.map(({got}) => got),
    );
    throw error;
  }
}

async function fetchBlocks(
  path: BytePath,
  target: WriteTarget,
  chunk: number,
  {column, offset, length}: Want,
): Promise<Old> {
  const {pool, slots} = path;
  const slot = await slots.alloc(length);
  const memory = pool.payload(slot);
  pool.bytes.fill(0, memory, memory + length);
  const lost = new Set<number>();
  try {
    for (let row = 0; row * BLOCK_BYTES < length; row++) {
      const at = row * BLOCK_BYTES;
      const want = {column, offset: offset + at, length: BLOCK_BYTES};
      try {
        const [got] = await fetchColumns(path, target, chunk, [want], target);
        if (got!.slot !== -1)
          pool.bytes.copyWithin(memory + at, got!.memory, got!.memory + BLOCK_BYTES);
        releaseGot(path, [got!]);
      } catch (error) {
        if (!(error instanceof Disagree)) throw error;
        lost.add(row);
      }
    }
    return {got: {slot, memory}, lost};
  } catch (error) {
    pool.release(slot);
    throw error;
  }
}

/** The data columns of which the piece has something. */
const columnsOf = ({k}: Layout, {from, to}: Piece): number[] =>
  Array.from({length: k}, (_, column) => column).filter((column) => to[column]! > from[column]!);

/** New blocks of the data columns, with their sums. */
async function fillNew(
  path: BytePath,
  layout: Layout,
  chunk: number,
  piece: Piece,
  dirty: ExtentList,
  old: ReadonlyMap<number, Old>,
): Promise<void> {
  const {pool, slots, codec} = path;
  const {rows, sums} = piece;
  const length = rows * BLOCK_BYTES;
  for (const column of columnsOf(layout, piece)) {
    const start = pieceStart(layout, chunk, piece, column);
    let memory = dirty.contiguous(start, start + length);
    if (memory !== -1) {
      const slot = dirty.slotAt(start);
      pool.retain(slot);
      piece.slot[column] = slot;
    } else {
      const slot = await slots.alloc(length);
      piece.slot[column] = slot;
      memory = pool.payload(slot);
      const was = old.get(column)?.got;
      if (was === undefined || was.slot === -1) pool.bytes.fill(0, memory, memory + length);
      else pool.bytes.copyWithin(memory, was.memory, was.memory + length);
      const at = memory;
      dirty.visit(start, start + length, (offset, bytes, source) => {
        pool.bytes.copyWithin(at + (offset - start), source, source + bytes);
      });
    }
    piece.memory[column] = memory;
    codec.crc32cBlocks(pool.memory, memory, length, BLOCK_BYTES, sums, column * rows);
    for (let row = 0; row < rows; row++) sums[column * rows + row]! ^= ZERO_BLOCK_CRC;
  }
}

/** What is to be added to the redundancy: the code is linear, so it is the code of what changes. */
async function encodeDelta(
  path: BytePath,
  layout: Layout,
  batch: DeltaBatch,
  piece: Piece,
  old: ReadonlyMap<number, Old>,
): Promise<void> {
  const {k, m} = layout;
  const {pool, slots, codec} = path;
  const {rows, sums} = piece;
  const length = rows * BLOCK_BYTES;
  const zeros = pool.payload(await slots.zeros());
  const change = {before: new Uint32Array(k * rows), changed: new Uint32Array(rows)};
  const sources = new Array<number>(k).fill(zeros);
  const mine: number[] = [];
  try {
    for (const column of columnsOf(layout, piece)) {
      const was = old.get(column)?.got;
      const lost = old.get(column)?.lost ?? null;
      if (was === undefined || was.slot === -1) sources[column] = piece.memory[column]!;
      else {
        const slot = await slots.alloc(length);
        mine.push(slot);
        const delta = pool.payload(slot);
        // Redundancy of two columns and one is their xor.
        codec.encode(pool.memory, 2, 1, [was.memory, piece.memory[column]!], [delta], length);
        sources[column] = delta;
        const sum = change.before;
        codec.crc32cBlocks(pool.memory, was.memory, length, BLOCK_BYTES, sum, column * rows);
        for (let row = 0; row < rows; row++) sum[column * rows + row]! ^= ZERO_BLOCK_CRC;
      }
      for (let row = 0; row < rows; row++) {
        const at = column * rows + row;
        if (lost?.has(row) === true) {
          // The redundancy covers something that nobody knows; a resync makes it cover what is there from now on.
          const delta = sources[column]! + row * BLOCK_BYTES;
          pool.bytes.fill(0, delta, delta + BLOCK_BYTES);
          batch.refused = true;
          batch.alone |= 2 ** column;
        } else if (change.before[at] !== sums[at]) change.changed[row]! |= 2 ** column;
        // Other bytes with the same sum: no server could tell whether it has been given the change.
        else if (!isZero(path, sources[column]! + row * BLOCK_BYTES)) batch.refused = true;
      }
    }
    const parities: number[] = [];
    for (let column = k; column < k + m; column++) {
      piece.slot[column] = await slots.alloc(length);
      parities.push(pool.payload(piece.slot[column]!));
    }
    codec.encode(pool.memory, k, m, sources, parities, length);
    for (const [index, memory] of parities.entries()) {
      const column = k + index;
      piece.memory[column] = memory;
      codec.crc32cBlocks(pool.memory, memory, length, BLOCK_BYTES, sums, column * rows);
      for (let row = 0; row < rows; row++) sums[column * rows + row]! ^= ZERO_BLOCK_CRC;
    }
  } finally {
    for (const slot of mine) pool.release(slot);
  }
  changes.set(piece, change);
}

const isZero = ({pool}: BytePath, at: number): boolean =>
  pool.view(at, BLOCK_BYTES).every((byte) => byte === 0);

/** The changes of one redundancy column. Those that it refuses are of blocks that did not cover what the data columns had. Is it synced? */
export async function sendDelta(
  path: BytePath,
  layout: Layout,
  batch: DeltaBatch,
  place: ChunkPlace,
  column: number,
): Promise<boolean> {
  const {sync} = batch;
  const {payload, ...request} = deltaRequest(path, layout, batch.pieces, column);
  if (request.ranges.length === 0) return false;
  for (const segment of payload) path.stats.dataBytesOut += segment.length;
  const message = {ref: columnRef(place, column, path.repair), sync, ...request};
  const options = {payload, deadlineMs: WRITE_LATE_MS};
  const slot = place.slots[column]!;
  const reply = await path.columns.call(place.group, slot, OPS.delta, message, options);
  const {refused, synced} = reply.message;
  // One that is recovering, and has not been made whole yet, is going to be.
  if (refused.length === 0 || place.infos[column]!.state !== SLOT.ready) return synced;
  const {oid, chunk} = place;
  path.log.warn('delta.refused', {oid, chunk, column, blocks: refused.length});
  batch.refused = true;
  return synced;
}

function deltaRequest(
  path: BytePath,
  {k, unitBytes}: Layout,
  pieces: readonly Piece[],
  column: number,
) {
  const ranges: {offset: number; length: number}[] = [];
  const payload: Segment[] = [];
  const sums: number[] = [];
  const masks: number[] = [];
  const before: number[] = [];
  const after: number[] = [];
  for (const piece of pieces) {
    const {rows, stripe} = piece;
    const change = changes.get(piece)!;
    for (let row = 0; row < rows; row++) {
      const mask = change.changed[row]!;
      if (mask === 0) continue;
      const offset = stripe * unitBytes + (piece.row + row) * BLOCK_BYTES;
      const last = ranges.at(-1);
      if (last !== undefined && last.offset + last.length === offset) last.length += BLOCK_BYTES;
      else ranges.push({offset, length: BLOCK_BYTES});
      const memory = piece.memory[column]! + row * BLOCK_BYTES;
      const segment = payload.at(-1);
      const slot = piece.slot[column]!;
      if (segment?.slot === slot && segment.offset + segment.length === memory)
        segment.length += BLOCK_BYTES;
      else payload.push({slot, offset: memory, length: BLOCK_BYTES});
      sums.push(piece.sums[column * rows + row]!);
      masks.push(mask);
      for (let data = 0; data < k; data++) {
        if (((mask >>> data) & 1) === 0) continue;
        before.push(change.before[data * rows + row]!);
        after.push(piece.sums[data * rows + row]!);
      }
    }
  }
  for (const segment of payload) path.pool.retain(segment.slot);
  return {
    ranges,
    payload,
    sums: bytesOf(sums),
    changed: bytesOf(masks),
    before: bytesOf(before),
    after: bytesOf(after),
  };
}

const bytesOf = (words: readonly number[]): Uint8Array =>
  new Uint8Array(Uint32Array.from(words).buffer);
