import {FsError} from '../../base/errors.js';
import {PAYLOAD_BYTES_MAX, type Segment} from '../../base/pool.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {
  BadBlockRequest,
  PunchRequest,
  ReadRequest,
  StatRequest,
  TruncateRequest,
  WriteRequest,
} from '../../protocol/gen/wire.js';
import {OPS} from '../../protocol/ops.js';
import type {Handlers} from '../../transport/handlers.js';
import type {Answer} from '../../transport/peer-api.js';
import {storedSums} from '../column.js';
import {announce, checkRanges, checkRef, type DataContext, idOf, shapeOf} from './context.js';

/** Requests for the bytes of columns. */
export function columnHandlers<C extends DataContext>(handlers: Handlers<C>): Handlers<C> {
  return handlers
    .on(OPS.write, write)
    .on(OPS.read, read)
    .on(OPS.truncate, truncate)
    .on(OPS.punch, punch)
    .on(OPS.stat, stat)
    .on(OPS.badBlock, badBlock);
}

async function write(
  q: WriteRequest,
  context: DataContext,
  payload: Segment | null,
): Promise<Answer<object>> {
  const {pool} = context.env;
  try {
    context.check(q.ref.epoch);
    checkRef(q.ref);
    const length = checkRanges(q.ranges, PAYLOAD_BYTES_MAX);
    checkPayload(q, context, payload, length);
    context.room(length);
    await announce(context, q.ref);
    // The epoch may have grown while the logs were synced: a slot that is away now has not been announced.
    context.check(q.ref.epoch);
    await context.store.use(idOf(q.ref), shapeOf(q.ref), (column) =>
      column.write(q.ranges, payload!.offset, q.sums, q.covered),
    );
    context.stats.requests++;
    context.stats.bytesIn += length;
    return {message: {}};
  } finally {
    if (payload !== null) pool.release(payload.slot);
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
  const coveredBytes = q.ref.column < q.ref.k ? 0 : blocks * 4 * q.ref.k;
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
  context.env.log.error('write.sum_mismatch', {
    oid: q.ref.oid,
    chunk: q.ref.chunk,
    column: q.ref.column,
  });
  throw new FsError('EIO', 'the bytes do not have the sums they came with');
}

async function read(q: ReadRequest, context: DataContext): Promise<Answer<object>> {
  context.check(q.ref.epoch);
  checkRef(q.ref);
  const length = checkRanges(q.ranges, PAYLOAD_BYTES_MAX);
  context.stats.requests++;
  const found = await context.store.use(idOf(q.ref), null, async (column) => {
    if (column.shape.column !== q.ref.column || column.shape.k !== q.ref.k) {
      throw new FsError('EIO', `column ${column.shape.column} of ${column.shape.k} is here`);
    }
    return column.read(q.ranges, q.covered);
  });
  if (found === null || found.slot === null) {
    return {
      message: {
        hole: true,
        sums: found?.sums ?? new Uint8Array(0),
        covered: found?.covered ?? new Uint8Array(0),
      },
    };
  }
  const payload = {slot: found.slot, offset: found.offset, length};
  if (q.verify) verify(context, payload, found.sums);
  context.stats.bytesOut += length;
  return {message: {sums: found.sums, covered: found.covered}, payload: [payload]};
}

function verify(context: DataContext, payload: Segment, sums: Uint8Array): void {
  const {codec, pool} = context.env;
  const actual = new Uint8Array(
    storedSums(codec, pool.memory, payload.offset, payload.length).buffer,
  );
  if (Buffer.compare(actual, sums) === 0) return;
  pool.release(payload.slot);
  let bad = 0;
  for (let at = 0; at < sums.length; at += 4) {
    if (Buffer.compare(actual.subarray(at, at + 4), sums.subarray(at, at + 4)) !== 0) bad++;
  }
  context.stats.badBlocks += bad;
  throw new FsError('EIO', `${bad} blocks fail their sums`);
}

async function truncate(q: TruncateRequest, context: DataContext): Promise<Answer<object>> {
  context.check(q.ref.epoch);
  checkRef(q.ref);
  if (q.bytes % BLOCK_BYTES !== 0) throw new FsError('EINVAL', `${q.bytes} is not of whole blocks`);
  await announce(context, q.ref);
  context.check(q.ref.epoch);
  await context.store.use(idOf(q.ref), null, (column) => column.truncate(q.bytes));
  context.stats.requests++;
  return {message: {}};
}

async function punch(q: PunchRequest, context: DataContext): Promise<Answer<object>> {
  context.check(q.ref.epoch);
  checkRef(q.ref);
  checkRanges(q.ranges, Number.MAX_SAFE_INTEGER);
  await announce(context, q.ref);
  context.check(q.ref.epoch);
  await context.store.use(idOf(q.ref), null, (column) => column.punch(q.ranges));
  context.stats.requests++;
  return {message: {}};
}

async function stat(q: StatRequest, context: DataContext): Promise<Answer<object>> {
  checkRef(q.ref);
  const found = await context.store.use(idOf(q.ref), null, async (column) => ({
    bytes: column.bytes,
    allocated: await column.allocated(),
  }));
  return {message: found === null ? {present: false} : {present: true, ...found}};
}

/** A reader's verdict: only counted here, the reader or a later scrub repairs. */
function badBlock(q: BadBlockRequest, context: DataContext): Answer<object> {
  checkRef(q.ref);
  const blocks = q.ranges.reduce((sum, r) => sum + r.length / BLOCK_BYTES, 0);
  context.stats.badBlocks += Math.max(1, Math.min(blocks, PAYLOAD_BYTES_MAX / BLOCK_BYTES));
  const {oid, chunk, column} = q.ref;
  context.env.log.warn('block.bad', {oid, chunk, column, offset: q.ranges[0]?.offset, blocks});
  return {message: {}};
}
