import {messageOf} from '../base/errors.js';
import {writable} from '../cluster/map.js';
import {OPS} from '../protocol/ops.js';
import {isRefused, WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {columnRef, locate} from './place.js';

/** Maps under which it is tried. */
const TRIES = 3;
const EPOCH_WAIT_MS = 500;

/**
 * Tells servers of chunks with a change that was given up half way: a resync compares their columns, and nobody settles them before. One
 * server that knows is enough. Chunks that none could be told of stay `torn`. Never rejects.
 */
export async function doubtTorn(path: BytePath, held: Held): Promise<void> {
  await Promise.all([...held.torn].map((chunk) => doubtChunk(path, held, chunk)));
}

async function doubtChunk(path: BytePath, held: Held, chunk: number): Promise<void> {
  const {columns, log, stats} = path;
  for (let left = TRIES; left > 0 && held.layout !== null; left--) {
    const place = locate(columns.map, held.layout, held.oid, chunk);
    const live = place.slots.flatMap((_slot, column) =>
      writable(place.infos[column]!) ? [column] : [],
    );
    stats.dataCalls += live.length;
    const results = await Promise.allSettled(
      live.map((column) => {
        const request = {ref: columnRef(place, column)};
        const options = {deadlineMs: WRITE_LATE_MS};
        return columns.call(place.group, place.slots[column]!, OPS.doubt, request, options);
      }),
    );
    if (results.some((result) => result.status === 'fulfilled')) {
      held.torn.delete(chunk);
      return;
    }
    const failed = results.find((result) => result.status === 'rejected');
    log.info('doubt.untold', {oid: held.oid, chunk, reason: messageOf(failed?.reason)});
    if (isRefused(failed?.reason) && failed.reason.kind === 'Fenced') return;
    await columns.newer(place.epoch, EPOCH_WAIT_MS);
  }
}
