import type {ChunkLog, LogEntry} from './chunk-log.js';
import type {ColumnStore} from './column-store.js';
import {type ColumnId, type ColumnShape, nameOf} from './format.js';

/** Neighbouring objects share one entry for their first chunk 0, so that many small files cost one sync; moved ones have their own. */
const BUCKET_OIDS = 64;
/** In place of a chunk's number: the entry is a bucket. */
const BUCKET = 0xffffffff;

/** Which column of its chunk a server has: with its own slot that says which slots have the others. */
export type Share = Pick<ColumnShape, 'column' | 'k' | 'm'>;

export interface Intent extends ColumnId {
  /** Null: the header of the column cannot be read. */
  share: Share | null;
}

/** As a note of the intent log; numbers of columns are below 256. */
const packShare = ({column, k, m}: Share): number => column | (k << 8) | (m << 16);
function unpackShare(note: number): Share | null {
  const share = {column: note & 255, k: (note >> 8) & 255, m: (note >> 16) & 255};
  return share.k === 0 ? null : share;
}

function intentOf({oid, chunk, generation}: ColumnId, share: Share | null): LogEntry {
  if (chunk !== 0 || generation !== 0)
    return {slot: 0, oid, chunk, generation, note: share === null ? 0 : packShare(share)};
  return {slot: 0, oid: Math.floor(oid / BUCKET_OIDS), chunk: BUCKET, generation: 0};
}

interface Bucket {
  /** Dirty ones, by name. */
  ids: Map<string, Intent>;
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
  /** By name: chunks whose columns may differ though nobody is writing them any more. */
  readonly #doubts = new Map<string, ColumnId>();
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
    this.doubtAll();
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
  enter(id: ColumnId, share: Share): Promise<void> {
    const name = nameOf(id);
    const writes = this.#writes.get(name);
    if (writes === undefined) this.#writes.set(name, {running: 1, last: 0});
    else writes.running++;
    const entry = intentOf(id, share);
    if (entry.chunk === BUCKET) {
      const bucket = this.#buckets.get(entry.oid);
      const {column, k, m} = share;
      const intent = {...id, share: {column, k, m}};
      if (bucket !== undefined) bucket.ids.set(name, intent);
      else this.#buckets.set(entry.oid, {ids: new Map([[name, intent]]), unknown: false});
    }
    return this.#log.add([entry]);
  }

  /** May it differ between columns, or have bytes that were never synced? If not, it was synced and settled by whoever wrote it last. */
  has(id: ColumnId): boolean {
    const entry = intentOf(id, null);
    if (entry.chunk !== BUCKET) return this.#log.get(entry) !== undefined;
    const bucket = this.#buckets.get(entry.oid);
    return bucket !== undefined && (bucket.unknown || bucket.ids.has(nameOf(id)));
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
   * Whoever wrote the chunk will not finish it: until its columns were compared (a resync) it stays. A client that writes it now
   * can vouch for what it writes itself only.
   */
  doubt({oid, chunk, generation}: ColumnId): void {
    const id = {oid, chunk, generation};
    this.#doubts.set(nameOf(id), id);
  }

  /** The same for every chunk that may be dirty: somebody has died who was writing, and he may have been writing any. */
  doubtAll(): void {
    for (const entry of this.#log.entries()) {
      if (entry.chunk !== BUCKET) this.doubt(entry);
      // What is unknown is in doubt anyway.
      else for (const id of this.#buckets.get(entry.oid)?.ids.values() ?? []) this.doubt(id);
    }
  }

  /** Is the chunk in doubt? */
  doubted(id: ColumnId): boolean {
    const entry = intentOf(id, null);
    const unknown = entry.chunk === BUCKET && this.#buckets.get(entry.oid)?.unknown === true;
    return unknown || this.#doubts.has(nameOf(id));
  }

  /** Is any chunk of this generation of the object in doubt? */
  doubtedAny(oid: number, generation: number): boolean {
    if (this.doubted({oid, chunk: 0, generation})) return true;
    for (const id of this.#doubts.values())
      if (id.oid === oid && id.generation === generation) return true;
    return false;
  }

  /** How much is in doubt; more than 0: something is. */
  get doubts(): number {
    let unknown = 0;
    for (const bucket of this.#buckets.values()) if (bucket.unknown) unknown++;
    return this.#doubts.size + unknown;
  }

  /**
   * The chunk is the same on all columns, for good; says a client that synced them. If it was written here after its last sync,
   * somebody else writes by now, who will say so later. `checked`: it compared them, too.
   */
  settle(id: ColumnId, checked: boolean): void {
    const name = nameOf(id);
    if (checked) this.#doubts.delete(name);
    if (!this.#doubts.has(name) && !this.#writes.has(name)) this.#forget(id);
  }

  /** The object is gone. */
  removed(id: ColumnId): void {
    const name = nameOf(id);
    if (this.#writes.get(name)?.running === 0) this.#writes.delete(name);
    this.settle(id, true);
  }

  /** These objects are gone; chunks in doubt may have no column here that could be removed. */
  removedAll(oids: readonly number[]): void {
    if (this.#doubts.size === 0) return;
    const gone = new Set(oids);
    for (const id of [...this.#doubts.values()]) if (gone.has(id.oid)) this.removed(id);
  }

  /** The same of parts of objects. */
  removedParts(gone: (id: ColumnId) => boolean): void {
    for (const id of [...this.#doubts.values()]) if (gone(id)) this.removed(id);
  }

  /** Every chunk that may be dirty and has a column here; of a bucket of an earlier life all that are there. */
  async chunks(): Promise<Intent[]> {
    const found: Intent[] = [];
    for (const entry of [...this.#log.entries()]) {
      if (entry.chunk !== BUCKET) {
        const {oid, chunk, generation} = entry;
        found.push({oid, chunk, generation, share: unpackShare(entry.note ?? 0)});
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
    const first = here.filter(({chunk, generation}) => chunk === 0 && generation === 0);
    const found = await Promise.all(
      first.map(async (id): Promise<Intent> => ({...id, share: await this.#shareOf(id)})),
    );
    for (const intent of found) {
      const name = nameOf(intent);
      if (!bucket.ids.has(name)) bucket.ids.set(name, intent);
      this.doubt(intent);
    }
    bucket.unknown = false;
    this.#drop(entry, bucket);
  }

  async #shareOf(id: ColumnId): Promise<Share | null> {
    try {
      return await this.#store.use(id, null, false, ({shape}) => Promise.resolve(shape));
    } catch {
      return null;
    }
  }

  /** What `enter` was told, while the chunk may be dirty; null: not known. */
  shareOf(id: ColumnId): Share | null {
    const entry = intentOf(id, null);
    if (entry.chunk === BUCKET)
      return this.#buckets.get(entry.oid)?.ids.get(nameOf(id))?.share ?? null;
    return unpackShare(this.#log.get(entry)?.note ?? 0);
  }

  #forget(id: ColumnId): void {
    const entry = intentOf(id, null);
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
