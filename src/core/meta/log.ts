import {assert} from '../base/assert.js';
import {crc32c} from '../base/crc32c.js';
import {FsError} from '../base/errors.js';
import type {Journal} from '../env/disk.js';
import type {Env} from '../env/env.js';

/**
 * length, sum of what follows, sum of the record before, sequence (low, high), then the bytes of the batch. All u32,
 * little-endian. The sum of the record before tells a record that continues this log from one of the same number that was cut off
 * and came back: after a power cut neither the removal of a file nor its truncation need have happened.
 */
export const HEADER_BYTES = 20;
const FOLDER = 'log';
/** Larger than any batch; a length beyond it is torn bytes. */
const RECORD_BYTES_MAX = 256 * 1024 * 1024;

export interface LogOptions {
  /** A segment that has grown to this is followed by a new one. */
  segmentBytes: number;
  /** Segments that `trim` leaves although they are no longer needed: whoever follows the log reads them. */
  segmentsKept: number;
}

interface LogSegment {
  path: string;
  index: number;
  journal: Journal;
  /** Sequence of the first record; null while there is none. */
  first: number | null;
  /** Has something been appended since the last sync began? */
  dirty: boolean;
}

/** A batch as it was appended. */
export interface LogRecord {
  sequence: number;
  bytes: Uint8Array;
}

/**
 * The batches, in order, without gaps, in files `log/<index>`. `append` survives the death of the process when it returns,
 * and a power cut after `sync`. What a power cut tore is cut off when the log is opened: the first record that is
 * not whole ends it.
 */
export class BatchLog {
  readonly #env: Pick<Env, 'disk' | 'log'>;
  readonly #options: LogOptions;
  readonly #segments: LogSegment[] = [];
  /** Found by the scan, to be removed. */
  readonly #stale: LogSegment[] = [];
  #last = 0;
  /** Sum of record `#last`; 0 when it is not in the log. */
  #sum = 0;
  #opening: Promise<void> | null = null;
  #failed: unknown = null;

  private constructor(env: Pick<Env, 'disk' | 'log'>, options: LogOptions) {
    this.#env = env;
    this.#options = options;
  }

  /**
   * `each` sees every whole record after batch `position`, in order. A log that ends before `position` (its tail was
   * lost, the store's was not) starts anew after it.
   */
  static async open(
    env: Pick<Env, 'disk' | 'log'>,
    options: LogOptions,
    position: number,
    each: (record: LogRecord) => void,
  ): Promise<BatchLog> {
    const log = new BatchLog(env, options);
    await log.#scan(position, each);
    if (log.#last < position) await log.#restart(position);
    for (const segment of log.#stale.splice(0)) await log.#discard(segment);
    if (log.#segments.length === 0) await log.#addSegment(1);
    return log;
  }

  /** Sequence of the last record. */
  get last(): number {
    return this.#last;
  }

  /** The oldest batch that can still be read; `last` + 1 when there is none. */
  get first(): number {
    return this.#segments.find((s) => s.first !== null)?.first ?? this.#last + 1;
  }

  append(sequence: number, bytes: Uint8Array): void {
    assert(sequence === this.#last + 1, `batch ${sequence} after ${this.#last}`);
    const segment = this.#segments.at(-1)!;
    const record = Buffer.allocUnsafe(HEADER_BYTES + bytes.length);
    record.writeUInt32LE(bytes.length, 0);
    record.writeUInt32LE(this.#sum, 8);
    record.writeUInt32LE(sequence >>> 0, 12);
    record.writeUInt32LE(Math.floor(sequence / 0x1_0000_0000), 16);
    record.set(bytes, HEADER_BYTES);
    this.#sum = crc32c(record, 8);
    record.writeUInt32LE(this.#sum, 4);
    segment.journal.append(record);
    segment.first ??= sequence;
    segment.dirty = true;
    this.#last = sequence;
    if (segment.journal.size >= this.#options.segmentBytes) this.#rotate(segment.index + 1);
  }

  /** What was appended before the call is on stable storage. */
  async sync(): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    // Oldest first: the end of the log after a power cut is the first record that is not whole.
    for (const segment of this.#segments.filter((s) => s.dirty)) {
      const size = segment.journal.size;
      await segment.journal.sync();
      if (segment.journal.size === size) segment.dirty = false;
    }
  }

  /** Removes segments all of whose records are at or before `position`, but for the last few. */
  async trim(position: number): Promise<void> {
    while (this.#segments.length > this.#options.segmentsKept + 1) {
      const next = this.#segments[1]!;
      if (next.first === null || next.first > position + 1) return;
      await this.#discard(this.#segments.shift()!);
    }
  }

  async #discard(segment: LogSegment): Promise<void> {
    await segment.journal.close();
    await this.#env.disk.remove(segment.path);
  }

  async close(): Promise<void> {
    await this.#opening;
    for (const segment of this.#segments) await segment.journal.close();
  }

  /** The next segment is opened while the present one still takes records: `append` never waits. */
  #rotate(index: number): void {
    if (this.#opening !== null) return;
    this.#opening = this.#addSegment(index)
      .catch((error: unknown) => {
        this.#failed = error;
      })
      .finally(() => {
        this.#opening = null;
      });
  }

  async #addSegment(index: number): Promise<void> {
    const path = `${FOLDER}/${index.toString(16).padStart(10, '0')}`;
    const journal = await this.#env.disk.journal(path);
    this.#segments.push({path, index, journal, first: null, dirty: true});
  }

  async #scan(position: number, each: (record: LogRecord) => void): Promise<void> {
    const names = (await this.#env.disk.list(FOLDER)).filter((name) => /^[0-9a-f]{10}$/.test(name));
    let cut = false;
    for (const name of names.sort()) {
      const path = `${FOLDER}/${name}`;
      if (cut) {
        await this.#env.disk.remove(path);
        continue;
      }
      await this.#addSegment(Number.parseInt(name, 16));
      const segment = this.#segments.at(-1)!;
      const bytes = await segment.journal.read();
      const end = this.#scanSegment(segment, bytes, position, each);
      if (end === bytes.length) continue;
      this.#env.log.warn('log.cut', {path, after: this.#last, bytes: bytes.length - end});
      await segment.journal.truncate(end);
      cut = true;
    }
  }

  /** Where the whole records of a segment end. */
  #scanSegment(
    segment: LogSegment,
    bytes: Uint8Array,
    position: number,
    each: (record: LogRecord) => void,
  ): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (at + HEADER_BYTES <= bytes.length) {
      const length = view.getUint32(at, true);
      const end = at + HEADER_BYTES + length;
      if (length === 0 || length > RECORD_BYTES_MAX || end > bytes.length) break;
      const sum = view.getUint32(at + 4, true);
      if (crc32c(bytes, at + 8, end) !== sum) break;
      const sequence =
        view.getUint32(at + 16, true) * 0x1_0000_0000 + view.getUint32(at + 12, true);
      if (at === 0 && sequence <= position + 1) this.#dropBefore(segment, sequence);
      if (this.#last === 0 && sequence > position + 1) {
        // Not a torn tail: an older store was put under this log. Cutting would destroy what is still good.
        throw new FsError(
          'EIO',
          `the log begins at batch ${sequence}, the store ends at ${position}`,
        );
      }
      if (this.#last !== 0 && sequence !== this.#last + 1) break;
      if (this.#sum !== 0 && view.getUint32(at + 8, true) !== this.#sum) break;
      segment.first ??= sequence;
      this.#last = sequence;
      this.#sum = sum;
      if (sequence > position) each({sequence, bytes: bytes.subarray(at + HEADER_BYTES, end)});
      at = end;
    }
    return at;
  }

  /** Trimmed segments may come back in part at a power cut: whatever lies before a gap that the store covers is left out. */
  #dropBefore(segment: LogSegment, sequence: number): void {
    if (sequence === this.#last + 1) return;
    const index = this.#segments.indexOf(segment);
    this.#stale.push(...this.#segments.splice(0, index));
    this.#last = 0;
    this.#sum = 0;
  }

  async #restart(position: number): Promise<void> {
    this.#env.log.warn('log.restart', {last: this.#last, position});
    const next = (this.#segments.at(-1)?.index ?? 0) + 1;
    this.#stale.push(...this.#segments.splice(0));
    this.#last = position;
    this.#sum = 0;
    await this.#addSegment(next);
  }
}
