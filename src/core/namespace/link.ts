import {FsError} from '../base/errors.js';
import type {EntryReply, LinkRequest} from '../protocol/gen/wire.js';
import {isDirectory} from './inode.js';
import {entryReply, placeForNew} from './new-inode.js';
import type {Given, NameTx} from './tx.js';

/** As ext4 has it; far above what programs that count links expect. */
export const LINKS_MAX = 65_000;

export function link(tx: NameTx, q: LinkRequest, given: Given): EntryReply {
  const {directory, name} = placeForNew(tx, q.parent, q.name);
  const inode = tx.inode(q.oid);
  if (isDirectory(inode)) throw new FsError('EPERM', 'link to a directory');
  if (inode.nlink === 0) throw new FsError('ENOENT', 'it has no name any more');
  if (inode.nlink >= LINKS_MAX) throw new FsError('EMLINK');
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  inode.nlink++;
  if (inode.parent !== directory.oid) inode.parent = 0;
  inode.ctime = given.now;
  tx.putName(directory, name, inode, given.now);
  return entryReply(inode);
}
