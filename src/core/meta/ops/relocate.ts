import {assert} from '../../base/assert.js';
import {FsError} from '../../base/errors.js';
import type {Inode} from '../../namespace/inode.js';
import type {RelocateReply, RelocateRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

/**
 * The beginning and the end of a move of an object to another layout (docs, "Relocation"). Its caller holds the whole object for writing. ENODATA: no regular
 * file; EAGAIN: the attempt has ended.
 */
export function relocate(tx: Tx, q: RelocateRequest): RelocateReply {
  const inode = tx.inode(q.oid);
  if (inode.layout === null || q.layout === null) throw new FsError('ENODATA', 'no regular file');
  return q.begin ? begin(tx, inode, q) : end(tx, inode, q);
}

function begin(tx: Tx, inode: Inode, {oid, layout}: RelocateRequest): RelocateReply {
  if (layout!.groups.length === 0) throw new FsError('ENOSPC', 'no group has space');
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  if (inode.next !== null) tx.removePart(oid, inode.next);
  inode.generations++;
  const next = {...layout!, groups: [...layout!.groups], generation: inode.generations};
  inode.next = next;
  return {layout: {...next, groups: [...next.groups]}};
}

function end(tx: Tx, inode: Inode, {oid, layout, moved}: RelocateRequest): RelocateReply {
  const before = inode.layout!;
  const {next} = inode;
  if (next === null || next.generation !== layout!.generation)
    throw new FsError(
      'EAGAIN',
      `object ${oid} is not being moved to generation ${layout!.generation}`,
    );
  assert(next.generation > before.generation, 'generations grow');
  tx.modify(inode);
  inode.next = null;
  if (moved) inode.layout = next;
  tx.removePart(oid, moved ? before : next);
  return {layout: {...inode.layout!, groups: [...inode.layout!.groups]}};
}
