import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Slot} from '../base/pool.js';
import {BLOCK_BYTES, KIB} from '../base/units.js';
import {SCRUB_ORDER, SCRUB_STATE, type ScrubOrder} from '../cluster/scrub.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {LostRange, ScrubFigures} from '../protocol/gen/wire.js';
import type {Column} from './column.js';
import type {ColumnStore} from './column-store.js';
import {type ColumnId, type ColumnShape, folders, pathOf} from './format.js';
import type {Load} from './load.js';
import type {DataStats} from './ops/context.js';
import {
  noCounts,
  readScrub,
  type ScrubPass,
  type ScrubState,
  type Suspect,
  writeScrub,
} from './scrub-state.js';
import {storedSums} from './sums.js';

/** A column of this server as a pass has found it. */
export interface ScrubColumn extends ColumnId, ColumnShape {
  bytes: number;
}

/** What became of blocks that something is wrong with. */
export interface ScrubVerdict {
  /** later: the chunk is in doubt, or not all of its servers are there. gone: the object is. */
  is: 'done' | 'later' | 'gone';
  bad: number;
  repaired: number;
  lost: number;
  ranges: LostRange[];
}

/** What a pass needs of other servers; the scrub agent (core/client/scrub-agent.ts) of the same process does it. */
export interface ScrubPeers {
  /**
   * Holds redundancy against the data that it covers. `busy`: what could not be compared now. `pace` resolves when so much more may be
   * read, with false: nothing more. Never rejects.
   */
  compare(
    columns: readonly ScrubColumn[],
    deep: boolean,
    pace: (bytes: number) => Promise<boolean>,
  ): Promise<{suspects: {id: ColumnId; rows: number[]}[]; busy: ColumnId[]}>;
  /** Looks at blocks of all columns of a chunk under its object's lease, and makes what is bad from what is good. Never rejects. */
  repair(id: ColumnId, rows: readonly number[]): Promise<ScrubVerdict>;
  /** There is nothing to do for a while. */
  rest(): void;
}

const STEP_BYTES = 128 * KIB;
/** A column counts as so many at least: it has to be opened, and compared. */
const COLUMN_BYTES_MIN = 64 * KIB;
const PAGE = 64;
/** While clients are served it goes so much slower. */
const BUSY_SHARE = 4;
const SAVE_MS: Ms = 5000;
/** `since` and `share` are kept once a server has been there for so long, if nothing else was. */
const SETTLED_MS: Ms = 3_600_000;
const AGAIN_MS: Ms = 5000;
/** What cannot be judged is tried again so often, at the end of the pass. */
const ROUNDS = 5;
const SUSPECTS_MAX = 256;
const BUSY_MAX = 1024;
const RANGES_MAX = 16;
/** Passes that begin by themselves come up to so much later than they could, each server's at its own time. */
const JITTER = 0.2;

/**
 * Goes through the columns of a server, block by block, and holds them against their sums and against other columns; again and again, or
 * when it is told to. What it finds is judged by `peers` under leases. It is woken by `ordered` only, with each heartbeat.
 */
export class Scrub {
  readonly #env: Pick<Env, 'clock' | 'codec' | 'disk' | 'log' | 'pool' | 'random'>;
  readonly #store: ColumnStore;
  readonly #stats: Pick<DataStats, 'badBlocks'>;
  readonly #load: Load;
  readonly #peers: ScrubPeers | null;
  readonly #ready: () => boolean;
  readonly #startedAt: Ms;
  #state: ScrubState | null = null;
  /** It is, or can be read again, from the disk. */
  #kept = false;
  #order: ScrubOrder = SCRUB_ORDER;
  #running: Promise<void> | null = null;
  #closed = false;
  #wake: (() => void) | null = null;
  #notBefore: Ms = Number.NEGATIVE_INFINITY;
  #savedAt: Ms = 0;
  /** Of this pass, in memory only: columns that could not be compared. */
  #busy: ScrubColumn[] = [];
  #next: Ms = 0;
  #speed = {at: 0, bytes: 0, rate: 0};

  /** `ready`: is the slot of this server ready? */
  constructor(
    env: Pick<Env, 'clock' | 'codec' | 'disk' | 'log' | 'pool' | 'random'>,
    parts: {store: ColumnStore; stats: Pick<DataStats, 'badBlocks'>; load: Load},
    peers: ScrubPeers | null,
    ready: () => boolean,
  ) {
    this.#env = env;
    this.#store = parts.store;
    this.#stats = parts.stats;
    this.#load = parts.load;
    this.#peers = peers;
    this.#ready = ready;
    this.#startedAt = env.clock.now();
  }

  /** The meta server's newest order; says the same again with each heartbeat. */
  ordered(order: ScrubOrder): void {
    this.#order = order;
    if (this.#running !== null || this.#closed) return;
    if (this.#env.clock.now() < this.#notBefore) return;
    if (this.#state !== null && !this.#mayRun() && !this.#unkept) return;
    this.#running = this.#run()
      .catch((error: unknown) => {
        this.#env.log.warn('scrub.failed', {reason: messageOf(error)});
        this.#notBefore = this.#env.clock.now() + AGAIN_MS;
      })
      .finally(() => {
        this.#running = null;
      });
  }

  /** For heartbeats; null: there is nothing to say. */
  figures(): ScrubFigures | null {
    const state = this.#state;
    if (state === null) return null;
    const {pass, last, order} = state;
    const {ranges, ...counts} = pass?.counts ?? last ?? noCounts();
    return {
      ...counts,
      state: this.#is,
      order,
      progress: pass === null ? 0 : progressOf(pass.cursor),
      rate: this.#is === SCRUB_STATE.running ? Math.round(this.#speed.rate) : 0,
      lastS: last?.endedS ?? 0,
      deep: pass?.deep ?? last?.deep ?? false,
      lostRanges: ranges,
    };
  }

  /** Ends between two steps. What `peers` are doing is not waited for: they have an end of their own. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    const {clock} = this.#env;
    let timer: Timer | null = null;
    const late = new Promise<void>((resolve) => {
      timer = clock.timer(AGAIN_MS, resolve);
    });
    await Promise.race([this.#running, late]);
    (timer as Timer | null)?.cancel();
  }

  get #is(): number {
    if ((this.#state?.pass ?? null) === null) return SCRUB_STATE.idle;
    if (this.#order.paused) return SCRUB_STATE.paused;
    return this.#running !== null && this.#ready() ? SCRUB_STATE.running : SCRUB_STATE.waiting;
  }

  get #unkept(): boolean {
    return !this.#kept && this.#env.clock.now() - this.#startedAt >= SETTLED_MS;
  }

  get #nowS(): number {
    return Math.floor(this.#env.clock.wall() / 1000);
  }

  #mayRun(): boolean {
    const {paused, order} = this.#order;
    if (this.#closed || paused || !this.#ready()) return false;
    const state = this.#state!;
    return state.pass !== null || state.order !== order || this.#due(state);
  }

  #due(state: ScrubState): boolean {
    const {intervalS} = this.#order;
    if (intervalS === 0) return false;
    // A clock that was wrong must not put the next pass off for years.
    state.sinceS = Math.min(state.sinceS, this.#nowS);
    if (state.last !== null) state.last.endedS = Math.min(state.last.endedS, this.#nowS);
    const {sinceS, share, last} = state;
    // The first one at any time within the interval: servers are made together.
    if (last === null) return this.#nowS >= sinceS + intervalS * share;
    return this.#nowS >= last.endedS + intervalS * (1 + JITTER * share);
  }

  async #run(): Promise<void> {
    const {pool, disk, log, random} = this.#env;
    if (this.#state === null) {
      const kept = await readScrub({disk, log});
      this.#kept = kept !== null;
      const fresh = {order: 0, pass: null, last: null};
      this.#state = kept ?? {version: 1, sinceS: this.#nowS, share: random.float(), ...fresh};
    }
    if (this.#unkept) await this.#save();
    if (!this.#mayRun()) return;
    const slot = pool.setAside(STEP_BYTES);
    if (slot < 0) return;
    try {
      await this.#passes(slot);
      await this.#save();
    } finally {
      pool.takeBack(slot);
      this.#peers?.rest();
    }
  }

  async #passes(slot: Slot): Promise<void> {
    const state = this.#state!;
    while (this.#mayRun()) {
      if (state.pass === null || state.pass.order !== this.#order.order) await this.#begin(state);
      const pass = state.pass!;
      this.#speed = {at: this.#env.clock.now(), bytes: 0, rate: 0};
      if (await this.#goOn(pass, slot)) await this.#end(state, pass);
    }
  }

  async #begin(state: ScrubState): Promise<void> {
    const {order} = this.#order;
    // One that begins by itself is never deep.
    const deep = state.order !== order && this.#order.deep;
    state.order = order;
    state.pass = {order, deep, cursor: '', counts: noCounts(), suspects: []};
    this.#busy = [];
    this.#env.log.info('scrub.started', {order, deep});
    await this.#save();
  }

  /** True: the pass is complete. */
  async #goOn(pass: ScrubPass, slot: Slot): Promise<boolean> {
    for (;;) {
      const {ids, end} = await this.#store.list(pass.cursor, PAGE);
      const columns: ScrubColumn[] = [];
      let seen = 0;
      for (const id of ids) {
        if (!this.#holds(pass)) break;
        const column = await this.#look(pass, id, slot);
        if (column !== null) columns.push(column);
        if (!this.#holds(pass)) break;
        pass.cursor = pathOf(id).slice('columns/'.length);
        seen++;
        // What was seen is compared before the place in the pass is kept.
        if (this.#saveIsDue) break;
      }
      await this.#compare(pass, columns);
      if (!this.#holds(pass)) return false;
      if (pass.suspects.length >= SUSPECTS_MAX) await this.#rounds(pass);
      if (end && seen === ids.length) break;
      if (this.#saveIsDue) await this.#save();
    }
    await this.#rounds(pass);
    return this.#holds(pass);
  }

  get #saveIsDue(): boolean {
    return this.#env.clock.now() - this.#savedAt >= SAVE_MS;
  }

  /** Is it still this pass that is wanted? */
  #holds(pass: ScrubPass): boolean {
    const {paused, order} = this.#order;
    return !this.#closed && !paused && order === pass.order && this.#ready();
  }

  /** Null: the column is gone, or cannot be opened. */
  async #look(pass: ScrubPass, id: ColumnId, slot: Slot): Promise<ScrubColumn | null> {
    const headed = await this.#head(pass, id);
    if (!headed) return null;
    const bad: number[] = [];
    let seen: ScrubColumn | null = null;
    for (let at = 0; ; at += STEP_BYTES) {
      const look = (one: Column) => this.#step(one, at, slot);
      const step = await this.#store.use(id, null, false, look, true);
      if (step === null) return null;
      seen = {...id, ...step.shape, bytes: step.bytes};
      bad.push(...step.bad);
      pass.counts.blocks += step.length / BLOCK_BYTES;
      await this.#pace(step.length, at === 0);
      if (at + STEP_BYTES >= step.bytes || !this.#holds(pass)) break;
    }
    if (bad.length > 0) await this.#judge(pass, {id, rows: bad, here: true});
    return seen;
  }

  /** Sees that the column has its header. Who asks for a column with the shape that it must have makes a rotten one anew. */
  async #head(pass: ScrubPass, id: ColumnId): Promise<boolean> {
    const {log} = this.#env;
    const {oid, chunk} = id;
    const check = (): Promise<boolean | null> =>
      this.#store.use(id, null, false, (one) => one.checkHeader(), true);
    let sound: boolean | null;
    try {
      sound = await check();
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      log.warn('scrub.unopened', {oid, chunk, reason: messageOf(error)});
      await this.#judge(pass, {id, rows: [0], here: true});
      const again = await check().catch(() => null);
      if (again === null) return false;
      sound = false;
    }
    if (sound === null) return false;
    if (!sound) {
      pass.counts.bad++;
      pass.counts.repaired++;
      log.warn('scrub.repaired', {oid, chunk, what: 'a header'});
    }
    return true;
  }

  async #step(
    column: Column,
    offset: number,
    slot: Slot,
  ): Promise<{shape: ColumnShape; bytes: number; length: number; bad: number[]}> {
    const {codec, pool} = this.#env;
    const {shape, bytes} = column;
    const length = Math.min(STEP_BYTES, bytes - offset);
    if (length <= 0) return {shape, bytes, length: 0, bad: []};
    const found = await column.look([{offset, length}], false, slot);
    // Cut meanwhile.
    if (found.slot === null) return {shape, bytes, length: 0, bad: []};
    const actual = storedSums(codec, pool.memory, pool.payload(slot), length);
    const stored = new DataView(found.sums.buffer, found.sums.byteOffset, found.sums.byteLength);
    const bad: number[] = [];
    for (const [block, sum] of actual.entries())
      if (stored.getUint32(block * 4, true) !== sum) bad.push(offset / BLOCK_BYTES + block);
    return {shape, bytes, length, bad};
  }

  async #compare(pass: ScrubPass, columns: readonly ScrubColumn[]): Promise<void> {
    if (this.#peers === null || columns.length === 0) return;
    const {suspects, busy} = await this.#peers.compare(columns, pass.deep, async (bytes) => {
      await this.#pace(bytes, false);
      return this.#holds(pass);
    });
    for (const {id, rows} of suspects) await this.#judge(pass, {id, rows, here: false});
    const later = new Set(busy.map(keyOf));
    for (const column of columns) {
      if (!later.has(keyOf(column))) continue;
      if (this.#busy.length < BUSY_MAX) this.#busy.push(column);
      else pass.counts.skipped++;
    }
  }

  async #judge(pass: ScrubPass, suspect: Suspect): Promise<void> {
    const {counts} = pass;
    if (this.#peers === null) {
      counts.bad += suspect.rows.length;
      return;
    }
    const verdict = await this.#peers.repair(suspect.id, suspect.rows);
    if (verdict.is === 'later') pass.suspects.push(suspect);
    counts.bad += verdict.bad;
    counts.repaired += verdict.repaired;
    if (suspect.here) this.#stats.badBlocks += verdict.repaired;
    counts.lost += verdict.lost;
    for (const range of verdict.ranges)
      if (counts.ranges.length < RANGES_MAX) counts.ranges.push(range);
  }

  /** What could not be judged when it was found, a few times; in the end it is skipped. */
  async #rounds(pass: ScrubPass): Promise<void> {
    const {counts} = pass;
    for (let round = 0; round < ROUNDS; round++) {
      if (pass.suspects.length === 0 && this.#busy.length === 0) return;
      await this.#sleep(AGAIN_MS);
      if (!this.#holds(pass)) return;
      for (const suspect of pass.suspects.splice(0)) {
        if (this.#holds(pass)) await this.#judge(pass, suspect);
        else pass.suspects.push(suspect);
      }
      const busy = this.#busy.splice(0);
      for (let at = 0; at < busy.length && this.#holds(pass); at += PAGE)
        await this.#compare(pass, busy.slice(at, at + PAGE));
    }
    if (!this.#holds(pass)) return;
    for (const {id, rows, here} of pass.suspects.splice(0)) {
      counts.skipped++;
      // That they fail their sums is certain, though nobody could be asked what they were.
      if (here) counts.bad += rows.length;
      this.#env.log.warn('scrub.skipped', {oid: id.oid, chunk: id.chunk, blocks: rows.length});
    }
    counts.skipped += this.#busy.splice(0).length;
  }

  async #end(state: ScrubState, pass: ScrubPass): Promise<void> {
    const {counts, order, deep} = pass;
    const {ranges, ...numbers} = counts;
    state.last = {...counts, endedS: this.#nowS, deep};
    state.pass = null;
    this.#env.log.info('scrub.done', {order, deep, ...numbers});
    await this.#save();
  }

  async #save(): Promise<void> {
    this.#savedAt = this.#env.clock.now();
    await writeScrub(this.#env, this.#state!);
    this.#kept = true;
  }

  /** Waits until so much more may be read. */
  async #pace(bytes: number, first: boolean): Promise<void> {
    const {clock} = this.#env;
    const now = clock.now();
    this.#measure(now, bytes);
    const rate = this.#order.rate / (this.#load.busy ? BUSY_SHARE : 1);
    const cost = first ? Math.max(bytes, COLUMN_BYTES_MIN) : bytes;
    this.#next = Math.max(now, this.#next) + (cost / rate) * 1000;
    if (this.#next - now >= 1) await this.#sleep(this.#next - now);
  }

  #measure(now: Ms, bytes: number): void {
    const speed = this.#speed;
    speed.bytes += bytes;
    const elapsed = now - speed.at;
    if (elapsed < 1000) return;
    speed.rate = (speed.bytes / elapsed) * 1000;
    if (elapsed >= 5000) this.#speed = {at: now, bytes: 0, rate: speed.rate};
  }

  async #sleep(ms: Ms): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = this.#env.clock.timer(ms, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#wake = null;
  }
}

const keyOf = ({oid, chunk, generation}: ColumnId): string => `${oid}.${chunk}.${generation}`;

/** Thousandths; columns are spread evenly over the folders. */
function progressOf(cursor: string): number {
  const index = folders().indexOf(cursor.slice(0, 2));
  return index < 0 ? 0 : Math.floor((index * 1000) / folders().length);
}
