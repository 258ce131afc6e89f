import type {ChunkLog, LogEntry} from './chunk-log.js';
import type {ColumnStore} from './column-store.js';
import {type ColumnId, nameOf} from './format.js';

/** Neighbouring objects share one entry for their chunk 0, so that many small files cost one sync. */
const BUCKET_OIDS = 64;
/** In place of a chunk's number: the entry is a bucket. */
const BUCKET = 0xffffffff;

function intentOf({oid, chunk, generation}: ColumnId): LogEntry {
  if (chunk !== 0) return {slot: 0, oid, chunk, generation};
  return {slot: 0, oid: Math.floor(oid / BUCKET_OIDS), chunk: BUCKET, generation: 0};
}

interface Bucket {
  /** Dirty ones, by name. */
  ids: Map<string, ColumnId>;
  /** From an earlier life and not looked at yet: any chunk of it may be dirty. */
  unknown: boolean;
}

/** What was written here and has not been synced here. */
interface Writes {
  running: number;
  /** Number of the last one that ended. */
  last: number;
}

/**
 * Chunks that may differ between columns. A chunk is in it, durably, from before its first write until everything written
 * to it has been synced on all columns. What is dirty within a bucket is known in memory only: after a restart all
 * of the bucket is.
 */
export class Intents {
  readonly #log: ChunkLog;
  readonly #store: ColumnStore;
  readonly #buckets = new Map<number, Bucket>();
  readonly #atStart: readonly LogEntry[];
  readonly #writes = new Map<string, Writes>();
  #count = 0;
  /** A sync of everything is under way because too much was unsynced (ops/sync.ts). */
  syncing = false;

  constructor(log: ChunkLog, store: ColumnStore) {
    this.#log = log;
    this.#store = store;
    this.#atStart = [...log.entries()];
    for (const {oid, chunk} of this.#atStart) {
      if (chunk === BUCKET) this.#buckets.set(oid, {ids: new Map(), unknown: true});
    }
  }

  /**
   * What was dirty when the last life ended, whether it is here or not: a file that was never synced may be gone. So
   * a bucket names all its objects, which may also be directories, or never have been.
   */
  atStart(): ColumnId[] {
    return this.#atStart.flatMap(({oid, chunk, generation}) =>
      chunk === BUCKET ? oidsOf(oid).map(firstChunk) : [{oid, chunk, generation}],
    );
  }

  /** A change of the column begins when this resolves: the entry is on stable storage. `leave` must follow in any case. */
  enter(id: ColumnId): Promise<void> {
    const name = nameOf(id);
    const writes = this.#writes.get(name);
    if (writes === undefined) this.#writes.set(name, {running: 1, last: 0});
    else writes.running++;
    const entry = intentOf(id);
    if (entry.chunk === BUCKET) {
      const bucket = this.#buckets.get(entry.oid);
      if (bucket !== undefined) bucket.ids.set(name, id);
      else this.#buckets.set(entry.oid, {ids: new Map([[name, id]]), unknown: false});
    }
    return this.#log.add([entry]);
  }

  /** The change has ended, well or not. */
  leave(id: ColumnId): void {
    const writes = this.#writes.get(nameOf(id))!;
    writes.running--;
    writes.last = ++this.#count;
  }

  /** Taken before a sync begins: what had ended by then is covered by it. */
  get mark(): number {
    return this.#count;
  }

  /** How many columns have bytes that were never synced. */
  get unsynced(): number {
    return this.#writes.size;
  }

  synced(id: ColumnId, mark: number): void {
    const name = nameOf(id);
    const writes = this.#writes.get(name);
    if (writes !== undefined && writes.running === 0 && writes.last <= mark)
      this.#writes.delete(name);
  }

  allSynced(mark: number): void {
    for (const [name, {running, last}] of this.#writes) {
      if (running === 0 && last <= mark) this.#writes.delete(name);
    }
  }

  /**
   * The chunk is the same on all columns, for good; says a client that synced them. If it was written here after its last sync,
   * somebody else writes by now, who will say so later.
   */
  settle(id: ColumnId): void {
    if (!this.#writes.has(nameOf(id))) this.#forget(id);
  }

  /** The object is gone. */
  removed(id: ColumnId): void {
    const name = nameOf(id);
    if (this.#writes.get(name)?.running === 0) this.#writes.delete(name);
    this.settle(id);
  }

  /** Every chunk that may be dirty and has a column here; of a bucket of an earlier life all that are there. */
  async chunks(): Promise<ColumnId[]> {
    const found: ColumnId[] = [];
    for (const entry of [...this.#log.entries()]) {
      if (entry.chunk !== BUCKET) {
        found.push({oid: entry.oid, chunk: entry.chunk, generation: entry.generation});
        continue;
      }
      const bucket = this.#buckets.get(entry.oid);
      if (bucket === undefined) continue; // Settled meanwhile.
      if (bucket.unknown) await this.#look(entry, bucket);
      found.push(...bucket.ids.values());
    }
    return found;
  }

  /** From now on the bucket is known chunk by chunk, so that it empties as they settle. */
  async #look(entry: LogEntry, bucket: Bucket): Promise<void> {
    const here = await this.#store.ofObjects(oidsOf(entry.oid));
    for (const id of here) if (id.chunk === 0) bucket.ids.set(nameOf(id), id);
    bucket.unknown = false;
    this.#drop(entry, bucket);
  }

  #forget(id: ColumnId): void {
    const entry = intentOf(id);
    if (entry.chunk !== BUCKET) {
      this.#log.remove([entry]);
      return;
    }
    const bucket = this.#buckets.get(entry.oid);
    if (bucket === undefined) return;
    bucket.ids.delete(nameOf(id));
    this.#drop(entry, bucket);
  }

  #drop(entry: LogEntry, bucket: Bucket): void {
    if (bucket.unknown || bucket.ids.size > 0 || this.#buckets.get(entry.oid) !== bucket) return;
    this.#buckets.delete(entry.oid);
    this.#log.remove([entry]);
  }
}

const oidsOf = (bucket: number): number[] =>
  Array.from({length: BUCKET_OIDS}, (_, i) => bucket * BUCKET_OIDS + i).filter((oid) => oid > 0);

const firstChunk = (oid: number): ColumnId => ({oid, chunk: 0, generation: 0});
