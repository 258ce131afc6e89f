import type {Segment} from '../base/pool.js';
import type {ByteRange, Ranges} from '../lease/ranges.js';
import type {Lock, LockKind} from '../lock/range-locks.js';
import type {Attr, Dirent, Layout, StatfsReply, StatusReply, Time} from '../protocol/gen/wire.js';

/** Who asks; new files belong to it. Permissions are checked by the kernel (`default_permissions`). */
export interface Caller {
  uid: number;
  gid: number;
}

export interface SetAttributes {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  /** 'now': the time at which the meta server carries it out. */
  atime?: Time | 'now';
  mtime?: Time | 'now';
  ctime?: Time;
  /** Clear set-user-id and set-group-id bits as a write by an unprivileged program does. */
  killSuidgid?: boolean;
}

export interface DirectoryPage {
  entries: Dirent[];
  /** Nothing follows the last entry. */
  end: boolean;
  /** The directory that holds this one; itself for the root. */
  parent: number;
  /** It was told under a lease that is held now: nobody else changes it before the lease is given up. */
  leased: boolean;
}

export interface OpenOptions {
  write: boolean;
  truncate?: boolean;
  killSuidgid?: boolean;
}

/** Names are bytes without `/` and NUL, at most 255; `oid` is the inode number. Errors are FsError. */
export interface Namespace {
  lookup(parent: number, name: Uint8Array): Promise<Attr>;
  getattr(oid: number): Promise<Attr>;
  setattr(oid: number, set: SetAttributes): Promise<Attr>;
  mkdir(parent: number, name: Uint8Array, mode: number, caller: Caller): Promise<Attr>;
  mknod(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdev: number,
    caller: Caller,
  ): Promise<Attr>;
  symlink(parent: number, name: Uint8Array, target: Uint8Array, caller: Caller): Promise<Attr>;
  readlink(oid: number): Promise<Uint8Array>;
  link(oid: number, parent: number, name: Uint8Array): Promise<Attr>;
  unlink(parent: number, name: Uint8Array): Promise<void>;
  rmdir(parent: number, name: Uint8Array): Promise<void>;
  /** `flags` as renameat2(2): 1 NOREPLACE, 2 EXCHANGE. */
  rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
  ): Promise<void>;
  /** From `cookie` (0: the start) on. Cookies stay valid while entries come and go. Without `.` and `..`. */
  readdir(
    oid: number,
    cookie: number,
    maxEntries: number,
    attributes: boolean,
  ): Promise<DirectoryPage>;
  statfs(): Promise<StatfsReply>;
  getxattr(oid: number, name: Uint8Array): Promise<Uint8Array>;
  setxattr(oid: number, name: Uint8Array, value: Uint8Array, flags: number): Promise<void>;
  listxattr(oid: number): Promise<Uint8Array[]>;
  removexattr(oid: number, name: Uint8Array): Promise<void>;
  layoutGet(oid: number): Promise<{layout: Layout; groupCount: number}>;
  layoutSet(
    oid: number,
    layout: {k?: number; m?: number; unitBytes?: number; chunkBytes?: number; groupCount?: number},
  ): Promise<void>;
}

/** The bytes of regular files. Each `open` or `create` is matched by one `release`. */
export interface Files {
  /** `created` is false when it was there already (and `exclusive` was not asked for: EEXIST). */
  create(
    parent: number,
    name: Uint8Array,
    mode: number,
    caller: Caller,
    options: {exclusive: boolean; truncate: boolean},
  ): Promise<{attr: Attr; created: boolean}>;
  open(oid: number, options: OpenOptions): Promise<Attr>;
  release(oid: number): void;
  /**
   * At most `length` bytes from `offset` on, fewer only at the end of the file. The caller owns one reference of
   * each segment's slot; segments follow one another. `exclusive`: under a write lease, because the reader may
   * change what it gets without saying so (a writable shared mapping). `direct`: nobody reads ahead for the reader.
   */
  read(
    oid: number,
    offset: number,
    length: number,
    options?: {exclusive?: boolean; direct?: boolean},
  ): Promise<Segment[]>;
  /**
   * Takes over one reference of each segment's slot. Done when this client's reads (and, by its lease, everybody's)
   * see it; durable after `fsync`. `append`: at the end of the file, whatever `offset` says. Returns the offset
   * where it was written.
   */
  write(
    oid: number,
    offset: number,
    segments: readonly Segment[],
    options?: {append?: boolean; killSuidgid?: boolean},
  ): Promise<number>;
  /** Reports a failed write-back since this was last asked (close(2)); does not wait for what is still delayed. */
  flush(oid: number): Promise<void>;
  /** Returns when bytes, size and name are on stable storage; and times, but for `dataOnly`. */
  fsync(oid: number, dataOnly?: boolean): Promise<void>;
  /** Everything of this client. */
  syncAll(): Promise<void>;
}

/** As `Lock`, but for the session, which is this client's. `owner`: any number that its caller uses for one owner only. */
export type LockWanted = Omit<Lock, 'session'>;

/** `own`: of a program of this client, so that `pid` means something here. */
export type LockFound = LockWanted & {own: boolean};

/** fcntl(2), OFD and flock(2): held by the session, so they are free when it ends. */
export interface Locks {
  /**
   * Takes, changes (UNLOCKED: gives back). `wait`: until it is free; null: FsError EAGAIN if it is not. EINTR: the signal was given;
   * EDEADLK: it would wait for itself; ENOLCK: too many; EIO: the session was lost.
   */
  lock(oid: number, wanted: LockWanted, wait: AbortSignal | null): Promise<void>;
  /** What is in the way of such a lock; null: nothing. */
  testLock(oid: number, wanted: LockWanted): Promise<LockFound | null>;
  /** Gives everything of an owner back. */
  unlockAll(oid: number, owner: number, kind: LockKind): Promise<void>;
  /** Without asking anybody. */
  holdsLocks(oid: number, owner: number): boolean;
}

/** What the client asks of whoever caches on its behalf: the mount, whose kernel holds pages. */
export interface CacheOwner {
  /**
   * The lease of `oid`, or what is held of these bytes of it, is about to be given up (keep = 1: others will read; 0: others will write); of a
   * directory: what `nameValid` and `attrValid` allowed under it is void. Resolves when
   * no cached page of it can be served any more (keep 0) or none is dirty (keep 1). It may read and write through the
   * client meanwhile: the lease is still held. See FUSE.md section 10.4 and the recall rules in docs.
   */
  invalidate(oid: number, keep: 0 | 1, gone: Ranges): Promise<void>;
  /** The session was fenced: everything cached is void. */
  fenced(): void;
  /** Leases on directories are about to be given up, or not to be relied on any more, all at once. */
  voidNames(): Promise<void>;
}

export interface Client extends Namespace, Files, Locks {
  /** The lease mode that is held of these bytes of an object now: 0 none, 1 read, 2 write. */
  held(oid: number, range?: ByteRange): number;
  /**
   * For how many ms from now on the cache owner may keep what a name in a directory stands for (`oid` 0: that there is none);
   * 0: not at all. Nobody else can change it before `invalidate` of the directory or before that time.
   */
  nameValid(parent: number, name: Uint8Array, oid: number): number;
  /** The same for attributes, with the directory under whose lease that is so. */
  attrValid(oid: number): {ms: number; under: number};
  readonly session: number;
  status(): Promise<StatusReply>;
  /** Flushes, gives everything back and says goodbye. Bounded by `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}
