import {type ReadCopyPolicy, sensible} from '../core/cluster/read-copies.js';
import type {ReadCopiesReply} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import {withMeta} from './admin.js';

export type {ReadCopiesReply, ReadCopyPolicy};

/** How read copies are made, and how many there are. */
export async function readCopies(
  meta: string,
  timeoutMs: number,
  change: Partial<ReadCopyPolicy> | null = null,
): Promise<ReadCopiesReply> {
  return withMeta(meta, timeoutMs, async (peer) => {
    const ask = {deadlineMs: timeoutMs};
    const {message} = await peer.call(OPS.readCopies, {}, ask);
    if (change === null) return message;
    const policy = sensible({...message.policy!, ...change});
    return (await peer.call(OPS.readCopies, {policy}, ask)).message;
  });
}
