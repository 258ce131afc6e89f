import {FsError} from '../base/errors.js';
import {INLINE_BYTES_LIMIT} from '../base/inline-limits.js';
import type {BufferPool, Segment} from '../base/pool.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type * as wire from '../protocol/gen/wire.js';

const NO_BYTES = new Uint8Array(0);

/** The bytes of a payload on the heap, where the log and the store keep them; its slot is released. */
export function takeOut(pool: BufferPool, segment: Segment | null): Uint8Array {
  if (segment === null) return NO_BYTES;
  const bytes = Buffer.from(pool.view(segment.offset, segment.length));
  pool.release(segment.slot);
  return bytes;
}

/** The payload of a reply; null if there is nothing to send, or no room: then the client asks again. */
export function putIn(pool: BufferPool, bytes: Uint8Array): [Segment] | null {
  return bytes.length === 0 ? null : lent(pool, bytes);
}

/** A payload, of nothing, too; waits for room. */
export async function putInSoon(
  {pool, clock}: Pick<Env, 'pool' | 'clock'>,
  bytes: Uint8Array,
): Promise<[Segment]> {
  for (;;) {
    const segments = lent(pool, bytes);
    if (segments !== null) return segments;
    await sleep(clock, 1);
  }
}

function lent(pool: BufferPool, bytes: Uint8Array): [Segment] | null {
  const slot = pool.alloc(bytes.length);
  if (slot === -1) return null;
  const offset = pool.payload(slot);
  pool.view(offset, bytes.length).set(bytes);
  return [{slot, offset, length: bytes.length}];
}

/** Four times what a client of ours sends; of each the answer has some 100 bytes. */
const ITEMS_MAX = 1024;
const CHANGES_MAX = 4096;

/** EINVAL unless the answer fits a message, and the items share out exactly what came beside them. */
export function checkFlush(request: wire.FlushRequest, payload: Uint8Array): void {
  const {items, changes} = request;
  if (items.length > ITEMS_MAX || changes.length > CHANGES_MAX)
    throw new FsError('EINVAL', `a flush of ${items.length} objects and ${changes.length} changes`);
  let sum = 0;
  for (const {hasInline, inlineBytes} of request.items) {
    if (inlineBytes > (hasInline ? INLINE_BYTES_LIMIT : 0))
      throw new FsError('EINVAL', `${inlineBytes} inline bytes`);
    sum += inlineBytes;
  }
  if (sum !== payload.length)
    throw new FsError('EINVAL', `${sum} inline bytes in a payload of ${payload.length}`);
}
