import {crc32c} from '../base/crc32c.js';
import {FsError, messageOf} from '../base/errors.js';
import {type Clock, sleep} from '../env/clock.js';
import type {Journal} from '../env/disk.js';
import type {Env} from '../env/env.js';
import {
  asBuffer,
  decodeShards,
  encodeEntries,
  encodeSections,
  encodeShards,
  entriesOf,
  entryBytes,
  RECORDS_BYTES_MAX,
  type Section,
  sectionsOf,
} from '../protocol/backtraces.js';
import * as wire from '../protocol/gen/wire.js';

const FOLDER = 'backtraces';
const JOURNAL = `${FOLDER}/journal`;
const MARKS = `${FOLDER}/marks`;
/** Of the journal, and of what is held of it in memory. */
const JOURNAL_BYTES_MAX = 4 * 1024 * 1024;
/** A shard's file is written anew when it is this much larger than twice what it was when it was last. */
const SLACK_BYTES = 1024 * 1024;
/** A whole shard that is coming is written out in pieces of this size. */
const INCOMING_BYTES = 256 * 1024;
/** Entries between two looks at what else there is to do. */
const TURN_ENTRIES = 2000;
const HEADER_BYTES = 8;

/** What is known of a shard. */
export interface Mark {
  line: number;
  position: number;
  atMs: number;
}

interface Shard extends Mark {
  /** Number of its file; grows with each new one. */
  file: number;
  /** Bytes of the file that count. */
  bytes: number;
  /** The same when the file was made. */
  image: number;
}

interface Incoming {
  file: number;
  bytes: number;
  parts: Uint8Array[];
  waiting: number;
}

const pathOf = (shard: number, file: number): string => `${FOLDER}/${shard}.${file}`;

/** A piece of a file or of the journal, with its length and its sum. */
function framed(body: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  bytes.writeUInt32LE(body.length, 0);
  bytes.writeUInt32LE(crc32c(body), 4);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** The whole pieces at the start of `bytes`, and where they end. */
function unframed(bytes: Uint8Array): {bodies: Uint8Array[]; end: number} {
  const all = asBuffer(bytes);
  const bodies: Uint8Array[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= all.length) {
    const end = at + HEADER_BYTES + all.readUInt32LE(at);
    if (end > all.length) break;
    const body = all.subarray(at + HEADER_BYTES, end);
    if (crc32c(body) !== all.readUInt32LE(at + 4)) break;
    bodies.push(body);
    at = end;
  }
  return {bodies, end: at};
}

/**
 * What this server keeps of the meta server's state. Changes go to one journal, which is synced before they are acknowledged (one sync,
 * however many shards there are), and from there now and then to a file of each shard, where later entries hide earlier ones until the
 * file is written anew. So what is in memory is the journal, and one shard while it is written anew or read.
 */
export class Backtraces {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  readonly #shards = new Map<number, Shard>();
  /** What is in the journal and not in the shards' files yet. */
  readonly #pending = new Map<number, Uint8Array[]>();
  readonly #incoming = new Map<number, Incoming>();
  #opened: Promise<void> | null = null;
  #journal!: Journal;
  #turn: Promise<unknown> = Promise.resolve();
  #files = 0;
  /** Of the shard that was read last. */
  #sorted: {shard: number; entries: [string, Uint8Array][]} | null = null;

  /** Files are read with the first request: a server that keeps none does not wait for them when it starts. */
  constructor(env: Pick<Env, 'clock' | 'disk' | 'log'>) {
    this.#env = env;
  }

  /** By shard. */
  marks(): Promise<ReadonlyMap<number, Readonly<Mark>>> {
    return this.#inTurn(async () => this.#shards);
  }

  /** Takes what the meta server sends. Gives the shards that it cannot bring forward: something before it is missing. EINVAL; ENOSPC and EIO of the disk. */
  take(q: wire.BacktraceRequest): Promise<number[]> {
    const shards = decodeShards(q.shards);
    const sections = sectionsOf(q.records);
    if (shards === null || sections === null) throw new FsError('EINVAL', 'no backtraces');
    return this.#inTurn(async () => {
      this.#sorted = null;
      return q.whole ? this.#takeWhole(q, shards, sections) : this.#takePiece(q, shards, sections);
    });
  }

  /** A page of a shard, by key, behind `cursor`. ENOENT: it is not kept here; EIO: it cannot be read. */
  read(shard: number, cursor: Uint8Array): Promise<wire.BacktraceReadReply> {
    return this.#inTurn(async () => {
      if (!this.#shards.has(shard)) throw new FsError('ENOENT', `shard ${shard}`);
      if (this.#sorted?.shard !== shard) {
        await this.#settle();
        const found = [...(await this.#load(shard))];
        found.sort(([a], [b]) => (a < b ? -1 : 1));
        this.#sorted = {shard, entries: found};
      }
      const {entries} = this.#sorted!;
      const after = asBuffer(cursor).toString('latin1');
      let at = after === '' ? 0 : firstAfter(entries, after);
      const page: [string, Uint8Array][] = [];
      for (let bytes = 0; at < entries.length && bytes < RECORDS_BYTES_MAX; at++) {
        page.push(entries[at]!);
        bytes += entryBytes(entries[at]!);
      }
      const last = page.at(-1)?.[0] ?? after;
      const end = at === entries.length;
      return {records: encodeEntries(page), cursor: Buffer.from(last, 'latin1'), end};
    });
  }

  async close(): Promise<void> {
    await this.#turn;
    if (this.#opened !== null) await this.#opened.then(() => this.#journal.close());
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(async () => {
      this.#opened ??= this.#open().catch((error: unknown) => {
        this.#opened = null;
        throw error;
      });
      await this.#opened;
      return work();
    });
    this.#turn = run.catch(() => {});
    return run;
  }

  async #open(): Promise<void> {
    const {disk, log} = this.#env;
    const bytes = await disk.readFile(MARKS);
    try {
      const kept = bytes === null ? [] : JSON.parse(asBuffer(bytes).toString('utf8'));
      for (const [shard, mark] of kept as [number, Shard][]) {
        this.#shards.set(shard, mark);
        this.#files = Math.max(this.#files, mark.file);
      }
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      log.warn('backtraces.unreadable', {reason: messageOf(error)});
    }
    this.#journal = await disk.journal(JOURNAL);
    const {bodies, end} = unframed(await this.#journal.read());
    for (const body of bodies) {
      const q = wire.BacktraceRequest.decode(body);
      this.#apply(q, decodeShards(q.shards) ?? [], sectionsOf(q.records) ?? []);
    }
    if (end < this.#journal.size) await this.#journal.truncate(end);
    for (const name of await disk.list(FOLDER)) {
      const [shard = '', file = ''] = name.split('.');
      if (!/^\d+$/.test(shard) || !/^\d+$/.test(file)) continue;
      this.#files = Math.max(this.#files, Number(file));
      if (this.#shards.get(Number(shard))?.file !== Number(file))
        await disk.remove(`${FOLDER}/${name}`);
    }
  }

  // ------------------------------------------------------------------ changes

  async #takePiece(
    q: wire.BacktraceRequest,
    shards: number[],
    sections: readonly Section[],
  ): Promise<number[]> {
    const follows = (shard: number): boolean => {
      const mark = this.#shards.get(shard);
      return mark !== undefined && mark.line === q.line && mark.position >= q.from;
    };
    const refused = shards.filter((shard) => !follows(shard));
    const taken = shards.filter(follows);
    const wanted = new Set(taken);
    const kept = sections.filter(({shard}) => wanted.has(shard));
    if (kept.length === sections.length && refused.length === 0)
      this.#journal.append(framed(wire.BacktraceRequest.encode(q)));
    else if (taken.length > 0) {
      const some = {...q, shards: encodeShards(taken), records: encodeSections(kept)};
      this.#journal.append(framed(wire.BacktraceRequest.encode(some)));
    }
    await this.#journal.sync();
    this.#apply(q, taken, kept);
    if (this.#journal.size >= JOURNAL_BYTES_MAX) await this.#settle();
    return refused;
  }

  #apply(q: wire.BacktraceRequest, shards: readonly number[], sections: readonly Section[]): void {
    for (const {shard, entries} of sections) {
      const parts = this.#pending.get(shard);
      if (parts === undefined) this.#pending.set(shard, [entries]);
      else parts.push(entries);
    }
    if (!q.last) return;
    for (const shard of shards) {
      const mark = this.#shards.get(shard);
      if (mark === undefined || mark.position >= q.to) continue;
      mark.position = q.to;
      mark.atMs = q.atMs;
    }
  }

  /** The journal's content goes to the shards' files, and what has grown too long is written anew. */
  async #settle(): Promise<void> {
    if (this.#journal.size === 0) return;
    const {disk} = this.#env;
    const old: string[] = [];
    for (const [shard, parts] of this.#pending) {
      const known = this.#shards.get(shard);
      if (known === undefined) continue;
      const file = await disk.journal(pathOf(shard, known.file));
      try {
        // What a power cut left behind the end that was noted.
        if (file.size > known.bytes) await file.truncate(known.bytes);
        file.append(framed(Buffer.concat(parts)));
        await file.sync();
        known.bytes = file.size;
      } finally {
        await file.close();
      }
      if (known.bytes > 2 * known.image + SLACK_BYTES)
        old.push(...(await this.#rewrite(shard, known)));
    }
    await this.#keepMarks();
    this.#pending.clear();
    await this.#journal.truncate(0);
    for (const path of old) await disk.remove(path);
  }

  /** Gives the path of the file before. */
  async #rewrite(shard: number, known: Shard): Promise<string[]> {
    const before = pathOf(shard, known.file);
    let entries: Map<string, Uint8Array>;
    try {
      entries = await this.#load(shard);
    } catch (error) {
      // It is not kept any more: the meta server sends it again.
      this.#env.log.warn('backtraces.unreadable', {shard, reason: messageOf(error)});
      this.#shards.delete(shard);
      return [before];
    }
    const image = framed(encodeEntries([...entries]));
    const file = ++this.#files;
    await this.#env.disk.writeFile(pathOf(shard, file), image);
    Object.assign(known, {file, bytes: image.length, image: image.length});
    return [before];
  }

  async #load(shard: number): Promise<Map<string, Uint8Array>> {
    const {disk, clock} = this.#env;
    const known = this.#shards.get(shard)!;
    const bytes = (await disk.readFile(pathOf(shard, known.file))) ?? new Uint8Array(0);
    const {bodies, end} = unframed(bytes.subarray(0, known.bytes));
    if (end < known.bytes) throw new FsError('EIO', `shard ${shard} of the backtraces is damaged`);
    const entries = new Map<string, Uint8Array>();
    let count = 0;
    for (const body of bodies) {
      for (const entry of entriesOf(body)) {
        if (entry === null) throw new FsError('EIO', `shard ${shard}: half an entry`);
        const [key, value] = entry;
        if (value === null) entries.delete(key);
        else entries.set(key, value);
        if (++count % TURN_ENTRIES === 0) await rest(clock);
      }
    }
    return entries;
  }

  #keepMarks(): Promise<void> {
    return this.#env.disk.writeFile(MARKS, Buffer.from(JSON.stringify([...this.#shards])));
  }

  // ------------------------------------------------------------------ whole shards

  async #takeWhole(
    q: wire.BacktraceRequest,
    shards: number[],
    sections: readonly Section[],
  ): Promise<number[]> {
    if (q.first) {
      const left = [...this.#incoming];
      this.#incoming.clear();
      for (const [shard, {file}] of left) await this.#env.disk.remove(pathOf(shard, file));
      for (const shard of shards)
        this.#incoming.set(shard, {file: ++this.#files, bytes: 0, parts: [], waiting: 0});
    }
    for (const {shard, entries} of sections) {
      const incoming = this.#incoming.get(shard);
      if (incoming === undefined) throw new FsError('EINVAL', `shard ${shard} was not begun`);
      incoming.parts.push(entries);
      incoming.waiting += entries.length;
      if (incoming.waiting >= INCOMING_BYTES) await this.#writeOut(shard, incoming, false);
    }
    if (!q.last) return [];
    for (const [shard, incoming] of this.#incoming) await this.#writeOut(shard, incoming, true);
    // What the journal has of these shards is older.
    await this.#settle();
    const old: string[] = [];
    for (const [shard, {file, bytes}] of this.#incoming) {
      const before = this.#shards.get(shard);
      if (before !== undefined) old.push(pathOf(shard, before.file));
      const {line, to: position, atMs} = q;
      this.#shards.set(shard, {line, position, atMs, file, bytes, image: bytes});
    }
    this.#incoming.clear();
    await this.#keepMarks();
    for (const path of old) await this.#env.disk.remove(path);
    return [];
  }

  async #writeOut(shard: number, incoming: Incoming, last: boolean): Promise<void> {
    const file = await this.#env.disk.journal(pathOf(shard, incoming.file));
    try {
      if (incoming.waiting > 0) file.append(framed(Buffer.concat(incoming.parts)));
      if (last) await file.sync();
      incoming.bytes = file.size;
    } finally {
      await file.close();
    }
    incoming.parts = [];
    incoming.waiting = 0;
  }
}

const rest = (clock: Clock): Promise<void> => sleep(clock, 0);

/** Index of the first entry whose key is above `key`. */
function firstAfter(entries: readonly [string, Uint8Array][], key: string): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle]![0] <= key) low = middle + 1;
    else high = middle;
  }
  return low;
}
