import {FsError} from '../../base/errors.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {Env} from '../../env/env.js';
import {CHUNK_BYTES_MAX, COLUMNS_MAX} from '../../layout/scheme.js';
import type {ColumnRef, Range} from '../../protocol/gen/wire.js';
import type {ChunkLog} from '../chunk-log.js';
import type {ColumnStore} from '../column-store.js';
import type {ColumnId, ColumnShape} from '../format.js';
import type {Intents} from '../intents.js';

/** Counters since the start. */
export interface DataStats {
  requests: number;
  bytesIn: number;
  bytesOut: number;
  syncs: number;
  /** Payloads that did not have the sums they came with. */
  sumErrors: number;
  /** Blocks that failed their sum at rest, as seen here or told by readers. */
  badBlocks: number;
}

/** What a data server's operations work with. */
export interface DataContext {
  readonly env: Env;
  readonly store: ColumnStore;
  readonly intents: Intents;
  readonly missed: ChunkLog;
  readonly stats: DataStats;
  /** Refuses (StaleEpoch, BehindEpoch) a request that was made under another map. */
  check(epoch: number): void;
  /** Takes free space; FsError ENOSPC when only the reserve is left. */
  room(bytes: number): void;
  /** Slots of the own group that are away. */
  awaySlots(): readonly number[];
  slot(): number;
  slotCount(): number;
}

const RANGES_MAX = 4096;

export const idOf = ({oid, chunk, generation}: ColumnRef): ColumnId => ({oid, chunk, generation});
export const shapeOf = ({column, k, m, unitBytes}: ColumnRef): ColumnShape => ({
  column,
  k,
  m,
  unitBytes,
});

/** A peer's words about a column; EINVAL for what cannot be. */
export function checkRef(ref: ColumnRef): void {
  const {oid, k, m, column} = ref;
  if (oid < 1 || k < 1 || k + m > COLUMNS_MAX || column >= k + m) {
    throw new FsError('EINVAL', `column ${column} of ${k}+${m} of object ${oid}`);
  }
}

/** Whole blocks inside a column. Returns the sum of the lengths. */
export function checkRanges(ranges: readonly Range[], bytesMax: number): number {
  if (ranges.length === 0 || ranges.length > RANGES_MAX)
    throw new FsError('EINVAL', `${ranges.length} ranges`);
  let sum = 0;
  for (const {offset, length} of ranges) {
    if (offset % BLOCK_BYTES !== 0 || length % BLOCK_BYTES !== 0 || length === 0) {
      throw new FsError('EINVAL', `range ${offset}+${length} is not of whole blocks`);
    }
    if (offset + length > CHUNK_BYTES_MAX) throw new FsError('EFBIG', `range ${offset}+${length}`);
    sum += length;
  }
  if (sum > bytesMax) throw new FsError('EINVAL', `${sum} bytes in one request`);
  return sum;
}

/**
 * Before a column is changed: the chunk is in the intent log, and in the missed log for every slot that holds a column of it
 * and is away. Both durably; at once if it is there already.
 */
export async function announce(context: DataContext, ref: ColumnRef): Promise<void> {
  const id = idOf(ref);
  const slots = context.slotCount();
  // Own slot and own column give where the chunk's column 0 lies.
  const first = (context.slot() - ref.column + slots) % slots;
  const missing = context
    .awaySlots()
    .filter((slot) => (slot - first + slots) % slots < ref.k + ref.m)
    .map((slot) => ({slot, ...id}));
  const intent = context.intents.enter(id);
  if (missing.length > 0) await context.missed.add(missing);
  await intent;
}
