import {FsError} from '../base/errors.js';
import type {CreateRequest, EntryReply} from '../protocol/gen/wire.js';
import {S_IFLNK} from './inode.js';
import {entryReply, newInode, placeForNew} from './new-inode.js';
import type {Given, NameTx} from './tx.js';

/** PATH_MAX without its NUL. */
export const TARGET_BYTES_MAX = 4095;

export function symlink(tx: NameTx, q: CreateRequest, given: Given): EntryReply {
  if (q.target.length === 0) throw new FsError('ENOENT', 'empty target');
  if (q.target.length > TARGET_BYTES_MAX) throw new FsError('ENAMETOOLONG', 'target');
  if (q.target.includes(0)) throw new FsError('EINVAL', 'NUL in target');
  const {directory, name} = placeForNew(tx, q.parent, q.name);
  const inode = newInode(directory, S_IFLNK | 0o777, q, given);
  inode.size = q.target.length;
  // Everything above reads. Everything below writes and cannot fail.
  tx.add(inode);
  tx.putTarget(inode.oid, new Uint8Array(q.target));
  tx.putName(directory, name, inode, given.now);
  return entryReply(inode);
}
