import type {ReadCopy} from '../protocol/gen/wire.js';
import {LEASE} from '../protocol/ops.js';
import type {ColumnData} from './column-io.js';
import {isRefused} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {type ChunkPlace, columnReadable} from './place.js';

const NONE: readonly ReadCopy[] = [];

/**
 * Where data columns of an object are once more, as the meta server said with the lease for reading; to be believed for
 * as long as that is held.
 */
export class HeldCopies {
  /** Of the lease that they came with. */
  readonly tenure: number;
  readonly #byChunk: Map<number, ReadCopy[]>;

  constructor(tenure: number, copies: readonly ReadCopy[]) {
    this.tenure = tenure;
    this.#byChunk = Map.groupBy(copies, ({chunk}) => chunk);
  }

  of(chunk: number): readonly ReadCopy[] {
    return this.#byChunk.get(chunk) ?? NONE;
  }

  /** It could not be read. */
  drop(copy: ReadCopy): void {
    const rest = this.of(copy.chunk).filter((one) => one !== copy);
    this.#byChunk.set(copy.chunk, rest);
  }
}

/** What may be read of them now; null: there are none, or the object is not held for reading. */
export function copiesOf({copies, mode, tenure}: Held): HeldCopies | null {
  return mode === LEASE.read && copies?.tenure === tenure ? copies : null;
}

/** All that there are, as the meta server says to who holds the object for reading. */
export function setCopies(held: Held, copies: readonly ReadCopy[]): void {
  held.copies = copies.length === 0 ? null : new HeldCopies(held.tenure, copies);
}

/**
 * A range of a data column from a read copy, if one is the better place to read it, and all of it is well; null: the column itself is
 * to be read. Never rejects but with a Refusal.
 */
export async function readCopied(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  range: {offset: number; length: number},
  copies: HeldCopies | null | undefined,
): Promise<ColumnData | null> {
  if (!copies) return null;
  const some = copies.of(place.chunk);
  if (some.length === 0) return null;
  const readable = columnReadable(place, column);
  const copy = path.copies.instead(path.columns.map, place, readable ? column : -1, some);
  if (copy === null) return null;
  try {
    const {offset, length} = range;
    // It has data columns; with one of them it is what any column has.
    const data = await path.joint.read(path, place, column % place.layout.k, offset, length, copy);
    if (data.bad === null) {
      path.stats.copyReads++;
      return data;
    }
    if (data.slot !== -1) path.pool.release(data.slot);
  } catch (error) {
    if (isRefused(error)) throw error;
  }
  copies.drop(copy);
  return null;
}
