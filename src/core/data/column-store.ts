import {assert} from '../base/assert.js';
import {FsError} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import type {Disk} from '../env/disk.js';
import {Column, Gone} from './column.js';
import {type ColumnId, type ColumnShape, folders, nameOf, parseName, pathOf} from './format.js';
import {NameCache} from './name-cache.js';
import {Scratch} from './scratch.js';

/** Open files that are kept for the next operation. More are open only while more are in use. */
const OPEN_MAX = 512;

interface Entry {
  opening: Promise<Column | null>;
  /** Operations that have it; while there are any it is neither closed nor opened a second time. */
  users: number;
}

/** All columns of a server: opens, keeps open a bounded number, lists, removes. */
export class ColumnStore {
  readonly #disk: Disk;
  readonly #pool: BufferPool;
  readonly #scratch: Scratch;
  /** Last used, last in order. Invariant: a column file is open in at most one entry that has users. */
  readonly #open = new Map<string, Entry>();
  readonly #names: NameCache;

  constructor(disk: Disk, pool: BufferPool) {
    this.#disk = disk;
    this.#pool = pool;
    this.#scratch = new Scratch(pool);
    this.#names = new NameCache(disk);
  }

  /**
   * Runs `work` with the column open; `make` makes it when it is missing, which takes a shape, and else the answer is null.
   * FsError EIO if it is there as another column than `shape` says. `passing`: whoever goes through all of them; then it does not stay open, in the
   * place of one that is used.
   */
  async use<T>(
    id: ColumnId,
    shape: ColumnShape | null,
    make: boolean,
    work: (column: Column) => Promise<T>,
    passing = false,
  ): Promise<T | null> {
    const key = nameOf(id);
    for (;;) {
      const stays = !passing || this.#open.has(key);
      const entry = this.#enter(key, id, shape, make);
      try {
        const column = await entry.opening;
        if (column !== null) {
          if (shape !== null) checkShape(column, shape);
          return await work(column);
        }
        this.#drop(key, entry);
        // Somebody who only wanted to read found nothing; whoever may make it tries again.
        if (!make) return null;
      } catch (error) {
        if (!(error instanceof Gone)) throw error;
        this.#drop(key, entry);
      } finally {
        if (!stays && entry.users === 1) this.#drop(key, entry);
        this.#leave(key, entry);
      }
    }
  }

  /** A column file outside of the columns' folders, which is the caller's to close; made when it is missing. */
  async openApart(path: string, id: ColumnId, shape: ColumnShape): Promise<Column> {
    const file = await this.#disk.open(path, true);
    try {
      const column = await Column.open(id, shape, true, file, {
        pool: this.#pool,
        scratch: this.#scratch,
      });
      assert(column !== null, 'a column that may be made is there');
      return column;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Columns in folder order, after `cursor` (empty: from the start). */
  async list(
    cursor: string,
    max: number,
  ): Promise<{ids: ColumnId[]; cursor: string; end: boolean}> {
    const [fromFolder = '', fromName = ''] = cursor.split('/');
    const ids: ColumnId[] = [];
    let last = cursor;
    for (const folder of folders()) {
      if (folder < fromFolder) continue;
      for (const name of await this.#disk.list(`columns/${folder}`)) {
        if (folder === fromFolder && name <= fromName) continue;
        const id = parseName(name);
        if (id === null) continue;
        if (ids.length === max) return {ids, cursor: last, end: false};
        ids.push(id);
        last = `${folder}/${name}`;
      }
    }
    return {ids, cursor: last, end: true};
  }

  /** The columns of these objects that are here. */
  async ofObjects(oids: readonly number[]): Promise<ColumnId[]> {
    const found: ColumnId[] = [];
    for (const oid of oids) found.push(...(await this.#names.of(oid)));
    return found;
  }

  /** Takes the column away when those who are at work on it are done. */
  async remove(id: ColumnId): Promise<void> {
    const key = nameOf(id);
    const unlink = (): Promise<boolean> => this.#disk.remove(pathOf(id));
    const entry = this.#open.get(key);
    if (entry === undefined) await unlink();
    else {
      entry.users++;
      try {
        const column = await entry.opening.catch(() => null);
        await (column === null ? unlink() : column.remove(unlink));
        this.#drop(key, entry);
      } finally {
        this.#leave(key, entry);
      }
    }
    this.#names.removed(id);
  }

  /** Waits for those who are at work on columns; nobody may come any more. */
  async close(): Promise<void> {
    const all = [...this.#open.values()];
    this.#open.clear();
    for (const entry of all) if (entry.users === 0) this.#close(entry);
    await this.#scratch.close();
  }

  #enter(key: string, id: ColumnId, shape: ColumnShape | null, make: boolean): Entry {
    let entry = this.#open.get(key);
    if (entry === undefined) {
      entry = {opening: this.#openFile(id, shape, make), users: 0};
      const made = entry;
      // One that could not be opened is not kept; whoever waits for it is told by `opening`.
      entry.opening.catch(() => this.#drop(key, made));
    } else this.#open.delete(key);
    this.#open.set(key, entry);
    entry.users++;
    return entry;
  }

  #leave(key: string, entry: Entry): void {
    entry.users--;
    if (entry.users === 0 && this.#open.get(key) !== entry) this.#close(entry);
    else if (this.#open.size > OPEN_MAX) this.#trim();
  }

  #drop(key: string, entry: Entry): void {
    if (this.#open.get(key) === entry) this.#open.delete(key);
  }

  #close({opening}: Entry): void {
    opening.then((column) => column?.close()).catch(() => {});
  }

  async #openFile(id: ColumnId, shape: ColumnShape | null, make: boolean): Promise<Column | null> {
    try {
      if (make) this.#names.made(id);
      const file = await this.#disk.open(pathOf(id), make);
      // A listing of the folder that has begun meanwhile may have missed it.
      if (make) this.#names.made(id);
      const memory = {pool: this.#pool, scratch: this.#scratch};
      try {
        const column = await Column.open(id, shape, make, file, memory);
        if (column === null) await file.close();
        return column;
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      if (!make && error instanceof FsError && error.errno === 'ENOENT') return null;
      throw error;
    }
  }

  /** Closes what was used longest ago and is not in use. */
  #trim(): void {
    for (const [key, entry] of this.#open) {
      if (this.#open.size <= OPEN_MAX) return;
      if (entry.users > 0) continue;
      this.#open.delete(key);
      this.#close(entry);
    }
  }
}

function checkShape(column: Column, shape: ColumnShape): void {
  const here = column.shape;
  if (shape.column === here.column && shape.k === here.k) return;
  throw new FsError(
    'EIO',
    `${nameOf(column.id)} is column ${here.column} of ${here.k}, not ${shape.column} of ${shape.k}`,
  );
}
