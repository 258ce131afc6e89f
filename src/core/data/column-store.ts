import {FsError} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import type {Disk} from '../env/disk.js';
import {Column} from './column.js';
import {
  type ColumnId,
  type ColumnShape,
  folderOf,
  folders,
  nameOf,
  parseName,
  pathOf,
} from './format.js';

/** Open files that are kept for the next operation. */
const OPEN_MAX = 512;

/** All columns of a server: opens, keeps open a bounded number, lists, removes. */
export class ColumnStore {
  readonly #disk: Disk;
  readonly #pool: BufferPool;
  readonly #open = new Map<string, Promise<Column | null>>();

  constructor(disk: Disk, pool: BufferPool) {
    this.#disk = disk;
    this.#pool = pool;
  }

  /**
   * Runs `work` with the column open; `shape` makes it when it is missing. Answers null if it is missing and may not be made.
   * FsError EIO if it is there as another column than `shape` says.
   */
  async use<T>(
    id: ColumnId,
    shape: ColumnShape | null,
    work: (column: Column) => Promise<T>,
  ): Promise<T | null> {
    const column = await this.#take(id, shape);
    if (column === null) return null;
    column.users++;
    try {
      if (shape !== null && (shape.column !== column.shape.column || shape.k !== column.shape.k)) {
        throw new FsError(
          'EIO',
          `${nameOf(id)} is column ${column.shape.column} of ${column.shape.k}, not ${shape.column} of ${shape.k}`,
        );
      }
      return await work(column);
    } finally {
      column.users--;
      if (column.removed && column.users === 0) await column.close();
      else this.#trim();
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
    const byFolder = new Map<string, Set<number>>();
    for (const oid of oids) {
      const folder = folderOf(oid);
      const set = byFolder.get(folder);
      if (set === undefined) byFolder.set(folder, new Set([oid]));
      else set.add(oid);
    }
    const found: ColumnId[] = [];
    for (const [folder, wanted] of byFolder) {
      for (const name of await this.#disk.list(folder)) {
        const id = parseName(name);
        if (id !== null && wanted.has(id.oid)) found.push(id);
      }
    }
    return found;
  }

  async remove(id: ColumnId): Promise<void> {
    const key = nameOf(id);
    const open = this.#open.get(key);
    this.#open.delete(key);
    await this.#disk.remove(pathOf(id));
    const column = await open?.catch(() => null);
    if (!column) return;
    column.removed = true;
    if (column.users === 0) await column.close();
  }

  async close(): Promise<void> {
    const all = [...this.#open.values()];
    this.#open.clear();
    for (const open of all) await (await open.catch(() => null))?.close();
  }

  async #take(id: ColumnId, shape: ColumnShape | null): Promise<Column | null> {
    const key = nameOf(id);
    for (;;) {
      let open = this.#open.get(key);
      if (open === undefined) {
        open = this.#openFile(id, shape);
        this.#open.set(key, open);
      } else {
        // Last used, last in the order of the map.
        this.#open.delete(key);
        this.#open.set(key, open);
      }
      let column: Column | null;
      try {
        column = await open;
      } catch (error) {
        if (this.#open.get(key) === open) this.#open.delete(key);
        throw error;
      }
      if (column === null) {
        if (this.#open.get(key) === open) this.#open.delete(key);
        // Somebody who only wanted to read found nothing; whoever may make it tries again.
        if (shape === null) return null;
        continue;
      }
      if (!column.removed) return column;
    }
  }

  async #openFile(id: ColumnId, shape: ColumnShape | null): Promise<Column | null> {
    try {
      const file = await this.#disk.open(pathOf(id), shape !== null);
      try {
        const column = await Column.open(id, shape, file, this.#pool);
        if (column === null) await file.close();
        return column;
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      if (shape === null && error instanceof FsError && error.errno === 'ENOENT') return null;
      throw error;
    }
  }

  /** Closes what was used longest ago and is not in use. */
  #trim(): void {
    if (this.#open.size <= OPEN_MAX) return;
    for (const [key, open] of this.#open) {
      if (this.#open.size <= OPEN_MAX) return;
      this.#open.delete(key);
      void open.then(
        (column) => {
          if (column === null || column.removed) return;
          if (column.users > 0 && !this.#open.has(key)) this.#open.set(key, open);
          else if (column.users === 0) {
            column.removed = true;
            void column.close();
          }
        },
        () => {},
      );
    }
  }
}
