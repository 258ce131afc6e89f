import {FsError} from '../base/errors.js';
import {BLOCK_BYTES} from '../base/units.js';
import {SLOT, writable} from '../cluster/map.js';
import {storedSums} from './blocks.js';
import {type ColumnData, isRefused, readColumn, sumAt} from './column-io.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, columnReadable} from './place.js';

/** Too few columns answered; with a newer map, or in a moment, there may be enough. */
export class TooFew extends Error {
  override readonly name = 'TooFew';
  constructor(
    message: string,
    /** False: the map itself says so. */
    readonly transient: boolean,
    /** No server that may come back, and none that did not answer, could change it. */
    readonly final: boolean,
  ) {
    super(message);
  }
}

/** EIO: what the redundancy covers is not what the other columns hold. */
export class Disagree extends FsError {
  /** That was found before, and the block was given up; else a resync may settle it soon, if it gets the lease. */
  settled = false;

  constructor(detail: string) {
    super('EIO', detail);
  }
}

/** And no server that may come back could change that: everything that can be known of the block has been read. */
export class Torn extends Disagree {}

/** What was not read lies in slots that are recovering and lack it, too. */
function final(place: ChunkPlace, column: number, rows: Rows, away: Set<number>): boolean {
  return rows.every((row, other) => {
    if (row !== null) return true;
    if (away.has(other)) return false;
    return other === column || place.infos[other]!.state === SLOT.recovering;
  });
}

/** The same range of each column; null: not read. */
type Rows = (ColumnData | null)[];

/**
 * Fills pool memory at `target` with [offset, offset + length) of data column `column` (with k = 1: any column), computed from k others.
 * `away` are columns that did not answer just now; it grows. What the redundancy covers must be what the survivors hold, and
 * the result must have the covered sum (docs, "Slots, epochs, redundancy"); EIO where that cannot be had.
 * Rejects with TooFew or Refusal when it could not even try.
 */
export async function reconstruct(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  offset: number,
  length: number,
  target: number,
  away: Set<number>,
): Promise<void> {
  const {k, m} = place.layout;
  const rows: Rows = new Array<ColumnData | null>(k + m).fill(null);
  const zeros = path.pool.payload(await path.slots.zeros());
  try {
    await gather(path, place, column, offset, length, away, rows, k);
    if (rows.filter((row) => row !== null).length < k) throw tooFew(place, column, away);
    if (solve(path, place, column, rows, 0, length, target, zeros)) return;
    // Something does not fit together. With everything that can be had, each block by whatever is good for it.
    await gather(path, place, column, offset, length, away, rows, k + m);
    for (let at = 0; at < length; at += BLOCK_BYTES) {
      if (solve(path, place, column, rows, at, BLOCK_BYTES, target + at, zeros)) continue;
      const where = `object ${place.oid} chunk ${place.chunk} column ${column} byte ${offset + at}`;
      const reason = `${where}: too few columns agree`;
      if (final(place, column, rows, away)) throw new Torn(reason);
      // Who did not answer just now may have what is lacking.
      throw away.size > 0 ? new TooFew(reason, true, false) : new Disagree(reason);
    }
  } finally {
    for (const row of rows) if (row !== null && row.slot !== -1) path.pool.release(row.slot);
  }
}

function tooFew(place: ChunkPlace, column: number, away: ReadonlySet<number>): TooFew {
  const {k, m} = place.layout;
  let known = 0;
  for (let other = 0; other < k + m; other++)
    if (other !== column && columnReadable(place, other)) known++;
  const last = away.size === 0 && place.infos.every(writable);
  return new TooFew(`object ${place.oid} chunk ${place.chunk}: too few columns`, known >= k, last);
}

/** Reads others until `want` of them are there, or no more can be had. Data columns come first: they cost least. */
async function gather(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  offset: number,
  length: number,
  away: Set<number>,
  rows: Rows,
  want: number,
): Promise<void> {
  const {k} = place.layout;
  for (;;) {
    const missing = want - rows.filter((row) => row !== null).length;
    const next: number[] = [];
    for (let other = 0; other < rows.length && next.length < missing; other++) {
      if (other === column || rows[other] !== null || away.has(other)) continue;
      if (columnReadable(place, other)) next.push(other);
    }
    if (next.length === 0) return;
    let refused: unknown = null;
    await Promise.all(
      next.map(async (other) => {
        try {
          rows[other] = await readColumn(path, place, other, offset, length, other >= k);
        } catch (error) {
          if (isRefused(error)) refused = error;
          away.add(other);
        }
      }),
    );
    if (refused !== null) throw refused;
  }
}

/** One choice of k columns for [at, at + length) of the rows; false if there is none, or its result is not what was covered. */
export function solve(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  rows: Rows,
  at: number,
  length: number,
  target: number,
  zeros: number,
): boolean {
  const {k, m} = place.layout;
  const first = at / BLOCK_BYTES;
  const count = length / BLOCK_BYTES;
  const sound = (other: number): boolean => {
    const row = rows[other];
    if (row === null || row === undefined) return false;
    return row.bad === null || !row.bad.some((block) => block >= first && block < first + count);
  };
  const chosen: number[] = [];
  for (let other = 0; other < k; other++) if (other !== column && sound(other)) chosen.push(other);
  const dataCount = chosen.length;
  if (k === 1) return copyFrom(path, rows, sound, at, length, target);
  const covers = (row: ColumnData, data: number, block: number): number =>
    sumAt(row.covered, block * k + data);
  let expected: ColumnData | null = null;
  for (let other = k; other < k + m && chosen.length < k; other++) {
    if (!sound(other)) continue;
    const row = rows[other]!;
    let agrees = true;
    for (let block = first; agrees && block < first + count; block++) {
      for (let i = 0; agrees && i < dataCount; i++)
        agrees = covers(row, chosen[i]!, block) === sumAt(rows[chosen[i]!]!.sums, block);
      if (agrees && expected !== null)
        agrees = covers(expected, column, block) === covers(row, column, block);
    }
    if (!agrees) continue;
    expected ??= row;
    chosen.push(other);
  }
  if (chosen.length < k || expected === null) return false;
  const memories = chosen.map((other) => {
    const row = rows[other]!;
    return row.slot === -1 ? zeros : row.memory + at;
  });
  path.codec.reconstruct(path.pool.memory, k, m, chosen, memories, [column], [target], length);
  const result = storedSums(path.codec, path.pool.memory, target, length);
  for (let block = 0; block < count; block++)
    if (sumAt(result, block) !== covers(expected, column, first + block)) return false;
  path.stats.reconstructedBlocks += count;
  return true;
}

/** With one data column every other sound column holds the bytes themselves. */
function copyFrom(
  path: BytePath,
  rows: Rows,
  sound: (other: number) => boolean,
  at: number,
  length: number,
  target: number,
): boolean {
  const from = rows.findIndex((_row, other) => sound(other));
  if (from === -1) return false;
  const row = rows[from]!;
  if (row.slot === -1) path.pool.bytes.fill(0, target, target + length);
  else path.pool.bytes.copyWithin(target, row.memory + at, row.memory + at + length);
  path.stats.reconstructedBlocks += length / BLOCK_BYTES;
  return true;
}
