import {assert} from '../base/assert.js';

/** As in native/disk/core.hpp. */
export const OP_CODE = {
  read: 1,
  write: 2,
  dataSync: 3,
  punch: 4,
  truncate: 5,
  syncFs: 6,
  readCached: 7,
} as const;

/** Code to name; codes are 1.. in the order above. */
const NAMES = ['nothing', ...Object.keys(OP_CODE)] as const;

/** Doubles in an op: code, fd, file offset, memory offset, length. */
export const OP_STRIDE = 5;

/**
 * The operations of one batch, to be filled and then given to `DiskBatch.run` or `runSync`. All offsets and
 * lengths are bytes; memory offsets are absolute in the memory of the DiskBatch. It may be filled again at once
 * after `run` has been called: what was submitted has been copied.
 */
export class DiskOps {
  readonly numbers: Float64Array;
  readonly opsMax: number;
  #count = 0;

  constructor(opsMax: number) {
    this.opsMax = opsMax;
    this.numbers = new Float64Array(opsMax * OP_STRIDE);
  }

  get count(): number {
    return this.#count;
  }

  /** The name of the first operation, for messages. */
  get first(): string {
    return NAMES[this.#count === 0 ? 0 : this.numbers[0]!]!;
  }

  get full(): boolean {
    return this.#count === this.opsMax;
  }

  clear(): this {
    this.#count = 0;
    return this;
  }

  /** What lies beyond the end of the file becomes zeros in memory. */
  read(fd: number, fileOffset: number, memoryOffset: number, length: number): this {
    return this.#add(OP_CODE.read, fd, fileOffset, memoryOffset, length);
  }

  /** As `read`, but EAGAIN, and undefined bytes, where that would wait for the disk. For `runSync`. */
  readCached(fd: number, fileOffset: number, memoryOffset: number, length: number): this {
    return this.#add(OP_CODE.readCached, fd, fileOffset, memoryOffset, length);
  }

  write(fd: number, fileOffset: number, memoryOffset: number, length: number): this {
    return this.#add(OP_CODE.write, fd, fileOffset, memoryOffset, length);
  }

  /** fdatasync. */
  dataSync(fd: number): this {
    return this.#add(OP_CODE.dataSync, fd, 0, 0, 0);
  }

  /** A hole of `length` > 0 bytes; EOPNOTSUPP where the file system has none. The size stays. */
  punch(fd: number, fileOffset: number, length: number): this {
    return this.#add(OP_CODE.punch, fd, fileOffset, 0, length);
  }

  truncate(fd: number, size: number): this {
    return this.#add(OP_CODE.truncate, fd, size, 0, 0);
  }

  /** syncfs of the file system that `fd` lies on. */
  syncFs(fd: number): this {
    return this.#add(OP_CODE.syncFs, fd, 0, 0, 0);
  }

  #add(code: number, fd: number, fileOffset: number, memoryOffset: number, length: number): this {
    assert(this.#count < this.opsMax, 'a batch has no room for one more operation');
    const at = this.#count++ * OP_STRIDE;
    this.numbers[at] = code;
    this.numbers[at + 1] = fd;
    this.numbers[at + 2] = fileOffset;
    this.numbers[at + 3] = memoryOffset;
    this.numbers[at + 4] = length;
    return this;
  }
}
