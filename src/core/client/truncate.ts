import {FsError} from '../base/errors.js';
import {chunkDataBytes, columnBytes, stripeBytes} from '../layout/stripe.js';
import type {Attr, SetattrRequest} from '../protocol/gen/wire.js';
import {OPS, SET} from '../protocol/ops.js';
import {WRITE_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {FileParts} from './files.js';
import type {Held} from './held.js';
import {columnRef} from './place.js';
import {onLiveColumns, type WriteTarget} from './stripe-writer.js';
import {writeTarget} from './target.js';

/** Chunks that are cut at the same time. */
const CHUNKS_AT_ONCE = 8;

/**
 * Sets the size under the write lease. What is cut off becomes zeros first (the rest of its stripe, with its redundancy), then
 * the columns are cut, then the meta server learns the size: so no byte of what was cut off is ever seen again, and
 * after a crash in between the old size reads zeros. Growing is a matter of the meta server only.
 */
export async function truncate(
  parts: FileParts,
  held: Held,
  size: number,
  set: Partial<SetattrRequest>,
): Promise<Attr> {
  return (await truncateIf(parts, held, size, set, () => true))!;
}

/** The same if `wanted`, which is asked when all before it has ended; else nothing happens, and null is the answer. */
export async function truncateIf(
  parts: FileParts,
  held: Held,
  size: number,
  set: Partial<SetattrRequest>,
  wanted: () => boolean,
): Promise<Attr | null> {
  const {layout} = held;
  if (layout === null) throw new FsError('EINVAL', `object ${held.oid} has no bytes`);
  while (held.writeGate !== null) await held.writeGate;
  let open = (): void => {};
  held.writeGate = new Promise<void>((resolve) => {
    open = resolve;
  });
  try {
    // New writes wait; flushes that run end first.
    return await held.exclusive(async () => {
      if (!wanted()) return null;
      held.cuts++;
      parts.readAhead.forget(held.oid);
      // Behind the cut it must not be sent any more; a resync sees to what it was for.
      held.dropPending();
      if (size < held.flushedSize) {
        // What was read ahead in between may have been there before the cut: nobody may find it when the object grows again.
        await cut(parts, held, size).finally(() => parts.readAhead.forget(held.oid));
      }
      // Not before: what was written there is still the file's if the cut fails.
      held.dirty.truncate(size);
      parts.flusher.forget(held);
      const {generation} = parts.session;
      // From here on, not only from the answer on: what the meta server asks for meanwhile may reach it after the change.
      const before = held.size;
      held.size = size;
      const {message} = await parts.session
        .call(OPS.setattr, {
          ...set,
          oid: held.oid,
          mask: (set.mask ?? 0) | SET.size,
          size,
        })
        .catch((error: unknown) => {
          held.size = before;
          held.toldSize = -1;
          throw error;
        });
      if (generation !== parts.session.generation) throw new FsError('EIO', 'the session was lost');
      held.sized(size);
      if (held.inlineBytes > size) held.inline = held.inline!.slice(0, size);
      held.mtime = null;
      return held.learn(message.attr);
    });
  } finally {
    held.writeGate = null;
    open();
  }
}

export async function cut(parts: FileParts, held: Held, size: number): Promise<void> {
  const layout = held.layout!;
  const {path, flusher} = parts;
  const stripe = stripeBytes(layout);
  const chunkBytes = chunkDataBytes(layout);
  const chunk = Math.floor(size / chunkBytes);
  const inChunk = size - chunk * chunkBytes;
  // To the end of the stripe the redundancy covers what goes and what stays.
  const stripeEnd = chunk * chunkBytes + Math.ceil(inChunk / stripe) * stripe;
  const zeroTo = Math.min(stripeEnd, held.flushedSize);
  if (zeroTo > size) {
    const zeros = await path.slots.zeros();
    held.dirty.zero(size, zeroTo, zeros, path.pool.payload(zeros), path.pool.capacity(zeros));
    await flusher.flushInside(held, zeroTo, path);
  }
  try {
    await cutColumns(path, writeTarget(held, layout), held.flushedSize, size);
  } catch (error) {
    held.giveUpCut(chunk, Math.floor((held.flushedSize - 1) / chunkBytes));
    void parts.syncer.doubt(held);
    throw error;
  }
  held.flushedSize = size;
}

/** Cuts the columns of an object that has bytes up to `flushedSize`; its last stripe has zeros behind `size` already. */
export async function cutColumns(
  path: BytePath,
  target: WriteTarget,
  flushedSize: number,
  size: number,
): Promise<void> {
  const {layout} = target;
  const chunkBytes = chunkDataBytes(layout);
  const chunk = Math.floor(size / chunkBytes);
  const last = Math.floor((flushedSize - 1) / chunkBytes);
  const cutChunk = (index: number): Promise<void> => {
    const keep = Math.max(0, size - index * chunkBytes);
    const had = Math.min(chunkBytes, flushedSize - index * chunkBytes);
    const longer = (column: number): boolean =>
      columnBytes(layout, column, had) > columnBytes(layout, column, keep);
    return onLiveColumns(path, target, index, longer, (place, column) =>
      path.columns.call(
        place.group,
        place.slots[column]!,
        OPS.truncate,
        {ref: columnRef(place, column, path.repair), bytes: columnBytes(layout, column, keep)},
        {deadlineMs: WRITE_LATE_MS},
      ),
    );
  };
  // From the end, so that what is left after a failure is a shorter object.
  for (let at = last; at >= chunk; at -= CHUNKS_AT_ONCE) {
    const some: Promise<void>[] = [];
    for (let index = at; index > at - CHUNKS_AT_ONCE && index >= chunk; index--)
      some.push(cutChunk(index));
    // Only when all have ended: one that goes on would cut what is written next.
    const results = await Promise.allSettled(some);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}
