import {FsError} from '../../base/errors.js';
import {MIB} from '../../base/units.js';
import type {
  ChangedReply,
  ChangedRequest,
  ExportReply,
  ExportRequest,
} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {allocate} from '../column.js';
import {allZero} from '../sums.js';
import {checkRanges, count, type DataContext} from './context.js';
import {page} from './list.js';

/** Bytes at once. */
export const EXPORT_BYTES_MAX = MIB;
const CHANGED_MAX = 4096;

/** A part of a column for another data server, as it is, with its sums: whoever gets it judges. Nobody is kept waiting by it. */
export async function exportColumn(
  q: ExportRequest,
  context: DataContext,
): Promise<Answer<ExportReply>> {
  if (q.chunk === null) throw new FsError('EINVAL', 'no chunk');
  const {store, env, stats} = context;
  checkRanges([q], EXPORT_BYTES_MAX);
  count(context);
  const found = await store.use(q.chunk, null, false, async (column) => {
    const {bytes, shape} = column;
    const known = {present: true, ...shape, bytes};
    const length = Math.min(q.length, bytes - q.offset);
    if (length <= 0) return {message: known};
    const slot = await allocate(env.pool, length);
    const got = await column.read([{offset: q.offset, length}], true, slot);
    const {sums, covered, offset} = got;
    if (got.slot === null) return {message: known};
    // A hole needs no bytes on the wire.
    const hole = allZero(sums) && allZero(covered) && allZero(env.pool.view(offset, length));
    if (hole) {
      env.pool.release(got.slot);
      return {message: known};
    }
    stats.bytesOut += length;
    return {message: {...known, sums, covered}, payload: [{slot: got.slot, offset, length}]};
  });
  return found ?? {message: {present: false}};
}

/** What has changed since the last pass of whoever copies this server. */
export function changed(q: ChangedRequest, {changes}: DataContext): Answer<ChangedReply> {
  const all = changes.pass(q.owner, q.pass);
  if (all === null) return {message: {known: false, end: true}};
  return {message: {known: true, ...page(all, q.cursor, CHANGED_MAX)}};
}
