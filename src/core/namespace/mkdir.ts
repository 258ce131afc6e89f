import type {CreateRequest, EntryReply} from '../protocol/gen/wire.js';
import {S_IFDIR} from './inode.js';
import {entryReply, newInode, placeForNew} from './new-inode.js';
import type {Given, NameTx} from './tx.js';

/** The set-gid bit comes from the parent only, as mkdir(2) has it on Linux. */
const MODE_BITS = 0o1777;

export function mkdir(tx: NameTx, q: CreateRequest, given: Given): EntryReply {
  const {directory, name} = placeForNew(tx, q.parent, q.name);
  const inode = newInode(directory, S_IFDIR | (q.mode & MODE_BITS), q, given);
  // Everything above reads. Everything below writes and cannot fail.
  tx.add(inode);
  tx.putName(directory, name, inode, given.now);
  directory.nlink++;
  return entryReply(inode);
}
