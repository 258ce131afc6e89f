import {FsError} from '../base/errors.js';
import {ROOT_OID} from '../base/ids.js';
import {bytesOf} from '../base/latin1.js';
import type {Kv} from '../env/kv.js';
import {type Inode, isDirectory, S_IFDIR, S_IFMT, S_IFREG} from '../namespace/inode.js';
import {bareInode, FIRST_COOKIE} from '../namespace/new-inode.js';
import type {BacktraceEntry} from '../protocol/backtraces.js';
import type {Layout, Time} from '../protocol/gen/wire.js';
import * as keys from './keys.js';
import {Counts} from './rebuild-marks.js';
import {
  decodeEntry,
  decodeInode,
  decodeInt,
  decodeName,
  decodeSuperblock,
  encodeEntry,
  encodeInode,
  encodeInt,
  encodeName,
} from './records.js';
import {LayeredStore} from './store.js';
import {Tx} from './tx.js';

/** What is held in memory before it goes to the store. */
const OVERLAY_BYTES = 32 * 1024 * 1024;
const PAGE = 1000;
/** Names and paths that a report quotes. */
const QUOTED_MAX = 100;
export const LOST_FOUND = 'lost+found';

/** A file of which there are columns, and no record. */
export interface Stray {
  oid: number;
  layout: Layout;
  size: number;
}

/** What a rebuild made of the records. All but the first three are zero when it is what it was. */
export interface Rebuilt {
  files: number;
  directories: number;
  /** Symbolic links, devices, pipes, sockets. */
  others: number;
  /** Without a name, as they were: somebody had them open. */
  orphans: number;
  /** Names whose object has no record; they are gone. */
  namesLost: number;
  namesLostQuoted: string[];
  /** Names that could not be because of others (an object is elsewhere by now); they are gone, the object is not. */
  namesDropped: number;
  /** Objects whose number of links, type in a listing, or place of a name was mended. */
  mended: number;
  /** In lost+found: objects that no name is left of. */
  unnamed: number;
  /** In lost+found: files of which only columns are left. */
  strays: number;
  /** Small files whose bytes were with the meta server, and are not in the records: they are empty. */
  bytesLost: number;
}

export interface RebuildEnd {
  now: Time;
  /** The log goes on after this batch. */
  position: number;
  line: number;
  /** Above the newest in the records, whoever reigns. */
  terms: number;
  /** Ids below were given, or may have been. */
  idsBelow: number;
  /** The map; null: what the records say. */
  map: ((bytes: Uint8Array) => Uint8Array) | null;
}

/**
 * Makes a state from backtraces: takes the newest records of all shards, and then makes them one tree, also if they are not of one moment.
 * Every name has an object and every object a name; what has none goes to lost+found.
 */
export class Rebuild {
  readonly store: LayeredStore;
  readonly #found: Rebuilt = {
    files: 0,
    directories: 0,
    others: 0,
    orphans: 0,
    namesLost: 0,
    namesLostQuoted: [],
    namesDropped: 0,
    mended: 0,
    unnamed: 0,
    strays: 0,
    bytesLost: 0,
  };
  readonly #links = new Counts();
  readonly #subfolders = new Map<number, number>();
  readonly #unnamed: number[] = [];
  #position = 1;
  #highest = ROOT_OID as number;

  /** `kv`: an empty one. */
  constructor(kv: Kv) {
    this.store = new LayeredStore(kv);
  }

  /** Entries of the newest copy of a shard. */
  async add(entries: Iterable<BacktraceEntry>): Promise<void> {
    for (const [key, value] of entries) {
      if (value !== null) this.store.put(key, new Uint8Array(value));
    }
    await this.#spill();
  }

  /** EIO: the records of no shard say which cluster it is. */
  superblock(): ReturnType<typeof decodeSuperblock> {
    const bytes = this.store.get(keys.SUPERBLOCK_KEY);
    if (bytes === undefined) throw new FsError('EIO', 'no record says what cluster this is');
    return decodeSuperblock(bytes);
  }

  /** The cluster's state as it was recorded; null: it was not. */
  get map(): Uint8Array | null {
    return this.store.get(keys.MAP_KEY) ?? null;
  }

  get idsBelow(): number {
    return this.#int(keys.IDS_KEY);
  }

  #int(key: string): number {
    return decodeInt(this.store.get(key) ?? encodeInt(0));
  }

  /** Its record; null: there is none. */
  inode(oid: number): Readonly<Inode> | null {
    return this.#find(oid);
  }

  /** A file is longer than its record says: its columns have bytes up to there. False: it is not. */
  grow(oid: number, size: number): boolean {
    const inode = this.#find(oid);
    if (inode === null || inode.size >= size) return false;
    this.#keep({...inode, size, blocks: Math.ceil(size / 512)});
    return true;
  }

  /** The newest generation of the object's columns that its record knows; null: there is no record. */
  newestGeneration(oid: number): number | null {
    const inode = this.#find(oid);
    return inode === null ? null : Math.max(inode.generations, inode.layout?.generation ?? 0);
  }

  /** Is there a record of the object, or one that says that its columns are being removed? */
  knows(oid: number): boolean {
    if (this.store.get(keys.inodeKey(oid)) !== undefined) return true;
    return this.store.range(keys.removalKey(oid), keys.idEnd('q', oid), 1).length > 0;
  }

  /** Once, last. Everything is on stable storage when it resolves. */
  async finish(strays: readonly Stray[], end: RebuildEnd): Promise<Rebuilt> {
    this.store.put(keys.FILES_KEY, encodeInt(0));
    const root = this.#find(ROOT_OID);
    if (root?.directory == null) this.#makeRoot(end.now);
    for (const {oid} of strays) this.#highest = Math.max(this.#highest, oid);
    await this.#names();
    await this.#listings();
    await this.#inodes();
    this.#unhang();
    const idsBelow = this.#collect(strays, end);
    this.#subfolderLinks();
    const files = this.#found.files + this.#found.directories + this.#found.others;
    this.store.put(keys.FILES_KEY, encodeInt(files));
    this.store.put(keys.IDS_KEY, encodeInt(idsBelow));
    this.store.put(keys.LINE_KEY, encodeInt(end.line));
    this.store.put(keys.TERM_KEY, encodeInt(this.#int(keys.TERM_KEY) + end.terms));
    if (this.map !== null && end.map !== null) this.store.put(keys.MAP_KEY, end.map(this.map));
    await this.store.checkpoint({sequence: end.position, sum: 0}, Promise.resolve());
    return this.#found;
  }

  async #spill(): Promise<void> {
    if (this.store.overlayBytes < OVERLAY_BYTES) return;
    await this.store.checkpoint({sequence: this.#position++, sum: 0}, Promise.resolve());
  }

  #find(oid: number): Inode | null {
    const bytes = this.store.get(keys.inodeKey(oid));
    return bytes === undefined ? null : decodeInode(oid, bytes);
  }

  #keep(inode: Inode): void {
    inode.version++;
    this.store.put(keys.inodeKey(inode.oid), encodeInode(inode));
  }

  async #each(letter: string, look: (key: string, value: Uint8Array) => void): Promise<void> {
    for (let at: string | null = letter; at !== null; ) {
      const rows = this.store.range(at, keys.letterEnd(letter), PAGE);
      for (const [key, value] of rows) look(key, value);
      const last = rows.at(-1);
      at = last === undefined || rows.length < PAGE ? null : `${last[0]}\0`;
      await this.#spill();
    }
  }

  #makeRoot(now: Time): void {
    const {rootLayout} = this.superblock();
    this.#found.mended++;
    this.#keep({
      ...bareInode(ROOT_OID, S_IFDIR | 0o755, now),
      nlink: 2,
      directory: {
        parent: ROOT_OID,
        nextCookie: this.#cookieAfter(ROOT_OID),
        layout: rootLayout,
        layoutSet: 0,
      },
    });
  }

  /** Of a directory whose own record is lost, its listing may not be. */
  #cookieAfter(oid: number): number {
    let cookie = FIRST_COOKIE;
    const rows = this.store.range(
      keys.entryKey(oid, 0),
      keys.idEnd('e', oid),
      Number.MAX_SAFE_INTEGER,
    );
    for (const [key] of rows) cookie = Math.max(cookie, keys.keyId(key, keys.ID_KEY_LENGTH) + 1);
    return cookie;
  }

  // ------------------------------------------------------------------ names

  async #names(): Promise<void> {
    /** Names of directories that say that they are elsewhere. */
    const doubtful: {parent: number; name: string; oid: number; cookie: number}[] = [];
    let directory: Inode | null = null;
    await this.#each('d', (key, value) => {
      const parent = keys.keyId(key, 1);
      const name = key.slice(keys.ID_KEY_LENGTH);
      const {oid, type, cookie} = decodeName(value);
      if (directory?.oid !== parent) directory = this.#find(parent);
      const holds = directory?.directory != null && directory.nlink > 0;
      const child = this.#find(oid);
      if (child === null) {
        this.#found.namesLost++;
        if (this.#found.namesLostQuoted.length < QUOTED_MAX)
          this.#found.namesLostQuoted.push(JSON.stringify(name));
      }
      if (child === null || !holds || (child.nlink === 0 && isDirectory(child))) {
        this.store.del(key);
        if (child !== null) this.#found.namesDropped++;
        return;
      }
      const its = (child.mode & S_IFMT) >> 12;
      if (type !== its) {
        this.store.put(key, encodeName({type: its, oid, cookie}));
        this.#found.mended++;
      }
      directory = this.#listed(directory!, name, its, oid, cookie);
      if (child.directory !== null) {
        if (child.directory.parent === parent && this.#links.get(oid) === 0 && oid !== ROOT_OID)
          this.#links.add(oid);
        else doubtful.push({parent, name, oid, cookie});
        return;
      }
      this.#links.add(oid);
      if (child.parent === 0 || child.parent === parent) return;
      child.parent = 0;
      this.#keep(child);
      this.#found.mended++;
    });
    for (const {parent, name, oid} of doubtful) {
      const child = this.#find(oid)!;
      if (oid === ROOT_OID || this.#links.get(oid) > 0) {
        this.store.del(keys.nameKey(parent, name));
        this.#found.namesDropped++;
        continue;
      }
      this.#links.add(oid);
      child.directory!.parent = parent;
      this.#keep(child);
      this.#found.mended++;
    }
  }

  /** Listings show the name in its place. Gives the directory as it is then. */
  #listed(directory: Inode, name: string, type: number, oid: number, cookie: number): Inode {
    const key = keys.entryKey(directory.oid, cookie);
    const bytes = this.store.get(key);
    const entry = bytes === undefined ? null : decodeEntry(bytes);
    const shown = entry !== null && Buffer.from(entry.name).toString('latin1') === name;
    if (!shown || entry.oid !== oid || entry.type !== type) {
      this.store.put(key, encodeEntry(type, oid, name));
      this.#found.mended++;
    }
    if (cookie < directory.directory!.nextCookie) return directory;
    directory.directory!.nextCookie = cookie + 1;
    this.#keep(directory);
    this.#found.mended++;
    return directory;
  }

  /** What listings show, and is no name. */
  #listings(): Promise<void> {
    return this.#each('e', (key, value) => {
      const parent = keys.keyId(key, 1);
      const {oid, name} = decodeEntry(value);
      const bytes = this.store.get(keys.nameKey(parent, Buffer.from(name).toString('latin1')));
      const record = bytes === undefined ? null : decodeName(bytes);
      const place = keys.keyId(key, keys.ID_KEY_LENGTH);
      if (record === null || record.oid !== oid || record.cookie !== place) this.store.del(key);
    });
  }

  // ------------------------------------------------------------------ objects

  #inodes(): Promise<void> {
    return this.#each('i', (key, value) => {
      const oid = keys.keyId(key, 1);
      const inode = decodeInode(oid, value);
      this.#highest = Math.max(this.#highest, oid);
      const before = this.#found.mended;
      if (isDirectory(inode)) this.#found.directories++;
      else if ((inode.mode & S_IFMT) === S_IFREG) this.#found.files++;
      else this.#found.others++;
      if (inode.nlink > 2 && isDirectory(inode) && !this.#subfolders.has(oid))
        this.#subfolders.set(oid, 0);
      this.#bytes(inode);
      const links = this.#links.get(oid);
      const orphan = this.store.get(keys.orphanKey(oid)) !== undefined;
      if (links > 0) {
        if (orphan) this.store.del(keys.orphanKey(oid));
        if (!isDirectory(inode) && inode.nlink !== links) {
          inode.nlink = links;
          this.#found.mended++;
        }
        if (inode.directory !== null) {
          const {parent} = inode.directory;
          this.#subfolders.set(parent, (this.#subfolders.get(parent) ?? 0) + 1);
        }
      } else if (inode.nlink === 0) {
        this.#found.orphans++;
        if (!orphan) this.store.put(keys.orphanKey(oid), new Uint8Array(0));
      } else if (oid !== ROOT_OID) {
        if (orphan) this.store.del(keys.orphanKey(oid));
        this.#unnamed.push(oid);
      }
      if (this.#found.mended !== before) this.#keep(inode);
    });
  }

  #bytes(inode: Inode): void {
    const {oid, inlineBytes} = inode;
    if (inlineBytes === 0 || this.store.get(keys.inlineKey(oid))?.length === inlineBytes) return;
    this.store.del(keys.inlineKey(oid));
    inode.inlineBytes = 0;
    inode.size = 0;
    this.#found.bytesLost++;
    this.#found.mended++;
  }

  /** Directories in a ring, which no way leads to from the root: one of each ring loses its name. */
  #unhang(): void {
    const rooted = new Set<number>([ROOT_OID, ...this.#unnamed]);
    for (const start of this.#subfolders.keys()) {
      const way = new Set<number>();
      let at = start;
      while (!rooted.has(at) && !way.has(at)) {
        way.add(at);
        const parent = this.#find(at)?.directory?.parent;
        if (parent === undefined) break;
        at = parent;
      }
      if (way.has(at)) {
        this.#cutOff(at);
        this.#unnamed.push(at);
      }
      for (const one of way) rooted.add(one);
    }
  }

  #cutOff(oid: number): void {
    const {parent} = this.#find(oid)!.directory!;
    const rows = this.store.range(
      keys.entryKey(parent, 0),
      keys.idEnd('e', parent),
      Number.MAX_SAFE_INTEGER,
    );
    for (const [key, value] of rows) {
      const entry = decodeEntry(value);
      if (entry.oid !== oid) continue;
      this.store.del(key);
      this.store.del(keys.nameKey(parent, Buffer.from(entry.name).toString('latin1')));
    }
    this.#subfolders.set(parent, (this.#subfolders.get(parent) ?? 1) - 1);
    this.#found.namesDropped++;
  }

  // ------------------------------------------------------------------ lost+found

  /** Everything without a name gets one. Gives the id below which all were given. */
  #collect(strays: readonly Stray[], {now, idsBelow}: RebuildEnd): number {
    let below = Math.max(idsBelow, this.#highest + 1);
    if (strays.length === 0 && this.#unnamed.length === 0) return below;
    const tx = new Tx(this.store);
    const folder = this.#lostFound(tx, now, () => below++);
    for (const {oid, layout, size} of strays) {
      const inode: Inode = {
        ...bareInode(oid, S_IFREG | 0o600, now),
        size,
        blocks: Math.ceil(size / 512),
        layout,
        generations: layout.generation,
      };
      tx.add(inode);
      this.#found.files++;
      this.#found.strays++;
      this.#giveName(tx, folder, inode, now);
    }
    for (const oid of this.#unnamed) {
      this.#found.unnamed++;
      this.#giveName(tx, folder, tx.inode(oid), now);
    }
    tx.finish();
    return below;
  }

  #giveName(tx: Tx, folder: Inode, inode: Inode, now: Time): void {
    tx.modify(inode);
    if (inode.directory === null) {
      inode.nlink = 1;
      inode.parent = folder.oid;
    } else {
      inode.directory.parent = folder.oid;
      folder.nlink++;
      this.#subfolders.set(folder.oid, (this.#subfolders.get(folder.oid) ?? 0) + 1);
    }
    let name = `${inode.oid}`;
    while (tx.name(folder.oid, name) !== null) name = `${name}_`;
    tx.putName(folder, name, inode, now);
  }

  #lostFound(tx: Tx, now: Time, newId: () => number): Inode {
    const root = tx.directory(ROOT_OID);
    let name = LOST_FOUND;
    for (;;) {
      const known = tx.child(ROOT_OID, bytesOf(name));
      if (known === null) break;
      const inode = tx.inode(known);
      if (inode.directory !== null) return inode;
      name = `${name}_`;
    }
    const {layout, layoutSet} = root.directory!;
    const folder: Inode = {
      ...bareInode(newId(), S_IFDIR | 0o700, now),
      nlink: 2,
      directory: {parent: ROOT_OID, nextCookie: FIRST_COOKIE, layout, layoutSet},
    };
    tx.add(folder);
    tx.putName(root, name, folder, now);
    root.nlink++;
    this.#found.directories++;
    this.#subfolders.set(ROOT_OID, (this.#subfolders.get(ROOT_OID) ?? 0) + 1);
    this.#subfolders.set(folder.oid, 0);
    return folder;
  }

  /** A directory has a link of each directory in it. */
  #subfolderLinks(): void {
    for (const [oid, count] of this.#subfolders) this.#linksOf(oid, count);
    this.#linksOf(ROOT_OID, this.#subfolders.get(ROOT_OID) ?? 0);
  }

  #linksOf(oid: number, subfolders: number): void {
    const inode = this.#find(oid);
    if (inode === null || inode.nlink === 2 + subfolders || inode.nlink === 0) return;
    inode.nlink = 2 + subfolders;
    this.#keep(inode);
    this.#found.mended++;
  }
}
