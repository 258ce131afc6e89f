import {FsError} from '../../base/errors.js';
import {PAYLOAD_BYTES_MAX, type Segment} from '../../base/pool.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {WriteReply, WriteRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {storedSums} from '../sums.js';
import {change, checkRanges, checkRef, count, type DataContext, idOf, shapeOf} from './context.js';
import {syncSome, syncWritten} from './sync.js';

/** Writes ranges of blocks with their sums; all of them or, after a failure, none (see Column.write). */
export async function write(
  q: WriteRequest,
  context: DataContext,
  payload: Segment | null,
): Promise<Answer<WriteReply>> {
  const {gate, stats, store, room, env} = context;
  try {
    await gate.pass(context.session, q.ref.epoch, async () => {
      checkRef(q.ref);
      const length = checkRanges(q.ranges, PAYLOAD_BYTES_MAX);
      checkPayload(q, context, payload, length);
      await room.take(length, q.ref.repair);
      await change(context, q.ref, q.ranges, () =>
        store.use(idOf(q.ref), shapeOf(q.ref), true, (column) =>
          column.write(q.ranges, payload!.offset, q.sums, q.covered),
        ),
      );
      count(context);
      stats.writes++;
      stats.bytesIn += length;
    });
    syncSome(context);
    const synced = q.sync && (await syncWritten(context, idOf(q.ref)));
    return {message: {synced}};
  } finally {
    if (payload !== null) env.pool.release(payload.slot);
  }
}

/** What came over the wire is what the client summed; else nothing is written. */
function checkPayload(
  q: WriteRequest,
  context: DataContext,
  payload: Segment | null,
  length: number,
): void {
  const blocks = length / BLOCK_BYTES;
  const {oid, chunk, column, k} = q.ref;
  const coveredBytes = column < k ? 0 : blocks * 4 * k;
  if (payload === null || payload.length !== length) {
    throw new FsError('EINVAL', `${payload?.length ?? 0} bytes for ranges of ${length}`);
  }
  if (q.sums.length !== blocks * 4 || q.covered.length !== coveredBytes) {
    throw new FsError(
      'EINVAL',
      `${q.sums.length} and ${q.covered.length} bytes of sums for ${blocks} blocks`,
    );
  }
  // Lost blocks are meant to fail their sums: a reader gets EIO, never what was not written.
  if (q.lost) return;
  const {codec, pool} = context.env;
  const actual = storedSums(codec, pool.memory, payload.offset, length);
  if (Buffer.compare(new Uint8Array(actual.buffer), q.sums) === 0) return;
  context.stats.sumErrors++;
  context.env.log.error('write.sum-mismatch', {oid, chunk, column});
  throw new FsError('EIO', 'the bytes do not have the sums they came with');
}
