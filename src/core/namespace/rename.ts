import {FsError} from '../base/errors.js';
import type {RenameReply, RenameRequest} from '../protocol/gen/wire.js';
import {type Inode, isDirectory, type NameRecord} from './inode.js';
import {validName} from './names.js';
import type {Given, NameTx} from './tx.js';

/** renameat2(2). */
export const RENAME = {noReplace: 1, exchange: 2} as const;

/** What became of the directories is the handler's to tell. */
const DONE: RenameReply = {
  directory: null,
  directoryLease: 0,
  newDirectory: null,
  newDirectoryLease: 0,
  cookie: 0,
};

interface End {
  directory: Inode;
  name: string;
}

/** A name and what is under it. */
interface Taken extends End {
  record: NameRecord;
  inode: Inode;
}

/** Refusals come in the order of the kernel's do_renameat2 and vfs_rename. */
export function rename(tx: NameTx, q: RenameRequest, given: Given): RenameReply {
  if (![0, RENAME.noReplace, RENAME.exchange].includes(q.flags))
    throw new FsError('EINVAL', 'flags');
  const from = {directory: tx.directory(q.parent), name: validName(q.name)};
  const to = {directory: tx.directory(q.newParent), name: validName(q.newName)};
  const source = taken(tx, from);
  if (source === null) throw new FsError('ENOENT', from.name);
  const target = taken(tx, to);
  if (target !== null && q.flags === RENAME.noReplace) throw new FsError('EEXIST', to.name);
  if (target === null && q.flags === RENAME.exchange) throw new FsError('ENOENT', to.name);
  if (to.directory.nlink === 0) throw new FsError('ENOENT', 'the directory was removed');
  checkSubtree(tx, source, to, 'EINVAL');
  if (target !== null) {
    checkSubtree(tx, target, from, q.flags === RENAME.exchange ? 'EINVAL' : 'ENOTEMPTY');
  }
  if (target?.inode.oid === source.inode.oid) return DONE; // POSIX: two names of one file, do nothing.
  if (target !== null && q.flags === RENAME.exchange) return exchange(tx, source, target, given);
  if (target !== null) checkReplaceable(tx, source, target);
  // Everything above reads. Everything below writes and cannot fail.
  tx.delName(from.directory, from.name, source.record.cookie, given.now);
  if (target === null) tx.putName(to.directory, to.name, source.inode, given.now);
  else replace(tx, source, target, given);
  moved(tx, source, to.directory, given);
  return DONE;
}

function taken(tx: NameTx, end: End): Taken | null {
  const record = tx.name(end.directory.oid, end.name);
  return record === null ? null : {...end, record, inode: tx.inode(record.oid)};
}

/** A directory cannot go below itself. */
function checkSubtree(tx: NameTx, what: Taken, where: End, errno: 'EINVAL' | 'ENOTEMPTY'): void {
  if (!isDirectory(what.inode) || what.directory.oid === where.directory.oid) return;
  if (tx.isAncestor(what.inode.oid, where.directory.oid)) throw new FsError(errno, what.name);
}

function checkReplaceable(tx: NameTx, source: Taken, target: Taken): void {
  if (isDirectory(target.inode)) {
    if (!isDirectory(source.inode)) throw new FsError('EISDIR', target.name);
    if (!tx.isEmpty(target.inode.oid)) throw new FsError('ENOTEMPTY', target.name);
  } else if (isDirectory(source.inode)) throw new FsError('ENOTDIR', target.name);
}

/** The name keeps its cookie: who lists the directory sees it exactly once. */
function replace(tx: NameTx, source: Taken, target: Taken, {now}: Given): void {
  tx.setName(target.directory, target.name, target.record.cookie, source.inode);
  tx.touch(target.directory, now);
  if (isDirectory(target.inode)) target.directory.nlink--;
  tx.dropLink(target.inode, now);
}

function exchange(tx: NameTx, source: Taken, target: Taken, given: Given): RenameReply {
  // Everything above reads. Everything below writes and cannot fail.
  tx.setName(source.directory, source.name, source.record.cookie, target.inode);
  tx.setName(target.directory, target.name, target.record.cookie, source.inode);
  tx.touch(source.directory, given.now);
  tx.touch(target.directory, given.now);
  moved(tx, source, target.directory, given);
  moved(tx, target, source.directory, given);
  return DONE;
}

/** ctime of the object; `..` of a directory, which is a link to the one that holds it. */
function moved(tx: NameTx, what: Taken, to: Inode, {now}: Given): void {
  tx.modify(what.inode);
  what.inode.ctime = now;
  if (what.inode.directory === null) {
    const all = what.inode.nlink === 1 || what.inode.parent === to.oid;
    what.inode.parent = all ? to.oid : 0;
    return;
  }
  what.directory.nlink--;
  to.nlink++;
  what.inode.directory.parent = to.oid;
}
