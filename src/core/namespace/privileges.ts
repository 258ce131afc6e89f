import type {Time} from '../protocol/gen/wire.js';
import {type Inode, isDirectory, S_ISGID, S_ISUID, S_IXGRP} from './inode.js';
import type {NameTx} from './tx.js';

/** File capabilities; they go when the bits go. */
const CAPABILITY = 'security.capability';

/**
 * What a write, a truncation or a change of owner takes from a program file (FUSE_HANDLE_KILLPRIV_V2): set-user-id always,
 * set-group-id where the group may execute (else it means mandatory locking), capabilities.
 */
export function dropPrivileges(tx: NameTx, inode: Inode, now: Time): void {
  if (isDirectory(inode)) return;
  let mode = inode.mode & ~S_ISUID;
  if ((mode & S_IXGRP) !== 0) mode &= ~S_ISGID;
  const capable = inode.xattrNameBytes > 0 && tx.xattr(inode.oid, CAPABILITY) !== null;
  if (mode === inode.mode && !capable) return;
  tx.modify(inode);
  inode.mode = mode;
  inode.ctime = now;
  if (!capable) return;
  inode.xattrNameBytes -= CAPABILITY.length + 1;
  tx.delXattr(inode.oid, CAPABILITY);
}
