import {FsError, Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import {alignUp, BLOCK_BYTES} from '../base/units.js';
import {chunkDataBytes} from '../layout/stripe.js';
import {LEASE} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {FileParts} from './files.js';
import type {Held} from './held.js';
import {asFsError} from './inline.js';
import {canWrite, locate} from './place.js';
import {Torn} from './reconstruct.js';
import {listAll, liveSlots} from './repair-path.js';
import {columnLengths, endOf} from './resync.js';
import {readStripes} from './stripe-reader.js';
import {isFinal} from './stripe-writer.js';
import {cut} from './truncate.js';
import {trustedPlace} from './trusted.js';

/** The lease may be wanted, not least by the resync that does the same: so long it is kept for a server that does not answer. */
const ATTEMPT_MS: Ms = 3000;
/** How long to wait for the map after an attempt that failed. */
const AGAIN_MS: Ms = 500;

/**
 * Cuts what columns have beyond the size of an object whose lease for writing came with the news that they may: what somebody wrote
 * there was never to be seen once its size was lost, and would be as soon as the object grows over it; and until then redundancy
 * would be computed as if it were not there. Resolves when it is done, or the lease was lost; until `until` it is tried again, then EIO.
 */
export async function cutOverlong(parts: FileParts, held: Held, until: Ms): Promise<void> {
  const {columns, clock, log} = parts.path;
  const {epoch} = columns.map;
  try {
    await held.exclusive(() => attempt(parts, held));
  } catch (error) {
    if (isFinal(error) || clock.now() >= until) throw asFsError(error);
    log.info('overlong.uncut', {oid: held.oid, reason: messageOf(error)});
    await columns.newer(epoch, AGAIN_MS);
  }
}

async function attempt(parts: FileParts, held: Held): Promise<void> {
  const {layout, tenure} = held;
  if (!held.overlong || held.mode !== LEASE.write || layout === null) return;
  const path = {...parts.path, columnWaitMs: ATTEMPT_MS, tooFewWaitMs: 0};
  let end = 0;
  for (const chunk of await suspects(path, held)) {
    const place = locate(path.columns.map, layout, held.oid, chunk);
    if (!canWrite(await trustedPlace(path, place)))
      throw new FsError('EIO', `group ${place.group} has too few servers`);
    end = Math.max(end, endOf(layout, chunk, await columnLengths(path, place)));
  }
  if (end > held.size && (await holdsMore(path, held, end))) {
    held.cuts++;
    held.flushedSize = Math.max(held.flushedSize, end);
    parts.syncer.plan();
    await cut({...parts, path}, held, held.size);
  }
  // A block that was read before may have some of it.
  parts.readAhead.forget(held.oid);
  if (held.tenure === tenure) held.overlong = false;
}

/** The chunks that may be longer: such a one was never settled, so whoever has a column of it has an intent. */
async function suspects(path: BytePath, held: Held): Promise<Set<number>> {
  const {map} = path.columns;
  const {oid, size, layout} = held;
  const found = new Set<number>();
  const ask = async (group: number, slot: number): Promise<void> => {
    try {
      for (const {chunk, generation} of await listAll(path, group, slot, 'intents', 0, oid))
        if (generation === layout!.generation) found.add(chunk);
    } catch (error) {
      if (error instanceof Lost) path.columns.report(group, slot, map.epoch, messageOf(error));
      throw error;
    }
  };
  const asked = [...new Set(layout!.groups)].map((group) =>
    Promise.all(liveSlots(map, group).map((slot) => ask(group, slot))),
  );
  await Promise.all(asked);
  const first = Math.floor(size / chunkDataBytes(layout!));
  return new Set([...found].filter((chunk) => chunk >= first));
}

/**
 * Is there anything but zeros beyond the size of the object, up to byte `end`? Columns are whole blocks, so the last one is usually longer than
 * the object. What is only cut where there is something leaves everybody's intents and columns as they are.
 */
export async function holdsMore(path: BytePath, held: Held, end: number): Promise<boolean> {
  const {size, oid} = held;
  if (end > alignUp(size, BLOCK_BYTES)) return true;
  let segments: Segment[];
  try {
    segments = await readStripes(path, {oid, layout: held.layout!, heal: null}, size, end);
  } catch (error) {
    // A block that is lost shows nobody anything.
    if (error instanceof Torn) return false;
    throw error;
  }
  const zeros = segments.every(({offset, length}) =>
    path.pool.view(offset, length).every((byte) => byte === 0),
  );
  path.slots.releaseAll(segments);
  return !zeros;
}
