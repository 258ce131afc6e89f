import {FsError} from '../base/errors.js';
import type {CreateRequest, OpenReply} from '../protocol/gen/wire.js';
import {attrOf, type Inode, isDirectory, isRegular, S_IFLNK, S_IFMT, S_IFREG} from './inode.js';
import {validName} from './names.js';
import {newInode, placeForNew} from './new-inode.js';
import type {Given, NameTx} from './tx.js';

/** A new regular file, or (unless `exclusive`) the one that is there. The lease in the reply is the caller's to fill in. */
export function create(tx: NameTx, q: CreateRequest, given: Given): OpenReply {
  const name = validName(q.name);
  const directory = tx.directory(q.parent);
  const found = q.exclusive ? null : tx.name(q.parent, name);
  if (found !== null) return openReply(existing(tx.inode(found.oid)), false);
  placeForNew(tx, q.parent, q.name);
  const inode = newInode(directory, S_IFREG | (q.mode & 0o7777), q, given);
  // Everything above reads. Everything below writes and cannot fail.
  tx.add(inode);
  tx.putName(directory, name, inode, given.now);
  return openReply(inode, true);
}

function existing(inode: Inode): Inode {
  if (isRegular(inode)) return inode;
  if (isDirectory(inode)) throw new FsError('EISDIR');
  // The kernel follows symlinks and opens FIFOs itself; it comes here only when one appeared meanwhile.
  throw new FsError((inode.mode & S_IFMT) === S_IFLNK ? 'ELOOP' : 'EEXIST');
}

export function openReply(inode: Inode, created: boolean): OpenReply {
  const layout = inode.layout === null ? null : {...inode.layout, groups: [...inode.layout.groups]};
  const directory = {directory: null, directoryLease: 0, cookie: 0};
  const {inlineBytes} = inode;
  return {
    attr: attrOf(inode),
    layout,
    lease: 0,
    created,
    ...directory,
    inlineBytes,
    copies: [],
    overlong: false,
  };
}
