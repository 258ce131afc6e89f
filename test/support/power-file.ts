import {constants} from 'node:fs';
import {type FileHandle, open, rename, truncate, unlink} from 'node:fs/promises';
import {join} from 'node:path';
import type {SeededRandom} from '../../src/core/sim/random.js';

/** What a disk writes as a whole; each cell says of which file it is, where in it, and by which write. */
export const CELL_BYTES = 512;
/** What has a sum of its own, so what may be EIO as a whole. */
const BLOCK_CELLS = 8;
const STAMP_BYTES = 16;
const STORY_LINES_MAX = 40;
const MAGIC = 0x70776572;

/** The file system has done what it must never do. */
export class Wrong extends Error {
  override readonly name = 'Wrong';
}

function cell(file: number, at: number, write: number): Buffer {
  const stamp = Buffer.alloc(STAMP_BYTES);
  stamp.writeUInt32LE(MAGIC, 0);
  stamp.writeUInt32LE(file, 4);
  stamp.writeUInt32LE(at, 8);
  stamp.writeUInt32LE(write, 12);
  return Buffer.alloc(CELL_BYTES, write === 0 ? 0 : stamp);
}

/** Cells that were changed since the last fsync. */
interface Change {
  first: number;
  count: number;
  /** 0: zeros, by a cut. */
  write: number;
}

/** How blocks of a file are spread, as far as it matters which are protected together. */
export interface Rows {
  k: number;
  unitBytes: number;
}

/**
 * One file, and what may be found of it after a power cut: what was fsynced, and each of the later changes or not. One call at a time. After
 * a call that failed it is left alone until it was looked at.
 */
export class PowerFile {
  readonly id: number;
  oid = 0;
  /** Where it may be. An empty name: nowhere. */
  names: Set<string>;
  /** Where it is if nothing gets lost; null: it was removed. */
  name: string | null;
  shaken = false;
  #handle: FileHandle | null = null;
  /** The write of each cell as of the last fsync. */
  #synced: number[] = [];
  #count = 0;
  /** Of cells: how long it was since then. */
  #counts: number[] = [0];
  #changes: Change[] = [];
  #writes = 0;
  /** The newest calls, for people. */
  readonly #story: string[] = [];

  constructor(id: number, name: string) {
    this.id = id;
    this.name = name;
    this.names = new Set(['', name]);
  }

  get count(): number {
    return this.#count;
  }

  async create(folder: string): Promise<void> {
    this.#tell(`create ${this.name}`);
    const {O_CREAT, O_EXCL, O_RDWR} = constants;
    this.#handle = await open(join(folder, this.name!), O_CREAT | O_EXCL | O_RDWR, 0o644);
    this.oid = (await this.#handle.stat()).ino;
  }

  async write(folder: string, first: number, count: number): Promise<void> {
    const handle = await this.#open(folder);
    const write = ++this.#writes;
    this.#tell(`write ${write}: ${count} at ${first}`);
    this.#changes.push({first, count, write});
    this.#size(Math.max(this.#count, first + count));
    await writeAll(handle, this.#cells(first, count, write), first * CELL_BYTES);
  }

  async cut(folder: string, count: number): Promise<void> {
    this.#tell(`cut to ${count}`);
    const most = Math.max(this.#synced.length, ...this.#counts, count);
    this.#changes.push({first: count, count: most - count, write: 0});
    this.#size(count);
    await truncate(join(folder, this.name!), count * CELL_BYTES);
  }

  async sync(folder: string): Promise<void> {
    this.#tell('fsync');
    await (await this.#open(folder)).sync();
    this.#tell('fsynced');
    for (const {first, count, write} of this.#changes)
      for (let i = first; i < first + count; i++) this.#synced[i] = write;
    this.#synced.length = this.#count;
    this.#settled();
    // Its name is as durable as it is.
    this.names = new Set([this.name!]);
  }

  /** Also over another file. */
  async rename(folder: string, to: string): Promise<void> {
    this.#tell(`rename to ${to}`);
    const from = this.name!;
    this.name = to;
    this.names.add(to);
    await rename(join(folder, from), join(folder, to));
  }

  async remove(folder: string): Promise<void> {
    const from = this.name!;
    this.gone();
    await this.close();
    await unlink(join(folder, from));
  }

  /** Its name is another's now, or nobody's. */
  gone(): void {
    this.#tell('gone');
    this.name = null;
    this.names.add('');
  }

  /** Changes of names are durable. */
  named(): void {
    this.#tell('folder fsynced');
    this.names = new Set([this.name ?? '']);
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }

  /**
   * Looks at it after a power cut, under a name, and takes it for what it is then, synced. Throws Wrong. Gives how many blocks cannot be
   * read: they are written anew. `rows`: a block may be EIO for the sake of others that were being written.
   */
  async judge(folder: string, name: string, size: number, rows: Rows | null): Promise<number> {
    if (!this.names.has(name)) this.#wrong(`is ${name}, not one of ${[...this.names].join()}`);
    const [least, most] = [Math.min(...this.#counts), Math.max(...this.#counts)];
    const count = size / CELL_BYTES;
    if (!Number.isInteger(count) || count < least || count > most)
      this.#wrong(`has ${size} bytes, which are not ${least} to ${most} cells`);
    const handle = await open(join(folder, name), constants.O_RDWR);
    const found: number[] = [];
    let unread = 0;
    try {
      for (let first = 0; first < count; first += BLOCK_CELLS) {
        const cells = await this.#block(handle, first, Math.min(BLOCK_CELLS, count - first), rows);
        if (cells !== null) found.push(...cells);
        else {
          unread++;
          const write = ++this.#writes;
          const many = Math.min(BLOCK_CELLS, count - first);
          await writeAll(handle, this.#cells(first, many, write), first * CELL_BYTES);
          found.push(...Array<number>(many).fill(write));
        }
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    this.name = name;
    this.names = new Set([name]);
    this.#synced = found;
    this.#count = count;
    this.#settled();
    this.shaken = false;
    this.#tell(`judged: ${name}, ${count} cells, ${unread} blocks unread`);
    return unread;
  }

  /** The writes of its cells; null: EIO, as it may be. */
  async #block(
    handle: FileHandle,
    first: number,
    count: number,
    rows: Rows | null,
  ): Promise<number[] | null> {
    const bytes = Buffer.alloc(count * CELL_BYTES);
    try {
      const {bytesRead} = await handle.read(bytes, 0, bytes.length, first * CELL_BYTES);
      if (bytesRead !== bytes.length) this.#wrong(`ends in cell ${first}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
      const block = first / BLOCK_CELLS;
      if (!matesOf(block, rows).some((mate) => this.#isDirty(mate)))
        this.#wrong(`cannot be read in block ${block}, which was synced`);
      return null;
    }
    return Array.from({length: count}, (_, i) => {
      const got = bytes.subarray(i * CELL_BYTES, (i + 1) * CELL_BYTES);
      const may = this.#may(first + i);
      const write = may.find((one) => got.equals(cell(this.id, first + i, one)));
      if (write !== undefined) return write;
      const words = [0, 4, 8, 12].map((at) => got.readUInt32LE(at).toString(16));
      return this.#wrong(
        `has ${words.join()} in cell ${first + i}, not a write of ${may.join()} (synced: ${this.#synced[first + i]})`,
      );
    });
  }

  /** Writes that may be found in a cell. */
  #may(at: number): number[] {
    const later = this.#changes.filter(({first, count}) => at >= first && at < first + count);
    return [this.#synced[at] ?? 0, ...later.map(({write}) => write)];
  }

  #isDirty(block: number): boolean {
    const from = block * BLOCK_CELLS;
    return (
      (from + BLOCK_CELLS > this.#synced.length && this.#counts.length > 1) ||
      this.#changes.some(({first, count}) => first < from + BLOCK_CELLS && first + count > from)
    );
  }

  #cells(first: number, count: number, write: number): Buffer {
    return Buffer.concat(Array.from({length: count}, (_, i) => cell(this.id, first + i, write)));
  }

  #size(count: number): void {
    this.#count = count;
    this.#counts.push(count);
  }

  #settled(): void {
    this.#changes = [];
    this.#counts = [this.#count];
  }

  /** A call has failed: it is left alone until it was looked at. */
  shake(reason: string): void {
    this.#tell(reason);
    this.shaken = true;
  }

  /** Throws if it is nowhere, and must not be. */
  missing(): void {
    if (!this.names.has('')) this.#wrong(`is not there, but should be ${[...this.names].join()}`);
  }

  #tell(what: string): void {
    this.#story.push(`${new Date().toISOString().slice(11)} ${what}`);
    if (this.#story.length > STORY_LINES_MAX) this.#story.shift();
  }

  #wrong(what: string): never {
    const story = this.#story.join('\n  ');
    throw new Wrong(`file ${this.id} (${this.oid}, now ${this.name}) ${what}\n  ${story}`);
  }

  async #open(folder: string): Promise<FileHandle> {
    this.#handle ??= await open(join(folder, this.name!), constants.O_RDWR);
    return this.#handle;
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, offset: number): Promise<void> {
  for (let at = 0; at < bytes.length; )
    at += (await handle.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
}

/** The blocks of its row, that are protected together with it. */
function matesOf(block: number, rows: Rows | null): number[] {
  if (rows === null) return [block];
  const perUnit = rows.unitBytes / (BLOCK_CELLS * CELL_BYTES);
  const stripe = Math.floor(block / (perUnit * rows.k)) * perUnit * rows.k;
  return Array.from({length: rows.k}, (_, i) => stripe + i * perUnit + (block % perUnit));
}

/** Bytes of a new file: small ones stay with the meta server. */
export const drawCells = (random: SeededRandom): number =>
  random.range(1, random.pick([8, 30, 200, 1500]));
