import {closeSync, constants, openSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {FsError, messageOf} from '../base/errors.js';
import type {BufferPool} from '../base/pool.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import type {DiskFile, DiskRange} from '../env/disk.js';
import {DiskBatch} from './disk-batch.js';
import {BufferedFile, FolderDisk, InlineWrites} from './disk-buffered.js';

/** Smaller ranges go through the page cache: it gathers small writes, and keeps what is read again and again. */
const DIRECT_BYTES_MIN = 64 * KIB;
const PROBE = 'direct.probe';

/**
 * A folder of a local file system, past the page cache for what is large and aligned. Files are the same as those of
 * `openBufferedDisk`: the kernel sees to it that both ways agree, as long as no range is written by both at the same time.
 * Takes the folder, which must be there; `ring` as there. FsError EINVAL where the file system, or its device, does not do this.
 */
export function openDirectDisk(folder: string, pool: BufferPool, ring = true): FolderDisk {
  const batch = new DiskBatch(pool.memory, {ring});
  probe(folder, batch);
  const inline = new InlineWrites(batch);
  return new FolderDisk(folder, batch, (fd, path) => new DirectFile(fd, path, batch, inline));
}

/** One block from the start of the memory, which nobody uses yet. */
function probe(folder: string, batch: DiskBatch): void {
  const path = join(folder, PROBE);
  const {O_RDWR, O_CREAT, O_DIRECT} = constants;
  let fd = -1;
  try {
    fd = openSync(path, O_RDWR | O_CREAT | O_DIRECT, 0o600);
    batch.writeSync(fd, 0, 0, BLOCK_BYTES);
  } catch (error) {
    const why = `no direct I/O in blocks of ${BLOCK_BYTES} bytes in ${folder}: ${messageOf(error)}`;
    throw new FsError('EINVAL', why, {cause: error});
  } finally {
    if (fd >= 0) closeSync(fd);
    // An open that is refused may have made it all the same.
    rmSync(path, {force: true});
  }
}

const aligned = ({fileOffset, memoryOffset, length}: DiskRange): boolean =>
  fileOffset % BLOCK_BYTES === 0 && memoryOffset % BLOCK_BYTES === 0 && length % BLOCK_BYTES === 0;

const isDirect = (range: DiskRange): boolean => range.length >= DIRECT_BYTES_MIN && aligned(range);

class DirectFile implements DiskFile {
  readonly #fd: number;
  readonly #path: string;
  readonly #batch: DiskBatch;
  readonly #buffered: BufferedFile;
  /** The same file with O_DIRECT, opened by the first that needs it. */
  #direct = -1;

  constructor(fd: number, path: string, batch: DiskBatch, inline: InlineWrites) {
    this.#fd = fd;
    this.#path = path;
    this.#batch = batch;
    this.#buffered = new BufferedFile(fd, path, batch, inline);
  }

  size(): Promise<number> {
    return this.#buffered.size();
  }

  async read(ranges: readonly DiskRange[]): Promise<void> {
    if (!ranges.some(isDirect)) return this.#buffered.read(ranges);
    this.#open();
    await this.#batch.read(this.#descriptorOf, ranges, true);
  }

  async write(ranges: readonly DiskRange[]): Promise<void> {
    for (let from = 0; from < ranges.length; ) {
      const direct = isDirect(ranges[from]!);
      let to = from + 1;
      while (to < ranges.length && isDirect(ranges[to]!) === direct) to++;
      const some = ranges.slice(from, to);
      if (direct) this.#open();
      // Small pieces after large ones, such as sums after data, need no hop of their own.
      await (direct ? this.#batch.write(this.#direct, some, true) : this.#buffered.write(some));
      from = to;
    }
  }

  punch(offset: number, length: number): Promise<void> {
    return this.#buffered.punch(offset, length);
  }

  truncate(size: number): Promise<void> {
    return this.#buffered.truncate(size);
  }

  /** What went past the page cache is in the disk's own cache, and its blocks in the journal: that needs the sync, too. */
  sync(): Promise<void> {
    return this.#buffered.sync();
  }

  allocated(): Promise<number> {
    return this.#buffered.allocated();
  }

  async close(): Promise<void> {
    if (this.#direct >= 0) closeSync(this.#direct);
    this.#direct = -1;
    await this.#buffered.close();
  }

  readonly #descriptorOf = (range: DiskRange): number =>
    isDirect(range) ? this.#direct : this.#fd;

  #open(): void {
    if (this.#direct >= 0) return;
    try {
      // By its descriptor: the file may have lost its name.
      this.#direct = openSync(`/proc/self/fd/${this.#fd}`, constants.O_RDWR | constants.O_DIRECT);
    } catch (error) {
      throw new FsError('EIO', `${this.#path}: ${messageOf(error)}`, {cause: error});
    }
  }
}
