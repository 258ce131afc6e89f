import type {Disk} from '../env/disk.js';
import {type ColumnId, folderOf, nameOf, parseName} from './format.js';

/** About 30 MB; a server with more columns lists a folder again for some removals. */
const NAMES_MAX = 200_000;

interface Folder {
  /** By object; a superset of what is there. */
  byOid: Map<number, ColumnId[]>;
  names: number;
  loading: Promise<void> | null;
}

/**
 * Which columns of an object are here, without a listing of its folder for each question: removals come by thousands,
 * spread over all folders. Keeps what was listed, bounded, and follows what is made and removed.
 */
export class NameCache {
  readonly #disk: Disk;
  /** Last used, last in order. */
  readonly #folders = new Map<string, Folder>();
  #names = 0;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** May name one that was removed, or never came to be. */
  async of(oid: number): Promise<readonly ColumnId[]> {
    const path = folderOf(oid);
    let folder = this.#folders.get(path);
    if (folder === undefined) {
      folder = {byOid: new Map(), names: 0, loading: null};
      folder.loading = this.#load(path, folder);
    } else this.#folders.delete(path);
    this.#folders.set(path, folder);
    if (folder.loading !== null) await folder.loading;
    return [...(folder.byOid.get(oid) ?? [])];
  }

  /** Before the file is made. */
  made(id: ColumnId): void {
    const folder = this.#folders.get(folderOf(id.oid));
    if (folder !== undefined) this.#add(folder, id);
  }

  removed(id: ColumnId): void {
    const folder = this.#folders.get(folderOf(id.oid));
    const ids = folder?.byOid.get(id.oid);
    // While it is being listed the name may come back; then it is one too many, which is allowed.
    const at = ids?.findIndex((one) => nameOf(one) === nameOf(id)) ?? -1;
    if (folder === undefined || ids === undefined || at < 0) return;
    ids.splice(at, 1);
    folder.names--;
    this.#names--;
    if (ids.length === 0) folder.byOid.delete(id.oid);
  }

  async #load(path: string, folder: Folder): Promise<void> {
    try {
      for (const name of await this.#disk.list(path)) {
        const id = parseName(name);
        if (id !== null) this.#add(folder, id);
      }
      folder.loading = null;
      this.#trim(folder);
    } catch (error) {
      this.#forget(path, folder);
      throw error;
    }
  }

  #add(folder: Folder, id: ColumnId): void {
    const ids = folder.byOid.get(id.oid);
    if (ids === undefined) folder.byOid.set(id.oid, [id]);
    else if (ids.some((one) => nameOf(one) === nameOf(id))) return;
    else ids.push(id);
    folder.names++;
    this.#names++;
  }

  #trim(keep: Folder): void {
    for (const [path, folder] of this.#folders) {
      if (this.#names <= NAMES_MAX) return;
      if (folder !== keep && folder.loading === null) this.#forget(path, folder);
    }
  }

  #forget(path: string, folder: Folder): void {
    if (this.#folders.get(path) !== folder) return;
    this.#folders.delete(path);
    this.#names -= folder.names;
  }
}
