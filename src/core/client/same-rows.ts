import {messageOf} from '../base/errors.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {ColumnSums} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {knownSum, LOST_SUM, READ_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import {type ChunkPlace, columnReadable, columnRef} from './place.js';

/**
 * Of `blocks` rows from `offset` on, at most `rowsAtOnce`: in which of them does a column that may lack something have what the others have, by the sums alone? So a
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
    if (message.busy) path.stats.busyReplies++;
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
    const sum = knownSum(own.sums, row);
    if (sum === LOST_SUM) return false;
    if (k === 1) return theirs.every((one) => knownSum(one.sums, row) === sum);
    return mine
      ? theirs.every((one) => knownSum(one.covered, row * k + column) === sum)
      : theirs.every(
          (one, data) => knownSum(own.covered, row * k + data) === knownSum(one.sums, row),
        );
  });
}

/** The parts of a column from `offset` on whose rows are not the same, in pieces of at most `most` bytes, as it is then. */
export function* differing(
  same: readonly boolean[],
  offset: number,
  most: () => number,
): Generator<{offset: number; length: number}> {
  for (let row = 0; row < same.length; ) {
    if (same[row]) {
      row++;
      continue;
    }
    let end = row + 1;
    const rows = most() / BLOCK_BYTES;
    while (end < same.length && !same[end] && end - row < rows) end++;
    yield {offset: offset + row * BLOCK_BYTES, length: (end - row) * BLOCK_BYTES};
    row = end;
  }
}
