import {FsError} from '../../base/errors.js';
import {openReply} from '../../namespace/create.js';
import {isDirectory} from '../../namespace/inode.js';
import {dropPrivileges} from '../../namespace/privileges.js';
import type {Given} from '../../namespace/tx.js';
import type {OpenReply, OpenRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

/** Also objects without a name can be opened as long as they are there. The lease in the reply is the caller's to fill in. */
export function open(tx: Tx, q: OpenRequest, given: Given): OpenReply {
  const inode = tx.inode(q.oid);
  if (isDirectory(inode) && (q.write || q.truncate)) throw new FsError('EISDIR');
  if (inode.layout === null && q.truncate) throw new FsError('EINVAL', 'no regular file');
  // Everything above reads. Everything below writes and cannot fail.
  if (q.truncate) {
    tx.touch(inode, given.now); // Also when it was empty: open(2) with O_TRUNC marks the times.
    inode.size = 0;
    tx.cutInline(inode, 0);
    inode.blocks = 0;
  }
  if (q.killSuidgid) dropPrivileges(tx, inode, given.now);
  return openReply(inode, false);
}
