import {FsError} from '../../base/errors.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {Env} from '../../env/env.js';
import {CHUNK_BYTES_MAX, invalidScheme} from '../../layout/scheme.js';
import type {ColumnRef, Range} from '../../protocol/gen/wire.js';
import type {Backtraces} from '../backtraces.js';
import type {ChangeWatch} from '../change-watch.js';
import type {ChunkLog} from '../chunk-log.js';
import type {ColumnStore} from '../column-store.js';
import type {ColumnId, ColumnShape} from '../format.js';
import type {Gate} from '../gate.js';
import type {Intents} from '../intents.js';
import type {Life} from '../life.js';
import type {Load} from '../load.js';
import {awaySlots, SUSPECTED} from '../missed.js';
import type {Permit} from '../permits.js';
import type {Parts} from '../piece-watch.js';
import type {ReadCopies} from '../read-copies.js';
import type {Room} from '../room.js';

/** Counters since the start. */
export interface DataStats {
  requests: number;
  reads: number;
  writes: number;
  bytesIn: number;
  bytesOut: number;
  syncs: number;
  /** Payloads that did not have the sums they came with. */
  sumErrors: number;
  /** Blocks that failed their sum at rest, as seen here or told by readers. */
  badBlocks: number;
  /** Reads that read copies answered, and what of `bytesOut` came from these. */
  copyReads: number;
  copyBytesOut: number;
}

export const NO_STATS: DataStats = {
  requests: 0,
  reads: 0,
  writes: 0,
  bytesIn: 0,
  bytesOut: 0,
  syncs: 0,
  sumErrors: 0,
  badBlocks: 0,
  copyReads: 0,
  copyBytesOut: 0,
};

/** What a data server's operations work with. */
export interface DataParts {
  readonly env: Pick<Env, 'clock' | 'codec' | 'disk' | 'log' | 'pool' | 'steering' | 'traffic'>;
  readonly store: ColumnStore;
  readonly intents: Intents;
  readonly missed: ChunkLog;
  readonly changes: ChangeWatch;
  readonly gate: Gate;
  readonly room: Room;
  readonly life: Life;
  readonly stats: DataStats;
  readonly copies: ReadCopies;
  readonly backtraces: Backtraces;
  readonly load: Load;
  /** Has it been ready since its folder was empty? */
  whole(): boolean;
  /** The disk lost what it had taken: the process must end, and others must not trust it. */
  failed(error: unknown): void;
}

/** A connection's; the meta server's has session 0. */
export interface DataContext extends DataParts {
  readonly session: number;
  /** It gives way to others, and is told when there are any. */
  readonly agent: boolean;
  /** What it may touch; null or absent: everything. */
  readonly permit?: Permit | null;
}

/** A request came: see `Load`. */
export function count({stats, load, agent}: Pick<DataContext, 'stats' | 'load' | 'agent'>): void {
  stats.requests++;
  if (!agent) load.served();
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
  if (oid < 1 || invalidScheme({k, m}) !== null || column >= k + m) {
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
 * Changes a column, once the chunk is in the intent log, and in the missed log for every slot that holds a column of
 * it and is away. Both durably; at once if it is there already. `parts`: what of the column may be another afterwards, as it is known at the end.
 */
export async function change<T>(
  context: DataParts,
  ref: ColumnRef,
  parts: Parts,
  work: () => Promise<T>,
): Promise<T> {
  const id = idOf(ref);
  const {intents, missed, changes} = context;
  changes.note(id, parts);
  const entered = intents.enter(id, ref);
  try {
    const note = ref.repair ? SUSPECTED : 0;
    const lacking = awaySlots(context.gate.around, ref);
    if (lacking.length > 0) {
      await Promise.all([entered, missed.add(lacking.map((slot) => ({slot, ...id, note})))]);
    } else await entered;
    return await work();
  } finally {
    changes.note(id, parts);
    intents.leave(id);
  }
}
