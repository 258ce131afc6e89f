import {FsError} from '../../base/errors.js';
import type {ListReply, ListRequest} from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import {type ColumnId, nameOf} from '../format.js';
import {SUSPECTED} from '../missed.js';
import type {DataContext} from './context.js';

const LIST_MAX = 4096;

/** A page of what is here: columns, chunks that may differ, chunks that a slot missed. Under no epoch: it is looked at later anyway. */
export async function list(q: ListRequest, context: DataContext): Promise<Answer<ListReply>> {
  const max = Math.min(q.max || LIST_MAX, LIST_MAX);
  if (q.kind === 'columns') {
    const {ids, cursor, end} = await context.store.list(q.cursor, max);
    return {message: {chunks: ids, cursor, end}};
  }
  if (q.kind === 'intents') {
    const all = await context.intents.chunks();
    const chunks = q.oid === 0 ? all : all.filter(({oid}) => oid === q.oid);
    return {message: page(chunks, q.cursor, max)};
  }
  // Nothing is listed: `end` says whether it ever had everything, so that what no survivor noted may be trusted.
  if (q.kind === 'whole') return {message: {chunks: [], cursor: '', end: context.whole()}};
  if (q.kind === 'missed' || q.kind === 'written') {
    const all = q.kind === 'missed';
    const chunks = [...context.missed.entries()].filter(
      ({slot, note}) => slot === q.slot && (all || note !== SUSPECTED),
    );
    return {message: page(chunks, q.cursor, max)};
  }
  throw new FsError('EINVAL', `list of '${q.kind}'`);
}

/** Pages in the order of names, so that entries that come and go meanwhile do no harm. */
export function page(chunks: readonly ColumnId[], cursor: string, max: number): ListReply {
  const sorted = chunks
    .map((chunk) => ({chunk, name: nameOf(chunk)}))
    .filter(({name}) => name > cursor)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const part = sorted.slice(0, max);
  return {
    chunks: part.map(({chunk: {oid, chunk, generation}}) => ({oid, chunk, generation})),
    cursor: part.at(-1)?.name ?? cursor,
    end: part.length === sorted.length,
  };
}
