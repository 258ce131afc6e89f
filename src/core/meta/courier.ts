import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {
  type BacktraceEntry,
  COPIED_LETTERS,
  decodeShards,
  ENTRY_BYTES_MAX,
  encodeEntries,
  encodeSections,
  encodeShards,
  entriesOf,
  entryBytes,
  RECORDS_BYTES_MAX,
  type Section,
  shardOf,
} from '../protocol/backtraces.js';
import type {BacktraceRequest} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {PeerLike} from '../transport/peer-api.js';
import * as keys from './keys.js';
import type {LoadedPiece, Spool} from './spool.js';

/** To a server that does not take what it is sent, and to one that has everything: its shards may be others by then. */
const RETRY_MS: Ms = 2_000;
const LOOK_MS: Ms = 2_000;
/** At least, between two times that a server is sent everything. */
const WHOLE_MS: Ms = 2_000;
/** A sync of a busy disk. */
const DEADLINE_MS: Ms = 30_000;
/** Rows that are read at once when everything is sent, and the pause after them: a third of the processor at most. */
const ROWS = 256;
const PAUSE_MS: Ms = 2;

export interface CourierParts {
  readonly spool: Spool;
  /** Which shards the server is to keep, at this moment. */
  shards(): readonly number[];
  /** Rows of the state with from <= key < to. */
  rows(from: string, to: string, limit: number): readonly (readonly [string, Uint8Array])[];
  line(): number;
  /** Of the last batch of the log. */
  sequence(): number;
  readonly counts: CourierCounts;
}

export interface CourierCounts {
  messages: number;
  bytes: number;
  /** Shards of which everything was sent. */
  whole: number;
}

/** Brings one data server what it is to keep, for as long as its connection lasts. */
export class Courier {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #peer: PeerLike;
  readonly #parts: CourierParts;
  #marks = new Map<number, number>();
  #closed = false;
  #wholeAt: Ms = Number.NEGATIVE_INFINITY;
  #wake = (): void => {};
  /** As of which batch all of its shards are; -1: not known. */
  at = -1;

  constructor(env: Pick<Env, 'clock' | 'log'>, peer: PeerLike, parts: CourierParts) {
    this.#env = env;
    this.#peer = peer;
    this.#parts = parts;
    void this.#run();
  }

  get closed(): boolean {
    return this.#closed || this.#peer.closed;
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  async #run(): Promise<void> {
    const {clock, log} = this.#env;
    while (!this.closed) {
      try {
        await this.#ask();
        while (!this.closed) await this.#step();
      } catch (error) {
        if (!(error instanceof Lost || error instanceof FsError || error instanceof Refusal))
          throw error;
        this.at = -1;
        if (this.closed) return;
        log.info('backtraces.not-taken', {server: this.#peer.peer, reason: messageOf(error)});
        await sleep(clock, RETRY_MS);
      }
    }
  }

  async #ask(): Promise<void> {
    const line = this.#parts.line();
    const {message} = await this.#peer.call(OPS.backtraceMarks, {});
    const its = message.marks.filter((mark) => mark.line === line);
    this.#marks = new Map(its.map(({shard, position}) => [shard, position]));
  }

  async #step(): Promise<void> {
    const {spool} = this.#parts;
    const shards = this.#parts.shards();
    const markOf = (shard: number): number => this.#marks.get(shard) ?? -1;
    const lacking = shards.filter((shard) => !this.#follows(markOf(shard)));
    if (lacking.length > 0) {
      // One that never keeps what it is sent must not be all that is done.
      const wait = this.#wholeAt + WHOLE_MS - this.#env.clock.now();
      if (wait > 0) return sleep(this.#env.clock, wait);
      await this.#sendWhole(lacking);
      this.#wholeAt = this.#env.clock.now();
      return;
    }
    this.at = Math.min(spool.newest, ...shards.map(markOf));
    const piece = spool.after(this.at);
    if (piece === null) return this.#rest();
    const loaded = await spool.load(piece);
    // Somebody's disk, or it was dropped meanwhile: `reaches` is asked again.
    if (loaded === null) {
      if (spool.after(this.at) === piece) this.#marks.clear();
      return;
    }
    await this.#send(
      loaded,
      shards.filter((shard) => markOf(shard) < loaded.to),
    );
  }

  /** Or ahead of the store, which was a follower's until now: then the next checkpoint reaches further back than the mark. */
  #follows(mark: number): boolean {
    const {spool, sequence} = this.#parts;
    return spool.reaches(mark) || (mark > spool.newest && mark <= sequence());
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#env.clock.timer(LOOK_MS, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
      this.#parts.spool.onPiece(this.#wake);
    });
  }

  async #send({from, to, atMs, sections}: LoadedPiece, shards: readonly number[]): Promise<void> {
    const wanted = new Set(shards);
    const all = cut(sections.filter(({shard}) => wanted.has(shard)));
    const head = {line: this.#parts.line(), from, to, atMs, shards: encodeShards(shards)};
    let refused: number[] = [];
    for (let index = 0; index < Math.max(1, all.length); index++) {
      const last = index >= all.length - 1;
      const answer = await this.#call({...head, records: encodeSections(all[index] ?? []), last});
      refused = decodeShards(answer) ?? [];
    }
    for (const shard of shards) this.#marks.set(shard, to);
    for (const shard of refused) this.#marks.delete(shard);
  }

  /** The state as it is now, or newer: what changes while it is sent is in pieces that come after it. */
  async #sendWhole(shards: readonly number[]): Promise<void> {
    const {spool, rows, line, counts} = this.#parts;
    const {clock, log} = this.#env;
    const to = spool.newest;
    const atMs = Math.floor(clock.wall());
    const head = {line: line(), from: 0, to, atMs, shards: encodeShards(shards), whole: true};
    const wanted = new Set(shards);
    let first = true;
    let entries: BacktraceEntry[] = [];
    let size = 0;
    const send = async (last: boolean): Promise<void> => {
      const records = encodeSections(byShard(entries));
      entries = [];
      size = 0;
      await this.#call({...head, records, first, last});
      first = false;
    };
    spool.busy++;
    try {
      for (const letter of COPIED_LETTERS) {
        for (let at: string | null = letter; at !== null && !this.closed; ) {
          const found = rows(at, keys.letterEnd(letter), ROWS);
          for (const entry of found) {
            const bytes = entryBytes(entry);
            if (!wanted.has(shardOf(entry[0])) || bytes > ENTRY_BYTES_MAX) continue;
            entries.push(entry);
            size += bytes;
            if (size >= RECORDS_BYTES_MAX) await send(false);
          }
          const last = found.at(-1);
          at = last === undefined || found.length < ROWS ? null : `${last[0]}\0`;
          if (at !== null) await sleep(clock, PAUSE_MS);
        }
      }
      if (this.closed) return;
      await send(true);
    } finally {
      spool.busy--;
    }
    for (const shard of shards) this.#marks.set(shard, to);
    counts.whole += shards.length;
    log.info('backtraces.whole', {server: this.#peer.peer, shards: shards.length, to});
  }

  async #call(q: Partial<BacktraceRequest> & {records: Uint8Array}): Promise<Uint8Array> {
    const {counts} = this.#parts;
    counts.messages++;
    counts.bytes += q.records.length;
    const {message} = await this.#peer.call(OPS.backtrace, q, {deadlineMs: DEADLINE_MS});
    return message.refused;
  }
}

function byShard(entries: readonly BacktraceEntry[]): Section[] {
  const shards = Map.groupBy(entries, ([key]) => shardOf(key));
  return [...shards].map(([shard, its]) => ({shard, entries: encodeEntries(its)}));
}

/** Messages' shares: at the ends of sections, and within long ones at the ends of entries. */
function cut(sections: readonly Section[]): Section[][] {
  const shares: Section[][] = [];
  let share: Section[] = [];
  let size = 0;
  const put = (section: Section): void => {
    if (size > 0 && size + section.entries.length > RECORDS_BYTES_MAX) {
      shares.push(share);
      share = [];
      size = 0;
    }
    share.push(section);
    size += section.entries.length;
  };
  for (const {shard, entries} of sections) {
    if (entries.length <= RECORDS_BYTES_MAX) put({shard, entries});
    else for (const part of parts(entries)) put({shard, entries: part});
  }
  if (share.length > 0) shares.push(share);
  return shares;
}

function* parts(entries: Uint8Array): Generator<Uint8Array> {
  let start = 0;
  let at = 0;
  for (const entry of entriesOf(entries)) {
    if (entry === null) break;
    const end = at + entryBytes(entry);
    if (end - start > RECORDS_BYTES_MAX && at > start) {
      yield entries.subarray(start, at);
      start = at;
    }
    at = end;
  }
  if (at > start) yield entries.subarray(start, at);
}
