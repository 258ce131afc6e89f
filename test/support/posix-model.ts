import type {Errno} from '../../src/core/base/errno.js';
import {FsError} from '../../src/core/base/errors.js';

/** Seconds and nanoseconds as one text, so that they compare and print without thought. */
export type ModelTime = string;

export interface ModelStat {
  oid: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  size: number;
  atime: ModelTime;
  mtime: ModelTime;
  ctime: ModelTime;
}

export interface ModelChange {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: ModelTime;
  mtime?: ModelTime;
  kill?: boolean;
}

export interface Maker {
  uid: number;
  gid: number;
  now: ModelTime;
  /** The id that the new object has. */
  oid: number;
}

interface Node {
  oid: number;
  mode: number;
  uid: number;
  gid: number;
  rdev: number;
  size: number;
  atime: ModelTime;
  mtime: ModelTime;
  ctime: ModelTime;
  /** Directories only. */
  names: Map<string, Node> | null;
  target: string;
  xattrs: Map<string, string>;
}

const TYPE = 0o170000;
const DIR = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;

/**
 * What the operations of a file system mean, with no thought for anything else: a tree of objects, link counts
 * counted anew each time. Names are latin1 texts; objects are named by oid, the root is 1. Refuses with FsError.
 * An object without a name stays until `forget`. Layouts are not modelled.
 */
export class PosixModel {
  readonly #nodes = new Map<number, Node>();

  constructor(now: ModelTime) {
    const root = this.#node(1, DIR | 0o755, {uid: 0, gid: 0, now, oid: 1});
    this.#nodes.set(1, root);
  }

  get oids(): number[] {
    return [...this.#nodes.keys()];
  }

  #node(oid: number, mode: number, {uid, gid, now}: Maker): Node {
    return {
      oid,
      mode,
      uid,
      gid,
      rdev: 0,
      size: 0,
      atime: now,
      mtime: now,
      ctime: now,
      names: (mode & TYPE) === DIR ? new Map() : null,
      target: '',
      xattrs: new Map(),
    };
  }

  #get(oid: number): Node {
    return this.#nodes.get(oid) ?? refuse('ENOENT');
  }

  #dir(oid: number): Map<string, Node> {
    return this.#get(oid).names ?? refuse('ENOTDIR');
  }

  /** How often a node occurs as a name, anywhere. */
  #count(node: Node): number {
    let count = 0;
    for (const {names} of this.#nodes.values()) {
      for (const other of names?.values() ?? []) if (other === node) count++;
    }
    return count;
  }

  #nlink(node: Node): number {
    const {names} = node;
    if (names === null) return this.#count(node);
    if (node.oid !== 1 && this.#count(node) === 0) return 0;
    return 2 + [...names.values()].filter((child) => child.names !== null).length;
  }

  #contains(top: Node, wanted: Node): boolean {
    if (top === wanted) return true;
    return [...(top.names?.values() ?? [])].some((child) => this.#contains(child, wanted));
  }

  stat(oid: number): ModelStat {
    const {names: _n, target: _t, xattrs: _x, ...rest} = this.#get(oid);
    return {...rest, nlink: this.#nlink(this.#get(oid))};
  }

  lookup(parent: number, name: string): ModelStat {
    checkName(name);
    return this.stat((this.#dir(parent).get(name) ?? refuse('ENOENT')).oid);
  }

  names(oid: number): string[] {
    return [...this.#dir(oid).keys()].sort();
  }

  /** The directory that holds a directory; null for one that was removed. */
  parent(oid: number): number | null {
    const node = this.#get(oid);
    if (oid === 1) return 1;
    for (const other of this.#nodes.values()) {
      if ([...(other.names?.values() ?? [])].includes(node)) return other.oid;
    }
    return null;
  }

  #make(parent: number, name: string, mode: number, maker: Maker): Node {
    checkName(name);
    const names = this.#dir(parent);
    if (names.has(name)) refuse('EEXIST');
    const directory = this.#get(parent);
    if (this.#nlink(directory) === 0) refuse('ENOENT');
    const node = this.#node(maker.oid, mode, maker);
    if ((directory.mode & 0o2000) !== 0) {
      node.gid = directory.gid;
      if (node.names !== null) node.mode |= 0o2000;
    }
    names.set(name, node);
    this.#nodes.set(maker.oid, node);
    directory.mtime = maker.now;
    directory.ctime = maker.now;
    return node;
  }

  mkdir(parent: number, name: string, mode: number, maker: Maker): ModelStat {
    return this.stat(this.#make(parent, name, DIR | (mode & 0o1777), maker).oid);
  }

  /** Not exclusive: opens what is there. */
  create(parent: number, name: string, mode: number, exclusive: boolean, maker: Maker): ModelStat {
    checkName(name);
    const there = this.#dir(parent).get(name);
    if (there !== undefined && !exclusive) {
      const type = there.mode & TYPE;
      if (type !== FILE) refuse(type === DIR ? 'EISDIR' : type === LINK ? 'ELOOP' : 'EEXIST');
      return this.stat(there.oid);
    }
    return this.stat(this.#make(parent, name, FILE | (mode & 0o7777), maker).oid);
  }

  mknod(parent: number, name: string, mode: number, rdev: number, maker: Maker): ModelStat {
    const type = mode & TYPE;
    if (type === DIR || type === LINK) refuse('EINVAL');
    const node = this.#make(parent, name, type === 0 ? FILE | mode : mode, maker);
    if (type === 0o020000 || type === 0o060000) node.rdev = rdev;
    return this.stat(node.oid);
  }

  symlink(parent: number, name: string, target: string, maker: Maker): ModelStat {
    if (target === '') refuse('ENOENT');
    if (target.length > 4095) refuse('ENAMETOOLONG');
    const node = this.#make(parent, name, LINK | 0o777, maker);
    node.target = target;
    node.size = target.length;
    return this.stat(node.oid);
  }

  readlink(oid: number): string {
    const node = this.#get(oid);
    return (node.mode & TYPE) === LINK ? node.target : refuse('EINVAL');
  }

  link(oid: number, parent: number, name: string, now: ModelTime): ModelStat {
    checkName(name);
    const names = this.#dir(parent);
    if (names.has(name)) refuse('EEXIST');
    const directory = this.#get(parent);
    if (this.#nlink(directory) === 0) refuse('ENOENT');
    const node = this.#get(oid);
    if (node.names !== null) refuse('EPERM');
    if (this.#nlink(node) === 0) refuse('ENOENT');
    names.set(name, node);
    node.ctime = now;
    this.#touch(directory, now);
    return this.stat(oid);
  }

  #touch(node: Node, now: ModelTime): void {
    node.mtime = now;
    node.ctime = now;
  }

  unlink(parent: number, name: string, directory: boolean, now: ModelTime): void {
    checkName(name);
    const names = this.#dir(parent);
    const node = names.get(name) ?? refuse('ENOENT');
    if (directory && node.names === null) refuse('ENOTDIR');
    if (!directory && node.names !== null) refuse('EISDIR');
    if (node.names !== null && node.names.size > 0) refuse('ENOTEMPTY');
    names.delete(name);
    node.ctime = now;
    this.#touch(this.#get(parent), now);
  }

  rename(from: [number, string], to: [number, string], flags: number, now: ModelTime): void {
    if (flags > 2) refuse('EINVAL');
    const names = this.#dir(from[0]);
    checkName(from[1]);
    const newNames = this.#dir(to[0]);
    checkName(to[1]);
    const source = names.get(from[1]) ?? refuse('ENOENT');
    const target = newNames.get(to[1]);
    if (flags === 1 && target !== undefined) refuse('EEXIST');
    if (flags === 2 && target === undefined) refuse('ENOENT');
    const newParent = this.#get(to[0]);
    if (this.#nlink(newParent) === 0) refuse('ENOENT');
    if (this.#contains(source, newParent)) refuse('EINVAL');
    if (target !== undefined && this.#contains(target, this.#get(from[0]))) {
      refuse(flags === 2 ? 'EINVAL' : 'ENOTEMPTY');
    }
    if (source === target) return;
    if (flags === 2 && target !== undefined) {
      names.set(from[1], target);
      target.ctime = now;
    } else {
      if (target !== undefined) replaceable(source, target);
      names.delete(from[1]);
      if (target !== undefined) target.ctime = now;
    }
    newNames.set(to[1], source);
    source.ctime = now;
    this.#touch(this.#get(from[0]), now);
    this.#touch(newParent, now);
  }

  setattr(oid: number, change: ModelChange, now: ModelTime): ModelStat {
    const node = this.#get(oid);
    const type = node.mode & TYPE;
    if (change.size !== undefined && type !== FILE) refuse(type === DIR ? 'EISDIR' : 'EINVAL');
    const killed = change.kill || change.uid !== undefined || change.gid !== undefined;
    if (killed && type !== DIR) {
      node.mode &= (node.mode & 0o010) !== 0 ? ~0o6000 : ~0o4000;
      node.xattrs.delete('security.capability');
    }
    if (change.mode !== undefined) node.mode = type | change.mode;
    if (change.uid !== undefined) node.uid = change.uid;
    if (change.gid !== undefined) node.gid = change.gid;
    if (change.size !== undefined) {
      node.size = change.size;
      node.mtime = now;
    }
    if (change.atime !== undefined) node.atime = change.atime;
    if (change.mtime !== undefined) node.mtime = change.mtime;
    if (Object.keys(change).length > 0) node.ctime = now;
    return this.stat(oid);
  }

  setxattr(oid: number, name: string, value: string, flags: number, now: ModelTime): void {
    if (name.length > 255) refuse('ERANGE');
    if (!/^(user|trusted|security)\../.test(name)) refuse('EOPNOTSUPP');
    const node = this.#get(oid);
    if ((flags & 1) !== 0 && node.xattrs.has(name)) refuse('EEXIST');
    if ((flags & 2) !== 0 && !node.xattrs.has(name)) refuse('ENODATA');
    node.xattrs.set(name, value);
    node.ctime = now;
  }

  removexattr(oid: number, name: string, now: ModelTime): void {
    if (!/^(user|trusted|security)\../.test(name)) refuse('EOPNOTSUPP');
    const node = this.#get(oid);
    if (!node.xattrs.delete(name)) refuse('ENODATA');
    node.ctime = now;
  }

  xattrs(oid: number): [string, string][] {
    return [...this.#get(oid).xattrs].sort();
  }

  /** Ends objects without a name. */
  forget(oids: readonly number[]): void {
    for (const oid of oids) {
      const node = this.#nodes.get(oid);
      if (node !== undefined && this.#nlink(node) === 0) this.#nodes.delete(oid);
    }
  }
}

function refuse(errno: Errno): never {
  throw new FsError(errno);
}

function checkName(name: string): void {
  if (name.length > 255) refuse('ENAMETOOLONG');
  if (['', '.', '..'].includes(name) || /[/\0]/.test(name)) refuse('EINVAL');
}

function replaceable(source: Node, target: Node): void {
  if (target.names !== null && source.names === null) refuse('EISDIR');
  if (target.names === null && source.names !== null) refuse('ENOTDIR');
  if (target.names !== null && target.names.size > 0) refuse('ENOTEMPTY');
}
