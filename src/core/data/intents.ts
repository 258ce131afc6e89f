import type {ChunkLog, LogEntry} from './chunk-log.js';
import type {ColumnStore} from './column-store.js';
import type {ColumnId} from './format.js';

/** Neighbouring objects share one entry for their chunk 0, so that many small files cost one sync. */
const BUCKET_OIDS = 64;
/** In place of a chunk's number: the entry is a bucket. */
const BUCKET = 0xffffffff;

export function intentOf({oid, chunk, generation}: ColumnId): LogEntry {
  if (chunk !== 0) return {slot: 0, oid, chunk, generation};
  return {slot: 0, oid: Math.floor(oid / BUCKET_OIDS), chunk: BUCKET, generation: 0};
}

/**
 * Chunks that may differ between columns. A chunk is in it, durably, from before its first write until everything written
 * to it has been synced on all columns. What is dirty within a bucket is known in memory only: after a restart all
 * of the bucket is.
 */
export class Intents {
  readonly #log: ChunkLog;
  readonly #store: ColumnStore;
  /** For each bucket that was entered in this life: its chunks that are dirty. Absent: all of them may be. */
  readonly #dirty = new Map<number, Map<string, ColumnId>>();

  constructor(log: ChunkLog, store: ColumnStore) {
    this.#log = log;
    this.#store = store;
  }

  /** Resolves when the entry is on stable storage; at once for a chunk that is dirty already. */
  enter(id: ColumnId): Promise<void> {
    const entry = intentOf(id);
    if (entry.chunk === BUCKET) {
      let dirty = this.#dirty.get(entry.oid);
      if (dirty === undefined && !this.#log.has(entry)) {
        dirty = new Map();
        this.#dirty.set(entry.oid, dirty);
      }
      dirty?.set(`${id.oid}/${id.generation}`, id);
    }
    return this.#log.add([entry]);
  }

  /** The chunk is the same on all columns, for good. */
  settle(id: ColumnId): void {
    const entry = intentOf(id);
    if (entry.chunk !== BUCKET) {
      this.#log.remove([entry]);
      return;
    }
    const dirty = this.#dirty.get(entry.oid);
    if (dirty === undefined) return;
    dirty.delete(`${id.oid}/${id.generation}`);
    if (dirty.size > 0) return;
    this.#dirty.delete(entry.oid);
    this.#log.remove([entry]);
  }

  /** Every chunk that may be dirty and has a column here; of a bucket of an earlier life all that are there. */
  async chunks(): Promise<ColumnId[]> {
    const found: ColumnId[] = [];
    for (const entry of [...this.#log.entries()]) {
      if (entry.chunk !== BUCKET) {
        found.push({oid: entry.oid, chunk: entry.chunk, generation: entry.generation});
        continue;
      }
      const dirty = this.#dirty.get(entry.oid);
      if (dirty !== undefined) {
        found.push(...dirty.values());
        continue;
      }
      const oids = Array.from({length: BUCKET_OIDS}, (_, i) => entry.oid * BUCKET_OIDS + i);
      const here = (await this.#store.ofObjects(oids)).filter((id) => id.chunk === 0);
      // From now on the bucket is known chunk by chunk, so that it empties as they settle.
      const known = new Map(here.map((id) => [`${id.oid}/${id.generation}`, id]));
      if (known.size === 0) this.#log.remove([entry]);
      else this.#dirty.set(entry.oid, known);
      found.push(...here);
    }
    return found;
  }
}
