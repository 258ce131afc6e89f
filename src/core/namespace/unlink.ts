import {FsError} from '../base/errors.js';
import type {UnlinkReply, UnlinkRequest} from '../protocol/gen/wire.js';
import {isDirectory} from './inode.js';
import {validName} from './names.js';
import type {Given, NameTx} from './tx.js';

/** unlink(2), or with `directory` rmdir(2). What loses its last name becomes an orphan. */
export function unlink(tx: NameTx, q: UnlinkRequest, given: Given): UnlinkReply {
  const name = validName(q.name);
  const parent = tx.directory(q.parent);
  const found = tx.name(q.parent, name);
  if (found === null) throw new FsError('ENOENT', name);
  const inode = tx.inode(found.oid);
  if (q.directory && !isDirectory(inode)) throw new FsError('ENOTDIR', name);
  if (!q.directory && isDirectory(inode)) throw new FsError('EISDIR', name);
  if (q.directory && !tx.isEmpty(inode.oid)) throw new FsError('ENOTEMPTY', name);
  // Everything above reads. Everything below writes and cannot fail.
  tx.delName(parent, name, found.cookie, given.now);
  if (q.directory) parent.nlink--;
  tx.dropLink(inode, given.now);
  return {oid: inode.oid, nlink: inode.nlink, directory: null, directoryLease: 0, unused: false};
}
