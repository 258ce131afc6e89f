import {FsError} from '../../base/errors.js';
import type {
  ListRequest,
  MissedClearRequest,
  RemoveRequest,
  SettleRequest,
  SyncRequest,
} from '../../protocol/gen/wire.js';
import {OPS} from '../../protocol/ops.js';
import type {Handlers} from '../../transport/handlers.js';
import type {Answer} from '../../transport/peer-api.js';
import {type ColumnId, nameOf} from '../format.js';
import type {DataContext} from './context.js';

/** From so many columns on one sync of the whole file system is cheaper than one of each file. */
const SYNC_EACH_MAX = 16;
const LIST_MAX = 4096;
const OIDS_MAX = 4096;

/** Requests about durability, what may differ, and what is gone. */
export function logHandlers<C extends DataContext>(handlers: Handlers<C>): Handlers<C> {
  return handlers
    .on(OPS.sync, sync)
    .on(OPS.settle, settle)
    .on(OPS.remove, remove)
    .on(OPS.list, list)
    .on(OPS.missedClear, missedClear);
}

/** What was written to these columns is on stable storage. */
async function sync(q: SyncRequest, context: DataContext): Promise<Answer<object>> {
  context.check(q.epoch);
  context.stats.requests++;
  if (q.all || q.chunks.length > SYNC_EACH_MAX) {
    context.stats.syncs++;
    await context.env.disk.syncAll();
    return {message: {}};
  }
  await Promise.all(
    q.chunks.map((chunk) =>
      context.store.use(chunk, null, (column) => {
        context.stats.syncs++;
        return column.sync();
      }),
    ),
  );
  return {message: {}};
}

function settle(q: SettleRequest, context: DataContext): Answer<object> {
  context.check(q.epoch);
  for (const chunk of q.chunks) context.intents.settle(chunk);
  return {message: {}};
}

async function remove(q: RemoveRequest, context: DataContext): Promise<Answer<object>> {
  if (q.oids.length > OIDS_MAX) throw new FsError('EINVAL', `${q.oids.length} objects`);
  const ids = await context.store.ofObjects(q.oids);
  for (const id of ids) {
    await context.store.remove(id);
    context.intents.settle(id);
  }
  context.stats.requests++;
  return {message: {}};
}

async function list(q: ListRequest, context: DataContext): Promise<Answer<object>> {
  const max = Math.min(q.max || LIST_MAX, LIST_MAX);
  if (q.kind === 'columns') {
    const page = await context.store.list(q.cursor, max);
    return {message: {chunks: page.ids, cursor: page.cursor, end: page.end}};
  }
  if (q.kind === 'intents') return {message: page(await context.intents.chunks(), q.cursor, max)};
  if (q.kind === 'missed') {
    const chunks = [...context.missed.entries()].filter((entry) => entry.slot === q.slot);
    return {message: page(chunks, q.cursor, max)};
  }
  throw new FsError('EINVAL', `list of '${q.kind}'`);
}

/** Pages in the order of names, so that entries that come and go meanwhile do no harm. */
function page(chunks: readonly ColumnId[], cursor: string, max: number) {
  const sorted = chunks
    .map((chunk) => ({chunk, name: nameOf(chunk)}))
    .filter((c) => c.name > cursor)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const part = sorted.slice(0, max);
  return {
    chunks: part.map(({chunk: {oid, chunk, generation}}) => ({oid, chunk, generation})),
    cursor: part.at(-1)?.name ?? cursor,
    end: part.length === sorted.length,
  };
}

/** The slot has these chunks again. */
function missedClear(q: MissedClearRequest, context: DataContext): Answer<object> {
  context.check(q.epoch);
  const {slot} = q;
  context.missed.remove(
    q.chunks.map(({oid, chunk, generation}) => ({slot, oid, chunk, generation})),
  );
  return {message: {}};
}
