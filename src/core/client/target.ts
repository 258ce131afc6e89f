import {messageOf} from '../base/errors.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {Layout} from '../layout/scheme.js';
import {includes} from '../lease/ranges.js';
import {OPS} from '../protocol/ops.js';
import {storedSums} from './blocks.js';
import {WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {columnRef} from './place.js';
import type {Mended} from './stripe-reader.js';
import type {WriteTarget} from './stripe-writer.js';
import {touch, unsynced} from './unsynced.js';

/** An object whose lease is held, as the paths of bytes see it while they run inside `held.exclusive`. */
export function writeTarget(
  held: Held,
  layout: Layout,
  {recent, synced}: Pick<WriteTarget, 'recent' | 'synced'> = {recent: null, synced: null},
): WriteTarget {
  const {tenure} = held;
  return {
    recent,
    synced,
    oid: held.oid,
    layout,
    pending: held.pending,
    flushedSize: held.flushedSize,
    touched: (chunk, entry) => {
      held.written++;
      touch(held, chunk, entry);
      held.settle.delete(chunk);
    },
    noted: held.noted,
    // Under the next session nothing may go on that was begun under the one before.
    revoked: () => held.revoked || held.tenure !== tenure,
    failed: (chunk) => held.unfinished.add(chunk),
    halves: held.halves,
    doubtful: (epoch) => {
      held.doubtful = Math.max(held.doubtful, epoch);
    },
    owns: held.split ? (range) => includes(held.parts, range) : null,
    refused: (chunk) => held.torn.add(chunk),
    shared: held.split,
    // What is being written is about to replace it, or the next reader finds it again.
    heal: null,
  };
}

/**
 * Writes a mended block back to the data column that it came from, under the lease that its reader holds: nobody
 * else writes the object meanwhile, and this client's own flushes wait. A data block that has the sum that the redundancy
 * covers changes nothing else. Never rejects: the reader has its bytes already. `found`: `held` as it was before the block was read.
 */
export async function heal(
  path: BytePath,
  held: Held,
  mended: Mended,
  found: Pick<Held, 'tenure' | 'written'>,
): Promise<void> {
  const {place, column, offset, memory, slot} = mended;
  try {
    await held.exclusive(async () => {
      // A block that is dirty is about to be written anyway, with its redundancy.
      if (held.mode === 0 || held.dirty.bytes > 0) return;
      // Or has been, while this waited for its turn: what was mended is what was there before.
      if (held.tenure !== found.tenure || held.written !== found.written) return;
      path.pool.retain(slot);
      path.stats.dataCalls++;
      const entry = unsynced(path, 1 << column);
      touch(held, place.chunk, entry);
      const sums = storedSums(path.codec, path.pool.memory, memory, BLOCK_BYTES);
      await path.columns.call(
        place.group,
        place.slots[column]!,
        OPS.write,
        {
          ref: columnRef(place, column),
          ranges: [{offset, length: BLOCK_BYTES}],
          sums,
          covered: column < place.layout.k ? new Uint8Array(0) : sums,
        },
        {payload: [{slot, offset: memory, length: BLOCK_BYTES}], deadlineMs: WRITE_LATE_MS},
      );
      touch(held, place.chunk, entry);
      path.stats.healedBlocks++;
    });
  } catch (error) {
    path.log.warn('block.unhealed', {
      oid: place.oid,
      chunk: place.chunk,
      column,
      reason: messageOf(error),
    });
  }
}
