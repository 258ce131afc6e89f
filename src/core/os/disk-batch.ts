import {assert} from '../base/assert.js';
import {ERRNO, errnoName} from '../base/errno.js';
import {FsError} from '../base/errors.js';
import type {DiskRange} from '../env/disk.js';
import {DiskOps, OP_CODE, OP_STRIDE} from './disk-ops.js';
import {loadNative} from './native.js';

/** native/disk/addon.cpp. Results are bytes moved, or -errno. */
interface Addon {
  Batches: new (
    memory: ArrayBuffer,
    slots: number,
    opsMax: number,
    results: Float64Array,
    onDone: (slot: number) => void,
  ) => AddonBatches;
}

interface AddonBatches {
  submit(slot: number, ops: Float64Array, count: number, keepGoing: boolean, ring: boolean): void;
  openRing(): number;
  runSync(ops: Float64Array, count: number, keepGoing: boolean): void;
  close(): void;
}

export interface DiskBatchLimits {
  /** Batches that libuv's workers may have at once; more wait in order. Default 32. */
  inFlightMax?: number;
  /** Operations in one batch. Default 256: a 1 MiB request of 4 KiB pieces. */
  opsMax?: number;
  /** Use the kernel's io_uring where it can be had. Default: not. */
  ring?: boolean;
}

interface Pending {
  numbers: Float64Array;
  count: number;
  keepGoing: boolean;
  ring: boolean;
  /** The name of the first operation, for the message of a failure. */
  first: string;
  /** Called with the slot whose row of results is valid during the call. */
  finish: (slot: number) => void;
  reject: (error: unknown) => void;
}

/** The descriptor through which a range goes. */
export type DescriptorOf = (range: DiskRange) => number;

/** Batches that may wait for a slot; each holds a copy of its operations. */
const WAITING_MAX = 4096;

/**
 * File operations on descriptors and one memory, in batches: one hop to a libuv worker and back for all of a
 * batch, none with the ring, and no wait at all with `runSync`. Within a batch operations run in order and stop at the first failure; two
 * batches run in any order, also at the same time.
 *
 * The memory must not be detached, and a descriptor not closed, while a batch that names it is in flight. Ranges
 * outside the memory and the like are bugs of the caller: RangeError, with nothing carried out.
 */
export class DiskBatch {
  readonly opsMax: number;
  /** Whether batches can be carried out by the kernel alone (io_uring). */
  readonly ring: boolean;
  readonly #addon = loadNative<Addon>('disk');
  readonly #batches: AddonBatches;
  readonly #results: Float64Array;
  readonly #free: number[];
  readonly #inFlight: (Pending | null)[];
  readonly #waiting: Pending[] = [];
  readonly #inFlightMax: number;
  readonly #scratch: DiskOps;
  #open = true;
  #idle: (() => void)[] = [];

  constructor(memory: ArrayBuffer, limits: DiskBatchLimits = {}) {
    const {inFlightMax = 32, opsMax = 256, ring = false} = limits;
    this.opsMax = opsMax;
    this.#inFlightMax = inFlightMax;
    this.#results = new Float64Array((inFlightMax + 1) * opsMax);
    this.#batches = new this.#addon.Batches(memory, inFlightMax, opsMax, this.#results, (slot) =>
      this.#done(slot),
    );
    this.ring = ring && this.#batches.openRing() === 0;
    this.#free = Array.from({length: inFlightMax}, (_, slot) => inFlightMax - 1 - slot);
    this.#inFlight = Array.from({length: inFlightMax}, () => null);
    this.#scratch = new DiskOps(opsMax);
  }

  /** Room for a batch of `count` operations, at most `opsMax`. Can be cleared and filled again. */
  ops(count = this.opsMax): DiskOps {
    assert(count <= this.opsMax, `a batch has at most ${this.opsMax} operations, not ${count}`);
    return new DiskOps(count);
  }

  /**
   * Carries the batch out on a worker, or with `ring`, where there is one, by the kernel alone: reads in any order, writes,
   * or one sync; other batches go to a worker then, too. Rejects with FsError of the first failure; the later ones were not begun.
   */
  run(ops: DiskOps, ring = false): Promise<void> {
    const {first, count} = ops;
    return new Promise((resolve, reject) => {
      this.#start(ops, {keepGoing: false, ring}, reject, (slot) => {
        const error = this.#failure(slot, count, first);
        if (error === null) resolve();
        else reject(error);
      });
    });
  }

  /** Carries out all of a batch, whatever fails. For each operation the bytes it moved, or -errno. */
  runEach(ops: DiskOps): Promise<Float64Array> {
    const {count} = ops;
    return new Promise((resolve, reject) => {
      this.#start(ops, {keepGoing: true, ring: false}, reject, (slot) => {
        const row = slot * this.opsMax;
        resolve(this.#results.slice(row, row + count));
      });
    });
  }

  /**
   * Carries the batch out before it returns: cheaper than a worker for a few blocks of the page cache, and the
   * event loop stands still meanwhile. Throws FsError of the first failure.
   */
  runSync(ops: DiskOps): void {
    this.#runSync(ops, false);
  }

  /** All ranges of one file, in order, in as few batches as they fit in; of a file with two descriptors, each through its own. */
  async read(fd: number | DescriptorOf, ranges: readonly DiskRange[], ring = false): Promise<void> {
    await this.#transfer(OP_CODE.read, fd, ranges, ring);
  }

  /** All ranges, in order; on failure those before the failing one have been written. */
  async write(fd: number, ranges: readonly DiskRange[], ring = false): Promise<void> {
    await this.#transfer(OP_CODE.write, fd, ranges, ring);
  }

  /**
   * Reads at once what is in the page cache, at most `opsMax` ranges: 1 us or so for a few blocks, where a worker costs
   * ten. False, with undefined bytes in memory, if something is not there or the file system cannot tell: then `read`.
   */
  readCached(fd: number, ranges: readonly DiskRange[]): boolean {
    const ops = this.#scratch.clear();
    for (const {fileOffset, memoryOffset, length} of ranges) {
      ops.readCached(fd, fileOffset, memoryOffset, length);
    }
    return this.#runSync(ops, true);
  }

  readSync(fd: number, fileOffset: number, memoryOffset: number, length: number): void {
    this.runSync(this.#scratch.clear().read(fd, fileOffset, memoryOffset, length));
  }

  writeSync(fd: number, fileOffset: number, memoryOffset: number, length: number): void {
    this.runSync(this.#scratch.clear().write(fd, fileOffset, memoryOffset, length));
  }

  dataSync(fd: number): Promise<void> {
    return this.run(this.#scratch.clear().dataSync(fd), true);
  }

  /** Frees [offset, offset + length), length > 0. */
  punch(fd: number, offset: number, length: number): Promise<void> {
    return this.run(this.#scratch.clear().punch(fd, offset, length));
  }

  truncate(fd: number, size: number): Promise<void> {
    return this.run(this.#scratch.clear().truncate(fd, size));
  }

  syncFs(fd: number): Promise<void> {
    return this.run(this.#scratch.clear().syncFs(fd));
  }

  /** Batches that a worker or the ring has or that wait for one; 0 when nothing is left open. */
  get inFlight(): number {
    return this.#inFlightMax - this.#free.length + this.#waiting.length;
  }

  /** Refuses new batches and resolves when those in flight are done. Closing twice is nothing. */
  async close(): Promise<void> {
    this.#open = false;
    if (this.inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.#batches.close();
  }

  async #transfer(
    code: number,
    of: number | DescriptorOf,
    ranges: readonly DiskRange[],
    ring: boolean,
  ): Promise<void> {
    for (let from = 0; from < ranges.length; from += this.opsMax) {
      const ops = this.#scratch.clear();
      const to = Math.min(ranges.length, from + this.opsMax);
      for (let i = from; i < to; i++) {
        const {fileOffset, memoryOffset, length} = ranges[i]!;
        const fd = typeof of === 'number' ? of : of(ranges[i]!);
        if (code === OP_CODE.read) ops.read(fd, fileOffset, memoryOffset, length);
        else ops.write(fd, fileOffset, memoryOffset, length);
      }
      await this.run(ops, ring);
    }
  }

  /** False for a failure by EAGAIN where that is an answer; an Error of it would cost more than the read. */
  #runSync(ops: DiskOps, mayBeAgain: boolean): boolean {
    if (!this.#open) throw new FsError('EBADF', 'the disk is closed');
    this.#batches.runSync(ops.numbers, ops.count, false);
    const row = this.#inFlightMax;
    for (let i = 0; i < ops.count; i++) {
      const result = this.#results[row * this.opsMax + i]!;
      if (result >= 0) continue;
      if (mayBeAgain && result === -ERRNO.EAGAIN) return false;
      throw this.#failure(row, ops.count, ops.first)!;
    }
    return true;
  }

  #start(
    ops: DiskOps,
    how: Pick<Pending, 'keepGoing' | 'ring'>,
    reject: Pending['reject'],
    finish: Pending['finish'],
  ): void {
    const {numbers, count, first} = ops;
    if (!this.#open) {
      reject(new FsError('EBADF', 'the disk is closed'));
    } else if (this.#free.length > 0) {
      this.#submit({numbers, count, ...how, first, finish, reject});
    } else if (this.#waiting.length === WAITING_MAX) {
      reject(new FsError('EAGAIN', `${WAITING_MAX} batches wait for the disk`));
    } else {
      // The caller may fill its ops again, so a batch that waits needs numbers of its own.
      const copy = numbers.slice(0, count * OP_STRIDE);
      this.#waiting.push({numbers: copy, count, ...how, first, finish, reject});
    }
  }

  #submit(pending: Pending): void {
    const slot = this.#free.pop()!;
    const {numbers, count, keepGoing, ring} = pending;
    try {
      this.#batches.submit(slot, numbers, count, keepGoing, ring);
      this.#inFlight[slot] = pending;
    } catch (error) {
      this.#free.push(slot);
      pending.reject(error);
    }
  }

  #done(slot: number): void {
    const pending = this.#inFlight[slot]!;
    this.#inFlight[slot] = null;
    pending.finish(slot); // Before the slot, and with it the row of results, is given to the next.
    this.#free.push(slot);
    while (this.#waiting.length > 0 && this.#free.length > 0) this.#submit(this.#waiting.shift()!);
    if (this.inFlight > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const wake of idle) wake();
  }

  /** The first failure in a row of results, or null. */
  #failure(row: number, count: number, first: string): FsError | null {
    for (let i = 0; i < count; i++) {
      const result = this.#results[row * this.opsMax + i]!;
      if (result >= 0) continue;
      const where = count === 1 ? first : `operation ${i + 1} of ${count}, the first is ${first}`;
      return new FsError(errnoName(-result), where);
    }
    return null;
  }
}
