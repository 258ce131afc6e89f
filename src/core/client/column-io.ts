import {Lost, messageOf, Refusal} from '../base/errors.js';
import type {Slot} from '../base/pool.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import {sleep} from '../env/clock.js';
import type {ReadCopy} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, columnReadable, columnRef} from './place.js';

/** A column that has not answered by then is treated as lost by reads, and reported. */
export const READ_LATE_MS = 3000;
/** As long as that a column may be late before a write or a sync looks at the map again. */
export const WRITE_LATE_MS = 5000;
/** So long a failed column is waited for (DESIGN.md section 6); then the operation is EIO. */
export const COLUMN_WAIT_MS = 30_000;
/** A server that is behind learns the map in a moment. */
const BEHIND_MS = 20;

/** A plan was made under a map that no longer holds: make a new one. Never leaves core/client. */
export class Again extends Error {
  override readonly name = 'Again';
}

/** A server cannot take part under this map, for reasons that a newer map or a moment's time resolves. */
export function isRefused(error: unknown): error is Refusal {
  return error instanceof Refusal;
}

/** After a refusal of a data server: waits for what would change the answer. Throws what is final. */
export async function settleRefusal(path: BytePath, place: ChunkPlace, error: Refusal) {
  switch (error.kind) {
    case 'Fenced':
      throw error;
    case 'StaleEpoch':
    case 'WrongServer':
      await path.columns.newer(place.epoch, 1000);
      return;
    default:
      await sleep(path.clock, BEHIND_MS);
  }
}

/** One range of a column that was read. */
export interface ColumnData {
  /** One reference is owned; -1: it is all zeros. */
  slot: Slot;
  memory: number;
  /** As stored: 4 bytes for each block. Empty: as for zeros. */
  sums: Uint8Array;
  /** 4 * k bytes for each block of a redundancy column, if asked for. Empty: as for zeros. */
  covered: Uint8Array;
  /** Blocks (counted from the start of the range) whose bytes fail their sum; null: none. */
  bad: number[] | null;
}

/** The sum of blocks that were given up (rebuild.ts), or that a disk cannot read: nothing may be made of their bytes. */
export const LOST_SUM = 0xffff_ffff;

/** Sums of holes are zeros (docs, "A column file"). */
export const sumAt = (sums: Uint8Array, index: number): number => {
  if (sums.length === 0) return 0;
  const at = index * 4;
  return (sums[at]! | (sums[at + 1]! << 8) | (sums[at + 2]! << 16) | (sums[at + 3]! << 24)) >>> 0;
};

/** As `sumAt`; beyond what was written there are zeros. */
export const knownSum = (sums: Uint8Array, index: number): number =>
  4 * index < sums.length ? sumAt(sums, index) : 0;

/** Sums of one column in one message. */
const SUM_BYTES_MAX = 64 * KIB;

/** As many blocks, with what redundancy covers. */
export const rowsAtOnce = (k: number): number => Math.floor(SUM_BYTES_MAX / (4 * (1 + k)));

/** As `readRanges`, of one range. */
export function readColumn(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  offset: number,
  length: number,
  covered: boolean,
): Promise<ColumnData> {
  return readRanges(path, place, column, [{offset, length}], covered);
}

/**
 * Reads ranges of one column, which lie one after the other then, and verifies them. Rejects with Lost (reported already), Refusal, or
 * FsError (the server could not read it).
 */
export async function readRanges(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  ranges: readonly {offset: number; length: number}[],
  covered: boolean,
  copy: ReadCopy | null = null,
): Promise<ColumnData> {
  const {columns, codec, pool, stats} = path;
  const length = ranges.reduce((sum, range) => sum + range.length, 0);
  const {group, slot: slotIndex} = copy ?? {group: place.group, slot: place.slots[column]!};
  stats.dataCalls++;
  const uuid = copy?.server ?? place.infos[column]!.server?.uuid;
  const answered = uuid === undefined ? null : path.copies.begin(uuid, length);
  const reply = await columns
    .call(
      group,
      slotIndex,
      OPS.read,
      {
        ref: columnRef(place, column),
        ranges: [...ranges],
        covered,
        verify: false,
        copy: copy?.id ?? 0,
      },
      {deadlineMs: READ_LATE_MS},
    )
    .catch((error: unknown) => {
      answered?.(false);
      if (error instanceof Lost) columns.report(group, slotIndex, place.epoch, messageOf(error));
      throw error;
    });
  answered?.(true);
  const {message, payload} = reply;
  if (message.busy) stats.busyReplies++;
  const blocks = length / BLOCK_BYTES;
  if (payload === null) {
    const none = message.sums;
    if (copy === null && message.unwritten && column < place.layout.k + place.layout.m) {
      const bad = await lostOf(path, place, column, ranges);
      if (bad !== null) return {slot: -1, memory: -1, sums: none, covered: none, bad};
    }
    // Data of a hole is zeros, and so must be its sums; a sum of something else means that the bytes were lost.
    const bad = badOf(message.sums, new Uint8Array(message.sums.length));
    return {slot: -1, memory: -1, sums: message.sums, covered: message.covered, bad};
  }
  stats.dataBytesIn += payload.length;
  if (payload.length !== length || message.sums.length !== blocks * 4) {
    pool.release(payload.slot);
    throw new Lost(`column ${column} of ${place.oid}.${place.chunk} answered another range`);
  }
  const actual = storedSums(codec, pool.memory, payload.offset, length);
  return {
    slot: payload.slot,
    memory: payload.offset,
    sums: message.sums,
    covered: message.covered,
    bad: badOf(message.sums, actual),
  };
}

/** Ranges of one column in requests for sums, and how many blocks of them there are before. */
function* sumParts(
  k: number,
  ranges: readonly {offset: number; length: number}[],
): Generator<{offset: number; blocks: number; before: number}> {
  let before = 0;
  for (const {offset, length} of ranges) {
    const count = length / BLOCK_BYTES;
    for (let done = 0; done < count; ) {
      const blocks = Math.min(rowsAtOnce(k), count - done);
      yield {offset: offset + done * BLOCK_BYTES, blocks, before: before + done};
      done += blocks;
    }
    before += count;
  }
}

/**
 * A data column says that nothing was ever written there: which of these blocks does redundancy cover as something else, although all writes of the
 * chunk have been settled? Then the column was lost, as by a file that somebody removed, and they are as bad as blocks that fail their sums.
 * Null: none, as far as anybody says.
 */
async function lostOf(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  ranges: readonly {offset: number; length: number}[],
): Promise<number[] | null> {
  const {k, m} = place.layout;
  if (column >= k && k > 1) return null;
  let other = k === 1 ? 0 : k;
  while (other < k + m && (other === column || !columnReadable(place, other))) other++;
  if (other === k + m) return null;
  const bad: number[] = [];
  const slot = place.slots[other]!;
  try {
    for (const {offset, blocks, before} of sumParts(k, ranges)) {
      path.stats.dataCalls++;
      const items = [{ref: columnRef(place, other), offset, blocks}];
      const late = {deadlineMs: READ_LATE_MS};
      const {message} = await path.columns.call(place.group, slot, OPS.sums, {items}, late);
      const {sums, covered, open} = message.columns[0]!;
      // A write may have reached the redundancy and not the data.
      if (open) return null;
      for (let row = 0; row < blocks; row++) {
        const said = k === 1 ? knownSum(sums, row) : knownSum(covered, row * k + column);
        if (said !== 0) bad.push(before + row);
      }
    }
  } catch (error) {
    if (isRefused(error)) throw error;
    path.log.debug('sums.unknown', {oid: place.oid, reason: messageOf(error)});
  }
  return bad.length === 0 ? null : bad;
}

function badOf(stored: Uint8Array, actual: Uint8Array): number[] | null {
  if (Buffer.compare(stored, actual) === 0) return null;
  const bad: number[] = [];
  for (let block = 0; block * 4 < stored.length; block++) {
    if (sumAt(stored, block) !== sumAt(actual, block)) bad.push(block);
  }
  return bad;
}
