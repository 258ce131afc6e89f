import type {Attr, Layout, Time} from '../protocol/gen/wire.js';

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o010;

/** What a directory gives to its new children. */
export interface DirectoryLayout {
  k: number;
  m: number;
  unitBytes: number;
  chunkBytes: number;
  /** How many groups a new file is striped over. */
  groupCount: number;
}

export interface DirectoryPart {
  /** The directory that holds this one; its own for the root. */
  parent: number;
  nextCookie: number;
  layout: DirectoryLayout;
  /** LAYOUT_SET bits (meta/records.ts). */
  layoutSet: number;
}

/** One object as the operations see it. Changed only after `NameTx.modify`. */
export interface Inode {
  readonly oid: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  size: number;
  blocks: number;
  atime: Time;
  mtime: Time;
  ctime: Time;
  version: number;
  /** Bytes of the names of its extended attributes, each with its end; 0: it has none. */
  xattrNameBytes: number;
  /** Of what is no directory: the one that holds all its names; 0: not known, or there are several. */
  parent: number;
  /** Directories only. */
  directory: DirectoryPart | null;
  /** Regular files only. */
  layout: Layout | null;
  /** The newest generation that a layout of it ever had: none is given twice. */
  generations: number;
  /** Where it is being moved to. */
  next: Layout | null;
  /** How many of its first bytes are in the store; they hide what columns have there. Never more than `size`. */
  inlineBytes: number;
}

export const isDirectory = (inode: Inode): boolean => (inode.mode & S_IFMT) === S_IFDIR;
export const isRegular = (inode: Inode): boolean => (inode.mode & S_IFMT) === S_IFREG;

export function attrOf(inode: Inode): Attr {
  return {
    oid: inode.oid,
    mode: inode.mode,
    nlink: inode.nlink,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    size: inode.size,
    blocks: inode.blocks,
    atime: {...inode.atime},
    mtime: {...inode.mtime},
    ctime: {...inode.ctime},
    version: inode.version,
    xattrs: inode.xattrNameBytes > 0 || (inode.directory?.layoutSet ?? 0) !== 0,
  };
}

/** A name in a directory. `type` is S_IFMT >> 12. */
export interface NameRecord {
  type: number;
  oid: number;
  cookie: number;
}
