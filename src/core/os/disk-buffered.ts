import {closeSync, fstatSync, ftruncateSync, openSync, writeSync} from 'node:fs';
import {mkdir, open, readdir, readFile, rename, rm, unlink} from 'node:fs/promises';
import {dirname, join, normalize} from 'node:path';
import {ERRNO, type Errno} from '../base/errno.js';
import {FsError} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import type {Disk, DiskFile, DiskRange, Journal} from '../env/disk.js';
import {DiskBatch} from './disk-batch.js';
import type {DiskOps} from './disk-ops.js';
import {lockFile, volumeSpace} from './disk-volume.js';

/** What is at most read from the page cache, or written to it, on the event loop: about 60 us of copying. */
const INLINE_BYTES_MAX = 256 * 1024;
/** A write to the page cache that takes so long was made to wait for the disk (balance_dirty_pages of the kernel). */
const HELD_UP_MS = 5;
/** So long writes then leave the event loop alone: the kernel holds a writer up for at most 200 ms at a time. */
const AWAY_MS = 200;

/** A system call's failure as FsError; what is not one stays what it is. */
function fsError(error: unknown, what: string): unknown {
  const code = (error as {code?: unknown} | null)?.code;
  if (typeof code === 'string' && code in ERRNO)
    return new FsError(code as Errno, what, {cause: error});
  return error;
}

async function told<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw fsError(error, what);
  }
}

const isMissing = (error: unknown): boolean => (error as {code?: string} | null)?.code === 'ENOENT';

/** Made anew by the kernel when it starts; containers have their host's, as they have its page cache. */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/** A folder of a local file system, through the page cache. Takes the folder, which must be there. `ring`: with io_uring where it can be had. */
export function openBufferedDisk(folder: string, pool: BufferPool, ring = true): FolderDisk {
  const batch = new DiskBatch(pool.memory, {ring});
  const inline = new InlineWrites(batch);
  return new FolderDisk(folder, batch, (fd, path) => new BufferedFile(fd, path, batch, inline));
}

/** Makes files of open descriptors, which are theirs from then on. */
export type FileMaker = (fd: number, path: string) => DiskFile;

/** All of a Disk but how its files move their data. */
export class FolderDisk implements Disk {
  readonly #folder: string;
  readonly #batch: DiskBatch;
  readonly #make: FileMaker;
  #lock: number | null = null;
  readonly #sync = new SharedSync(() => this.#syncNow());

  constructor(folder: string, batch: DiskBatch, make: FileMaker) {
    this.#folder = folder;
    this.#batch = batch;
    this.#make = make;
  }

  open(path: string, create: boolean): Promise<DiskFile> {
    const full = this.#path(path);
    return told(path, async () => {
      try {
        return this.#make(openSync(full, 'r+'), path);
      } catch (error) {
        if (!create || !isMissing(error)) throw error;
      }
      const make = () => this.#make(openSync(full, 'wx+'), path);
      try {
        return make();
      } catch (error) {
        if (!isMissing(error)) throw error;
        await mkdir(dirname(full), {recursive: true});
        return make();
      }
    });
  }

  async readFile(path: string): Promise<Uint8Array | null> {
    try {
      return await readFile(this.#path(path));
    } catch (error) {
      if (isMissing(error)) return null;
      throw fsError(error, path);
    }
  }

  writeFile(path: string, bytes: Uint8Array): Promise<void> {
    const full = this.#path(path);
    return told(path, async () => {
      await mkdir(dirname(full), {recursive: true});
      const aside = `${full}.new`;
      const file = await open(aside, 'w');
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(aside, full);
      const folder = await open(dirname(full), 'r');
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    });
  }

  async remove(path: string): Promise<boolean> {
    try {
      await unlink(this.#path(path));
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw fsError(error, path);
    }
  }

  removeTree(path: string): Promise<void> {
    return told(path, () => rm(this.#path(path), {recursive: true, force: true}));
  }

  async list(path: string): Promise<string[]> {
    try {
      return (await readdir(this.#path(path))).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw fsError(error, path);
    }
  }

  syncAll(): Promise<void> {
    return this.#sync.run();
  }

  async space(): Promise<{
    totalBytes: number;
    freeBytes: number;
    files: number;
    filesFree: number;
  }> {
    const {totalBytes, availableBytes, files, filesFree} = volumeSpace(this.#folder);
    return {totalBytes, freeBytes: availableBytes, files, filesFree};
  }

  async machineLife(): Promise<string> {
    return (await readFile(BOOT_ID, 'utf8')).trim();
  }

  journal(path: string): Promise<Journal> {
    const full = this.#path(path);
    return told(path, async () => {
      await mkdir(dirname(full), {recursive: true});
      return new FileJournal(openSync(full, 'a+'), full, this.#batch);
    });
  }

  /** For people: what carries out the operations that have to wait. */
  get io(): 'io_uring' | 'threads' {
    return this.#batch.ring ? 'io_uring' : 'threads';
  }

  async lock(): Promise<void> {
    if (this.#lock !== null) return;
    const descriptor = openSync(join(this.#folder, 'lock'), 'w');
    try {
      lockFile(descriptor);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    this.#lock = descriptor;
  }

  async close(): Promise<void> {
    await this.#batch.close();
    if (this.#lock !== null) closeSync(this.#lock);
    this.#lock = null;
  }

  async #syncNow(): Promise<void> {
    const folder = openSync(this.#folder, 'r');
    try {
      await this.#batch.syncFs(folder);
    } finally {
      closeSync(folder);
    }
  }

  /** Never outside the folder. */
  #path(path: string): string {
    const clean = normalize(path);
    if (clean.startsWith('..') || clean.startsWith('/') || clean.includes('\0'))
      throw new FsError('EINVAL', `path ${path}`);
    return join(this.#folder, clean);
  }
}

/** Small writes to the page cache without a hop to a worker and back, as long as the kernel takes them at once. */
export class InlineWrites {
  readonly #batch: DiskBatch;
  readonly #ops: DiskOps;
  #again = 0;

  constructor(batch: DiskBatch) {
    this.#batch = batch;
    this.#ops = batch.ops();
  }

  get open(): boolean {
    return performance.now() >= this.#again;
  }

  run(fd: number, ranges: readonly DiskRange[]): void {
    const ops = this.#ops.clear();
    for (const {fileOffset, memoryOffset, length} of ranges)
      ops.write(fd, fileOffset, memoryOffset, length);
    const begun = performance.now();
    try {
      this.#batch.runSync(ops);
    } finally {
      const now = performance.now();
      if (now - begun > HELD_UP_MS) this.#again = now + AWAY_MS;
    }
  }
}

export class BufferedFile implements DiskFile {
  readonly #fd: number;
  readonly #path: string;
  readonly #batch: DiskBatch;
  readonly #inline: InlineWrites;

  constructor(fd: number, path: string, batch: DiskBatch, inline: InlineWrites) {
    this.#fd = fd;
    this.#path = path;
    this.#batch = batch;
    this.#inline = inline;
  }

  async size(): Promise<number> {
    return fstatSync(this.#fd).size;
  }

  async read(ranges: readonly DiskRange[]): Promise<void> {
    const small = this.#small(ranges);
    if (small && this.#batch.readCached(this.#fd, ranges)) return;
    // What comes from the disk is copied by who asked the ring for it, here the event loop.
    await this.#batch.read(this.#fd, ranges, small);
  }

  async write(ranges: readonly DiskRange[]): Promise<void> {
    if (!this.#small(ranges) || !this.#inline.open) return this.#batch.write(this.#fd, ranges);
    this.#inline.run(this.#fd, ranges);
  }

  punch(offset: number, length: number): Promise<void> {
    return length > 0 ? this.#batch.punch(this.#fd, offset, length) : Promise.resolve();
  }

  truncate(size: number): Promise<void> {
    return this.#batch.truncate(this.#fd, size);
  }

  sync(): Promise<void> {
    return this.#batch.dataSync(this.#fd);
  }

  async allocated(): Promise<number> {
    return fstatSync(this.#fd).blocks * 512;
  }

  async close(): Promise<void> {
    try {
      closeSync(this.#fd);
    } catch (error) {
      throw fsError(error, this.#path);
    }
  }

  #small(ranges: readonly DiskRange[]): boolean {
    if (ranges.length > this.#batch.opsMax) return false;
    let sum = 0;
    for (const {length} of ranges) sum += length;
    return sum <= INLINE_BYTES_MAX;
  }
}

/** One sync runs and at most one waits; whoever comes meanwhile shares the one that waits. */
class SharedSync {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  run(): Promise<void> {
    if (this.#running === null) {
      this.#running = this.#work().finally(() => {
        this.#running = null;
      });
      return this.#running;
    }
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = null;
        return this.run();
      });
    return this.#next;
  }
}

class FileJournal implements Journal {
  readonly #fd: number;
  readonly #path: string;
  readonly #batch: DiskBatch;
  readonly #sync = new SharedSync(() => this.#syncNow());
  #size: number;
  /** Half a record could not be taken back: nothing may be appended behind it. */
  #torn = false;

  constructor(fd: number, path: string, batch: DiskBatch) {
    this.#fd = fd;
    this.#path = path;
    this.#batch = batch;
    this.#size = fstatSync(fd).size;
  }

  get size(): number {
    return this.#size;
  }

  append(bytes: Uint8Array): void {
    if (this.#torn) throw new FsError('EIO', `${this.#path} ends in half a record`);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      this.#size += bytes.length;
    } catch (error) {
      this.#takeBack();
      throw fsError(error, this.#path);
    }
  }

  sync(): Promise<void> {
    return this.#sync.run();
  }

  async read(): Promise<Uint8Array> {
    return told(this.#path, () => readFile(this.#path));
  }

  async truncate(size: number): Promise<void> {
    await this.#batch.truncate(this.#fd, size);
    this.#size = size;
    this.#torn = false;
  }

  async close(): Promise<void> {
    closeSync(this.#fd);
  }

  /** What of a failed append got into the file. */
  #takeBack(): void {
    try {
      ftruncateSync(this.#fd, this.#size);
    } catch {
      this.#torn = true;
    }
  }

  async #syncNow(): Promise<void> {
    try {
      await this.#batch.dataSync(this.#fd);
    } catch (error) {
      throw error instanceof FsError ? new FsError(error.errno, this.#path, {cause: error}) : error;
    }
  }
}
