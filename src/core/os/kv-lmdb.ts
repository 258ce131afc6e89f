import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import {dirname, join} from 'node:path';
import {open, type RangeOptions, type RootDatabase} from 'lmdb';
import {FsError, messageOf} from '../base/errors.js';
import type {Kv, KvView} from '../env/kv.js';

/** What the map may grow to: address space, not memory or disk. */
const MAP_BYTES = 2 ** 40;

const FILE = 'data.mdb';
const COPY_ENTRIES = 4096;
/** In the first page, which is never written again once it is on stable storage, but for its counters. */
const MAGIC = 0xbeefc0de;
const MAGIC_OFFSET = 24;

const keyBytes = (key: string): Buffer => Buffer.from(key, 'latin1');

/** LMDB in a folder, which is made when missing. One process at a time. */
export class LmdbKv implements Kv {
  readonly #root: RootDatabase<Buffer, Buffer>;

  private constructor(root: RootDatabase<Buffer, Buffer>) {
    this.#root = root;
  }

  /** FsError EIO: there is a store that nothing can be read from. */
  static async open(folder: string): Promise<LmdbKv> {
    if (!existsSync(join(folder, FILE))) await make(folder);
    if (!isStore(join(folder, FILE)))
      throw new FsError('EIO', `${folder} is damaged, its ${FILE} is no store`);
    return new LmdbKv(openStore(folder));
  }

  /**
   * Writes the store in a folder anew, so that its file has no free pages and the others are full; as bytes of the file before and after. (LMDB's own
   * compaction leaves pages as full as they are: after many removals a quarter.) Nobody may have it open. A crash leaves the old file or the new one.
   * FsError: there is no space for the copy, or no store.
   */
  static async compact(folder: string): Promise<{before: number; after: number}> {
    const file = join(folder, FILE);
    const aside = `${folder}.compact`;
    rmSync(aside, {recursive: true, force: true});
    const store = await LmdbKv.open(folder);
    try {
      await copyInOrder(store, aside).finally(() => store.close());
      sync(join(aside, FILE));
      const [before, after] = [statSync(file).size, statSync(join(aside, FILE)).size];
      renameSync(join(aside, FILE), file);
      sync(folder);
      return {before, after};
    } catch (error) {
      throw new FsError('EIO', `lmdb: ${messageOf(error)}`, {cause: error});
    } finally {
      rmSync(aside, {recursive: true, force: true});
    }
  }

  get(key: string): Uint8Array | undefined {
    return this.#root.getBinary(keyBytes(key));
  }

  range(from: string, to: string, limit: number): Iterable<[string, Uint8Array]> {
    return this.#range({start: keyBytes(from), end: keyBytes(to), limit});
  }

  *#range(options: RangeOptions): Iterable<[string, Uint8Array]> {
    for (const {key, value} of this.#root.getRange(options)) yield [key.toString('latin1'), value];
  }

  view(): KvView {
    const transaction = this.#root.useReadTransaction();
    let closed = false;
    return {
      range: (from, to, limit) =>
        this.#range({start: keyBytes(from), end: keyBytes(to), limit, transaction}),
      close: () => {
        if (!closed) transaction.done();
        closed = true;
      },
    };
  }

  /** What its file is made of: bytes of pages that are in use, of all pages, and levels of its tree. */
  pages(): {usedBytes: number; fileBytes: number; depth: number} {
    const {
      pageSize,
      treeBranchPageCount,
      treeLeafPageCount,
      overflowPages,
      treeDepth,
      lastPageNumber,
    } = this.#root.getStats() as Record<string, number>;
    const used = treeBranchPageCount! + treeLeafPageCount! + overflowPages!;
    return {
      usedBytes: used * pageSize!,
      fileBytes: (lastPageNumber! + 1) * pageSize!,
      depth: treeDepth!,
    };
  }

  /** The transaction is written and synced by LMDB's own thread. */
  write(changes: Iterable<[string, Uint8Array | null]>): Promise<void> {
    return this.#commit(() => {
      for (const [key, value] of changes) {
        if (value === null) this.#root.remove(keyBytes(key));
        else this.#root.put(keyBytes(key), asBuffer(value));
      }
    });
  }

  clear([key, value]: [string, Uint8Array]): Promise<void> {
    return this.#commit(() => {
      void this.#root.clearAsync();
      this.#root.put(keyBytes(key), asBuffer(value));
    });
  }

  async #commit(instructions: () => void): Promise<void> {
    try {
      await this.#root.batch(instructions);
      await this.#root.flushed;
    } catch (error) {
      throw new FsError('EIO', `lmdb: ${messageOf(error)}`, {cause: error});
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}

/** `noSync`: what is written is synced by whoever opens it, when all of it is there. */
const openStore = (folder: string, noSync = false): RootDatabase<Buffer, Buffer> =>
  open<Buffer, Buffer>(folder, {
    noSync,
    noSubdir: false,
    keyEncoding: 'binary',
    encoding: 'binary',
    mapSize: MAP_BYTES,
    cache: false,
    // A commit has been synced when its promise resolves; there is nothing to overlap with: one write at a time.
    overlappingSync: false,
  });

async function copyInOrder(from: LmdbKv, folder: string): Promise<void> {
  const root = openStore(folder, true);
  try {
    for (let at = '\0'; ; ) {
      const rows = [...from.range(at, '\xff'.repeat(9), COPY_ENTRIES)];
      await root.batch(() => {
        for (const [key, value] of rows) root.put(keyBytes(key), asBuffer(value));
      });
      if (rows.length < COPY_ENTRIES) break;
      at = `${rows.at(-1)![0]}\0`;
    }
    await root.flushed;
  } finally {
    await root.close();
  }
}

/**
 * An empty store. LMDB syncs its file with the first commit only, and ends the process if a power cut before that left it without its
 * first pages: so it is made aside, and gets its name when it is on stable storage.
 */
async function make(folder: string): Promise<void> {
  const aside = `${folder}.new`;
  rmSync(aside, {recursive: true, force: true});
  await openStore(aside).close();
  sync(join(aside, FILE));
  sync(aside);
  rmSync(folder, {recursive: true, force: true});
  renameSync(aside, folder);
  sync(dirname(folder));
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function isStore(path: string): boolean {
  const magic = Buffer.alloc(4);
  const descriptor = openSync(path, 'r');
  try {
    return readSync(descriptor, magic, 0, 4, MAGIC_OFFSET) === 4 && magic.readUInt32LE(0) === MAGIC;
  } finally {
    closeSync(descriptor);
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
