import {FsError} from '../base/errors.js';
import {shuffled} from '../layout/placement.js';
import type {CreateRequest, EntryReply, Time} from '../protocol/gen/wire.js';
import {attrOf, type Inode, S_IFDIR, S_IFMT, S_IFREG, S_ISGID} from './inode.js';
import {validName} from './names.js';
import type {Given, NameTx} from './tx.js';

/** The directory and the name for a new entry. EEXIST, ENOENT (also: the directory was removed), ENOTDIR. */
export function placeForNew(
  tx: NameTx,
  parent: number,
  bytes: Uint8Array,
): {directory: Inode; name: string} {
  const name = validName(bytes);
  const directory = tx.directory(parent);
  if (tx.name(parent, name) !== null) throw new FsError('EEXIST', name);
  if (directory.nlink === 0) throw new FsError('ENOENT', 'the directory was removed');
  return {directory, name};
}

/**
 * A new object with the given type and bits. In a set-gid directory it gets the directory's group, and a directory the bit
 * too (as System V and Linux have it). Regular files get their layout here; ENOSPC: no group for it.
 */
export function newInode(directory: Inode, mode: number, q: CreateRequest, given: Given): Inode {
  const type = mode & S_IFMT;
  const inherit = (directory.mode & S_ISGID) !== 0;
  const {layout, layoutSet} = directory.directory!;
  const {groupCount, ...striping} = layout;
  const groups = type === S_IFREG ? shuffled(given.groups.slice(0, groupCount), given.oid) : [];
  if (type === S_IFREG && groups.length === 0) throw new FsError('ENOSPC', 'no group has space');
  return {
    ...bareInode(given.oid, inherit && type === S_IFDIR ? mode | S_ISGID : mode, given.now),
    nlink: type === S_IFDIR ? 2 : 1,
    uid: q.caller.uid,
    gid: inherit ? directory.gid : q.caller.gid,
    parent: type === S_IFDIR ? 0 : directory.oid,
    directory:
      type === S_IFDIR
        ? {parent: directory.oid, nextCookie: FIRST_COOKIE, layout: {...layout}, layoutSet}
        : null,
    layout: type === S_IFREG ? {...striping, groups, generation: 0} : null,
  };
}

/** Of root, empty, with one link, without what its type needs. */
export const bareInode = (oid: number, mode: number, now: Time): Inode => ({
  oid,
  mode,
  nlink: 1,
  uid: 0,
  gid: 0,
  rdev: 0,
  size: 0,
  blocks: 0,
  atime: now,
  mtime: now,
  ctime: now,
  version: 1,
  xattrNameBytes: 0,
  parent: 0,
  directory: null,
  layout: null,
  generations: 0,
  next: null,
  inlineBytes: 0,
});

/** The parts that the machine does not know are the handlers' to fill in. */
export function entryReply(inode: Inode): EntryReply {
  const attr = attrOf(inode);
  return {attr, directory: null, directoryLease: 0, lease: 0, cacheable: false, cookie: 0};
}

/** 0 is "from the start"; 1 and 2 are left to whoever has to place `.` and `..` before the names. */
export const FIRST_COOKIE = 3;
