import {FsError} from '../../base/errors.js';
import {PAYLOAD_BYTES_MAX} from '../../base/pool.js';
import type {ReadReply, ReadRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {allocate, type Column, type ColumnBytes} from '../column.js';
import {allZero, storedSums} from '../sums.js';
import {checkRanges, checkRef, count, type DataContext, idOf, shapeOf} from './context.js';

const EMPTY = new Uint8Array(0);
const HOLE = {hole: true, unwritten: true, sums: EMPTY, covered: EMPTY};

/**
 * Bytes with their sums as stored; what the disk cannot read fails its sum. EIO: it is another column, or `verify` found bad blocks. No map
 * waits for it to end: it changes nothing, and it may wait for memory that a slow client holds.
 */
export async function read(q: ReadRequest, context: DataContext): Promise<Answer<ReadReply>> {
  const {gate, stats, store, env, copies, load, agent} = context;
  await gate.admit(context.session, q.ref.epoch);
  checkRef(q.ref);
  const length = checkRanges(q.ranges, PAYLOAD_BYTES_MAX);
  count(context);
  stats.reads++;
  if (!agent) copies.hot.note(q.ref.oid, q.ref.chunk, length);
  const work = async (column: Column): Promise<ColumnBytes | null> => {
    if (q.ranges.every((range) => range.offset >= column.bytes)) return null;
    // Before the column's turn: whoever has it waits for nobody who waits for the pool.
    const slot = await allocate(env.pool, length);
    return column.read(q.ranges, q.covered, slot);
  };
  const found =
    q.copy === 0
      ? await store.use(idOf(q.ref), shapeOf(q.ref), false, work)
      : await copies.use(q.copy, q.ref, work);
  if (q.copy !== 0) stats.copyReads++;
  const busy = agent && load.busy;
  if (found === null || found.slot === null) return {message: {...HOLE, busy}};
  const {slot, offset, sums, covered, unreadable} = found;
  if (unreadable > 0) {
    const {oid, chunk, column} = q.ref;
    stats.badBlocks += unreadable;
    env.log.warn('block.unreadable', {oid, chunk, column, offset: q.ranges[0]?.offset, unreadable});
  }
  if (judge(q, context, found) === 'hole') {
    env.pool.release(slot);
    return {message: {hole: true, sums, covered, busy}};
  }
  stats.bytesOut += length;
  if (q.copy !== 0) stats.copyBytesOut += length;
  return {message: {sums, covered, busy}, payload: [{slot, offset, length}]};
}

/** Zeros that are summed as zeros need no bytes on the wire; other blocks are judged if they are to be. */
function judge(q: ReadRequest, context: DataContext, found: ColumnBytes): 'hole' | 'bytes' {
  const {codec, pool} = context.env;
  const {sums, slot, offset, length} = found;
  const zeros = allZero(sums);
  if (!zeros && !q.verify) return 'bytes';
  const actual = new Uint8Array(storedSums(codec, pool.memory, offset, length).buffer);
  if (Buffer.compare(actual, sums) === 0) return zeros ? 'hole' : 'bytes';
  if (!q.verify) return 'bytes';
  pool.release(slot!);
  let bad = 0;
  for (let at = 0; at < sums.length; at += 4) {
    if (Buffer.compare(actual.subarray(at, at + 4), sums.subarray(at, at + 4)) !== 0) bad++;
  }
  context.stats.badBlocks += bad;
  throw new FsError('EIO', `${bad} of ${sums.length / 4} blocks fail their sums`);
}
