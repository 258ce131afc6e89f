import type {Ms} from '../base/ids.js';
import {attrOf, type DirectoryPart, type Inode, type NameRecord} from '../namespace/inode.js';
import type {Attr, Dirent, FlushItem} from '../protocol/gen/wire.js';
import {LEASE} from '../protocol/ops.js';
import type {DirectoryPage} from './api.js';
import {CachedFiles} from './cached-files.js';
import {inodeOf} from './cached-inode.js';
import type {Directory, Name, Pending} from './cached-names.js';
import type {LeaseHolder} from './lease-holder.js';
import type {Session} from './session.js';
import {later} from './times.js';

const NO_BYTES = new Uint8Array(0);

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const NAMES_MAX = 131_072;
const FILES_MAX = 2 * NAMES_MAX;
/** A page is read after the third miss in a directory, and then after so many more. */
const MISSES_FOR_PAGE = 8;
const FIRST_MISSES = 3;
/**
 * Nobody who was told that something is valid may keep it for longer without asking again: less than the recall time, so that
 * what the kernel of a stopped process shows is not older than what others were given its lease for.
 */
const VALID_MS: Ms = 8000;
const NO_NAME: NameRecord = {oid: 0, type: 0, cookie: 0};
const NOT_VALID = {ms: 0, under: 0} as const;

export const isDirectory = (attr: Attr): boolean => (attr.mode & S_IFMT) === S_IFDIR;

export const nameKey = (name: Uint8Array): string =>
  Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1');

/**
 * Names and attributes that leases on directories cover (docs, "Leases"): what is here is told without a message. Believed only
 * while the lease of its directory is held and not being given up.
 */
export class NameCache {
  readonly #believed: boolean;
  readonly #holder: LeaseHolder;
  readonly #session: Session;
  /** Least recently filled first. */
  readonly #directories = new Map<number, Directory>();
  readonly #files = new CachedFiles();
  readonly #pending = new Map<number, Pending>();
  #names = 0;
  /** Changes of names that were asked for; grows. */
  changes = 0;

  /** `believed` false: nothing in here is ever told. */
  constructor(session: Session, holder: LeaseHolder, believed = true) {
    this.#believed = believed;
    this.#session = session;
    this.#holder = holder;
  }

  /** Is there a lease of the object on which an answer may rest now? */
  leased(oid: number): boolean {
    const held = this.#holder.peek(oid);
    if (held === undefined || held.mode < LEASE.read || held.gate !== null) return false;
    return this.#believed && this.#session.valid;
  }

  /** See `Client.nameValid`. */
  nameValid(parent: number, name: Uint8Array, oid: number): number {
    if (!this.leased(parent) || this.known(parent, name)?.oid !== oid) return 0;
    return Math.min(VALID_MS, this.#session.validMs);
  }

  /** See `Client.attrValid`. */
  attrValid(oid: number): {ms: number; under: number} {
    if (this.attr(oid) === undefined) return NOT_VALID;
    const ms = Math.min(VALID_MS, this.#session.validMs);
    return {ms, under: this.#files.get(oid)?.parent ?? oid};
  }

  /** May its names, and what is in it, be changed here? */
  mine(oid: number): boolean {
    const held = this.#holder.peek(oid);
    if (held === undefined || held.mode !== LEASE.write || held.gate !== null) return false;
    if (this.#pending.has(oid) || !held.current || !this.#session.valid) return false;
    return this.#directories.get(oid)?.part != null;
  }

  /** A change of the directory by the meta server is under way. */
  changing(oid: number): boolean {
    return this.#pending.has(oid);
  }

  /** A copy, to be changed by an operation; null: it is not known, or not this client's to change. */
  inode(oid: number): Inode | null {
    const file = this.#files.get(oid);
    if (file !== undefined) {
      const {attr, parent} = file;
      return attr === null || !this.mine(parent) ? null : inodeOf(attr, parent, null);
    }
    if (!this.mine(oid)) return null;
    const attr = this.#holder.peek(oid)?.attr ?? null;
    const {part} = this.#directories.get(oid)!;
    return attr === null || !isDirectory(attr) ? null : inodeOf(attr, 0, {...part!});
  }

  /** The directory whose lease covers the attributes of an object: itself, if it is one; 0: not known. */
  coveredBy(oid: number): number {
    const file = this.#files.get(oid);
    if (file !== undefined) return file.attr === null ? 0 : file.parent;
    return this.attr(oid) === undefined ? 0 : oid;
  }

  /** Undefined: not known. */
  isEmpty(oid: number): boolean | undefined {
    const directory = this.#directories.get(oid);
    if (directory === undefined || !this.mine(oid)) return undefined;
    for (const name of directory.names.values()) if (name.oid !== 0) return false;
    return directory.complete ? true : undefined;
  }

  /** Null: there is no such name; undefined: not known. */
  lookup(parent: number, name: Uint8Array): Attr | null | undefined {
    const directory = this.#directories.get(parent);
    if (directory === undefined || !this.leased(parent)) return undefined;
    const found = directory.names.get(nameKey(name));
    if (found === undefined) return directory.complete ? null : undefined;
    return found.oid === 0 ? null : this.attr(found.oid);
  }

  /** As the meta server would tell them, but for what this client itself writes. */
  attr(oid: number): Attr | undefined {
    const file = this.#files.get(oid);
    if (file !== undefined) {
      if (file.attr === null || !this.leased(file.parent)) return undefined;
      return this.#holder.peek(oid)?.overlay(file.attr) ?? file.attr;
    }
    const held = this.#holder.peek(oid);
    if (held === undefined || !held.current || held.attr === null) return undefined;
    return this.leased(oid) && isDirectory(held.attr) ? held.attr : undefined;
  }

  /** A page of a directory whose names are all known. */
  page(oid: number, cookie: number, max: number, attributes: boolean): DirectoryPage | undefined {
    const directory = this.#directories.get(oid);
    if (directory === undefined || !directory.complete || !this.leased(oid)) return undefined;
    const order = this.#order(directory);
    let low = 0;
    for (let high = order.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (order[middle]!.cookie <= cookie) low = middle + 1;
      else high = middle;
    }
    const entries: Dirent[] = [];
    for (const found of order.slice(low, low + max)) {
      const attr = attributes ? this.attr(found.oid) : null;
      if (attr === undefined) return undefined;
      const {name, type} = found;
      entries.push({
        name,
        oid: found.oid,
        type,
        cookie: found.cookie,
        attr,
        lease: 0,
        cacheable: false,
      });
    }
    const end = low + max >= order.length;
    return {entries, end, parent: directory.parent, leased: true};
  }

  /** Known objects whose names come after that of `oid` (0: all), in the order of cookies, with their types (S_IFMT >> 12). */
  after(parent: number, oid: number, max: number): readonly Readonly<NameRecord>[] {
    const directory = this.#directories.get(parent);
    const order = directory === undefined ? [] : this.#order(directory);
    const at = order.findIndex((name) => name.oid === oid);
    return at < 0 && oid !== 0 ? [] : order.slice(at + 1, at + 1 + max);
  }

  /** How much of a directory is known; undefined: nothing. `misses`: lookups in it that had to be asked for. */
  extent(oid: number): Readonly<Pick<Directory, 'parent' | 'complete' | 'misses'>> | undefined {
    return this.leased(oid) ? this.#directories.get(oid) : undefined;
  }

  /** No change of names is being asked for. */
  get quiet(): boolean {
    return this.#pending.size === 0;
  }

  /**
   * A lookup had to be asked for. Whoever looks at several names of a directory most often looks at all of them: the cookie
   * after which a page should be read now, or -1.
   */
  missed(oid: number): number {
    const directory = this.#directories.get(oid);
    if (directory === undefined || directory.complete || !this.leased(oid)) return -1;
    directory.misses++;
    if (directory.misses !== FIRST_MISSES && directory.misses % MISSES_FOR_PAGE !== 0) return -1;
    return Math.max(0, directory.filledTo);
  }

  // ---------------------------------------------------------------- answers

  /** A lease came with an answer that was asked for at `ticket`: may what it says of the directory be entered? */
  granted(attr: Attr | null, mode: number, ticket: number): boolean {
    if (attr === null) return false;
    const {oid} = attr;
    if (mode >= LEASE.read) {
      const none = {ticket, inlineBytes: 0, inline: NO_BYTES};
      this.#holder.granted(oid, LEASE.read, attr, null, none);
    }
    const held = this.#holder.peek(oid);
    if (held === undefined || held.mode < LEASE.read || held.gate !== null) return false;
    if (this.#holder.yieldedSince(oid, ticket) !== null) return false;
    // What is known from before its lease went may be of a future that a power cut of the meta server took back.
    if (held.current) held.learn(attr);
    else held.attr = attr;
    held.current = true;
    const directory = this.#directory(oid, attr.version);
    if (attr.version < directory.version) return false;
    directory.version = attr.version;
    return true;
  }

  /** What is under a name; `attr` null: nothing. Only after `granted` said yes for the directory. */
  enter(
    parent: number,
    name: Uint8Array,
    attr: Attr | null,
    {cookie, cacheable, ticket}: {cookie: number; cacheable: boolean; ticket: number},
  ): void {
    const directory = this.#directories.get(parent);
    if (directory === undefined) return;
    const type = attr === null ? 0 : (attr.mode & S_IFMT) >> 12;
    this.#put(directory, {name, oid: attr?.oid ?? 0, type, cookie});
    if (attr === null) return;
    if (isDirectory(attr)) this.#placed(attr.oid, parent);
    else this.learn(attr, cacheable ? parent : 0, ticket);
  }

  /** A page that was asked for from `cookie` on. */
  enterPage(
    oid: number,
    cookie: number,
    page: {entries: Dirent[]; end: boolean; parent: number},
    ticket: number,
  ): void {
    const directory = this.#directories.get(oid);
    if (directory === undefined) return;
    directory.parent = page.parent;
    const follows = cookie === 0 || directory.filledTo === cookie;
    for (const {name, oid: child, type, cookie: at, attr, lease, cacheable} of page.entries) {
      this.#put(directory, {name, oid: child, type, cookie: at});
      if (attr === null) continue;
      if (!isDirectory(attr)) this.learn(attr, cacheable ? oid : 0, ticket);
      else if (lease >= LEASE.read && this.granted(attr, lease, ticket)) this.#placed(child, oid);
    }
    if (!follows) return;
    directory.filledTo = page.entries.at(-1)?.cookie ?? cookie;
    if (!page.end) return;
    directory.complete = true;
    directory.filledTo = -1;
  }

  #placed(oid: number, parent: number): void {
    const directory = this.#directories.get(oid);
    if (directory !== undefined) directory.parent = parent;
  }

  /** Attributes of what is no directory; `parent` 0: they may not be kept. */
  learn(attr: Attr, parent: number, ticket: number): void {
    const known = this.#files.get(attr.oid);
    if (known !== undefined && known.version > attr.version) return;
    const doubtful = this.#holder.yieldedSince(attr.oid, ticket) !== null;
    if (parent === 0 || doubtful || !this.#directories.has(parent)) {
      this.#files.drop(attr.oid);
    } else {
      this.#files.put(attr.oid, {attr, parent, version: attr.version});
      if (this.#files.size > FILES_MAX) this.#evictFiles(parent);
    }
  }

  // ---------------------------------------------------------------- changes of this client

  /** The directory is held for writing since an answer that was asked for at `ticket`. */
  entrusted(attr: Attr, part: DirectoryPart, ticket: number): void {
    const {oid} = attr;
    const none = {ticket, inlineBytes: 0, inline: NO_BYTES};
    this.#holder.granted(oid, LEASE.write, attr, null, none);
    if (!this.granted(attr, LEASE.none, ticket)) return;
    this.#directories.get(oid)!.part = part;
  }

  /** Directories that are held for writing. */
  *entrustedOids(): Iterable<number> {
    for (const [oid, {part}] of this.#directories) if (part !== null) yield oid;
  }

  /** It may not be changed here any more. */
  returned(oid: number): void {
    const directory = this.#directories.get(oid);
    if (directory !== undefined) directory.part = null;
  }

  /** An operation that ran here changed or made this object. */
  changed(inode: Inode, made: boolean): void {
    const {oid} = inode;
    const attr = attrOf(inode);
    this.#holder.outdate(oid);
    if (inode.directory === null) {
      if (!this.#directories.has(inode.parent)) this.#files.drop(oid);
      else this.#files.put(oid, {attr, parent: inode.parent, version: attr.version});
      return;
    }
    if (inode.nlink === 0) {
      this.forget(oid);
      const held = this.#holder.peek(oid);
      if (held !== undefined) this.#holder.drop(held);
      return;
    }
    if (made) this.#holder.made(attr, null);
    const directory = this.#directory(oid, attr.version);
    directory.version = attr.version;
    directory.part = inode.directory;
    directory.parent = inode.directory.parent;
    if (made) directory.complete = true;
    const held = this.#holder.get(oid);
    held.attr = attr;
    held.current = true;
  }

  /** The meta server has what `item` says, and lacks changes that were made here. */
  told(item: FlushItem): void {
    const file = this.#files.get(item.oid);
    if (file === undefined || file.attr === null) return;
    const {mtime, size, blocks} = item;
    const attr = {...file.attr, size, blocks};
    if (mtime !== null) {
      attr.mtime = mtime;
      if (later(mtime, attr.ctime)) attr.ctime = mtime;
    }
    file.attr = attr;
  }

  /** Around each change of names that this client asks for. `overlapped` says that only forgetting is safe. */
  begin(directories: readonly number[]): {overlapped(): boolean; end(): void} {
    this.changes++;
    for (const oid of directories) {
      this.returned(oid);
      const held = this.#holder.peek(oid);
      if (held !== undefined) held.changes++;
      const pending = this.#pending.get(oid);
      if (pending === undefined) this.#pending.set(oid, {count: 1, overlap: false});
      else {
        pending.count++;
        pending.overlap = true;
      }
    }
    return {
      overlapped: () => directories.some((oid) => this.#pending.get(oid)!.overlap),
      end: () => {
        for (const oid of directories) {
          const pending = this.#pending.get(oid)!;
          if (--pending.count === 0) this.#pending.delete(oid);
        }
      },
    };
  }

  /** What is known under a name; undefined: nothing. */
  known(parent: number, name: Uint8Array): Readonly<NameRecord> | undefined {
    const directory = this.#directories.get(parent);
    const found = directory?.names.get(nameKey(name));
    if (found !== undefined) return found;
    return directory?.complete === true ? NO_NAME : undefined;
  }

  /** A new directory of this client's own: nothing is in it. */
  empty(oid: number, parent: number): void {
    const directory = this.#directories.get(oid);
    if (directory === undefined || directory.names.size > 0) return;
    directory.complete = true;
    directory.parent = parent;
  }

  moved(parent: number, name: Uint8Array, what: {oid: number; type: number; cookie: number}): void {
    const directory = this.#directories.get(parent);
    if (directory !== undefined) this.#put(directory, {name, ...what});
  }

  /** A name was changed over there in a way that is not known here, and with it its directory. */
  forgetEntry(parent: number, name: Uint8Array): void {
    this.forgetAttr(parent);
    this.#forgetName(parent, name);
  }

  #forgetName(parent: number, name: Uint8Array): void {
    const directory = this.#directories.get(parent);
    if (directory === undefined) return;
    if (directory.names.delete(nameKey(name))) this.#names--;
    // Whose name it was is not known, and attributes may be known without their names.
    else this.#files.dropUnder(parent);
    directory.complete = false;
    directory.filledTo = -1;
    directory.order = null;
  }

  /** Its attributes changed in a way that is not known here. */
  forgetAttr(oid: number): void {
    const file = this.#files.get(oid);
    if (file !== undefined) file.attr = null;
    this.#holder.outdate(oid);
    const held = this.#holder.peek(oid);
    if (held !== undefined) held.current = false;
  }

  /** Everything that the lease of a directory covered. */
  forget(oid: number): void {
    const directory = this.#directories.get(oid);
    if (directory === undefined) return;
    this.#directories.delete(oid);
    this.#names -= directory.names.size;
    // Also those whose names were never told.
    this.#files.dropUnder(oid);
  }

  // ----------------------------------------------------------------

  #directory(oid: number, version: number): Directory {
    let directory = this.#directories.get(oid);
    if (directory === undefined) {
      directory = {
        part: null,
        version,
        names: new Map(),
        complete: false,
        filledTo: -1,
        misses: 0,
        parent: 0,
        order: null,
      };
      this.#directories.set(oid, directory);
    }
    return directory;
  }

  #put(directory: Directory, entry: Name): void {
    const key = nameKey(entry.name);
    const old = directory.names.get(key);
    if (old === undefined) {
      // The request's bytes belong to a slot of the pool.
      directory.names.set(key, {...entry, name: Uint8Array.from(entry.name)});
      this.#names++;
    } else {
      if (old.oid === entry.oid && old.cookie === entry.cookie) return;
      if (old.oid !== 0 && old.oid !== entry.oid) this.#files.drop(old.oid);
      old.oid = entry.oid;
      old.type = entry.type;
      old.cookie = entry.cookie;
    }
    directory.order = null;
    if (this.#names > NAMES_MAX) this.#evict(directory);
  }

  #order(directory: Directory): Name[] {
    if (directory.order === null) {
      directory.order = [...directory.names.values()].filter((name) => name.oid !== 0);
      directory.order.sort((a, b) => a.cookie - b.cookie);
    }
    return directory.order;
  }

  /** Attributes whose names are not known are many only where names were dropped: those of this directory go last. */
  #evictFiles(filling: number): void {
    for (const oid of this.#directories.keys()) {
      if (this.#files.size <= FILES_MAX * 0.9) return;
      if (oid !== filling) this.forget(oid);
    }
    if (this.#files.size > FILES_MAX) this.#files.dropUnder(filling);
  }

  /** The names of other directories go first, then those of this one. */
  #evict(filling: Directory): void {
    for (const [oid, directory] of this.#directories) {
      if (this.#names <= NAMES_MAX * 0.9) return;
      if (directory !== filling) this.forget(oid);
    }
    if (this.#names <= NAMES_MAX) return;
    this.#names -= filling.names.size;
    filling.names.clear();
    filling.complete = false;
    filling.filledTo = -1;
  }
}
