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
export const LOG_FOLDER = 'log';
/** Nobody holds more than so many segments: who needs an older one has to do without. */
const HELD_SEGMENTS_MAX = 64;
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

/** Up to where a store has what was logged. */
export interface LogPosition {
  /** 0: nothing. */
  sequence: number;
  /** Of the record of that number; 0: not known. */
  sum: number;
}

/** What somebody still reads of the log: nothing from `from` on is trimmed. Whoever made it moves it. */
export interface LogHold {
  from: number;
}

/** One record in bytes of the log, without a look at its batch. */
interface RecordHeader {
  end: number;
  sum: number;
  before: number;
  sequence: number;
}

/** The record that begins at `at`; null: none that is whole does. */
export function recordAt(bytes: Uint8Array, at: number): RecordHeader | null {
  if (at + HEADER_BYTES > bytes.length) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(at, true);
  const end = at + HEADER_BYTES + length;
  if (length === 0 || length > RECORD_BYTES_MAX || end > bytes.length) return null;
  return {
    end,
    sum: view.getUint32(at + 4, true),
    before: view.getUint32(at + 8, true),
    sequence: view.getUint32(at + 16, true) * 0x1_0000_0000 + view.getUint32(at + 12, true),
  };
}

const isWhole = (bytes: Uint8Array, at: number, {end, sum}: RecordHeader): boolean =>
  crc32c(bytes, at + 8, end) === sum;

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
  readonly holds = new Set<LogHold>();
  #opening: Promise<void> | null = null;
  #failed: unknown = null;

  private constructor(env: Pick<Env, 'disk' | 'log'>, options: LogOptions) {
    this.#env = env;
    this.#options = options;
  }

  /**
   * `each` sees every whole record after the position, in order, up to batch `until`; what comes behind it is cut off. A log that ends
   * before the position (its tail was lost, the store's was not) starts anew after it. FsError EIO: store and log are of different histories.
   */
  static async open(
    env: Pick<Env, 'disk' | 'log'>,
    options: LogOptions,
    position: LogPosition,
    each: (record: LogRecord) => void,
    until = Number.POSITIVE_INFINITY,
  ): Promise<BatchLog> {
    const log = new BatchLog(env, options);
    await log.#scan(position, until, each);
    if (log.#last < position.sequence) await log.#restart(position);
    for (const segment of log.#stale.splice(0)) await log.#discard(segment);
    if (log.#segments.length === 0) await log.#addSegment(1);
    return log;
  }

  /** Sequence of the last record. */
  get last(): number {
    return this.#last;
  }

  /** Of the last record; 0: not known. It stands for everything that was logged until then. */
  get sum(): number {
    return this.#sum;
  }

  /** The oldest batch that can still be read; `last` + 1 when there is none. */
  get first(): number {
    return this.#segments.find((s) => s.first !== null)?.first ?? this.#last + 1;
  }

  /** The record, as it is in the file: not to be changed. */
  append(sequence: number, bytes: Uint8Array): Uint8Array {
    assert(sequence === this.#last + 1, `batch ${sequence} after ${this.#last}`);
    const record = Buffer.allocUnsafe(HEADER_BYTES + bytes.length);
    record.writeUInt32LE(bytes.length, 0);
    record.writeUInt32LE(this.#sum, 8);
    record.writeUInt32LE(sequence >>> 0, 12);
    record.writeUInt32LE(Math.floor(sequence / 0x1_0000_0000), 16);
    record.set(bytes, HEADER_BYTES);
    const sum = crc32c(record, 8);
    record.writeUInt32LE(sum, 4);
    this.#put(record, sequence, sum);
    return record;
  }

  /** Appends a record of another log that goes on where this one ends; its batch. FsError ESTALE: it does not. */
  follow(record: Uint8Array): LogRecord {
    const header = recordAt(record, 0);
    if (header === null || header.end !== record.length || !isWhole(record, 0, header))
      throw new FsError('ESTALE', 'a record of the log is damaged');
    const {sequence, before, sum} = header;
    if (sequence !== this.#last + 1 || (this.#sum !== 0 && before !== this.#sum))
      throw new FsError('ESTALE', `record ${sequence} does not continue the log at ${this.#last}`);
    this.#put(record, sequence, sum);
    return {sequence, bytes: record.subarray(HEADER_BYTES)};
  }

  #put(record: Uint8Array, sequence: number, sum: number): void {
    const segment = this.#segments.at(-1)!;
    segment.journal.append(record);
    segment.first ??= sequence;
    segment.dirty = true;
    this.#last = sequence;
    this.#sum = sum;
    if (segment.journal.size >= this.#options.segmentBytes) this.#rotate(segment.index + 1);
  }

  /** Records from this one on, as many as are in its file; null: it is not kept any more, or not there yet. */
  async readFrom(sequence: number): Promise<Uint8Array | null> {
    const segment = this.#segments.findLast(({first}) => first !== null && first <= sequence);
    if (segment === undefined || sequence > this.#last) return null;
    const bytes = await segment.journal.read();
    for (let at = 0, header = recordAt(bytes, at); header !== null; header = recordAt(bytes, at)) {
      if (header.sequence === sequence) return bytes.subarray(at);
      at = header.end;
    }
    return null;
  }

  /** Of a record that is kept; null: it is not. */
  async sumAt(sequence: number): Promise<number | null> {
    if (sequence === this.#last) return this.#sum;
    const bytes = await this.readFrom(sequence);
    return bytes === null ? null : recordAt(bytes, 0)!.sum;
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

  /** Removes segments all of whose records are at or before `position`, but for the last few, and those that are held. */
  async trim(position: number): Promise<void> {
    while (this.#segments.length > this.#options.segmentsKept + 1) {
      const next = this.#segments[1]!;
      const held = [...this.holds].some(({from}) => next.first === null || next.first > from);
      if (held && this.#segments.length <= HELD_SEGMENTS_MAX) return;
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
    const path = `${LOG_FOLDER}/${index.toString(16).padStart(10, '0')}`;
    const journal = await this.#env.disk.journal(path);
    this.#segments.push({path, index, journal, first: null, dirty: true});
  }

  async #scan(
    position: LogPosition,
    until: number,
    each: (record: LogRecord) => void,
  ): Promise<void> {
    const names = (await this.#env.disk.list(LOG_FOLDER)).filter((name) =>
      /^[0-9a-f]{10}$/.test(name),
    );
    let cut = false;
    for (const name of names.sort()) {
      const path = `${LOG_FOLDER}/${name}`;
      if (cut) {
        await this.#env.disk.remove(path);
        continue;
      }
      await this.#addSegment(Number.parseInt(name, 16));
      const segment = this.#segments.at(-1)!;
      const bytes = await segment.journal.read();
      const end = this.#scanSegment(segment, bytes, position, until, each);
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
    position: LogPosition,
    until: number,
    each: (record: LogRecord) => void,
  ): number {
    const stored = position.sequence;
    let at = 0;
    for (let header = recordAt(bytes, 0); header !== null; header = recordAt(bytes, at)) {
      const {end, sum, before, sequence} = header;
      if (!isWhole(bytes, at, header) || sequence > until) break;
      if (at === 0 && sequence <= stored + 1) this.#dropBefore(segment, sequence);
      if (this.#last === 0 && sequence > stored + 1) {
        // Not a torn tail: an older store was put under this log. Cutting would destroy what is still good.
        throw new FsError(
          'EIO',
          `the log begins at batch ${sequence}, the store ends at ${stored}`,
        );
      }
      if (this.#last !== 0 && sequence !== this.#last + 1) break;
      if (this.#sum !== 0 && before !== this.#sum) break;
      if (sequence === stored && position.sum !== 0 && position.sum !== sum)
        throw new FsError('EIO', `batch ${stored} of the log is not the one that the store has`);
      segment.first ??= sequence;
      this.#last = sequence;
      this.#sum = sum;
      if (sequence > stored) each({sequence, bytes: bytes.subarray(at + HEADER_BYTES, end)});
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

  async #restart({sequence, sum}: LogPosition): Promise<void> {
    this.#env.log.warn('log.restart', {last: this.#last, position: sequence});
    const next = (this.#segments.at(-1)?.index ?? 0) + 1;
    this.#stale.push(...this.#segments.splice(0));
    this.#last = sequence;
    this.#sum = sum;
    await this.#addSegment(next);
  }
}
