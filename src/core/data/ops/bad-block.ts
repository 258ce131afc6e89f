import {PAYLOAD_BYTES_MAX} from '../../base/pool.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {BadBlockRequest, Empty} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {checkRef, type DataContext} from './context.js';

/** A reader's verdict: only counted here, the reader or a later scrub repairs. */
export function badBlock(q: BadBlockRequest, context: DataContext): Answer<Empty> {
  checkRef(q.ref);
  const blocks = q.ranges.reduce((sum, r) => sum + r.length / BLOCK_BYTES, 0);
  context.stats.badBlocks += Math.max(1, Math.min(blocks, PAYLOAD_BYTES_MAX / BLOCK_BYTES));
  const {oid, chunk, column} = q.ref;
  context.env.log.warn('block.bad', {oid, chunk, column, offset: q.ranges[0]?.offset, blocks});
  return {message: {}};
}
