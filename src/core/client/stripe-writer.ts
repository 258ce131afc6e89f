import {FsError, Lost, messageOf} from '../base/errors.js';
import {PAYLOAD_BYTES_MAX} from '../base/pool.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import {isAway, writable} from '../cluster/map.js';
import {CHUNK_BYTES_MAX} from '../layout/scheme.js';
import {stripeBytes} from '../layout/stripe.js';
import {OPS} from '../protocol/ops.js';
import {isRefused, settleRefusal, WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {ExtentList} from './extents.js';
import {
  columnWrite,
  encodePiece,
  fillPiece,
  type Piece,
  piecesOf,
  releasePiece,
  stripeAt,
  wantsOf,
} from './piece.js';
import {type ChunkPlace, canWrite, columnRef, locate} from './place.js';
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
  readonly noted: Map<number, number>;
  /** The lease is being given up: nothing more may be sent. */
  revoked(): boolean;
  /** A change of the chunk was given up; some columns have it maybe, others do not. */
  failed(chunk: number): void;
  /** What was given up may have been sent, and may reach its column at any time while this epoch lasts. */
  doubtful(epoch: number): void;
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
  const underWay = new Set<Promise<void>>();
  let failure: {error: unknown} | null = null;
  for (let at = dirty.next(0); at !== -1 && failure === null; ) {
    const batch = nextBatch(target, dirty, at);
    at = dirty.next(batch.to);
    const bytes = batch.bytes * (k + m);
    await window.enter(bytes);
    if (failure !== null) {
      window.leave(bytes);
      break;
    }
    const release = (): void => {
      for (const piece of batch.pieces) releasePiece(path, piece);
      window.leave(bytes);
    };
    try {
      await prepare(path, target, dirty, batch);
    } catch (error) {
      release();
      failure = {error};
      break;
    }
    const write: Promise<void> = send(path, target, batch)
      .then(() => done(batch.from, batch.to))
      .catch((error: unknown) => {
        failure ??= {error};
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
  };
  for (let next = at; next !== -1; next = dirty.next(batch.to)) {
    const {chunk, stripe, base} = stripeAt(layout, next);
    if (chunk !== batch.chunk) break;
    const pieces = piecesOf(layout, dirty, base, stripe);
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

/** Reads what is missing, then computes redundancy and sums. */
async function prepare(
  path: BytePath,
  target: WriteTarget,
  dirty: ExtentList,
  batch: Batch,
): Promise<void> {
  const {layout, flushedSize} = target;
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
  await onLiveColumns(path, target, batch.chunk, changed, (place, column) => {
    const {payload, ...request} = columnWrite(path, target.layout, batch.pieces, column)!;
    for (const segment of payload) path.stats.dataBytesOut += segment.length;
    const message = {ref: columnRef(place, column, path.repair), ...request};
    const options = {payload, deadlineMs: WRITE_LATE_MS};
    return path.columns.call(place.group, place.slots[column]!, OPS.write, message, options);
  });
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
  for (let column = 0; column < k + m; column++) {
    if (!writable(place.infos[column]!)) missed |= changed(column) ? 1 << column : 0;
    else if (note || changed(column)) mask |= 1 << column;
  }
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

function isFinal(error: unknown): boolean {
  if (isRefused(error)) return error.kind === 'Fenced';
  if (error instanceof FsError) return error.errno !== 'EIO';
  return !(error instanceof Lost);
}
