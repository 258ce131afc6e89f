import {
  ATTR,
  ATTR_OUT,
  DELETE_OUT,
  DIRENT,
  ENTRY_OUT,
  INVAL_ENTRY_OUT,
  INVAL_INODE_OUT,
  OPEN_OUT,
  STATFS_OUT,
  STORE_OUT,
} from './abi.js';

/**
 * Readers and writers of the kernel's structures over word arrays. `at` counts words (bytes / 4). Nothing here makes
 * an object: a request is read where it lies.
 */

const HIGH = 2 ** 32;

/** An unsigned 64-bit field as a number; exact below 2^53, and that is all that is ever given to the kernel. */
export function get64(u32: Uint32Array, at: number): number {
  return u32[at]! + u32[at + 1]! * HIGH;
}

/** A signed 64-bit field: seconds before 1970, offsets of lseek. */
export function getSigned64(u32: Uint32Array, at: number): number {
  return u32[at]! + (u32[at + 1]! | 0) * HIGH;
}

/** All 64 bits, for fields that are drawn at random (lock owners), as a key of a map. */
export function getKey64(u32: Uint32Array, at: number): string {
  return `${u32[at + 1]}:${u32[at]}`;
}

/** Writes a whole number, also a negative one; from 2^63 on (OFFSET_MAX, "to the end") the largest offset. */
export function put64(u32: Uint32Array, at: number, value: number): void {
  if (value >= 2 ** 63) {
    u32[at] = 0xffffffff;
    u32[at + 1] = 0x7fffffff;
    return;
  }
  u32[at] = value >= 0 ? value % HIGH : value - Math.floor(value / HIGH) * HIGH;
  u32[at + 1] = Math.floor(value / HIGH);
}

/** What stat(2) shows, times as (seconds, nanoseconds). */
export interface FuseAttr {
  ino: number;
  size: number;
  /** Of 512 bytes. */
  blocks: number;
  atimeSec: number;
  atimeNsec: number;
  mtimeSec: number;
  mtimeNsec: number;
  ctimeSec: number;
  ctimeNsec: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  blksize: number;
}

export function putAttr(u32: Uint32Array, at: number, a: FuseAttr): void {
  put64(u32, at + ATTR.ino, a.ino);
  put64(u32, at + ATTR.size, a.size);
  put64(u32, at + ATTR.blocks, a.blocks);
  put64(u32, at + ATTR.atime, a.atimeSec);
  put64(u32, at + ATTR.mtime, a.mtimeSec);
  put64(u32, at + ATTR.ctime, a.ctimeSec);
  u32[at + ATTR.atimensec] = a.atimeNsec;
  u32[at + ATTR.mtimensec] = a.mtimeNsec;
  u32[at + ATTR.ctimensec] = a.ctimeNsec;
  u32[at + ATTR.mode] = a.mode;
  u32[at + ATTR.nlink] = a.nlink;
  u32[at + ATTR.uid] = a.uid;
  u32[at + ATTR.gid] = a.gid;
  u32[at + ATTR.rdev] = a.rdev;
  u32[at + ATTR.blksize] = a.blksize;
  u32[at + ATTR.flags] = 0;
}

/** How long the kernel may keep what a reply says, in milliseconds. 0: ask again each time. */
export interface Validity {
  entryMs: number;
  attrMs: number;
}

function putValidity(
  u32: Uint32Array,
  seconds: number,
  nanoseconds: number,
  validMs: number,
): void {
  put64(u32, seconds, Math.floor(validMs / 1000));
  u32[nanoseconds] = Math.floor((validMs % 1000) * 1e6);
}

/** How long the kernel may keep what an entry_out at `at` says of a name. */
export function putEntryValid(u32: Uint32Array, at: number, entryMs: number): void {
  putValidity(u32, at + ENTRY_OUT.entryValid, at + ENTRY_OUT.entryValidNsec, entryMs);
}

/** The kernel counts one reference to the node for each entry that it receives, until it forgets them. */
export function putEntryOut(
  u32: Uint32Array,
  at: number,
  a: FuseAttr,
  generation: number,
  valid: Validity,
): void {
  put64(u32, at + ENTRY_OUT.nodeid, a.ino);
  put64(u32, at + ENTRY_OUT.generation, generation);
  putValidity(u32, at + ENTRY_OUT.entryValid, at + ENTRY_OUT.entryValidNsec, valid.entryMs);
  putValidity(u32, at + ENTRY_OUT.attrValid, at + ENTRY_OUT.attrValidNsec, valid.attrMs);
  putAttr(u32, at + ENTRY_OUT.attr, a);
}

export function putAttrOut(u32: Uint32Array, at: number, a: FuseAttr, attrMs: number): void {
  putValidity(u32, at + ATTR_OUT.attrValid, at + ATTR_OUT.attrValidNsec, attrMs);
  u32[at + ATTR_OUT.attrValidNsec + 1] = 0;
  putAttr(u32, at + ATTR_OUT.attr, a);
}

export function putOpenOut(u32: Uint32Array, at: number, fh: number, openFlags: number): void {
  put64(u32, at + OPEN_OUT.fh, fh);
  u32[at + OPEN_OUT.openFlags] = openFlags;
  u32[at + OPEN_OUT.openFlags + 1] = 0;
}

export interface FuseStatfs {
  /** Of `bsize` bytes, as `free` and `available`. */
  blocks: number;
  free: number;
  available: number;
  files: number;
  filesFree: number;
  bsize: number;
  namelen: number;
}

export function putStatfs(u32: Uint32Array, at: number, s: FuseStatfs): void {
  u32.fill(0, at, at + STATFS_OUT.words);
  put64(u32, at + STATFS_OUT.blocks, s.blocks);
  put64(u32, at + STATFS_OUT.bfree, s.free);
  put64(u32, at + STATFS_OUT.bavail, s.available);
  put64(u32, at + STATFS_OUT.files, s.files);
  put64(u32, at + STATFS_OUT.ffree, s.filesFree);
  u32[at + STATFS_OUT.bsize] = s.bsize;
  u32[at + STATFS_OUT.namelen] = s.namelen;
  u32[at + STATFS_OUT.frsize] = s.bsize;
}

/** Bytes of a directory entry with a name of this length; they are padded to 8. */
export function direntBytes(nameBytes: number): number {
  return (DIRENT.words * 4 + nameBytes + 7) & ~7;
}

/**
 * Writes an entry of READDIR, or the second part of one of READDIRPLUS, at byte `at` (8-byte aligned). `off` is the
 * cookie of what follows it. The caller has checked that direntBytes fit.
 */
export function putDirent(
  u32: Uint32Array,
  u8: Uint8Array,
  at: number,
  entry: {ino: number; mode: number; off: number; name: Uint8Array},
): number {
  const word = at / 4;
  put64(u32, word + DIRENT.ino, entry.ino);
  put64(u32, word + DIRENT.off, entry.off);
  u32[word + DIRENT.namelen] = entry.name.length;
  u32[word + DIRENT.type] = (entry.mode >>> 12) & 15; // DT_* are the type bits of st_mode.
  const end = at + direntBytes(entry.name.length);
  u8.set(entry.name, at + DIRENT.words * 4);
  u8.fill(0, at + DIRENT.words * 4 + entry.name.length, end);
  return end;
}

/** Length of the NUL-terminated name at byte `at`, or -1 if there is no NUL before `end`. */
export function nameLength(u8: Uint8Array, at: number, end: number): number {
  for (let i = at; i < end; i++) if (u8[i] === 0) return i - at;
  return -1;
}

/** The body of NOTIFY.INVAL_INODE. Length 0 is "to the end"; a negative offset drops the attributes only. */
export function invalInodeBody(nodeid: number, offset: number, length: number): Uint8Array {
  const u32 = new Uint32Array(INVAL_INODE_OUT.words);
  put64(u32, INVAL_INODE_OUT.ino, nodeid);
  put64(u32, INVAL_INODE_OUT.off, offset);
  put64(u32, INVAL_INODE_OUT.len, length);
  return new Uint8Array(u32.buffer);
}

/** The body of NOTIFY.INVAL_ENTRY; `flags` is 0 or EXPIRE_ONLY. */
export function invalEntryBody(parent: number, name: Uint8Array, flags: number): Uint8Array {
  const body = new Uint8Array(INVAL_ENTRY_OUT.words * 4 + name.length + 1);
  const u32 = new Uint32Array(body.buffer, 0, INVAL_ENTRY_OUT.words);
  put64(u32, INVAL_ENTRY_OUT.parent, parent);
  u32[INVAL_ENTRY_OUT.namelen] = name.length;
  u32[INVAL_ENTRY_OUT.flags] = flags;
  body.set(name, INVAL_ENTRY_OUT.words * 4);
  return body;
}

/** The body of NOTIFY.DELETE: the name is gone, and inotify is told. */
export function deleteBody(parent: number, child: number, name: Uint8Array): Uint8Array {
  const body = new Uint8Array(DELETE_OUT.words * 4 + name.length + 1);
  const u32 = new Uint32Array(body.buffer, 0, DELETE_OUT.words);
  put64(u32, DELETE_OUT.parent, parent);
  put64(u32, DELETE_OUT.child, child);
  u32[DELETE_OUT.namelen] = name.length;
  body.set(name, DELETE_OUT.words * 4);
  return body;
}

/** The body of NOTIFY.STORE: puts bytes into the kernel's page cache. At most 64 KiB. */
export function storeBody(nodeid: number, offset: number, bytes: Uint8Array): Uint8Array {
  const body = new Uint8Array(STORE_OUT.words * 4 + bytes.length);
  const u32 = new Uint32Array(body.buffer, 0, STORE_OUT.words);
  put64(u32, STORE_OUT.nodeid, nodeid);
  put64(u32, STORE_OUT.offset, offset);
  u32[STORE_OUT.size] = bytes.length;
  body.set(bytes, STORE_OUT.words * 4);
  return body;
}
