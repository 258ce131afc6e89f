/**
 * The numbers of the kernel's FUSE protocol, 7.31 to 7.45, as include/uapi/linux/fuse.h has them. Offsets are in
 * 32-bit words from the start of the structure, because every field but four is one or two words wide; those four
 * (16 bits each) say so. test/native/fuse-abi.test.ts compares them with the header of the machine.
 */

export const FUSE_MAJOR = 7;
/** The newest minor whose structures are the ones below; a kernel that is newer speaks this one with us. */
export const FUSE_MINOR = 45;
/** The oldest minor that is served: FUSE_EXPLICIT_INVAL_DATA and 64-byte init_out are there. */
export const FUSE_MINOR_MIN = 31;
export const ROOT_NODEID = 1;

export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Bits 0..31 of the flags of INIT. */
export const INIT = {
  ASYNC_READ: 2 ** 0,
  POSIX_LOCKS: 2 ** 1,
  FILE_OPS: 2 ** 2,
  ATOMIC_O_TRUNC: 2 ** 3,
  EXPORT_SUPPORT: 2 ** 4,
  BIG_WRITES: 2 ** 5,
  DONT_MASK: 2 ** 6,
  SPLICE_WRITE: 2 ** 7,
  SPLICE_MOVE: 2 ** 8,
  SPLICE_READ: 2 ** 9,
  FLOCK_LOCKS: 2 ** 10,
  HAS_IOCTL_DIR: 2 ** 11,
  AUTO_INVAL_DATA: 2 ** 12,
  DO_READDIRPLUS: 2 ** 13,
  READDIRPLUS_AUTO: 2 ** 14,
  ASYNC_DIO: 2 ** 15,
  WRITEBACK_CACHE: 2 ** 16,
  NO_OPEN_SUPPORT: 2 ** 17,
  PARALLEL_DIROPS: 2 ** 18,
  HANDLE_KILLPRIV: 2 ** 19,
  POSIX_ACL: 2 ** 20,
  ABORT_ERROR: 2 ** 21,
  MAX_PAGES: 2 ** 22,
  CACHE_SYMLINKS: 2 ** 23,
  NO_OPENDIR_SUPPORT: 2 ** 24,
  EXPLICIT_INVAL_DATA: 2 ** 25,
  MAP_ALIGNMENT: 2 ** 26,
  SUBMOUNTS: 2 ** 27,
  HANDLE_KILLPRIV_V2: 2 ** 28,
  SETXATTR_EXT: 2 ** 29,
  INIT_EXT: 2 ** 30,
} as const;

/** Bits 32..63 of the flags of INIT, shifted down into flags2; only with INIT_EXT. */
export const INIT2 = {
  SECURITY_CTX: 2 ** 0,
  HAS_INODE_DAX: 2 ** 1,
  CREATE_SUPP_GROUP: 2 ** 2,
  HAS_EXPIRE_ONLY: 2 ** 3,
  DIRECT_IO_ALLOW_MMAP: 2 ** 4,
  PASSTHROUGH: 2 ** 5,
  NO_EXPORT_SUPPORT: 2 ** 6,
  HAS_RESEND: 2 ** 7,
  ALLOW_IDMAP: 2 ** 8,
  OVER_IO_URING: 2 ** 9,
  REQUEST_TIMEOUT: 2 ** 10,
} as const;

/** open_flags of open_out. */
export const FOPEN = {
  DIRECT_IO: 1,
  KEEP_CACHE: 2,
  NONSEEKABLE: 4,
  CACHE_DIR: 8,
  STREAM: 16,
  NOFLUSH: 32,
  PARALLEL_DIRECT_WRITES: 64,
  PASSTHROUGH: 128,
} as const;

/** `valid` of setattr_in. */
export const FATTR = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  FH: 64,
  ATIME_NOW: 128,
  MTIME_NOW: 256,
  LOCKOWNER: 512,
  CTIME: 1024,
  KILL_SUIDGID: 2048,
} as const;

/** open_flags of open_in and create_in. */
export const OPEN_KILL_SUIDGID = 1;
export const WRITE_FLAG = {CACHE: 1, LOCKOWNER: 2, KILL_SUIDGID: 4} as const;
/** LOCKOWNER: not into the page cache (fuse_send_read of Linux; pages are asked for without an owner). */
export const READ_FLAG = {LOCKOWNER: 2} as const;
export const RELEASE_FLAG = {FLUSH: 1, FLOCK_UNLOCK: 2} as const;
export const GETATTR_FH = 1;
export const LK_FLOCK = 1;
export const FSYNC_FDATASYNC = 1;
export const SETXATTR_ACL_KILL_SGID = 1;
/** `flags` of notify_inval_entry: expire the name instead of dropping it. */
export const EXPIRE_ONLY = 1;

export const NOTIFY = {
  POLL: 1,
  INVAL_INODE: 2,
  INVAL_ENTRY: 3,
  STORE: 4,
  RETRIEVE: 5,
  DELETE: 6,
  RESEND: 7,
  INC_EPOCH: 8,
  PRUNE: 9,
} as const;

/** Precedes every request; the body follows at `words`. total_extlen is the low half of word 9. */
export const IN_HEADER = {
  len: 0,
  opcode: 1,
  unique: 2,
  nodeid: 4,
  uid: 6,
  gid: 7,
  pid: 8,
  totalExtlen: 9,
  words: 10,
} as const;

export const ATTR = {
  ino: 0,
  size: 2,
  blocks: 4,
  atime: 6,
  mtime: 8,
  ctime: 10,
  atimensec: 12,
  mtimensec: 13,
  ctimensec: 14,
  mode: 15,
  nlink: 16,
  uid: 17,
  gid: 18,
  rdev: 19,
  blksize: 20,
  flags: 21,
  words: 22,
} as const;

export const ENTRY_OUT = {
  nodeid: 0,
  generation: 2,
  entryValid: 4,
  attrValid: 6,
  entryValidNsec: 8,
  attrValidNsec: 9,
  attr: 10,
  words: 32,
} as const;
export const ATTR_OUT = {attrValid: 0, attrValidNsec: 2, attr: 4, words: 26} as const;
export const OPEN_OUT = {fh: 0, openFlags: 2, words: 4} as const;
/** entry_out, then open_out. */
export const CREATE_OUT = {entry: 0, open: 32, words: 36} as const;
export const WRITE_OUT = {size: 0, words: 2} as const;
export const STATFS_OUT = {
  blocks: 0,
  bfree: 2,
  bavail: 4,
  files: 6,
  ffree: 8,
  bsize: 10,
  namelen: 11,
  frsize: 12,
  words: 20,
} as const;
export const GETXATTR_OUT = {size: 0, words: 2} as const;
/** fuse_file_lock. */
export const LK_OUT = {start: 0, end: 2, type: 4, pid: 5, words: 6} as const;
export const LSEEK_OUT = {offset: 0, words: 2} as const;
/** max_background and max_pages are the low halves of their words, congestion_threshold and map_alignment the high. */
export const INIT_OUT = {
  major: 0,
  minor: 1,
  maxReadahead: 2,
  flags: 3,
  maxBackground: 4,
  maxWrite: 5,
  timeGran: 6,
  maxPages: 7,
  flags2: 8,
  maxStackDepth: 9,
  words: 16,
} as const;

/** What the kernel calls the root of a mount. */
export const ROOT_NODE = 1;

/** flags2 is there when the kernel set INIT_EXT. */
export const INIT_IN = {major: 0, minor: 1, maxReadahead: 2, flags: 3, flags2: 4} as const;
export const FORGET_IN = {nlookup: 0, words: 2} as const;
export const GETATTR_IN = {flags: 0, fh: 2, words: 4} as const;
export const SETATTR_IN = {
  valid: 0,
  fh: 2,
  size: 4,
  lockOwner: 6,
  atime: 8,
  mtime: 10,
  ctime: 12,
  atimensec: 14,
  mtimensec: 15,
  ctimensec: 16,
  mode: 17,
  uid: 19,
  gid: 20,
  words: 22,
} as const;
/** Followed by the name. */
export const MKNOD_IN = {mode: 0, rdev: 1, umask: 2, words: 4} as const;
/** Followed by the name. */
export const MKDIR_IN = {mode: 0, umask: 1, words: 2} as const;
/** Followed by the old name and the new one. */
export const RENAME_IN = {newdir: 0, words: 2} as const;
/** Followed by the old name and the new one. */
export const RENAME2_IN = {newdir: 0, flags: 2, words: 4} as const;
/** Followed by the new name; the header's node is the directory. */
export const LINK_IN = {oldnodeid: 0, words: 2} as const;
export const OPEN_IN = {flags: 0, openFlags: 1, words: 2} as const;
/** Followed by the name. */
export const CREATE_IN = {flags: 0, mode: 1, umask: 2, openFlags: 3, words: 4} as const;
export const RELEASE_IN = {fh: 0, flags: 2, releaseFlags: 3, lockOwner: 4, words: 6} as const;
export const FLUSH_IN = {fh: 0, lockOwner: 4, words: 6} as const;
/** Of READ, READDIR and READDIRPLUS. */
export const READ_IN = {
  fh: 0,
  offset: 2,
  size: 4,
  readFlags: 5,
  lockOwner: 6,
  flags: 8,
  words: 10,
} as const;
/** Followed by the bytes, which start at a slot's payload. */
export const WRITE_IN = {
  fh: 0,
  offset: 2,
  size: 4,
  writeFlags: 5,
  lockOwner: 6,
  flags: 8,
  words: 10,
} as const;
/** Of FSYNC and FSYNCDIR. */
export const FSYNC_IN = {fh: 0, flags: 2, words: 4} as const;
/** Followed by the name and the value. Without SETXATTR_EXT it is `wordsShort` long. */
export const SETXATTR_IN = {size: 0, flags: 1, setxattrFlags: 2, words: 4, wordsShort: 2} as const;
/** Of GETXATTR (followed by the name) and LISTXATTR. */
export const GETXATTR_IN = {size: 0, words: 2} as const;
/** The fields of `lk` are those of LK_OUT. */
export const LK_IN = {fh: 0, owner: 2, lk: 4, lkFlags: 10, words: 12} as const;
export const ACCESS_IN = {mask: 0, words: 2} as const;
export const FALLOCATE_IN = {fh: 0, offset: 2, length: 4, mode: 6, words: 8} as const;
export const LSEEK_IN = {fh: 0, offset: 2, whence: 4, words: 6} as const;
export const COPY_FILE_RANGE_IN = {
  fhIn: 0,
  offIn: 2,
  nodeidOut: 4,
  fhOut: 6,
  offOut: 8,
  len: 10,
  flags: 12,
  words: 14,
} as const;
/** Followed by in_size bytes. */
export const IOCTL_IN = {fh: 0, flags: 2, cmd: 3, arg: 4, inSize: 6, outSize: 7, words: 8} as const;

/** Followed by the name and zeros up to 8 bytes. */
export const DIRENT = {ino: 0, off: 2, namelen: 4, type: 5, words: 6} as const;
/** entry_out, then dirent. */
export const DIRENTPLUS = {entry: 0, dirent: 32, words: 38} as const;

export const INVAL_INODE_OUT = {ino: 0, off: 2, len: 4, words: 6} as const;
/** Followed by the name and a NUL that namelen does not count. */
export const INVAL_ENTRY_OUT = {parent: 0, namelen: 2, flags: 3, words: 4} as const;
/** Followed by the name and a NUL that namelen does not count. */
export const DELETE_OUT = {parent: 0, child: 2, namelen: 4, words: 6} as const;
/** Followed by the bytes. */
export const STORE_OUT = {nodeid: 0, offset: 2, size: 4, words: 6} as const;
