import {FsError} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import {BLOCK_BYTES} from '../base/units.js';
import type {DiskFile, DiskRange, Journal} from '../env/disk.js';
import type {DiskAction, SimDisk} from './disk.js';
import type {SeededRandom} from './random.js';
import type {SimFile} from './sim-file.js';

/** Runs something at its time, unless the process dies or a fault comes first; `partly`: what a death leaves of it. */
type Do = <T>(
  action: DiskAction,
  run: () => T,
  partly?: (random: SeededRandom) => void,
) => Promise<T>;

/** A file as one life of a process has it open. */
export class OpenFile implements DiskFile {
  readonly #path: string;
  readonly #file: SimFile;
  readonly #disk: SimDisk;
  readonly #pool: BufferPool;
  readonly #do: Do;
  #open = true;

  constructor(path: string, file: SimFile, disk: SimDisk, pool: BufferPool, run: Do) {
    this.#path = path;
    this.#file = file;
    this.#disk = disk;
    this.#pool = pool;
    this.#do = run;
  }

  size(): Promise<number> {
    return this.#run('read', () => this.#file.size);
  }

  read(ranges: readonly DiskRange[]): Promise<void> {
    return this.#run('read', () => {
      for (const {fileOffset, memoryOffset, length} of ranges) {
        if (this.#file.unreadable(fileOffset, length)) throw new FsError('EIO', this.#path);
        this.#file.read(fileOffset, this.#pool.view(memoryOffset, length));
      }
    });
  }

  write(ranges: readonly DiskRange[]): Promise<void> {
    return this.#run(
      'write',
      () => {
        for (const range of ranges) this.#writeOne(range, range.length);
        if (this.#disk.random.chance(this.#disk.shape.writeBackChance)) {
          this.#file.writeBack(this.#disk.random);
        }
      },
      (random) => {
        const count = random.below(ranges.length + 1);
        for (const range of ranges.slice(0, count)) this.#writeOne(range, range.length);
        const next = ranges[count];
        // A dying process stops between two pages of the cache.
        if (next !== undefined) {
          this.#writeOne(next, random.below(Math.ceil(next.length / BLOCK_BYTES)) * BLOCK_BYTES);
        }
      },
    );
  }

  punch(offset: number, length: number): Promise<void> {
    const punch = (): void => this.#file.punch(offset, length);
    return this.#run('write', punch, punch);
  }

  truncate(size: number): Promise<void> {
    const cut = (): void => this.#file.truncate(size);
    return this.#run('write', cut, cut);
  }

  sync(): Promise<void> {
    return this.#run('sync', () => this.#disk.settle(this.#path, this.#file));
  }

  allocated(): Promise<number> {
    return this.#run('read', () => this.#file.allocated);
  }

  close(): Promise<void> {
    this.#open = false;
    return Promise.resolve();
  }

  #writeOne({fileOffset, memoryOffset}: DiskRange, length: number): void {
    if (length === 0) return;
    const added = this.#file.newPages(fileOffset, length) * BLOCK_BYTES;
    if (!this.#disk.hasRoom(added)) throw new FsError('ENOSPC', this.#path);
    if (this.#file.unreadable(fileOffset, length, true)) throw new FsError('EIO', this.#path);
    this.#file.write(fileOffset, this.#pool.view(memoryOffset, length));
  }

  #run<T>(action: DiskAction, run: () => T, partly?: (random: SeededRandom) => void): Promise<T> {
    if (!this.#open) return Promise.reject(new FsError('EBADF', this.#path));
    return this.#do(action, run, partly);
  }
}

export class OpenJournal implements Journal {
  readonly #path: string;
  readonly #file: SimFile;
  readonly #disk: SimDisk;
  readonly #do: Do;

  constructor(path: string, file: SimFile, disk: SimDisk, run: Do) {
    this.#path = path;
    this.#file = file;
    this.#disk = disk;
    this.#do = run;
  }

  get size(): number {
    return this.#file.size;
  }

  append(bytes: Uint8Array): void {
    const errno = this.#disk.fault('append', this.#path);
    if (errno !== null) throw new FsError(errno, `append ${this.#path} (simulated)`);
    const added = this.#file.newPages(this.#file.size, bytes.length) * BLOCK_BYTES;
    if (!this.#disk.hasRoom(added)) throw new FsError('ENOSPC', this.#path);
    this.#file.write(this.#file.size, bytes);
  }

  /** Covers what was appended by the time at which it happens, which is more than was asked for. */
  sync(): Promise<void> {
    return this.#do('sync', () => this.#disk.settle(this.#path, this.#file));
  }

  read(): Promise<Uint8Array> {
    return this.#do('read', () => {
      const bytes = new Uint8Array(this.#file.size);
      this.#file.read(0, bytes);
      return bytes;
    });
  }

  truncate(size: number): Promise<void> {
    return this.#do('write', () => this.#file.truncate(size));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
