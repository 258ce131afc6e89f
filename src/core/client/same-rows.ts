import {messageOf} from '../base/errors.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import type {ColumnSums} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {LOST_SUM, READ_LATE_MS, sumAt} from './column-io.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, columnReadable, columnRef} from './place.js';

/** Sums of one column in one message. */
const SUM_BYTES_MAX = 64 * KIB;

/** Blocks of a column that `sameRows` takes at once. */
export const rowsAtOnce = (k: number): number => Math.floor(SUM_BYTES_MAX / (4 * (1 + k)));

/** Beyond what was written there are zeros, whose sum is kept as 0. */
const at = (sums: Uint8Array, index: number): number =>
  4 * index < sums.length ? sumAt(sums, index) : 0;

/**
 * Of `blocks` rows from `offset` on: in which of them does a column that may lack something have what the others have, by the sums alone? So a
 * recovery moves what was changed, and not the whole column. Under the object's lease. Null: they do not say. That the column's own bytes have
 * their sums is not looked at: whoever lost what was not synced asks for all rows.
 */
export async function sameRows(
  path: BytePath,
  place: ChunkPlace,
  column: number,
  offset: number,
  blocks: number,
): Promise<boolean[] | null> {
  const {k, m} = place.layout;
  const mine = column < k;
  const others = [...Array(k + m).keys()].filter(
    (other) => other !== column && (k === 1 || (mine ? other >= k : other < k)),
  );
  const asked = others.filter((other) => columnReadable(place, other));
  // What redundancy should be takes all data; what data should be is said by any redundancy, and by all of it if it is in doubt.
  if (asked.length === 0 || (!mine && k > 1 && asked.length < k)) return null;
  const ask = async (one: number): Promise<ColumnSums> => {
    const items = [{ref: columnRef(place, one, true), offset, blocks}];
    path.stats.dataCalls++;
    const slot = place.slots[one]!;
    const {message} = await path.columns.call(
      place.group,
      slot,
      OPS.sums,
      {items},
      {deadlineMs: READ_LATE_MS},
    );
    return message.columns[0]!;
  };
  let own: ColumnSums;
  let theirs: ColumnSums[];
  try {
    [own, ...theirs] = (await Promise.all([column, ...asked].map(ask))) as [
      ColumnSums,
      ...ColumnSums[],
    ];
  } catch (error) {
    path.log.debug('sums.unknown', {oid: place.oid, reason: messageOf(error)});
    return null;
  }
  if (own.bytes === 0 || own.unreadable || theirs.some(({unreadable}) => unreadable)) return null;
  return Array.from({length: blocks}, (_, row) => {
    const sum = at(own.sums, row);
    if (sum === LOST_SUM) return false;
    if (k === 1) return theirs.every((one) => at(one.sums, row) === sum);
    return mine
      ? theirs.every((one) => at(one.covered, row * k + column) === sum)
      : theirs.every((one, data) => at(own.covered, row * k + data) === at(one.sums, row));
  });
}

/** The parts of a column from `offset` on whose rows are not the same, in pieces of at most `most` bytes. */
export function* differing(
  same: readonly boolean[],
  offset: number,
  most: number,
): Generator<{offset: number; length: number}> {
  for (let row = 0; row < same.length; ) {
    if (same[row]) {
      row++;
      continue;
    }
    let end = row + 1;
    while (end < same.length && !same[end] && (end - row) * BLOCK_BYTES < most) end++;
    yield {offset: offset + row * BLOCK_BYTES, length: (end - row) * BLOCK_BYTES};
    row = end;
  }
}
