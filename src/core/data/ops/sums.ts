import {FsError, messageOf} from '../../base/errors.js';
import {BLOCK_BYTES} from '../../base/units.js';
import type {ColumnSums, SumsItem, SumsReply, SumsRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {Column} from '../column.js';
import {checkRef, type DataContext, idOf, shapeOf} from './context.js';

/** What one message takes: the sums of a redundancy column are 4 + 4 * k bytes a block. */
const SUM_BYTES_MAX = 128 * 1024;
const ITEMS_MAX = 256;

const NOTHING = new Uint8Array(0);

/**
 * What columns say of their blocks, and whether their chunks are in doubt. Changes nothing, and no map waits for it to end. It is not
 * counted as a request: there is nearly nothing to do. EINVAL: too much at once.
 */
export async function sums(q: SumsRequest, context: DataContext): Promise<Answer<SumsReply>> {
  const {gate, load, agent} = context;
  const bytes = q.items.reduce((sum, {ref, blocks}) => sum + blocks * sumBytesOf(ref), 0);
  if (q.items.length > ITEMS_MAX || bytes > SUM_BYTES_MAX)
    throw new FsError('EINVAL', `${bytes} bytes of sums of ${q.items.length} columns`);
  const columns: ColumnSums[] = [];
  for (const item of q.items) {
    await gate.admit(context.session, item.ref.epoch);
    checkRef(item.ref);
    if (item.offset % BLOCK_BYTES !== 0) throw new FsError('EINVAL', `offset ${item.offset}`);
    columns.push(await one(item, context));
  }
  return {message: {columns, busy: agent && load.busy}};
}

const sumBytesOf = ({column, k}: {column: number; k: number}): number =>
  column < k ? 4 : 4 * (1 + k);

async function one({ref, offset, blocks}: SumsItem, context: DataContext): Promise<ColumnSums> {
  const {store, intents, env} = context;
  const id = idOf(ref);
  const none = {sums: NOTHING, covered: NOTHING, bytes: 0, unreadable: false};
  try {
    const look = async (column: Column) => {
      const {bytes} = column;
      if (blocks === 0 || offset >= bytes) return {...none, bytes};
      return {...none, ...(await column.sums(offset, blocks)), bytes};
    };
    const found = await store.use(id, shapeOf(ref), false, look, true);
    return {...(found ?? none), doubt: intents.doubted(id), open: intents.has(id)};
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    env.log.warn('sums.unreadable', {oid: id.oid, chunk: id.chunk, reason: messageOf(error)});
    return {...none, doubt: intents.doubted(id), open: intents.has(id), unreadable: true};
  }
}
