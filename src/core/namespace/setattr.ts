import {FsError} from '../base/errors.js';
import type {Attr, AttrReply, SetattrRequest} from '../protocol/gen/wire.js';
import {SET} from '../protocol/ops.js';
import {attrOf, isDirectory, S_IFMT} from './inode.js';
import {dropPrivileges} from './privileges.js';
import {validTime} from './times.js';
import type {Given, NameTx} from './tx.js';

/** chmod, chown, truncate, utimensat, each by its bit of `mask`. The kernel has checked who may. */
export function setattr(tx: NameTx, q: SetattrRequest, given: Given): AttrReply {
  const inode = tx.inode(q.oid);
  const has = (bit: number): boolean => (q.mask & bit) !== 0;
  if (has(SET.size) && inode.layout === null) {
    throw new FsError(isDirectory(inode) ? 'EISDIR' : 'EINVAL', 'no regular file');
  }
  for (const [bit, time] of [
    [SET.atime, q.atime],
    [SET.mtime, q.mtime],
    [SET.ctime, q.ctime],
  ] as const) {
    if (has(bit) && !validTime(time)) throw new FsError('EINVAL', 'time');
  }
  // Everything above reads. Everything below writes and cannot fail.
  if (q.mask === 0) return attrReply(attrOf(inode));
  tx.modify(inode);
  inode.ctime = given.now;
  if (has(SET.uid | SET.gid | SET.killSuidgid)) dropPrivileges(tx, inode, given.now);
  if (has(SET.mode)) inode.mode = (inode.mode & S_IFMT) | (q.mode & 0o7777);
  if (has(SET.uid)) inode.uid = q.uid;
  if (has(SET.gid)) inode.gid = q.gid;
  if (has(SET.size)) {
    if (q.size < inode.size) inode.blocks = Math.min(inode.blocks, Math.ceil(q.size / 512));
    inode.size = q.size;
    tx.cutInline(inode, q.size);
    inode.mtime = given.now;
  }
  if (has(SET.atime)) inode.atime = q.atime!;
  if (has(SET.mtime)) inode.mtime = q.mtime!;
  if (has(SET.ctime)) inode.ctime = q.ctime!;
  if (has(SET.atimeNow)) inode.atime = given.now;
  if (has(SET.mtimeNow)) inode.mtime = given.now;
  return attrReply(attrOf(inode));
}

/** What may be cached of it is the handler's to fill in. */
export const attrReply = (attr: Attr): AttrReply => ({attr, lease: 0, under: 0});
