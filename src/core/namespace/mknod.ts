import {FsError} from '../base/errors.js';
import type {CreateRequest, EntryReply} from '../protocol/gen/wire.js';
import {S_IFMT, S_IFREG} from './inode.js';
import {entryReply, newInode, placeForNew} from './new-inode.js';
import type {Given, NameTx} from './tx.js';

/** mknod(2): a regular file (also when no type is given), FIFO, socket, character or block device. */
const TYPES = [S_IFREG, 0o010000, 0o140000, 0o020000, 0o060000];

export function mknod(tx: NameTx, q: CreateRequest, given: Given): EntryReply {
  const type = (q.mode & S_IFMT) === 0 ? S_IFREG : q.mode & S_IFMT;
  if (!TYPES.includes(type)) throw new FsError('EINVAL', `mode ${q.mode.toString(8)}`);
  const {directory, name} = placeForNew(tx, q.parent, q.name);
  const inode = newInode(directory, type | (q.mode & 0o7777), q, given);
  inode.rdev = type === 0o020000 || type === 0o060000 ? q.rdev : 0;
  // Everything above reads. Everything below writes and cannot fail.
  tx.add(inode);
  tx.putName(directory, name, inode, given.now);
  return entryReply(inode);
}
