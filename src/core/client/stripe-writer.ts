import {FsError, Lost, messageOf} from '../base/errors.js';
import type {LazyMap, LazySet} from '../base/lazy.js';
import {PAYLOAD_BYTES_MAX} from '../base/pool.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import {isAway, SLOT, writable} from '../cluster/map.js';
import {CHUNK_BYTES_MAX} from '../layout/scheme.js';
import {stripeBytes} from '../layout/stripe.js';
import type {ByteRange} from '../lease/ranges.js';
import {OPS} from '../protocol/ops.js';
import {isRefused, settleRefusal, WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import {prepareDelta, sendDelta} from './delta-writer.js';
import type {ExtentList} from './extents.js';
import {
  columnWrite,
  encodePiece,
  fillPiece,
  type Piece,
  pieceStart,
  piecesOf,
  releasePiece,
  stripeAt,
  wantsOf,
} from './piece.js';
import {type ChunkPlace, canWrite, columnRef, locate} from './place.js';
import type {RecentBlocks} from './recent-blocks.js';
import {Disagree} from './reconstruct.js';
import {fetchColumns, type Got, type ReadTarget, releaseGot, type Want} from './stripe-reader.js';
import {trustedPlace} from './trusted.js';
import {type Unsynced, unsynced} from './unsynced.js';
import type {Window} from './window.js';

/** How long to wait for the map when a column does not take a write, before it is tried again under the old one. */
const EPOCH_WAIT_MS = 500;
/**
 * A piece counts as so many bytes at least, in the window and towards the end of its batch. Its columns take a slot each
 * however short they are, and slots run out before bytes do: then what has been read waits for slots that it holds itself.
 */
const PIECE_BYTES_MIN = 64 * KIB;

export interface WriteTarget extends ReadTarget {
  /** Bytes at or after this are zeros in the columns, and need no reading. */
  flushedSize: number;
  /** Columns of a chunk are about to be written, or have been: they are unsynced. */
  touched(chunk: number, entry: Unsynced): void;
  /** Chunks of which all live columns know that others are away, with the epoch. */
  readonly noted: LazyMap<number, number>;
  /**
   * Batches that some columns may have taken, of which redundancy gets what changes: only who knows what was there before can send
   * that again, so it is kept and sent first the next time.
   */
  readonly pending: PendingWrite[];
  /** The lease is being given up, or gone: nothing more may be sent. */
  revoked(): boolean;
  /** A change of the chunk was given up; some columns have it maybe, others do not. */
  failed(chunk: number): void;
  /** Chunks of which a batch that is not `pending` was given up half way: to be written with redundancy of their own, or compared. */
  readonly halves: LazySet<number>;
  /** Is all of it held for writing? Null: the whole object is. */
  readonly owns: ((range: ByteRange) => boolean) | null;
  /** Redundancy of the chunk did not cover what its data columns had: a resync has to compute it anew. */
  refused(chunk: number): void;
  /** What was given up may have been sent, and may reach its column at any time while this epoch lasts. */
  doubtful(epoch: number): void;
  /** What columns have, where nobody else may have changed it; null: ask them. */
  readonly recent: Pick<RecentBlocks, 'has' | 'copy'> | null;
  /** Servers are to sync what they write, if that is all there is; told which columns (bits) they have. Null: it need not be synced. */
  readonly synced: ((chunk: number, columns: number) => void) | null;
}

/** Slots are given back by `release`. */
export interface PendingWrite {
  readonly batch: {readonly chunk: number};
  send(target: WriteTarget): Promise<void>;
  release(): void;
}

/** Pieces of one chunk that go in one request for each column. */
interface Batch {
  chunk: number;
  pieces: Piece[];
  /** The stripes that it makes clean, as bytes of the object. */
  from: number;
  to: number;
  /** Of each column, as the window counts them. */
  bytes: number;
  /**
   * Redundancy gets what is to be added to it (delta-writer.ts), not what it is to be: others may write the rest of the stripes at the same
   * time, or it takes less reading.
   */
  delta: boolean;
  /** Redundancy did not cover what the data columns had. */
  refused: boolean;
  /** Data columns, as bits, that have some of what is written alone: nobody knows what they had before, so redundancy gets nothing of it. */
  alone: number;
  /** Servers sync it with the write; and the columns, as bits, that were. */
  sync: boolean;
  synced: number;
}

/**
 * Writes everything of `dirty` into the columns, with redundancy and sums. `done` is called for each range that every
 * live column has. Rejects after everything under way has ended: FsError ENOSPC, EIO (columns are missing for too
 * long, or what must be read cannot be), Refusal Fenced.
 */
export async function writeStripes(
  path: BytePath,
  window: Window,
  target: WriteTarget,
  dirty: ExtentList,
  done: (from: number, to: number) => void,
): Promise<void> {
  const {k, m} = target.layout;
  await sendPending(target);
  const underWay = new Set<Promise<void>>();
  let failure: {error: unknown} | null = null;
  for (let at = dirty.next(0); at !== -1 && failure === null; ) {
    const batch = nextBatch(target, dirty, at);
    const only = underWay.size === 0 && batch.from <= dirty.start;
    at = dirty.next(batch.to);
    batch.sync = target.synced !== null && only && at === -1;
    const bytes = batch.bytes * (k + m);
    await window.enter(bytes);
    // All that it may take, at once: flushes that each hold a part of what they need would wait for each other.
    const slots = slotsOf(target, dirty, batch);
    await path.slots.passing.enter(slots);
    const leave = (): void => {
      path.slots.passing.leave(slots);
      window.leave(bytes);
    };
    if (failure !== null) {
      leave();
      break;
    }
    let kept = false;
    const release = (): void => {
      if (!kept) for (const piece of batch.pieces) releasePiece(path, piece);
      leave();
    };
    try {
      await prepare(path, target, dirty, batch).catch((error: unknown) => {
        // A block beside them is lost. What changes, and is known, can be changed without it.
        if (!(error instanceof Disagree) || batch.delta || m === 0) throw error;
        recut(path, target, dirty, batch, true);
        return prepare(path, target, dirty, batch);
      });
    } catch (error) {
      release();
      failure = {error};
      break;
    }
    const write: Promise<void> = send(path, target, batch)
      .then(() => (batch.refused ? anew(path, target, dirty, batch) : undefined))
      .then(() => done(batch.from, batch.to))
      .catch((error: unknown) => {
        failure ??= {error};
        kept = batch.delta && batch.alone === 0 && !target.revoked();
        if (kept) target.pending.push(pendingWrite(path, batch));
        else target.halves.add(batch.chunk);
      })
      .finally(() => {
        release();
        underWay.delete(write);
      });
    underWay.add(write);
  }
  await Promise.all(underWay);
  if (failure !== null) throw (failure as {error: unknown}).error;
}

/** How many slots the batch may take: for what is copied or read, and for redundancy; of what changes it, for both states. */
function slotsOf({layout}: WriteTarget, dirty: ExtentList, {pieces, chunk, delta}: Batch): number {
  const {k, m} = layout;
  let slots = 0;
  for (const piece of pieces) {
    slots += m;
    for (let column = 0; column < k; column++) {
      const changed = piece.to[column]! > piece.from[column]!;
      const start = pieceStart(layout, chunk, piece, column);
      if (delta) slots += changed ? 3 : 0;
      else if (dirty.contiguous(start, start + piece.rows * BLOCK_BYTES) === -1) slots++;
    }
  }
  return slots;
}

/** Rejects as `writeStripes`; what could not be sent stays. */
async function sendPending(target: WriteTarget): Promise<void> {
  for (let first = target.pending[0]; first !== undefined; first = target.pending[0]) {
    await first.send(target);
    // It may have been given up meanwhile.
    if (target.pending[0] === first) target.pending.shift()!.release();
  }
}

function pendingWrite(path: BytePath, batch: Batch): PendingWrite {
  return {
    batch,
    send: async (target) => {
      batch.refused = false;
      await send(path, target, batch);
      // What is dirty by now may be something else, so it cannot be made anew from that.
      if (batch.refused) target.refused(batch.chunk);
    },
    release: () => {
      for (const piece of batch.pieces) releasePiece(path, piece);
    },
  };
}

/** Whole stripes and runs of rows from byte `at` on, until one column's payload is full or the chunk ends. */
function nextBatch(target: WriteTarget, dirty: ExtentList, at: number): Batch {
  const {layout} = target;
  const first = stripeAt(layout, at);
  const batch: Batch = {
    chunk: first.chunk,
    pieces: [],
    from: first.base,
    to: first.base,
    bytes: 0,
    delta: usesDelta(target, dirty, first),
    refused: false,
    alone: 0,
    sync: false,
    synced: 0,
  };
  for (let next = at; next !== -1; next = dirty.next(batch.to)) {
    const place = stripeAt(layout, next);
    const {chunk, stripe, base} = place;
    if (chunk !== batch.chunk || usesDelta(target, dirty, place) !== batch.delta) break;
    const pieces = piecesOf(layout, dirty, base, stripe, batch.delta);
    const bytes = pieces.reduce(
      (sum, {rows}) => sum + Math.max(rows * BLOCK_BYTES, PIECE_BYTES_MIN),
      0,
    );
    if (batch.bytes > 0 && batch.bytes + bytes > PAYLOAD_BYTES_MAX) break;
    batch.pieces.push(...pieces);
    batch.bytes += bytes;
    batch.to = base + stripeBytes(layout);
  }
  return batch;
}

/** The same stripes, to be written in the other way. */
function recut(
  path: BytePath,
  {layout}: WriteTarget,
  dirty: ExtentList,
  batch: Batch,
  delta: boolean,
): void {
  for (const piece of batch.pieces) releasePiece(path, piece);
  batch.delta = delta;
  batch.alone = 0;
  batch.pieces = [];
  for (let base = batch.from; base < batch.to; base += stripeBytes(layout))
    batch.pieces.push(...piecesOf(layout, dirty, base, stripeAt(layout, base).stripe, delta));
}

/** Redundancy that could not be changed is made anew; where others may write the stripes, or other columns are lost, a resync has to do that. */
async function anew(
  path: BytePath,
  target: WriteTarget,
  dirty: ExtentList,
  batch: Batch,
): Promise<void> {
  if (!owned(target, batch.from, batch.to)) return target.refused(batch.chunk);
  recut(path, target, dirty, batch, false);
  try {
    await prepare(path, target, dirty, batch);
  } catch (error) {
    if (!(error instanceof Disagree)) throw error;
    return target.refused(batch.chunk);
  }
  await send(path, target, batch);
}

const owned = ({owns}: WriteTarget, from: number, to: number): boolean =>
  owns === null || owns({from, to});

/** Others may write the stripe; or few of its columns change, and the others would have to be read. */
function usesDelta(
  target: WriteTarget,
  dirty: ExtentList,
  {chunk, base}: {chunk: number; base: number},
): boolean {
  const {k, m, unitBytes} = target.layout;
  if (!owned(target, base, base + stripeBytes(target.layout))) return true;
  if (m === 0 || base >= target.flushedSize || target.halves.has(chunk)) return false;
  let changed = 0;
  for (let column = 0; column < k; column++) {
    const from = base + column * unitBytes;
    const next = dirty.next(from);
    if (next !== -1 && next < from + unitBytes) changed++;
  }
  return 2 * changed < k;
}

/** Reads what is missing, then computes redundancy and sums. */
async function prepare(
  path: BytePath,
  target: WriteTarget,
  dirty: ExtentList,
  batch: Batch,
): Promise<void> {
  const {layout, flushedSize} = target;
  if (batch.delta) {
    // Data columns may have what redundancy does not.
    if (target.halves.has(batch.chunk)) target.refused(batch.chunk);
    return prepareDelta(path, target, dirty, batch);
  }
  const wants: Want[] = [];
  const owners: Piece[] = [];
  for (const piece of batch.pieces) {
    wantsOf(layout, batch.chunk, piece, dirty, flushedSize, wants);
    if (wants.length === owners.length) path.stats.wholeStripes++;
    else path.stats.partialStripes++;
    while (owners.length < wants.length) owners.push(piece);
  }
  const got =
    wants.length === 0 ? [] : await fetchColumns(path, target, batch.chunk, wants, target);
  const read = new Map(batch.pieces.map((piece) => [piece, new Map<number, Got>()]));
  for (let i = 0; i < wants.length; i++) read.get(owners[i]!)!.set(wants[i]!.column, got[i]!);
  try {
    for (const [piece, mine] of read) {
      await fillPiece(path, layout, batch.chunk, piece, dirty, mine);
      await encodePiece(path, layout, piece);
    }
  } finally {
    for (const mine of read.values()) releaseGot(path, mine.values());
  }
}

/** One batch to all live columns. */
async function send(path: BytePath, target: WriteTarget, batch: Batch): Promise<void> {
  const {k} = target.layout;
  const changed = (column: number): boolean =>
    column >= k || batch.pieces.some((piece) => piece.to[column]! > piece.from[column]!);
  let written = 0;
  await onLiveColumns(path, target, batch.chunk, changed, (place, column) => {
    written = place.infos.reduce(
      (all, info, one) => all | (info.state === SLOT.ready ? 1 << one : 0),
      0,
    );
    const {sync} = batch;
    batch.synced &= ~(1 << column);
    const done = (synced: boolean): void => {
      if (synced) batch.synced |= 1 << column;
    };
    if (batch.delta && column >= k)
      return sendDelta(path, target.layout, batch, place, column).then(done);
    const {payload, ...request} = columnWrite(path, target.layout, batch.pieces, column)!;
    for (const segment of payload) path.stats.dataBytesOut += segment.length;
    const message = {ref: columnRef(place, column, path.repair), sync, ...request};
    const options = {payload, deadlineMs: WRITE_LATE_MS};
    return path.columns
      .call(place.group, place.slots[column]!, OPS.write, message, options)
      .then((reply) => done(reply.message.synced));
  });
  // Where redundancy does not fit, the sync that follows tells servers so, before the chunk may be settled.
  if (batch.sync && !batch.refused) target.synced?.(batch.chunk, batch.synced);
  if ((batch.alone & ~written) !== 0)
    throw new FsError('EIO', 'a server is away that alone would have had what was written');
}

/**
 * The same change to all live columns of a chunk at once (those for which `changed`); again, all of them, under the
 * next map when one fails: until every live column has it, or EIO after `columnWaitMs`, or what no map mends.
 */
export async function onLiveColumns(
  path: BytePath,
  target: WriteTarget,
  chunk: number,
  changed: (column: number) => boolean,
  change: (place: ChunkPlace, column: number) => Promise<unknown>,
): Promise<void> {
  const {clock, columns} = path;
  const deadline = clock.now() + path.columnWaitMs;
  let doubt = 0;
  let begun = false;
  try {
    for (;;) {
      let place = locate(columns.map, target.layout, target.oid, chunk);
      if (!canWrite(place)) place = await trustedPlace(path, place);
      if (target.revoked()) throw new FsError('EIO', 'too late for the recall');
      const late = clock.now() >= deadline;
      if (!canWrite(place)) {
        if (late) throw new FsError('EIO', `group ${place.group} has too few servers`);
        await columns.newer(place.epoch, EPOCH_WAIT_MS);
        continue;
      }
      begun = true;
      const errors = await once(path, target, place, changed, change);
      if (errors.some((error) => error instanceof Lost && !error.unsent)) doubt = place.epoch;
      // What is final wins over what may pass.
      const error = errors.find(isFinal) ?? errors.at(-1);
      if (error === undefined) {
        // The same was sent after it, over the same connections.
        doubt = 0;
        target.noted.set(chunk, place.epoch);
        begun = false;
        return;
      }
      if (isFinal(error)) throw error;
      if (late) throw new FsError('EIO', messageOf(error));
      if (isRefused(error)) await settleRefusal(path, place, error);
      else await columns.newer(place.epoch, EPOCH_WAIT_MS);
    }
  } finally {
    if (doubt > 0) target.doubtful(doubt);
    if (begun) target.failed(chunk);
  }
}

/** What went wrong; empty: every live column has it. */
async function once(
  path: BytePath,
  target: WriteTarget,
  place: ChunkPlace,
  changed: (column: number) => boolean,
  change: (place: ChunkPlace, column: number) => Promise<unknown>,
): Promise<unknown[]> {
  const {k, m} = target.layout;
  const errors: unknown[] = [];
  let mask = 0;
  let missed = 0;
  // Who holds a column that does not change must know what the absent ones miss, too: the others may be gone when they are back.
  const note = place.infos.some(isAway) && target.noted.get(place.chunk) !== place.epoch;
  const dials: (Promise<void> | null | undefined)[] = [];
  for (let column = 0; column < k + m; column++) {
    if (!writable(place.infos[column]!)) missed |= changed(column) ? 1 << column : 0;
    else if (note || changed(column)) {
      mask |= 1 << column;
      dials.push(path.columns.reach?.(place.group, place.slots[column]!));
    }
  }
  // What is lost with the life of a server before this connection is not what is about to be written.
  if (dials.some((dial) => dial != null)) await Promise.all(dials);
  const missedAt = missed === 0 ? 0 : place.epoch;
  const entry = {...unsynced(path, mask), missed, missedAt};
  target.touched(place.chunk, entry);
  const calls: Promise<void>[] = [];
  for (let column = 0; column < k + m; column++) {
    if ((mask & (1 << column)) === 0) continue;
    path.stats.dataCalls++;
    const failed = (reason: unknown): void => {
      if (reason instanceof Lost || (reason instanceof FsError && reason.errno === 'EIO'))
        path.columns.report(place.group, place.slots[column]!, place.epoch, messageOf(reason));
      errors.push(reason);
    };
    const call = changed(column) ? change(place, column) : noteMissed(path, place, column);
    calls.push(call.then(() => {}, failed));
  }
  await Promise.all(calls);
  target.touched(place.chunk, entry);
  return errors;
}

/** The column's server notes what its neighbours that are away miss, as with any change; this one changes nothing. */
function noteMissed(path: BytePath, place: ChunkPlace, column: number): Promise<unknown> {
  const request = {ref: columnRef(place, column, path.repair), bytes: CHUNK_BYTES_MAX};
  const options = {deadlineMs: WRITE_LATE_MS};
  return path.columns.call(place.group, place.slots[column]!, OPS.truncate, request, options);
}

/** Neither a newer map nor a moment's time mends it. */
export function isFinal(error: unknown): boolean {
  if (isRefused(error)) return error.kind === 'Fenced';
  if (error instanceof FsError) return error.errno !== 'EIO';
  return !(error instanceof Lost);
}
