import type {Segment} from '../base/pool.js';
import {alignDown, alignUp, BLOCK_BYTES, KIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import {LEASE} from '../protocol/ops.js';
import {READ_LATE_MS} from './column-io.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import {copiesOf} from './read-copies.js';
import {Pattern} from './read-pattern.js';
import {RECENT_BYTES_MAX, RECENT_TOTAL_BYTES_MAX, type RecentBlocks} from './recent-blocks.js';
import {type ReadTarget, readStripes} from './stripe-reader.js';

/** A stretch counts as so much at least: its columns take a slot each. */
const STRETCH_BYTES_MIN = 16 * KIB;
/** What nobody has asked for by then goes. */
const IDLE_MS = 3000;

/** Bytes [from, to) that are read before anybody has asked for them. `segments` null: under way, or void. */
interface Stretch {
  from: number;
  to: number;
  segments: Segment[] | null;
  /** Of the pool. */
  bytes: number;
  void: boolean;
  done: Promise<void>;
}

/**
 * Reads ahead of programs what columns have of an object whose lease is held. Nothing in here is dirty, or may be read after the lease
 * has gone or somebody here has written it. Bounded: what does not fit is not read ahead.
 */
export class ReadAhead {
  readonly #path: BytePath;
  readonly #windowMax: number;
  readonly #bytesMax: number;
  readonly #patterns = new WeakMap<Held, Pattern>();
  /** By object; least recently begun first. */
  readonly #stretches = new Map<number, Stretch[]>();
  readonly #recent: RecentBlocks;
  /** A piece of the rest of an object is on its way. */
  #resting = false;
  #bytes = 0;
  #usedAt = 0;
  #timer: Timer | null = null;

  /** `windowMax`: bytes ahead of one stream; 0: nothing is read ahead. */
  constructor(path: BytePath, recent: RecentBlocks, windowMax: number) {
    this.#path = path;
    this.#recent = recent;
    this.#bytesMax = Math.floor(path.pool.memory.byteLength / 8);
    this.#windowMax = Math.min(windowMax, Math.floor(this.#bytesMax / 2));
  }

  /** A program reads [from, to). `stream`: nobody else reads ahead for it. */
  note(held: Held, from: number, to: number, stream: boolean): void {
    if (this.#windowMax === 0 || held.inlineBytes > 0) return;
    let pattern = this.#patterns.get(held);
    if (pattern === undefined) {
      pattern = new Pattern();
      this.#patterns.set(held, pattern);
    }
    // Where all is gone that had been read ahead of a stream, it begins again.
    if (!this.#stretches.has(held.oid)) pattern.lost(to);
    const end = Math.min(held.size, held.flushedSize);
    for (const next of pattern.next(from, to, this.#windowMax, stream)) {
      const stop = Math.min(next.to, end);
      if (stop <= next.from || !this.#begin(held, next.from, stop)) return;
    }
  }

  /**
   * As `readStripes`, from what was read ahead, or a moment ago, where there is something. `again`: it may well be wanted again. What is around
   * bytes that are read here and there will be, too, if the object is small.
   */
  async read(
    held: Held,
    target: ReadTarget,
    [from, to]: readonly [number, number],
    again: boolean,
  ): Promise<Segment[]> {
    const whole = held.inlineBytes === 0 && !held.moving && !held.split;
    if (!whole || to - from > RECENT_BYTES_MAX) return this.#read(held, target, from, to);
    const {oid} = held;
    const {pool, slots} = this.#path;
    const pattern = this.#patterns.get(held);
    const loose = pattern?.loose === true;
    if (!again && !loose) return this.#read(held, target, from, to);
    if (this.#recent.has(oid, from, to)) {
      const slot = await slots.alloc(to - from);
      const offset = pool.payload(slot);
      if (this.#recent.copy(oid, from, to, offset)) {
        pattern?.hit();
        if (loose) this.#rest(held, pattern);
        return [{slot, offset, length: to - from}];
      }
      pool.release(slot);
      // It has changed, or the lease has gone, while this waited for the slot.
      return this.#read(held, target, from, to);
    }
    const size = held.size <= RECENT_TOTAL_BYTES_MAX ? held.size : 0;
    const around = loose ? pattern.around(from, to, size) : 0;
    if (!again && around === 0) return this.#read(held, target, from, to);
    const [first, last] = this.#unknown(held, from, to, around);
    const ticket = this.#recent.begin(oid);
    let found: Segment[] = [];
    try {
      found = await this.#read(held, target, first, last);
    } finally {
      this.#recent.end(ticket, first, found);
    }
    if (around > 0) this.#rest(held, pattern!);
    const wanted = this.#slice(found, from - first, to - first);
    slots.releaseAll(found);
    return wanted;
  }

  /** One piece more of an object that is read all over, if none is on its way: so it comes no faster than programs go on reading it. */
  #rest(held: Held, pattern: Pattern): void {
    const {oid, layout} = held;
    const size = alignDown(held.flushedSize, BLOCK_BYTES);
    // The session may have been lost while whoever comes here read: what is found now nobody would forget when others write.
    if (held.mode === LEASE.none) return;
    if (this.#resting || layout === null || held.size > RECENT_TOTAL_BYTES_MAX) return;
    const next = pattern.rest(size, (at) => this.#recent.has(oid, at, at + BLOCK_BYTES));
    if (next === null) return;
    const ticket = this.#recent.begin(oid);
    this.#resting = true;
    const target = {
      oid,
      layout,
      heal: null,
      shared: false,
      copies: copiesOf(held),
      alike: held.alike,
    };
    const ended = (segments: Segment[]): void => {
      this.#resting = false;
      this.#recent.end(ticket, next[0], segments);
      this.#path.slots.releaseAll(segments);
    };
    // Whoever needs what failed asks again, and hears why.
    readStripes(this.#path, target, ...next).then(ended, () => ended([]));
  }

  /** [from, to) in whole blocks, and what is not here of the `around` bytes that it lies in. */
  #unknown(held: Held, from: number, to: number, around: number): [number, number] {
    const {oid} = held;
    const flushed = alignDown(held.flushedSize, BLOCK_BYTES);
    const start = around === 0 ? from : alignDown(from, around);
    const has = (at: number) => this.#recent.has(oid, at, at + BLOCK_BYTES);
    let first = alignDown(from, BLOCK_BYTES);
    while (first > start && !has(first - BLOCK_BYTES)) first -= BLOCK_BYTES;
    let last = alignUp(to, BLOCK_BYTES);
    if (last > flushed) return [first, last <= held.flushedSize ? last : to];
    const end = Math.min(start + around, flushed);
    while (last < end && !has(last)) last += BLOCK_BYTES;
    return [first, last];
  }

  async #read(held: Held, target: ReadTarget, from: number, to: number): Promise<Segment[]> {
    if (!this.#stretches.has(held.oid)) return readStripes(this.#path, target, from, to);
    this.#usedAt = this.#path.clock.now();
    const found: Segment[] = [];
    try {
      for (let at = from; at < to; ) {
        const all = this.#stretches.get(held.oid) ?? [];
        const stretch = all.find((one) => one.from <= at && at < one.to);
        if (stretch === undefined) {
          const next = Math.min(to, ...all.map((one) => (one.from > at ? one.from : to)));
          found.push(...(await readStripes(this.#path, target, at, next)));
          at = next;
          continue;
        }
        if (stretch.segments === null) await this.#soon(stretch.done);
        if (stretch.segments === null) {
          this.#remove(held.oid, stretch);
          continue;
        }
        const end = Math.min(to, stretch.to);
        found.push(...this.#slice(stretch.segments, at - stretch.from, end - stretch.from));
        this.#path.stats.aheadBytes += end - at;
        // Most is read once.
        if (end === stretch.to) this.#remove(held.oid, stretch);
        at = end;
      }
      return found;
    } catch (error) {
      this.#path.slots.releaseAll(found);
      throw error;
    }
  }

  /** The object is cut, or its lease has gone. */
  forget(oid: number): void {
    this.#recent.forget(oid);
    this.written(oid);
  }

  /** These bytes are dirty, and what was read ahead of them is old; default: nothing of the object is kept ahead any more. */
  written(oid: number, from = 0, to = Number.POSITIVE_INFINITY): void {
    for (const stretch of [...(this.#stretches.get(oid) ?? [])])
      if (stretch.from < to && from < stretch.to) this.#remove(oid, stretch);
  }

  close(): void {
    this.#timer?.cancel();
    for (const oid of [...this.#stretches.keys()]) this.written(oid);
  }

  /** False: there is no room. */
  #begin(held: Held, from: number, to: number): boolean {
    const {oid, dirty, layout} = held;
    const all = this.#stretches.get(oid) ?? [];
    const known = all.some((one) => one.from < to && from < one.to);
    if (known || layout === null || held.inlineBytes > 0 || held.moving) return true;
    // What is dirty is newer than what columns have, until it has been written.
    if (dirty.dirty.covered(from, to) + dirty.flushing.covered(from, to) > 0) return true;
    if (held.split ? !held.covers(LEASE.write, {from, to}) : held.mode === LEASE.none) return true;
    const bytes = Math.max(STRETCH_BYTES_MIN, to - from);
    for (const [other] of this.#stretches) {
      if (this.#bytes + bytes <= this.#bytesMax || other === oid) break;
      this.written(other);
    }
    if (this.#bytes + bytes > this.#bytesMax) return false;
    const target = {
      oid,
      layout,
      heal: null,
      shared: held.split,
      copies: copiesOf(held),
      alike: held.alike,
    };
    const done = Promise.resolve();
    const stretch: Stretch = {from, to, segments: null, bytes, void: false, done};
    stretch.done = readStripes(this.#path, target, from, to).then(
      (segments) => {
        if (stretch.void) this.#path.slots.releaseAll(segments);
        else this.#arrived(oid, stretch, segments);
      },
      // Whoever needs it asks again, and hears why.
      () => {},
    );
    this.#bytes += bytes;
    if (all.length === 0) this.#stretches.set(oid, all);
    all.push(stretch);
    this.#usedAt = this.#path.clock.now();
    this.#plan();
    return true;
  }

  #arrived(oid: number, stretch: Stretch, segments: Segment[]): void {
    const {pool} = this.#path;
    stretch.segments = segments;
    this.#bytes -= stretch.bytes;
    stretch.bytes = 0;
    for (const slot of new Set(segments.map((segment) => segment.slot)))
      stretch.bytes += pool.capacity(slot);
    this.#bytes += stretch.bytes;
    if (this.#bytes > this.#bytesMax) this.#remove(oid, stretch);
  }

  /** Whoever has waited so long for what was read ahead asks for it himself. */
  async #soon(done: Promise<void>): Promise<void> {
    let timer: Timer | null = null;
    const late = new Promise<void>((resolve) => {
      timer = this.#path.clock.timer(READ_LATE_MS, resolve);
    });
    await Promise.race([done, late]);
    (timer as Timer | null)?.cancel();
  }

  #slice(segments: readonly Segment[], from: number, to: number): Segment[] {
    const found: Segment[] = [];
    let start = 0;
    for (const {slot, offset, length} of segments) {
      const first = Math.max(from, start);
      const last = Math.min(to, start + length);
      if (first < last) {
        this.#path.pool.retain(slot);
        found.push({slot, offset: offset + first - start, length: last - first});
      }
      start += length;
    }
    return found;
  }

  #remove(oid: number, stretch: Stretch): void {
    const all = this.#stretches.get(oid);
    const at = all?.indexOf(stretch) ?? -1;
    if (all === undefined || at < 0) return;
    all.splice(at, 1);
    if (all.length === 0) this.#stretches.delete(oid);
    this.#bytes -= stretch.bytes;
    stretch.void = true;
    if (stretch.segments !== null) this.#path.slots.releaseAll(stretch.segments);
    stretch.segments = null;
  }

  #plan(): void {
    if (this.#timer !== null || this.#stretches.size === 0) return;
    this.#timer = this.#path.clock.timer(IDLE_MS, () => {
      this.#timer = null;
      if (this.#path.clock.now() - this.#usedAt >= IDLE_MS)
        for (const oid of [...this.#stretches.keys()]) this.written(oid);
      this.#plan();
    });
  }
}
