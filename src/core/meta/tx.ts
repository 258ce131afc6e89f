import {assert} from '../base/assert.js';
import {latin1} from '../base/latin1.js';
import {
  attrOf,
  type DirectoryPart,
  type Inode,
  type NameRecord,
  S_IFMT,
} from '../namespace/inode.js';
import {NAME_BYTES_MAX} from '../namespace/names.js';
import {NameTx} from '../namespace/tx.js';
import type {Attr, Layout} from '../protocol/gen/wire.js';
import type {Effect, Superblock} from './command.js';
import * as keys from './keys.js';
import {
  decodeEntry,
  decodeInode,
  decodeInt,
  decodeName,
  decodeSuperblock,
  type EntryRecord,
  encodeEntry,
  encodeInode,
  encodeInt,
  encodeName,
  encodeRemoval,
} from './records.js';
import type {LayeredStore} from './store.js';

/** The state, to look at. */
export interface ReadTx {
  exists(oid: number): boolean;
  /** ENOENT when there is no such object. */
  attr(oid: number): Attr;
  /** Of a regular file, else null. ENOENT when there is no such object. */
  layout(oid: number): Layout | null;
  /** The object of a name, or null. ENOENT, ENOTDIR for the directory. */
  child(parent: number, name: Uint8Array): number | null;
  /** Where a name stands in its directory; 0 when it is not there. */
  cookie(parent: number, name: Uint8Array): number;
  /** The directory that holds all names of what is no directory; 0: not known, or there are several. */
  parentOf(oid: number): number;
  /** Of a directory, else null. ENOENT when there is no such object. */
  part(oid: number): Readonly<DirectoryPart> | null;
  /** Bytes of a file that are kept with its inode; empty: none. ENOENT when there is no such object. */
  inline(oid: number): Uint8Array;
}

export interface Entry extends EntryRecord {
  cookie: number;
}

/**
 * The state as one batch sees it. Operations read and refuse first; from the first change on they cannot fail, which
 * `refused` checks. Inodes are decoded once and written back once for the whole batch, by `finish`.
 */
export class Tx extends NameTx implements ReadTx {
  readonly store: LayeredStore;
  effects: Effect[] = [];
  readonly #inodes = new Map<number, Inode | null>();
  readonly #dirty = new Set<Inode>();
  #superblock: Superblock | null = null;
  #filesChange = 0;
  #changes = 0;

  constructor(store: LayeredStore) {
    super();
    this.store = store;
  }

  // ---------------------------------------------------------------- reads

  get superblock(): Superblock {
    this.#superblock ??= decodeSuperblock(this.#must(keys.SUPERBLOCK_KEY));
    return this.#superblock;
  }

  get files(): number {
    return decodeInt(this.#must(keys.FILES_KEY)) + this.#filesChange;
  }

  /** Ids from here on are nobody's. */
  get idsBelow(): number {
    return decodeInt(this.#must(keys.IDS_KEY));
  }

  find(oid: number): Inode | null {
    const known = this.#inodes.get(oid);
    if (known !== undefined) return known;
    const bytes = this.store.get(keys.inodeKey(oid));
    const inode = bytes === undefined ? null : decodeInode(oid, bytes);
    this.#inodes.set(oid, inode);
    return inode;
  }

  name(parent: number, name: string): NameRecord | null {
    // A key of the store could not be that long.
    if (name.length > NAME_BYTES_MAX) return null;
    const bytes = this.store.get(keys.nameKey(parent, name));
    return bytes === undefined ? null : decodeName(bytes);
  }

  /** Names of a directory with a cookie above `after`, in their order. */
  entries(parent: number, after: number, limit: number): Entry[] {
    const from = keys.entryKey(parent, after + 1);
    const found = this.store.range(from, keys.idEnd('e', parent), limit);
    return found.map(([key, bytes]) => ({
      ...decodeEntry(bytes),
      cookie: keys.keyId(key, keys.ID_KEY_LENGTH),
    }));
  }

  isEmpty(directory: number): boolean {
    return this.entries(directory, 0, 1).length === 0;
  }

  xattr(oid: number, name: string): Uint8Array | null {
    return this.store.get(keys.xattrKey(oid, name)) ?? null;
  }

  /** Names of the stored attributes of an object, in their order. */
  xattrNames(oid: number): string[] {
    const found = this.store.range(keys.xattrKey(oid, ''), keys.idEnd('x', oid), XATTRS_MAX);
    return found.map(([key]) => key.slice(keys.ID_KEY_LENGTH));
  }

  target(oid: number): Uint8Array {
    return this.#must(keys.targetKey(oid));
  }

  exists(oid: number): boolean {
    return this.find(oid) !== null;
  }

  attr(oid: number): Attr {
    return attrOf(this.inode(oid));
  }

  layout(oid: number): Layout | null {
    return this.inode(oid).layout;
  }

  part(oid: number): Readonly<DirectoryPart> | null {
    return this.inode(oid).directory;
  }

  child(parent: number, name: Uint8Array): number | null {
    this.directory(parent);
    return this.name(parent, latin1(name))?.oid ?? null;
  }

  cookie(parent: number, name: Uint8Array): number {
    return this.name(parent, latin1(name))?.cookie ?? 0;
  }

  parentOf(oid: number): number {
    return this.find(oid)?.parent ?? 0;
  }

  inline(oid: number): Uint8Array {
    return this.inode(oid).inlineBytes === 0 ? EMPTY : this.#must(keys.inlineKey(oid));
  }

  #must(key: string): Uint8Array {
    const value = this.store.get(key);
    assert(value !== undefined, `no ${JSON.stringify(key)} in the store`);
    return value;
  }

  // ---------------------------------------------------------------- changes

  add(inode: Inode): void {
    this.#changes++;
    this.#filesChange++;
    this.#inodes.set(inode.oid, inode);
    this.#dirty.add(inode);
  }

  setName(directory: Inode, name: string, cookie: number, child: Inode): void {
    this.#changes++;
    const type = (child.mode & S_IFMT) >> 12;
    this.store.put(keys.nameKey(directory.oid, name), encodeName({type, oid: child.oid, cookie}));
    this.store.put(keys.entryKey(directory.oid, cookie), encodeEntry(type, child.oid, name));
  }

  protected removeName(directory: Inode, name: string, cookie: number): void {
    this.#changes++;
    this.store.del(keys.nameKey(directory.oid, name));
    this.store.del(keys.entryKey(directory.oid, cookie));
  }

  protected changed(inode: Inode): void {
    this.#changes++;
    this.#dirty.add(inode);
  }

  putTarget(oid: number, target: Uint8Array): void {
    this.put(keys.targetKey(oid), target);
  }

  delXattr(oid: number, name: string): void {
    this.del(keys.xattrKey(oid, name));
  }

  /** After `modify`: these are the inline bytes from now on. */
  setInline(inode: Inode, bytes: Uint8Array): void {
    const key = keys.inlineKey(inode.oid);
    if (bytes.length > 0) this.put(key, bytes);
    else if (inode.inlineBytes > 0) this.del(key);
    inode.inlineBytes = bytes.length;
  }

  cutInline(inode: Inode, size: number): void {
    if (inode.inlineBytes > size) this.setInline(inode, this.inline(inode.oid).subarray(0, size));
  }

  protected orphaned(inode: Inode): void {
    this.store.put(keys.orphanKey(inode.oid), EMPTY);
    this.effects.push({kind: 'orphan', oid: inode.oid});
  }

  /** Ends an orphan; the columns of a file go to the removal queue. */
  destroy(inode: Inode): void {
    assert(inode.nlink === 0, `object ${inode.oid} still has a name`);
    this.#changes++;
    this.#filesChange--;
    const oid = inode.oid;
    for (const name of this.xattrNames(oid)) this.store.del(keys.xattrKey(oid, name));
    this.store.del(keys.targetKey(oid));
    if (inode.inlineBytes > 0) this.store.del(keys.inlineKey(oid));
    this.store.del(keys.orphanKey(oid));
    this.store.del(keys.inodeKey(oid));
    this.#dirty.delete(inode);
    this.#inodes.set(oid, null);
    const {layout, next} = inode;
    if (layout === null) return;
    if (next !== null) this.removePart(oid, next);
    this.put(keys.removalKey(oid), encodeRemoval(layout));
    this.effects.push({kind: 'remove', oid, layout, whole: true});
  }

  /** What an object was moved from goes to the removal queue, or where it does not move to after all. */
  removePart(oid: number, layout: Layout): void {
    this.put(keys.removalKey(oid, layout.generation), encodeRemoval(layout));
    this.effects.push({kind: 'remove', oid, layout, whole: false});
  }

  put(key: string, value: Uint8Array): void {
    this.#changes++;
    this.store.put(key, value);
  }

  del(key: string): void {
    this.#changes++;
    this.store.del(key);
  }

  // ---------------------------------------------------------------- life of a batch

  /** Before each operation: what `refused` compares with. */
  get changes(): number {
    return this.#changes;
  }

  /** An operation threw an answer: it must not have changed anything. */
  refused(changesBefore: number): void {
    assert(this.#changes === changesBefore, 'an operation refused after its first change');
  }

  /** Writes the inodes back. The Tx can be used for another batch then. */
  finish(): void {
    for (const inode of this.#dirty) {
      this.store.put(keys.inodeKey(inode.oid), encodeInode(inode));
    }
    if (this.#filesChange !== 0) {
      this.store.put(keys.FILES_KEY, encodeInt(this.files));
      this.#filesChange = 0;
    }
    this.#dirty.clear();
    this.#inodes.clear();
  }
}

const EMPTY = new Uint8Array(0);
/** More than fit: their names together are at most 64 KiB (ops/setxattr.ts), and none is shorter than 6. */
const XATTRS_MAX = 16_384;
