import {crc32c} from '../base/crc32c.js';
import {messageOf} from '../base/errors.js';
import type {Env} from '../env/env.js';
import {
  asBuffer,
  type BacktraceEntry,
  ENTRY_BYTES_MAX,
  entryBytes,
  putEntry,
  SECTION_HEADER,
  type Section,
  sectionsOf,
  shardOf,
} from '../protocol/backtraces.js';

const FOLDER = 'backtraces';
/** Sum, then `from`, `to` and the wall clock as doubles. */
const HEADER_BYTES = 4 + 3 * 8;

/** What is kept for data servers that are away; whoever is away for longer gets everything. */
export const SPOOL_BYTES_MAX = 64 * 1024 * 1024;
/** The same while some server gets everything: it needs what comes meanwhile. */
const SPOOL_BYTES_BUSY = 1024 * 1024 * 1024;

/** What changed after batch `from` of the log up to `to`. */
export interface Piece {
  from: number;
  to: number;
  /** Wall clock. */
  atMs: number;
  /** In files. */
  bytes: number;
}

export interface LoadedPiece extends Piece {
  sections: readonly Section[];
}

export interface SpoolStats {
  pieces: number;
  /** Entries and bytes of them, once, however many data servers get them. */
  entries: number;
  bytes: number;
}

/**
 * What checkpoints have written and data servers may not have yet, one file each. A file is on stable storage before its checkpoint is, so a
 * meta server that starts again has whatever its store has beyond what data servers have, and needs not send everything. If there is
 * none, because the disk was full, the chain is broken, and whoever is behind it gets everything.
 */
export class Spool {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  readonly #pieces: Piece[] = [];
  #newest = 0;
  #loaded: LoadedPiece | null = null;
  #waiting: Piece | null = null;
  #waiters: (() => void)[] = [];
  /** Servers that are being given everything. */
  busy = 0;
  readonly stats: SpoolStats = {pieces: 0, entries: 0, bytes: 0};

  private constructor(env: Pick<Env, 'clock' | 'disk' | 'log'>) {
    this.#env = env;
  }

  /** `position`: of the store. */
  static async open(env: Pick<Env, 'clock' | 'disk' | 'log'>, position: number): Promise<Spool> {
    const spool = new Spool(env);
    spool.#newest = position;
    const found: Piece[] = [];
    for (const name of await env.disk.list(FOLDER)) {
      if (!/^[0-9a-f]{14}$/.test(name)) continue;
      const piece = await spool.#read(`${FOLDER}/${name}`);
      // Beyond the store: its checkpoint was not written, and another one will have the same.
      if (piece === null || piece.to > position) await env.disk.remove(`${FOLDER}/${name}`);
      else found.push(piece);
    }
    found.sort((a, b) => a.to - b.to);
    let end = position;
    while (found.at(-1)?.to === end) {
      const piece = found.pop()!;
      spool.#pieces.unshift(piece);
      end = piece.from;
    }
    for (const piece of found) await env.disk.remove(pathOf(piece));
    return spool;
  }

  /** The batch after which there is nothing yet. */
  get newest(): number {
    return this.#newest;
  }

  /** Can whoever is as of batch `position` be brought to the newest one? */
  reaches(position: number): boolean {
    if (position === this.#newest) return true;
    const first = this.#pieces[0];
    return first !== undefined && first.from <= position && position < this.#newest;
  }

  /** The first piece that has something beyond batch `position`. */
  after(position: number): Piece | null {
    return this.#pieces.find(({to}) => to > position) ?? null;
  }

  /** Null: it is gone, or cannot be read any more. */
  async load(piece: Piece): Promise<LoadedPiece | null> {
    if (this.#loaded?.to !== piece.to) {
      const loaded = await this.#read(pathOf(piece));
      if (loaded === null) return null;
      this.#loaded = loaded;
    }
    return this.#loaded;
  }

  /** Before the checkpoint is written. Never rejects. */
  async note(entries: Iterable<BacktraceEntry>, from: number, to: number): Promise<void> {
    const {disk, clock, log} = this.#env;
    const atMs = Math.floor(clock.wall());
    const bytes = this.#encode(entries, {from, to, atMs});
    this.#waiting = null;
    try {
      await disk.writeFile(pathOf({to}), bytes);
      this.#waiting = {from, to, atMs, bytes: bytes.length};
    } catch (error) {
      log.warn('backtraces.not-spooled', {to, reason: messageOf(error)});
    }
  }

  /** The store is as of batch `to`. */
  written(to: number): void {
    const piece = this.#waiting;
    this.#waiting = null;
    if (piece === null || piece.from > this.#newest) this.#drop(this.#pieces.length);
    if (piece !== null) this.#pieces.push(piece);
    this.#newest = to;
    let size = this.#pieces.reduce((sum, {bytes}) => sum + bytes, 0);
    const most = this.busy > 0 ? SPOOL_BYTES_BUSY : SPOOL_BYTES_MAX;
    let surplus = 0;
    while (size > most) size -= this.#pieces[surplus++]!.bytes;
    this.#drop(surplus);
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Everybody is as of this batch, or later. */
  trim(position: number): void {
    const index = this.#pieces.findIndex(({to}) => to > position);
    this.#drop(index < 0 ? this.#pieces.length : index);
  }

  /** Calls back once, at the next piece. */
  onPiece(wake: () => void): void {
    this.#waiters.push(wake);
  }

  #drop(count: number): void {
    for (const piece of this.#pieces.splice(0, count))
      this.#env.disk.remove(pathOf(piece)).catch((error: unknown) => {
        this.#env.log.info('backtraces.left', {to: piece.to, reason: messageOf(error)});
      });
  }

  #encode(entries: Iterable<BacktraceEntry>, head: Omit<Piece, 'bytes'>): Buffer {
    const shards = new Map<number, {entries: BacktraceEntry[]; bytes: number}>();
    let size = HEADER_BYTES;
    for (const entry of entries) {
      const shard = shardOf(entry[0]);
      if (shard < 0) continue;
      const bytes = entryBytes(entry);
      if (bytes > ENTRY_BYTES_MAX) {
        this.#env.log.warn('backtraces.too-long', {key: entry[0].slice(0, 8), bytes});
        continue;
      }
      let list = shards.get(shard);
      if (list === undefined) {
        list = {entries: [], bytes: 0};
        shards.set(shard, list);
        size += SECTION_HEADER;
      }
      list.entries.push(entry);
      list.bytes += bytes;
      size += bytes;
      this.stats.entries++;
      this.stats.bytes += bytes;
    }
    this.stats.pieces++;
    const all = Buffer.allocUnsafe(size);
    all.writeDoubleLE(head.from, 4);
    all.writeDoubleLE(head.to, 12);
    all.writeDoubleLE(head.atMs, 20);
    let at = HEADER_BYTES;
    for (const [shard, list] of shards) {
      all.writeUInt16LE(shard, at);
      all.writeUInt32LE(list.bytes, at + 2);
      at += SECTION_HEADER;
      for (const entry of list.entries) at = putEntry(all, at, entry);
    }
    all.writeUInt32LE(crc32c(all, 4), 0);
    return all;
  }

  async #read(path: string): Promise<LoadedPiece | null> {
    const found = await this.#env.disk.readFile(path);
    if (found === null || found.length < HEADER_BYTES) return null;
    const all = asBuffer(found);
    if (crc32c(all, 4) !== all.readUInt32LE(0)) return null;
    const sections = sectionsOf(all.subarray(HEADER_BYTES));
    if (sections === null) return null;
    const [from, to, atMs] = [4, 12, 20].map((at) => all.readDoubleLE(at)) as [
      number,
      number,
      number,
    ];
    return {from, to, atMs, bytes: all.length, sections};
  }
}

const pathOf = ({to}: {to: number}): string => `${FOLDER}/${to.toString(16).padStart(14, '0')}`;
