import {FsError} from '../../base/errors.js';
import {S_IFLNK, S_IFMT} from '../../namespace/inode.js';
import type {OidRequest, ReadlinkReply} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

export function readlink(tx: Tx, q: OidRequest): ReadlinkReply {
  if ((tx.inode(q.oid).mode & S_IFMT) !== S_IFLNK) throw new FsError('EINVAL', 'no symlink');
  return {target: tx.target(q.oid)};
}
