import {FsError} from '../base/errors.js';
import type {BufferPool, Slot} from '../base/pool.js';
import {alignDown, BLOCK_BYTES} from '../base/units.js';
import type {DiskFile, DiskRange} from '../env/disk.js';
import {CHUNK_BYTES_MAX} from '../layout/scheme.js';
import {
  type ColumnId,
  type ColumnShape,
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  HEADER_OFFSET,
  nameOf,
  ROTTEN,
  SUMS_OFFSET,
  sumBytes,
  sumOffset,
} from './format.js';
import {SCRATCH_BYTES, type Scratch} from './scratch.js';
import {
  allZero,
  type ColumnRange,
  dataSteps,
  joinSums,
  runs,
  splitSums,
  sumSteps,
  totalLength,
} from './sums.js';
import {Turns} from './turns.js';

export interface ColumnBytes {
  /** One reference is the caller's; null when nothing of the ranges was ever written. */
  slot: Slot | null;
  offset: number;
  length: number;
  sums: Uint8Array;
  covered: Uint8Array;
  /** Blocks that the disk cannot read: zeros, with a sum that zeros do not have, as blocks that are lost. */
  unreadable: number;
}

/** Sums of lost blocks are made of these (client/rebuild.ts). */
const LOST_BYTE = 0xff;
/** After so many the other blocks of a request are taken for unreadable, too: a disk may take seconds for each. */
const UNREADABLE_MAX = 16;

/** False: the disk says that it cannot read some of it. */
async function readable(file: DiskFile, steps: readonly DiskRange[]): Promise<boolean> {
  try {
    await file.read(steps);
    return true;
  } catch (error) {
    if (error instanceof FsError && error.errno === 'EIO') return false;
    throw error;
  }
}

/** The file was removed: look for the column again. Never leaves core/data. */
export class Gone extends Error {
  override readonly name = 'Gone';
}

/** The block of this number, counted through the ranges. */
function blockAt(ranges: readonly ColumnRange[], block: number): ColumnRange {
  let left = block * BLOCK_BYTES;
  for (const {offset, length} of ranges) {
    if (left < length) return {offset: offset + left, length: BLOCK_BYTES};
    left -= length;
  }
  throw new RangeError(`block ${block} of too few`);
}

/** What a failed write leaves to be done: ranges, and the sums that they had before it. */
interface Undo {
  ranges: readonly ColumnRange[];
  before: number;
  /** As in the file, of all blocks of all ranges, in order. */
  sums: Uint8Array;
}

/** A slot with room for `bytes`, when there is one. The caller must hold nothing that others wait for. */
export async function allocate(pool: BufferPool, bytes: number): Promise<Slot> {
  for (;;) {
    const slot = pool.alloc(bytes);
    if (slot >= 0) return slot;
    await new Promise<void>((resolve) => pool.onFree(resolve));
  }
}

/**
 * One open column file. Operations take turns, so nobody sees data without its sums.
 * Invariant: `bytes`, up to which the column was written, is what the length of the sums says, unless an undo is due.
 */
export class Column {
  readonly id: ColumnId;
  readonly shape: ColumnShape;
  readonly #turns = new Turns();
  readonly #file: DiskFile;
  readonly #pool: BufferPool;
  readonly #scratch: Scratch;
  #bytes: number;
  #undo: Undo | null = null;
  #removed = false;
  /** A power cut may have left data above `bytes` whose sums never came: it goes before anything is made of its place. */
  #stray: boolean;

  private constructor(
    id: ColumnId,
    shape: ColumnShape,
    file: DiskFile,
    memory: {pool: BufferPool; scratch: Scratch},
    bytes: number,
    stray: boolean,
  ) {
    this.id = id;
    this.shape = shape;
    this.#file = file;
    this.#pool = memory.pool;
    this.#scratch = memory.scratch;
    this.#bytes = bytes;
    this.#stray = stray;
  }

  /**
   * Takes the file over. A power cut may leave a file whose header never reached the disk: then nothing of it was ever
   * synced, so it is as new for whoever may make it, and null for others. A header that rotted, or cannot be read, is taken for what
   * `shape` says: the blocks have sums of their own. FsError EIO for the header of another column, or a rotten one without `shape`.
   */
  static open(
    id: ColumnId,
    shape: ColumnShape | null,
    make: boolean,
    file: DiskFile,
    memory: {pool: BufferPool; scratch: Scratch},
  ): Promise<Column | null> {
    const {pool, scratch} = memory;
    return scratch.use(async (at) => {
      const size = await file.size();
      const range = {fileOffset: HEADER_OFFSET, memoryOffset: at, length: HEADER_BYTES};
      const header = pool.view(at, HEADER_BYTES);
      const legible = size <= HEADER_OFFSET || (await readable(file, [range]));
      const lacking = size <= HEADER_OFFSET || (legible && allZero(header));
      if (lacking && !make) return null;
      const found = lacking || !legible ? ROTTEN : decodeHeader(header, id);
      if (typeof found === 'string' && (found !== ROTTEN || shape === null))
        throw new FsError('EIO', `${nameOf(id)}: ${found}`);
      const known = typeof found === 'string' ? shape! : found;
      if (found === ROTTEN) {
        if (lacking && size > 0) await file.truncate(0);
        header.set(encodeHeader(id, known));
        await file.write([range]);
      }
      const summed = lacking ? 0 : Math.max(0, size - SUMS_OFFSET);
      const bytes = Math.ceil(summed / sumBytes(known)) * BLOCK_BYTES;
      return new Column(id, known, file, memory, bytes, !lacking);
    });
  }

  /** Up to here it was written. */
  get bytes(): number {
    return this.#bytes;
  }

  get removed(): boolean {
    return this.#removed;
  }

  /**
   * Data first, then sums: a crash in between leaves blocks that fail their sums, never wrong ones. After a failure the old
   * sums are back, and zeros where zeros were; other blocks that have new bytes fail their sums. Never a new block.
   */
  write(
    ranges: readonly ColumnRange[],
    payload: number,
    sums: Uint8Array,
    covered: Uint8Array,
  ): Promise<void> {
    return this.#alone((at) => this.#write(ranges, payload, sums, covered, at));
  }

  /**
   * Reads the ranges into memory at the payload of `slot`, lets `rework` change blocks and their sums in place, and writes those of
   * which it returns the numbers; nobody sees the column in between. A disk that cannot read some of it is EIO.
   */
  update(
    ranges: readonly ColumnRange[],
    slot: Slot,
    rework: (sums: Uint8Array, covered: Uint8Array) => readonly number[],
  ): Promise<void> {
    return this.#alone(async (at) => {
      const each = this.shape.k * 4;
      await this.#tidy();
      const {sums, covered, unreadable} = await this.#read(ranges, true, slot, at);
      if (unreadable > 0) throw new FsError('EIO', `${nameOf(this.id)}: ${unreadable} blocks`);
      const blocks = totalLength(ranges) / BLOCK_BYTES;
      const payload = this.#pool.payload(slot);
      // Nothing was ever written there.
      if (sums.length === 0) this.#pool.bytes.fill(0, payload, payload + blocks * BLOCK_BYTES);
      const own = sums.length === 0 ? new Uint8Array(blocks * 4) : sums;
      const its = covered.length === 0 ? new Uint8Array(blocks * each) : covered;
      const changed = rework(own, its);
      if (changed.length === 0) return;
      const some = changed.map((block) => blockAt(ranges, block));
      for (const [index, block] of changed.entries()) {
        const from = payload + block * BLOCK_BYTES;
        if (index !== block)
          this.#pool.bytes.copyWithin(payload + index * BLOCK_BYTES, from, from + BLOCK_BYTES);
      }
      const part = (all: Uint8Array, bytes: number): Uint8Array =>
        Buffer.concat(changed.map((block) => all.subarray(block * bytes, (block + 1) * bytes)));
      await this.#write(some, payload, part(own, 4), part(its, each), at);
    });
  }

  /** `slot`: an owned one with room for all ranges; given back with the bytes in it, or released. */
  async read(
    ranges: readonly ColumnRange[],
    wantCovered: boolean,
    slot: Slot,
  ): Promise<ColumnBytes> {
    try {
      const found = await this.look(ranges, wantCovered, slot);
      if (found.slot === null) this.#pool.release(slot);
      return found;
    } catch (error) {
      this.#pool.release(slot);
      throw error;
    }
  }

  /** As `read`, but `slot` stays the caller's in any case. */
  look(ranges: readonly ColumnRange[], wantCovered: boolean, slot: Slot): Promise<ColumnBytes> {
    return this.#together((at) => this.#read(ranges, wantCovered, slot, at));
  }

  /** Is the header in the file what it was when the file was opened? If not it is written anew. */
  checkHeader(): Promise<boolean> {
    return this.#alone(async (at) => {
      const range = {fileOffset: HEADER_OFFSET, memoryOffset: at, length: HEADER_BYTES};
      const header = this.#pool.view(at, HEADER_BYTES);
      const wanted = encodeHeader(this.id, this.shape);
      if ((await readable(this.#file, [range])) && header.equals(wanted)) return true;
      header.set(wanted);
      await this.#file.write([range]);
      await this.#file.sync();
      return false;
    });
  }

  /** The sums alone, as stored, of as many of the blocks as were ever written. A disk that cannot read them is EIO. */
  sums(offset: number, blocks: number): Promise<{sums: Uint8Array; covered: Uint8Array}> {
    const {shape} = this;
    return this.#together(async (at) => {
      const count = Math.min(blocks, (this.#bytes - offset) / BLOCK_BYTES);
      const most = Math.floor(SCRATCH_BYTES / sumBytes(shape));
      const parts: {sums: Uint8Array; covered: Uint8Array}[] = [];
      for (let done = 0; done < count; done += most) {
        const some = Math.min(most, count - done);
        const range = {offset: offset + done * BLOCK_BYTES, length: some * BLOCK_BYTES};
        await this.#file.read(sumSteps(shape, [range], at));
        parts.push(splitSums(this.#pool, shape, some, true, at));
      }
      const {concat} = Buffer;
      return {
        sums: concat(parts.map((part) => part.sums)),
        covered: concat(parts.map((part) => part.covered)),
      };
    });
  }

  /** Forgets everything from `bytes` on, a multiple of the block. */
  truncate(bytes: number): Promise<void> {
    return this.#alone(async () => {
      await this.#tidy();
      if (bytes >= this.#bytes) return;
      // Sums last: until then the blocks fail them, which a reader sees, rather than reading as what they were.
      await this.#file.punch(bytes, this.#bytes - bytes);
      await this.#file.truncate(sumOffset(this.shape, bytes));
      this.#bytes = bytes;
    });
  }

  /** Makes ranges zeros and frees their space. */
  punch(ranges: readonly ColumnRange[]): Promise<void> {
    return this.#alone(async () => {
      await this.#tidy();
      for (const {offset, length} of ranges) {
        const end = Math.min(offset + length, this.#bytes);
        if (end <= offset) continue;
        await this.#file.punch(offset, end - offset);
        const from = sumOffset(this.shape, offset);
        await this.#file.punch(from, sumOffset(this.shape, end) - from);
      }
    });
  }

  /** `unlink` takes the file's name away; whoever comes later is told Gone. */
  remove(unlink: () => Promise<unknown>): Promise<void> {
    return this.#turns.write(async () => {
      if (this.#removed) return;
      await unlink();
      this.#removed = true;
    });
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  allocated(): Promise<number> {
    return this.#file.allocated();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #write(
    ranges: readonly ColumnRange[],
    payload: number,
    sums: Uint8Array,
    covered: Uint8Array,
    at: number,
  ): Promise<void> {
    const {shape} = this;
    const before = this.#bytes;
    const bytes = (sums.length / 4) * sumBytes(shape);
    const old = at + bytes;
    let end = 0;
    let inside = false;
    for (const {offset, length} of ranges) {
      end = Math.max(end, offset + length);
      inside ||= offset < before;
    }
    if (end > before) await this.#tidy();
    if (inside) await this.#readSums(sumSteps(shape, ranges, old), at);
    else this.#pool.bytes.fill(0, old, old + bytes);
    joinSums(this.#pool, shape, sums, covered, at);
    try {
      await this.#file.write([...dataSteps(ranges, payload), ...sumSteps(shape, ranges, at)]);
    } catch (error) {
      this.#undo = {ranges, before, sums: new Uint8Array(this.#pool.view(old, bytes))};
      // If this fails, too, the next operation begins with it.
      await this.#mend(at).catch(() => {});
      throw error;
    }
    this.#bytes = Math.max(before, end);
  }

  async #read(
    ranges: readonly ColumnRange[],
    wantCovered: boolean,
    slot: Slot,
    at: number,
  ): Promise<ColumnBytes> {
    const {shape} = this;
    const length = totalLength(ranges);
    const offset = this.#pool.payload(slot);
    if (ranges.every((range) => range.offset >= this.#bytes)) {
      const none = new Uint8Array(0);
      return {slot: null, offset: 0, length, sums: none, covered: none, unreadable: 0};
    }
    const steps = [...sumSteps(shape, ranges, at), ...dataSteps(ranges, offset)];
    const unreadable = (await readable(this.#file, steps))
      ? 0
      : await this.#readEach(ranges, offset, at);
    const {sums, covered} = splitSums(this.#pool, shape, length / BLOCK_BYTES, wantCovered, at);
    return {slot, offset, length, sums, covered, unreadable};
  }

  /** Block by block, where the disk cannot read all of it. Resolves with how many it cannot. */
  async #readEach(ranges: readonly ColumnRange[], offset: number, at: number): Promise<number> {
    const {shape} = this;
    const each = sumBytes(shape);
    let unreadable = 0;
    let index = 0;
    for (const range of ranges) {
      for (let done = 0; done < range.length; done += BLOCK_BYTES, index++) {
        const block = [{offset: range.offset + done, length: BLOCK_BYTES}];
        const memory = offset + index * BLOCK_BYTES;
        const sum = at + index * each;
        const steps = [...sumSteps(shape, block, sum), ...dataSteps(block, memory)];
        if (unreadable < UNREADABLE_MAX && (await readable(this.#file, steps))) continue;
        this.#pool.bytes.fill(0, memory, memory + BLOCK_BYTES);
        this.#pool.bytes.fill(LOST_BYTE, sum, sum + each);
        unreadable++;
      }
    }
    return unreadable;
  }

  /**
   * Sums that a write is about to change. Those in a page that cannot be read are given up, and those beside them: only a page that is
   * written whole can be read again. `at`: scratch for one.
   */
  async #readSums(steps: readonly DiskRange[], at: number): Promise<void> {
    if (await readable(this.#file, steps)) return;
    const size = await this.#file.size();
    for (const {fileOffset, length} of steps) {
      const end = fileOffset + length;
      for (let page = alignDown(fileOffset, BLOCK_BYTES); page < end; page += BLOCK_BYTES) {
        const whole = [{fileOffset: page, memoryOffset: at, length: BLOCK_BYTES}];
        if (await readable(this.#file, whole)) continue;
        this.#pool.bytes.fill(LOST_BYTE, at, at + BLOCK_BYTES);
        await this.#file.write(whole);
        if (page + BLOCK_BYTES > size) await this.#file.truncate(size);
      }
    }
    await this.#file.read(steps);
  }

  async #tidy(): Promise<void> {
    if (!this.#stray) return;
    await this.#file.punch(this.#bytes, CHUNK_BYTES_MAX - this.#bytes);
    this.#stray = false;
  }

  /** Takes back what a failed write did. Throws EIO as long as it cannot; until then nobody may see the column. */
  async #mend(at: number): Promise<void> {
    const due = this.#undo;
    if (due === null) return;
    const each = sumBytes(this.shape);
    const old = (block: number): Uint8Array => due.sums.subarray(block * each, (block + 1) * each);
    try {
      let first = 0;
      for (const {offset, length} of due.ranges) {
        const start = first;
        const blocks = length / BLOCK_BYTES;
        // Zeros were there, or nothing at all, where the own sum is 0.
        for (const [from, count, zeros] of runs(blocks, (b) =>
          allZero(old(start + b).subarray(0, 4)),
        )) {
          if (zeros) await this.#file.punch(offset + from * BLOCK_BYTES, count * BLOCK_BYTES);
        }
        for (const [from, count, hole] of runs(blocks, (b) => allZero(old(start + b)))) {
          const fileOffset = sumOffset(this.shape, offset) + from * each;
          const bytes = count * each;
          if (hole) await this.#file.punch(fileOffset, bytes);
          else {
            this.#pool.bytes.set(
              due.sums.subarray((start + from) * each, (start + from + count) * each),
              at,
            );
            await this.#file.write([{fileOffset, memoryOffset: at, length: bytes}]);
          }
        }
        first += blocks;
      }
      await this.#file.truncate(sumOffset(this.shape, due.before));
    } catch (cause) {
      throw new FsError('EIO', `${nameOf(this.id)}: a failed write cannot be taken back`, {cause});
    }
    this.#undo = null;
  }

  #alone<T>(work: (scratch: number) => Promise<T>): Promise<T> {
    return this.#turns.write(() => this.#withScratch(work));
  }

  async #together<T>(work: (scratch: number) => Promise<T>): Promise<T> {
    if (this.#undo !== null) await this.#alone(async () => {});
    return this.#turns.read(() => this.#withScratch(work));
  }

  #withScratch<T>(work: (scratch: number) => Promise<T>): Promise<T> {
    return this.#scratch.use(async (at) => {
      if (this.#removed) throw new Gone(nameOf(this.id));
      await this.#mend(at);
      return work(at);
    });
  }
}
