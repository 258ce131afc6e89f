import {FsError} from '../base/errors.js';
import type {Time} from '../protocol/gen/wire.js';
import {type Inode, isDirectory, type NameRecord} from './inode.js';

/** Times of all changes of one batch and what else was decided before it entered. */
export interface Given {
  now: Time;
  /** The id for a new object; 0 for operations that make none. */
  oid: number;
  groups: readonly number[];
  /** What came with the request beside the message; it may be kept. */
  payload: Uint8Array;
}

/**
 * Names and inodes as an operation on them sees and changes them. The meta server runs the operations of this folder on its state; a
 * client that holds the directories for writing runs the same on what it has cached, and the meta server repeats them later: so both
 * come to the same attributes, versions and cookies.
 *
 * Operations read and refuse first; from the first change on they cannot fail.
 */
export abstract class NameTx {
  /** Null: there is no such object. */
  abstract find(oid: number): Inode | null;
  /** Null: there is no such name. */
  abstract name(parent: number, name: string): NameRecord | null;
  abstract isEmpty(directory: number): boolean;
  abstract xattr(oid: number, name: string): Uint8Array | null;

  /** The inode is new. */
  abstract add(inode: Inode): void;
  /** What is under a name from now on; the name keeps its place (cookie). */
  abstract setName(directory: Inode, name: string, cookie: number, child: Inode): void;
  abstract putTarget(oid: number, target: Uint8Array): void;
  abstract delXattr(oid: number, name: string): void;
  /** After `modify`: none of its inline bytes lies at or after `size`. */
  abstract cutInline(inode: Inode, size: number): void;
  protected abstract removeName(directory: Inode, name: string, cookie: number): void;
  /** It has lost its last name. */
  protected abstract orphaned(inode: Inode): void;
  protected abstract changed(inode: Inode): void;

  /** ENOENT when there is no such object. */
  inode(oid: number): Inode {
    const inode = this.find(oid);
    if (inode === null) throw new FsError('ENOENT', `object ${oid}`);
    return inode;
  }

  /** ENOENT, or ENOTDIR. */
  directory(oid: number): Inode {
    const inode = this.inode(oid);
    if (!isDirectory(inode)) throw new FsError('ENOTDIR', `object ${oid}`);
    return inode;
  }

  /** Is the directory `oid` the directory `below` or above it? */
  isAncestor(oid: number, below: number): boolean {
    for (let at = below; ; ) {
      if (at === oid) return true;
      const parent = this.directory(at).directory!.parent;
      if (parent === at) return false;
      at = parent;
    }
  }

  /** To be called before fields of the inode change. */
  modify(inode: Inode): Inode {
    inode.version++;
    this.changed(inode);
    return inode;
  }

  /** Enters a name. The directory gets its times; nlink is the caller's. */
  putName(directory: Inode, name: string, child: Inode, now: Time): void {
    const cookie = directory.directory!.nextCookie++;
    this.setName(directory, name, cookie, child);
    this.touch(directory, now);
  }

  delName(directory: Inode, name: string, cookie: number, now: Time): void {
    this.removeName(directory, name, cookie);
    this.touch(directory, now);
  }

  /** The contents changed: mtime and ctime. */
  touch(inode: Inode, now: Time): void {
    this.modify(inode);
    inode.mtime = now;
    inode.ctime = now;
  }

  /** One link less; a directory loses its own two. Without a link it is an orphan from now on. */
  dropLink(inode: Inode, now: Time): void {
    this.modify(inode);
    inode.nlink = isDirectory(inode) ? 0 : inode.nlink - 1;
    inode.ctime = now;
    if (inode.nlink === 0) this.orphaned(inode);
  }
}
