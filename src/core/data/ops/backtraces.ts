import {encodeShards} from '../../protocol/backtraces.js';
import type * as wire from '../../protocol/gen/wire.js';
import type {Answer} from '../../transport/peer-api.js';
import type {DataContext} from './context.js';

/** From the meta server. */
export async function backtrace(
  q: wire.BacktraceRequest,
  {backtraces}: DataContext,
): Promise<Answer<wire.BacktraceReply>> {
  return {message: {refused: encodeShards(await backtraces.take(q))}};
}

export async function backtraceMarks(
  _: wire.Empty,
  {backtraces}: DataContext,
): Promise<Answer<wire.BacktraceMarksReply>> {
  const marks = [...(await backtraces.marks())].map(([shard, {line, position, atMs}]) => ({
    shard,
    line,
    position,
    atMs,
  }));
  return {message: {marks}};
}

export async function backtraceRead(
  {shard, cursor}: wire.BacktraceReadRequest,
  {backtraces}: DataContext,
): Promise<Answer<wire.BacktraceReadReply>> {
  return {message: await backtraces.read(shard, cursor)};
}
