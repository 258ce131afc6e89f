import type {Errno} from '../../src/core/base/errno.js';
import {FsError} from '../../src/core/base/errors.js';
import type {BufferPool, Segment} from '../../src/core/base/pool.js';
import type {Client} from '../../src/core/client/api.js';
import type {Attr} from '../../src/core/protocol/gen/wire.js';

interface ToyNode {
  oid: number;
  mode: number;
  nlink: number;
  parent: ToyNode | null;
  entries: Map<string, ToyNode>;
  bytes: Uint8Array;
  target: string;
  xattrs: Map<string, Uint8Array>;
}

const DIR = 0o040755;
const decoder = new TextDecoder();
const fail = (errno: Errno): never => {
  throw new FsError(errno);
};
const isDir = (node: ToyNode): boolean => (node.mode & 0o170000) === 0o040000;

/** A wrong thing that a toy does now and then, to see whether a checker notices. */
export type ToyBug =
  | 'lost-write'
  | 'stale-read'
  | 'wrong-size'
  | 'double-create'
  | 'nlink'
  | 'kept-xattr';

/** A file system in memory that all its clients share; small enough to be right. For tests of the checkers. */
export class ToyFiles {
  readonly #nodes = new Map<number, ToyNode>();
  #nextOid = 2;
  bug: ToyBug | null = null;
  /** Whether the bug strikes this time. */
  strikes: () => boolean = () => false;

  constructor() {
    this.#nodes.set(1, this.#node(1, DIR, null));
  }

  /** `pause` is awaited before and after each call takes effect. */
  client(pool: BufferPool, pause: () => Promise<void>): Client {
    const api: Record<string, unknown> = {};
    const on = (name: string, run: (...args: never[]) => unknown): void => {
      api[name] = async (...args: never[]) => {
        await pause();
        const result = run(...args);
        await pause();
        return result;
      };
    };
    on('lookup', (parent: number, name: Uint8Array) => this.#attr(this.#child(parent, name)));
    on('getattr', (oid: number) => this.#attr(this.#get(oid)));
    on('readlink', (oid: number) => new TextEncoder().encode(this.#get(oid).target));
    on('mkdir', (parent: number, name: Uint8Array) => this.#attr(this.#make(parent, name, DIR)));
    on('symlink', (parent: number, name: Uint8Array, target: Uint8Array) => {
      const made = this.#make(parent, name, 0o120777);
      made.target = decoder.decode(target);
      return this.#attr(made);
    });
    on('create', this.#create);
    on('link', this.#link);
    on('unlink', (parent: number, name: Uint8Array) => this.#remove(parent, name, false));
    on('rmdir', (parent: number, name: Uint8Array) => this.#remove(parent, name, true));
    on('rename', this.#rename);
    on('readdir', (oid: number) => {
      const entries = [...this.#get(oid).entries].map(([name, node]) => ({
        name: new TextEncoder().encode(name),
        oid: node.oid,
        type: (node.mode & 0o170000) >> 12,
        cookie: node.oid,
        attr: null,
      }));
      return {entries, end: true, parent: 1};
    });
    on('open', (oid: number, options: {truncate: boolean}) => {
      const node = this.#get(oid);
      if (options.truncate) node.bytes = new Uint8Array(0);
      return this.#attr(node);
    });
    on('setattr', (oid: number, set: {size?: number; mode?: number}) => {
      const node = this.#get(oid);
      if (set.size !== undefined) this.#resize(node, set.size);
      if (set.mode !== undefined) node.mode = (node.mode & 0o170000) | set.mode;
      return this.#attr(node);
    });
    on('setxattr', this.#setxattr);
    on('getxattr', (oid: number, name: Uint8Array) => this.#xattr(oid, name));
    on('listxattr', (oid: number) =>
      [...this.#get(oid).xattrs.keys()].map((name) => new TextEncoder().encode(name)),
    );
    on('removexattr', (oid: number, name: Uint8Array) => {
      this.#xattr(oid, name);
      if (!this.#struck('kept-xattr')) this.#get(oid).xattrs.delete(decoder.decode(name));
    });
    on('fsync', () => undefined);
    on('read', (oid: number, offset: number, length: number) =>
      this.#read(pool, this.#get(oid).bytes.subarray(offset, offset + length)),
    );
    on('write', (oid: number, offset: number, segments: Segment[], o: {append: boolean}) =>
      this.#write(pool, this.#get(oid), offset, segments, o.append),
    );
    api.release = () => {};
    api.close = () => Promise.resolve();
    return api as unknown as Client;
  }

  #node(oid: number, mode: number, parent: ToyNode | null): ToyNode {
    const nlink = mode === DIR ? 2 : 1;
    return {
      oid,
      mode,
      nlink,
      parent,
      entries: new Map(),
      bytes: new Uint8Array(0),
      target: '',
      xattrs: new Map(),
    };
  }

  #get(oid: number): ToyNode {
    return this.#nodes.get(oid) ?? fail('ENOENT');
  }

  #child(parent: number, name: Uint8Array): ToyNode {
    return this.#get(parent).entries.get(decoder.decode(name)) ?? fail('ENOENT');
  }

  #attr(node: ToyNode): Attr {
    const size = node.bytes.length + (this.#struck('wrong-size') ? 1 : 0);
    return {oid: node.oid, mode: node.mode, nlink: node.nlink, size} as Attr;
  }

  #struck(bug: ToyBug): boolean {
    return this.bug === bug && this.strikes();
  }

  #make(parent: number, nameBytes: Uint8Array, mode: number): ToyNode {
    const name = decoder.decode(nameBytes);
    const holder = this.#get(parent);
    if (holder.nlink === 0) fail('ENOENT');
    if (holder.entries.has(name) && !this.#struck('double-create')) fail('EEXIST');
    const made = this.#node(this.#nextOid++, mode, holder);
    this.#nodes.set(made.oid, made);
    holder.entries.set(name, made);
    if (isDir(made)) holder.nlink++;
    return made;
  }

  readonly #setxattr = (oid: number, name: Uint8Array, value: Uint8Array, flags: number): void => {
    const {xattrs} = this.#get(oid);
    const there = xattrs.has(decoder.decode(name));
    if (flags === 1 && there) fail('EEXIST');
    if (flags === 2 && !there) fail('ENODATA');
    xattrs.set(decoder.decode(name), value);
  };

  #xattr(oid: number, name: Uint8Array): Uint8Array {
    return this.#get(oid).xattrs.get(decoder.decode(name)) ?? fail('ENODATA');
  }

  readonly #create = (
    parent: number,
    name: Uint8Array,
    _mode: number,
    _caller: unknown,
    options: {exclusive: boolean; truncate: boolean},
  ): {attr: Attr; created: boolean} => {
    const there = this.#get(parent).entries.get(decoder.decode(name));
    if (there === undefined) {
      return {attr: this.#attr(this.#make(parent, name, 0o100644)), created: true};
    }
    if (options.exclusive) fail('EEXIST');
    if (isDir(there)) fail('EISDIR');
    if (there.target !== '') fail('ELOOP');
    if (options.truncate) there.bytes = new Uint8Array(0);
    return {attr: this.#attr(there), created: false};
  };

  readonly #link = (oid: number, parent: number, nameBytes: Uint8Array): Attr => {
    const name = decoder.decode(nameBytes);
    const node = this.#get(oid);
    const holder = this.#get(parent);
    if (holder.nlink === 0) fail('ENOENT');
    if (holder.entries.has(name)) fail('EEXIST');
    if (isDir(node)) fail('EPERM');
    if (node.nlink === 0) fail('ENOENT');
    holder.entries.set(name, node);
    if (!this.#struck('nlink')) node.nlink++;
    return this.#attr(node);
  };

  #remove(parent: number, nameBytes: Uint8Array, directory: boolean): void {
    const holder = this.#get(parent);
    const node = this.#child(parent, nameBytes);
    if (directory && !isDir(node)) fail('ENOTDIR');
    if (!directory && isDir(node)) fail('EISDIR');
    if (node.entries.size > 0) fail('ENOTEMPTY');
    holder.entries.delete(decoder.decode(nameBytes));
    this.#drop(holder, node);
  }

  #drop(holder: ToyNode, node: ToyNode): void {
    node.nlink = isDir(node) ? 0 : node.nlink - 1;
    if (isDir(node)) holder.nlink--;
  }

  readonly #rename = (
    parent: number,
    nameBytes: Uint8Array,
    newParent: number,
    newNameBytes: Uint8Array,
    flags: number,
  ): void => {
    const [name, newName] = [decoder.decode(nameBytes), decoder.decode(newNameBytes)];
    const from = this.#get(parent);
    const to = this.#get(newParent);
    if (to.nlink === 0) fail('ENOENT');
    const node = this.#child(parent, nameBytes);
    const there = to.entries.get(newName);
    if (flags === 1 && there !== undefined) fail('EEXIST');
    if (flags === 2 && there === undefined) fail('ENOENT');
    const inside = (at: ToyNode | null, top: ToyNode): boolean =>
      at !== null && (at === top || inside(at.parent, top));
    if (inside(to, node)) fail('EINVAL');
    if (there !== undefined) {
      if (flags === 2 && inside(from, there)) fail('EINVAL');
      if (flags !== 2) {
        if (inside(from, there)) fail('ENOTEMPTY');
        if (isDir(node) && !isDir(there)) fail('ENOTDIR');
        if (!isDir(node) && isDir(there)) fail('EISDIR');
        if (there.entries.size > 0 && there !== node) fail('ENOTEMPTY');
      }
      if (there === node) return;
    }
    from.entries.delete(name);
    if (isDir(node)) from.nlink--;
    if (there !== undefined && flags !== 2) this.#drop(to, there);
    if (there !== undefined && flags === 2) {
      from.entries.set(name, there);
      if (isDir(there)) {
        to.nlink--;
        from.nlink++;
      }
      there.parent = from;
    }
    to.entries.set(newName, node);
    if (isDir(node)) to.nlink++;
    node.parent = to;
  };

  #resize(node: ToyNode, size: number): void {
    const bytes = new Uint8Array(size);
    bytes.set(node.bytes.subarray(0, size));
    node.bytes = bytes;
  }

  #read(pool: BufferPool, bytes: Uint8Array): Segment[] {
    if (bytes.length === 0) return [];
    const slot = pool.alloc(bytes.length);
    const offset = pool.payload(slot);
    pool.view(offset, bytes.length).set(bytes);
    if (this.#struck('stale-read')) pool.view(offset, 1)[0]! ^= 0xff;
    return [{slot, offset, length: bytes.length}];
  }

  #write(
    pool: BufferPool,
    node: ToyNode,
    offset: number,
    segments: Segment[],
    append: boolean,
  ): number {
    let at = append ? node.bytes.length : offset;
    const start = at;
    const lost = this.#struck('lost-write');
    for (const segment of segments) {
      if (at + segment.length > node.bytes.length) this.#resize(node, at + segment.length);
      if (!lost) node.bytes.set(pool.view(segment.offset, segment.length), at);
      at += segment.length;
      pool.release(segment.slot);
    }
    return start;
  }
}
