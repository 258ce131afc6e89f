import {crc32c} from '../base/crc32c.js';
import type {Disk, Journal} from '../env/disk.js';

export const RECORD_BYTES = 32;
const ADD = 1;
const REMOVE = 2;
/** A journal is written anew when it has this many records more than it needs. */
const SLACK_RECORDS = 8192;

/** What the log remembers: a chunk of an object, or a bucket of objects, and for whom. */
export interface LogEntry {
  /** Missed log: the slot that lacks it. Intent log: 0. */
  slot: number;
  /** An object, or a bucket's number with chunk = BUCKET. */
  oid: number;
  chunk: number;
  generation: number;
  /** Below 2^32, default 0. Intent log: the shape of the column (intents.ts). Missed log: SUSPECTED, or 0. */
  note?: number;
}

export const keyOf = (e: LogEntry): string => `${e.slot}/${e.oid}/${e.chunk}/${e.generation}`;

/**
 * A durable set of chunks: records of 32 bytes with their own sum, appended and now and then written anew. After a
 * crash it holds at least everything whose `add` had resolved and that was not removed.
 */
export class ChunkLog {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #entries = new Map<string, LogEntry>();
  /** Entries that are not on stable storage yet. */
  #unsynced = new Set<string>();
  #syncing: Promise<void> | null = null;
  #journal: Journal;
  #records = 0;
  #rewriting: Promise<void> | null = null;
  /** Records since a rewrite began. */
  #late: Uint8Array[] | null = null;
  /** No rewrite before there are so many records more than needed: it grows when one fails. */
  #slack = SLACK_RECORDS;
  readonly #onFailed: (error: unknown) => void;
  #failed: unknown = null;

  private constructor(
    disk: Disk,
    path: string,
    journal: Journal,
    onFailed: (error: unknown) => void,
  ) {
    this.#disk = disk;
    this.#path = path;
    this.#journal = journal;
    this.#onFailed = onFailed;
  }

  /** `onFailed`: what was promised can no longer be kept, the process must end. Once. */
  static async open(
    disk: Disk,
    path: string,
    onFailed: (error: unknown) => void,
  ): Promise<ChunkLog> {
    const log = new ChunkLog(disk, path, await disk.journal(path), onFailed);
    const bytes = await log.#journal.read();
    let at = 0;
    for (; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
      const record = bytes.subarray(at, at + RECORD_BYTES);
      const view = new DataView(record.buffer, record.byteOffset, RECORD_BYTES);
      // A torn tail: nothing after it was ever promised.
      if (view.getUint32(28, true) !== crc32c(record, 0, 28)) break;
      const entry = {
        slot: view.getUint32(4, true),
        oid: view.getFloat64(8, true),
        chunk: view.getUint32(16, true),
        generation: view.getUint32(20, true),
        note: view.getUint32(24, true),
      };
      if (view.getUint32(0, true) === ADD) log.#entries.set(keyOf(entry), entry);
      else log.#entries.delete(keyOf(entry));
      log.#records++;
    }
    if (at < bytes.length) {
      await log.#journal.truncate(at);
      // Or the next power cut brings back what was cut off, behind records that were written since.
      await log.#journal.sync();
    }
    return log;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(entry: LogEntry): boolean {
    return this.#entries.has(keyOf(entry));
  }

  get(entry: LogEntry): LogEntry | undefined {
    return this.#entries.get(keyOf(entry));
  }

  entries(): Iterable<LogEntry> {
    return this.#entries.values();
  }

  /**
   * Resolves when all of them are on stable storage: at once for those that are. Of several notes of an entry the smallest
   * stays. Concurrent calls share a sync. Rejects with FsError (ENOSPC, EIO) when an entry could not be made.
   */
  async add(entries: readonly LogEntry[]): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    let wait = false;
    for (const entry of entries) {
      const key = keyOf(entry);
      const had = this.#entries.get(key);
      if (had === undefined || (entry.note ?? 0) < (had.note ?? 0)) {
        this.#append(ADD, entry);
        this.#entries.set(key, entry);
        this.#unsynced.add(key);
      }
      wait ||= this.#unsynced.has(key);
    }
    while (wait) {
      await this.#sync();
      wait = entries.some((entry) => this.#unsynced.has(keyOf(entry)));
    }
  }

  /** Not durable by itself: an entry that comes back after a crash costs a look at its chunk. */
  remove(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      const key = keyOf(entry);
      if (!this.#entries.has(key)) continue;
      this.#append(REMOVE, entry);
      this.#entries.delete(key);
      this.#unsynced.delete(key);
    }
    if (this.#records > this.#entries.size + this.#slack && this.#failed === null) this.#rewrite();
  }

  async close(): Promise<void> {
    await this.#rewriting;
    await this.#journal.close();
  }

  #append(kind: number, entry: LogEntry): void {
    const record = encode(kind, entry);
    this.#journal.append(record);
    this.#late?.push(record);
    this.#records++;
  }

  async #sync(): Promise<void> {
    while (this.#rewriting !== null) await this.#rewriting;
    this.#syncing ??= this.#syncNow().finally(() => {
      this.#syncing = null;
    });
    await this.#syncing;
  }

  /** After a failed sync nobody knows what is on the disk, and the next one may not tell: so there is no next one. */
  async #syncNow(): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    const covered = [...this.#unsynced];
    try {
      await this.#journal.sync();
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    for (const key of covered) this.#unsynced.delete(key);
  }

  #fail(error: unknown): void {
    if (this.#failed !== null) return;
    this.#failed = error;
    this.#onFailed(error);
  }

  /**
   * Replaces the journal by one without history. No `add` resolves meanwhile: its record may be in the old file only,
   * until the last step gives it to the new one.
   */
  #rewrite(): void {
    this.#rewriting ??= this.#rewriteNow().finally(() => {
      this.#rewriting = null;
      this.#late = null;
    });
  }

  async #rewriteNow(): Promise<void> {
    this.#late = [];
    const image = Buffer.concat([...this.#entries.values()].map((entry) => encode(ADD, entry)));
    await this.#syncing?.catch(() => {});
    try {
      await this.#disk.writeFile(this.#path, image);
    } catch {
      // The old one is as good, only longer; nothing was lost.
      this.#slack *= 2;
      return;
    }
    try {
      // The old file has no name any more, so from here on there is no way back.
      const next = await this.#disk.journal(this.#path);
      if (this.#late.length > 0) next.append(Buffer.concat(this.#late));
      const old = this.#journal;
      this.#journal = next;
      this.#records = next.size / RECORD_BYTES;
      this.#slack = SLACK_RECORDS;
      await next.sync();
      await old.close();
    } catch (error) {
      this.#fail(error);
    }
  }
}

function encode(kind: number, entry: LogEntry): Uint8Array {
  const record = new Uint8Array(RECORD_BYTES);
  const view = new DataView(record.buffer);
  view.setUint32(0, kind, true);
  view.setUint32(4, entry.slot, true);
  view.setFloat64(8, entry.oid, true);
  view.setUint32(16, entry.chunk, true);
  view.setUint32(20, entry.generation, true);
  view.setUint32(24, entry.note ?? 0, true);
  view.setUint32(28, crc32c(record, 0, 28), true);
  return record;
}
