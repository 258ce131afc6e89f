import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {PAYLOAD_BYTES_MAX, type Segment, type Slot} from '../base/pool.js';
import {alignDown, alignUp, BLOCK_BYTES} from '../base/units.js';
import {readable, writable} from '../cluster/map.js';
import {sleep} from '../env/clock.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes, stripeBytes} from '../layout/stripe.js';
import {OPS} from '../protocol/ops.js';
import {
  type ColumnData,
  isRefused,
  LOST_SUM,
  readRanges,
  settleRefusal,
  sumAt,
} from './column-io.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, canWrite, columnReadable, columnRef, locate} from './place.js';
import {type HeldCopies, readCopied} from './read-copies.js';
import {Disagree, reconstruct, TooFew, Torn} from './reconstruct.js';
import {trustedPlace} from './trusted.js';

const NONE: ReadonlySet<number> = new Set();
/** So long columns that others are writing may not agree, and so soon they are read again. */
const SHARED_WAIT_MS = 300;
const SHARED_AGAIN_MS = 5;

/** While a read waits for servers it looks so often, and less often when it has waited for long. */
const LOOK_MS: Ms = 250;
const LONG_MS: Ms = 20_000;
const LOOK_LONG_MS: Ms = 2_000;

/** A range of one data column that is wanted. */
export interface Want {
  column: number;
  offset: number;
  length: number;
}

/** What was read for a want: one reference of `slot` is owned; slot -1: all zeros, and no memory. */
export interface Got {
  slot: Slot;
  memory: number;
}

/** Which object, and whether bad blocks that are found may be written back (its lease is held). */
export interface ReadTarget {
  oid: number;
  layout: Layout;
  /**
   * Called with a block that was mended, so that it is written back while nothing else writes the object.
   * The memory is valid until what is returned resolves. Null: only count it.
   */
  heal: ((mended: Mended) => Promise<void>) | null;
  /** Others may be writing other columns of the same stripes: what does not agree now will in a moment. */
  shared?: boolean;
  /** Where its chunks are once more, if it is held for reading. */
  copies?: HeldCopies | null;
  /** As in Held; none: columns may differ. */
  alike?: number;
  /** Is the object's lease wanted back? Then nothing is waited for under it: what is waited for may be what wants it. */
  wanted?: () => boolean;
}

/** A read that would have to wait for servers, while others wait for its lease: it is to be begun again under the next one. */
export class GaveWay extends Error {
  override readonly name = 'GaveWay';
}

export interface Mended {
  place: ChunkPlace;
  column: number;
  offset: number;
  memory: number;
  slot: Slot;
}

/**
 * Reads ranges of data columns of one chunk, each at most PAYLOAD_BYTES_MAX, all columns at once; what is away, late
 * or bad is reconstructed. FsError EIO when the redundancy is exceeded. `writing`: for a write of the same
 * stripe, which is given up when it is revoked. `tried`: columns that did not answer a moment ago.
 */
export async function fetchColumns(
  path: BytePath,
  target: ReadTarget,
  chunk: number,
  wants: readonly Want[],
  writing: {revoked(): boolean} | null = null,
  tried: ReadonlySet<number> = NONE,
): Promise<Got[]> {
  const start = path.clock.now();
  for (let first = true; ; first = false) {
    const mapped = locate(path.columns.map, target.layout, target.oid, chunk);
    // A repair knows itself whom it may trust.
    const place = path.repair || canWrite(mapped) ? mapped : await trustedPlace(path, mapped);
    const away = new Set<number>(first ? tried : NONE);
    const groups = [...Map.groupBy(wants, ({column}) => column).values()];
    const results = await Promise.allSettled(
      groups.map((group) => fetchGroup(path, target, place, group, away)),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed === undefined) {
      const found = new Map<Want, Got>();
      for (const [index, result] of results.entries()) {
        const {value} = result as PromiseFulfilledResult<Got[]>;
        for (const [nth, want] of groups[index]!.entries()) found.set(want, value[nth]!);
      }
      return wants.map((want) => found.get(want)!);
    }
    for (const result of results) if (result.status === 'fulfilled') releaseGot(path, result.value);
    if (writing?.revoked() === true) throw new FsError('EIO', 'too late for the recall');
    // What is recovering is about to be mended.
    const disagree = failed.reason instanceof Disagree && target.shared === true;
    if (disagree && path.clock.now() - start < SHARED_WAIT_MS) {
      await sleep(path.clock, SHARED_AGAIN_MS);
      continue;
    }
    const reason =
      place !== mapped && failed.reason instanceof FsError
        ? new TooFew(failed.reason.message, true, false)
        : failed.reason;
    await onFailure(path, target, place, reason, start);
  }
}

export function releaseGot(path: BytePath, got: Iterable<Got>): void {
  for (const {slot} of got) if (slot !== -1) path.pool.release(slot);
}

/** Waits for what may make the next try succeed; throws what is final. */
async function onFailure(
  path: BytePath,
  target: ReadTarget,
  place: ChunkPlace,
  reason: unknown,
  start: number,
): Promise<void> {
  const waited = path.clock.now() - start;
  // Who waits for servers as long as it takes waits so for their answers, too.
  const late = waited >= Math.max(path.columnWaitMs, path.tooFewWaitMs);
  if (reason instanceof TooFew) {
    if (reason.transient ? late : Math.max(waited, failedFor(path, place)) >= path.tooFewWaitMs) {
      if (reason.final) throw new Torn(reason.message);
      throw new FsError('EIO', reason.message);
    }
    if (target.wanted?.() === true) throw new GaveWay(reason.message);
    await path.columns.newer(place.epoch, waited < LONG_MS ? LOOK_MS : LOOK_LONG_MS);
    return;
  }
  if (!isRefused(reason)) throw reason;
  if (late) throw new FsError('EIO', messageOf(reason));
  if (target.wanted?.() === true) throw new GaveWay(messageOf(reason));
  await settleRefusal(path, place, reason);
}

/** For how long fewer than k columns of a chunk have been there, by the map; a server that comes back gets as much time again. */
function failedFor({clock, columns}: BytePath, {group, slots, infos, layout}: ChunkPlace): Ms {
  const now = clock.now();
  const missing = slots.flatMap((slot, column) =>
    readable(infos[column]!) ? [] : [columns.cameAt?.(group, slot) ?? now],
  );
  const last = missing.toSorted((a, b) => a - b)[layout.m];
  return last === undefined ? 0 : now - last;
}

/** Ranges of one column in one request; where that does not work or some of it is bad, one by one. */
async function fetchGroup(
  path: BytePath,
  target: ReadTarget,
  place: ChunkPlace,
  wants: readonly Want[],
  away: Set<number>,
): Promise<Got[]> {
  const {k} = place.layout;
  const together = wants.length > 1;
  const column = k === 1 && together ? path.copies.pick(place, target.alike) : wants[0]!.column;
  if (together && columnReadable(place, column)) {
    const data = await readRanges(path, place, column, wants, false).catch((error: unknown) => {
      if (isRefused(error)) throw error;
      return null;
    });
    if (data !== null && data.bad === null) return splitGot(path, data, wants);
    if (data !== null && data.slot !== -1) path.pool.release(data.slot);
  }
  const results = await Promise.allSettled(
    wants.map((want) => fetchOne(path, target, place, want, away)),
  );
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined)
    return results.map((result) => (result as PromiseFulfilledResult<Got>).value);
  for (const result of results) if (result.status === 'fulfilled') releaseGot(path, [result.value]);
  throw failed.reason;
}

/** What was read together, with a reference for each. */
function splitGot(path: BytePath, {slot, memory}: ColumnData, wants: readonly Want[]): Got[] {
  if (slot === -1) return wants.map(() => ({slot: -1, memory: -1}));
  let at = memory;
  return wants.map(({length}, index) => {
    if (index > 0) path.pool.retain(slot);
    const got = {slot, memory: at};
    at += length;
    return got;
  });
}

async function fetchOne(
  path: BytePath,
  target: ReadTarget,
  place: ChunkPlace,
  want: Want,
  away: Set<number>,
): Promise<Got> {
  const {k, m} = place.layout;
  // With one data column every column is a copy of it.
  const copies = k === 1 ? m + 1 : 1;
  const first = k === 1 ? path.copies.pick(place, target.alike) : want.column;
  const copied = await readCopied(path, place, first, want, target.copies);
  if (copied !== null) return {slot: copied.slot, memory: copied.memory};
  for (let turn = 0; turn < copies; turn++) {
    const column = k === 1 ? (first + turn) % copies : first;
    if (!columnReadable(place, column) || away.has(column)) continue;
    let data: ColumnData;
    try {
      data = await path.joint.read(path, place, column, want.offset, want.length);
    } catch (error) {
      // EIO of one server is that column's failure; so is silence.
      if (isRefused(error)) throw error;
      away.add(column);
      continue;
    }
    if (data.bad === null) return {slot: data.slot, memory: data.memory};
    return mend(path, target, place, {...want, column}, data, data.bad, away);
  }
  if (k === 1) {
    const known = place.infos.some((_info, column) => columnReadable(place, column));
    const last = away.size === 0 && place.infos.every(writable);
    throw new TooFew(`object ${place.oid} chunk ${place.chunk}: no copy`, known, last);
  }
  const slot = await path.slots.alloc(want.length);
  try {
    const memory = path.pool.payload(slot);
    await reconstruct(path, place, want.column, want.offset, want.length, memory, away);
    return {slot, memory};
  } catch (error) {
    path.pool.release(slot);
    throw error;
  }
}

/** Replaces the blocks that fail their sums by reconstructed ones, in place, and sees that they are counted and healed. */
async function mend(
  path: BytePath,
  target: ReadTarget,
  place: ChunkPlace,
  want: Want,
  data: ColumnData,
  bad: readonly number[],
  away: Set<number>,
): Promise<Got> {
  let {slot, memory} = data;
  try {
    if (slot === -1) {
      slot = await path.slots.alloc(want.length);
      memory = path.pool.payload(slot);
      path.pool.bytes.fill(0, memory, memory + want.length);
    }
    path.stats.badBlocks += bad.length;
    path.log.warn('block.bad', {
      oid: place.oid,
      chunk: place.chunk,
      column: want.column,
      slot: place.slots[want.column],
      blocks: bad.length,
    });
    // What is known to be lost was counted when it was found.
    const found = bad.filter((block) => sumAt(data.sums, block) !== LOST_SUM);
    if (found.length > 0) reportBad(path, place, want, found);
    for (const block of bad) {
      const at = block * BLOCK_BYTES;
      const {column, offset} = want;
      const others = new Set(away);
      const settled = sumAt(data.sums, block) === LOST_SUM;
      await reconstruct(path, place, column, offset + at, BLOCK_BYTES, memory + at, others).catch(
        (error: unknown) => {
          if (error instanceof Disagree) error.settled = settled;
          throw error;
        },
      );
      await target.heal?.({place, column, offset: offset + at, memory: memory + at, slot});
    }
    return {slot, memory};
  } catch (error) {
    if (slot !== -1) path.pool.release(slot);
    throw error;
  }
}

/** Has the server count the blocks; that they were found is worth more than that the count arrives. */
function reportBad(path: BytePath, place: ChunkPlace, want: Want, bad: readonly number[]): void {
  const ranges = bad.map((block) => ({
    offset: want.offset + block * BLOCK_BYTES,
    length: BLOCK_BYTES,
  }));
  path.stats.dataCalls++;
  path.columns
    .call(place.group, place.slots[want.column]!, OPS.badBlock, {
      ref: columnRef(place, want.column),
      ranges,
    })
    .catch((error: unknown) => path.log.debug('bad-block.unsent', {reason: messageOf(error)}));
}

/**
 * The bytes [from, to) of an object, as segments that follow one another; one reference of each segment's slot is
 * the caller's. Bytes that nobody wrote are zeros.
 */
export async function readStripes(
  path: BytePath,
  target: ReadTarget,
  from: number,
  to: number,
): Promise<Segment[]> {
  const {layout} = target;
  const chunkBytes = chunkDataBytes(layout);
  const unit = Math.floor(from / layout.unitBytes);
  // Most reads are small, and most columns are well: then there is nothing to plan.
  if (to <= (unit + 1) * layout.unitBytes) return readInUnit(path, target, from, to);
  // One request of a column carries at most one payload; whole stripes keep the columns even.
  const stripes = Math.max(1, Math.floor(PAYLOAD_BYTES_MAX / layout.unitBytes));
  const windowBytes = stripes * stripeBytes(layout);
  const windows: Promise<Segment[]>[] = [];
  for (let at = from; at < to; ) {
    const chunk = Math.floor(at / chunkBytes);
    const base = chunk * chunkBytes;
    const end = Math.min(to - base, alignDown(at - base, windowBytes) + windowBytes, chunkBytes);
    windows.push(readWindow(path, target, chunk, at - base, end));
    at = base + end;
  }
  const results = await Promise.allSettled(windows);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    for (const result of results)
      if (result.status === 'fulfilled') path.slots.releaseAll(result.value);
    throw failed.reason;
  }
  return results.flatMap((result) => (result as PromiseFulfilledResult<Segment[]>).value);
}

/** Bytes of one unit: one request to its column; whatever is wrong with that is the business of `readWindow`. */
async function readInUnit(
  path: BytePath,
  target: ReadTarget,
  from: number,
  to: number,
): Promise<Segment[]> {
  const {oid, layout} = target;
  const {k} = layout;
  const chunkBytes = chunkDataBytes(layout);
  const chunk = Math.floor(from / chunkBytes);
  const base = chunk * chunkBytes;
  const place = locate(path.columns.map, layout, oid, chunk);
  const data = Math.floor((from - base) / layout.unitBytes) % k;
  const column = k === 1 ? path.copies.pick(place, target.alike) : data;
  let tried = NONE;
  if (columnReadable(place, column)) {
    const start = columnStart(layout, data, from - base);
    const offset = alignDown(start, BLOCK_BYTES);
    const length = alignUp(start + to - from, BLOCK_BYTES) - offset;
    try {
      const found =
        (await readCopied(path, place, column, {offset, length}, target.copies)) ??
        (await path.joint.read(path, place, column, offset, length));
      const {slot, memory, bad} = found;
      if (bad === null && slot !== -1)
        return [{slot, offset: memory + start - offset, length: to - from}];
      if (slot !== -1) path.pool.release(slot);
    } catch (error) {
      if (!isRefused(error)) tried = new Set([column]);
    }
  }
  return readWindow(path, target, chunk, from - base, to - base, tried);
}

/** [from, to) of one chunk, at most one payload of each column. */
async function readWindow(
  path: BytePath,
  target: ReadTarget,
  chunk: number,
  from: number,
  to: number,
  tried: ReadonlySet<number> = NONE,
): Promise<Segment[]> {
  const {layout} = target;
  const wants: Want[] = [];
  const index = new Array<number>(layout.k).fill(-1);
  for (let column = 0; column < layout.k; column++) {
    const start = columnStart(layout, column, from);
    const end = columnStart(layout, column, to);
    if (end <= start) continue;
    const offset = alignDown(start, BLOCK_BYTES);
    index[column] = wants.length;
    wants.push({column, offset, length: alignUp(end, BLOCK_BYTES) - offset});
  }
  const got = await fetchColumns(path, target, chunk, wants, null, tried);
  let zero = -1;
  try {
    if (got.some((piece) => piece.slot === -1)) zero = await path.slots.zeros();
  } catch (error) {
    releaseGot(path, got);
    throw error;
  }
  const segments: Segment[] = [];
  for (let at = from; at < to; ) {
    const unit = Math.floor(at / layout.unitBytes);
    const column = unit % layout.k;
    const length = Math.min(to, (unit + 1) * layout.unitBytes) - at;
    const want = wants[index[column]!]!;
    const piece = got[index[column]!]!;
    const inColumn = Math.floor(unit / layout.k) * layout.unitBytes + (at % layout.unitBytes);
    const slot = piece.slot === -1 ? zero : piece.slot;
    const offset =
      piece.slot === -1 ? path.pool.payload(zero) : piece.memory + inColumn - want.offset;
    const last = segments.at(-1);
    if (piece.slot !== -1 && last?.slot === slot && last.offset + last.length === offset)
      last.length += length;
    else {
      path.pool.retain(slot);
      segments.push({slot, offset, length});
    }
    at += length;
  }
  releaseGot(path, got);
  return segments;
}

/** How many bytes of a data column lie before byte `offset` of its chunk. */
export function columnStart(layout: Layout, column: number, offset: number): number {
  const stripe = Math.floor(offset / stripeBytes(layout));
  const rest = offset - stripe * stripeBytes(layout) - column * layout.unitBytes;
  return stripe * layout.unitBytes + Math.max(0, Math.min(rest, layout.unitBytes));
}
