// The kernel's memory of one directory's listing: fs/fuse/readdir.c of Linux 6.18, step by step as it is there, its faults included. What it
// answers has been compared with a real kernel's, which was asked the same.

/** Bytes of a page and of a record. As most often there, no page ends with a record. */
const PAGE = 5;
const RECORD = 2;

export interface Entry {
  name: string;
  value: number;
  /** Where the next one is. */
  off: number;
}

/** An open directory (`struct fuse_file`). */
export class Handle {
  /** Where its next getdents goes on. */
  pos = 0;
  /** The position that `cacheOff` stands for, in the pages of `version`. */
  cachePos = 0;
  cacheOff = 0;
  version = 0;
  /** What its caller has been given since the beginning. */
  readonly emitted: Entry[] = [];
  /** So many more fit into the caller's buffer. */
  room = 0;

  /** False: it does not fit any more. */
  emit(entry: Entry): boolean {
    if (this.room === 0) return false;
    this.room--;
    this.emitted.push(entry);
    return true;
  }
}

export class ReaddirKernel {
  mtime = 0;
  #iversion = 0;
  /** The pages hold all. */
  #cached = false;
  #size = 0;
  /** What is added next is at this position. */
  #pos = 0;
  #version = 0;
  #of = {mtime: 0, iversion: 0};
  /** By index; in each the records by their place. */
  readonly #pages = new Map<number, Map<number, Entry>>();

  /** A getdents: emits what is cached. True: the daemon has to be asked, for what is at `handle.pos`. */
  read(handle: Handle): boolean {
    if (handle.cachePos !== handle.pos) rewind(handle);
    for (;;) {
      const {mtime} = this;
      const iversion = this.#iversion;
      if (!this.#cached) {
        if (handle.pos === 0 && this.#size === 0) this.#of = {mtime, iversion};
        return true;
      }
      if (handle.pos === 0 && (this.#of.mtime !== mtime || this.#of.iversion !== iversion)) {
        this.#reset();
        continue;
      }
      if (handle.version !== this.#version) rewind(handle);
      if (handle.cachePos === 0) handle.version = this.#version;
      const index = Math.floor(handle.cacheOff / PAGE);
      const last = index === Math.floor(this.#size / PAGE);
      const size = last ? this.#size % PAGE : PAGE;
      if (handle.cacheOff % PAGE === size) return false;
      const page = this.#pages.get(index);
      if (page === undefined) {
        this.#reset();
        continue;
      }
      const found = parse(handle, page, size);
      if (found === 'full') return false;
      if (last) return found === 'none';
      handle.cacheOff = (index + 1) * PAGE;
    }
  }

  /** An entry of an answer arrives. False: the rest of the answer goes nowhere. */
  answered(handle: Handle, entry: Entry): boolean {
    this.#add(entry, handle.pos);
    if (!handle.emit(entry)) return false;
    handle.pos = entry.off;
    return true;
  }

  /** The answer arrives that says that nothing follows. */
  ended(handle: Handle): void {
    if (this.#pos !== handle.pos) return;
    this.#cached = true;
    for (const index of this.#pages.keys())
      if (index * PAGE >= this.#size) this.#pages.delete(index);
  }

  /** NOTIFY_INVAL_INODE from 0 on. */
  drop(): void {
    this.#pages.clear();
  }

  /** Memory is short. */
  evict(index: number): void {
    this.#pages.delete(index);
  }

  /** A change that was asked for through this kernel is done. Nobody is in a getdents: both hold the directory's lock. */
  changed(): void {
    this.#iversion++;
  }

  /**
   * Of the directory with these offsets nothing is kept any more, as what is kept begins anew only when it was complete: the page that is
   * being filled has gone, or the entry before the next one.
   */
  stuck(offs: readonly number[]): boolean {
    if (this.#cached || this.#size === 0 || this.#pos === offs.at(-1)) return false;
    const fits = (this.#size % PAGE) + RECORD <= PAGE;
    return !offs.includes(this.#pos) || (fits && !this.#pages.has(Math.floor(this.#size / PAGE)));
  }

  #add(entry: Entry, pos: number): void {
    if (this.#cached || pos !== this.#pos) return;
    let index = Math.floor(this.#size / PAGE);
    let offset = this.#size % PAGE;
    if (offset + RECORD > PAGE) {
      index++;
      offset = 0;
    }
    const page = this.#pages.get(index) ?? (offset > 0 ? undefined : new Map<number, Entry>());
    if (page === undefined) return;
    if (offset === 0) page.clear();
    this.#pages.set(index, page);
    page.set(offset, entry);
    this.#size = index * PAGE + offset + RECORD;
    this.#pos = entry.off;
  }

  #reset(): void {
    this.#cached = false;
    this.#version++;
    this.#size = 0;
    this.#pos = 0;
  }
}

function rewind(handle: Handle): void {
  handle.cachePos = 0;
  handle.cacheOff = 0;
}

function parse(
  handle: Handle,
  page: ReadonlyMap<number, Entry>,
  size: number,
): 'none' | 'some' | 'full' {
  let found: 'none' | 'some' = 'none';
  for (let offset = handle.cacheOff % PAGE; offset < size; offset += RECORD) {
    const entry = page.get(offset);
    if (entry === undefined) break;
    if (handle.cachePos === handle.pos) {
      found = 'some';
      if (!handle.emit(entry)) return 'full';
      handle.pos = entry.off;
    }
    handle.cachePos = entry.off;
    handle.cacheOff += RECORD;
  }
  return found;
}
