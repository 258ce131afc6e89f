import {bytesOf} from '../base/latin1.js';
import {type Inode, isDirectory, type NameRecord, S_IFMT} from '../namespace/inode.js';
import {NameTx} from '../namespace/tx.js';
import type {NameCache} from './name-cache.js';

/** What an operation would have to know is not known here: the meta server must be asked. */
export class Unknown extends Error {
  override readonly name = 'Unknown';
  /** A name that would have to be looked up, or a directory that would have to be held; null: something else. */
  readonly lacks: {parent: number; name: Uint8Array} | {directory: number} | null;

  constructor(lacks: Unknown['lacks'] = null) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super('not known here');
    Error.stackTraceLimit = limit;
    this.lacks = lacks;
  }
}

/** S_IFMT >> 12. */
const DIRECTORY = 4;

interface Put {
  directory: number;
  name: string;
  oid: number;
  type: number;
  cookie: number;
}

/** One operation on names and attributes as this client has cached them, under its leases for writing. */
export class LocalTx extends NameTx {
  readonly #names: NameCache;
  readonly #inodes = new Map<number, Inode>();
  readonly #dirty = new Set<Inode>();
  readonly #puts: Put[] = [];
  readonly #types = new Map<number, number>();
  made: Inode | null = null;
  /** What has lost its last name. */
  orphan: Inode | null = null;

  constructor(names: NameCache) {
    super();
    this.#names = names;
  }

  find(oid: number): Inode {
    let inode = this.#inodes.get(oid);
    if (inode === undefined) {
      const found = this.#names.inode(oid);
      if (found === null)
        throw new Unknown(this.#types.get(oid) === DIRECTORY ? {directory: oid} : null);
      inode = found;
      this.#inodes.set(oid, inode);
    }
    return inode;
  }

  name(parent: number, name: string): NameRecord | null {
    const bytes = bytesOf(name);
    const found = this.#names.known(parent, bytes);
    if (found === undefined) throw new Unknown({parent, name: bytes});
    if (found.oid === 0) return null;
    if (found.type !== DIRECTORY && this.#names.inode(found.oid) === null)
      throw new Unknown({parent, name: bytes});
    this.#types.set(found.oid, found.type);
    return found;
  }

  isEmpty(directory: number): boolean {
    const empty = this.#names.isEmpty(directory);
    if (empty === undefined) throw new Unknown();
    return empty;
  }

  xattr(): never {
    throw new Unknown();
  }

  add(inode: Inode): void {
    this.made = inode;
    this.#inodes.set(inode.oid, inode);
    this.#dirty.add(inode);
  }

  setName(directory: Inode, name: string, cookie: number, child: Inode): void {
    const type = (child.mode & S_IFMT) >> 12;
    this.#puts.push({directory: directory.oid, name, oid: child.oid, type, cookie});
  }

  protected removeName(directory: Inode, name: string): void {
    this.#puts.push({directory: directory.oid, name, oid: 0, type: 0, cookie: 0});
  }

  protected changed(inode: Inode): void {
    this.#dirty.add(inode);
  }

  protected orphaned(inode: Inode): void {
    this.orphan = inode;
  }

  putTarget(): void {
    // Whoever reads it asks the meta server, which has it by then.
  }

  delXattr(): void {}

  cutInline(): void {}

  /** What the operation changed is in the cache from now on. The objects, and what holds them; none: it changed nothing. */
  commit(): number[] {
    const names = this.#names;
    // Names first: with its old one, an object's attributes are forgotten.
    for (const {directory, name, ...what} of this.#puts)
      names.moved(directory, bytesOf(name), what);
    for (const inode of this.#dirty) names.changed(inode, inode === this.made);
    const {orphan} = this;
    if (orphan !== null && !isDirectory(orphan)) names.forgetAttr(orphan.oid);
    const touched = new Set<number>();
    // Who looks for the object by its name must know it, too.
    for (const {oid, parent, directory: part} of this.#dirty)
      touched.add(oid).add(part?.parent ?? parent);
    touched.delete(0);
    return [...touched];
  }
}
