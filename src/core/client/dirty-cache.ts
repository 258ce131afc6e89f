import {LazySet} from '../base/lazy.js';
import type {BufferPool, Segment, Slot} from '../base/pool.js';
import {KIB} from '../base/units.js';
import {ExtentList, SlotLedger} from './extents.js';
import {InlineCache} from './inline-cache.js';

/** Segments below this are copied: a slot is dearer than the copy. */
const KEEP_BYTES_MIN = 16 * KIB;
/** Copies are gathered in slots of this size, shared by all objects. */
const ARENA_BYTES = 128 * KIB;

export interface DirtyOptions {
  /** Most bytes of slots that may hold dirty data. */
  bytesMax: number;
}

/**
 * What all dirty objects of a client share: the bound on slots, and the arena into which small writes are copied.
 * Bytes never change once they have been written here, so that a flush and a read may look at them at any time.
 */
export class DirtyCache {
  readonly pool: BufferPool;
  readonly ledger: SlotLedger;
  readonly bytesMax: number;
  readonly inline = new InlineCache();
  #arena: Slot = -1;
  #arenaUsed = 0;
  #waiters: (() => void)[] = [];
  #waiting = false;

  constructor(pool: BufferPool, options: DirtyOptions) {
    this.pool = pool;
    this.ledger = new SlotLedger(pool);
    // Half of the pool stays for what arrives, for redundancy and for reads: without them nothing could be flushed.
    this.bytesMax = Math.min(options.bytesMax, Math.floor(pool.memory.byteLength / 2));
  }

  get heldBytes(): number {
    return this.ledger.heldBytes;
  }

  /** Of `heldBytes`, what the arena keeps even if nothing is dirty. */
  get arenaBytes(): number {
    return this.#arena === -1 ? 0 : this.pool.capacity(this.#arena);
  }

  /** More is held than should be: flush. */
  get pressed(): boolean {
    return this.ledger.heldBytes * 2 > this.bytesMax;
  }

  /** Calls `wake` once, when memory may have become free. */
  onRoom(wake: () => void): void {
    this.#waiters.push(wake);
    this.#watchPool();
  }

  /** After references were given up. */
  released(): void {
    if (this.#waiters.length === 0 || this.heldBytes >= this.bytesMax) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #watchPool(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.pool.onFree(() => {
      this.#waiting = false;
      this.released();
      if (this.#waiters.length > 0) this.#watchPool();
    });
  }

  /**
   * Room for `bytes` that will be copied: pieces of arena memory, each with a reference in the ledger; null if
   * there is none now.
   */
  reserve(bytes: number): {memory: number; length: number; slot: Slot}[] | null {
    const pieces: {memory: number; length: number; slot: Slot}[] = [];
    while (bytes > 0) {
      if (this.#arena === -1) {
        const slot = this.pool.allocToKeep(ARENA_BYTES);
        if (slot === -1) {
          // What was reserved stays unused in its slot; it comes back when the slot does.
          for (const piece of pieces) this.ledger.release(piece.slot);
          return null;
        }
        this.ledger.adopt(slot);
        this.#arena = slot;
        this.#arenaUsed = 0;
      }
      const slot = this.#arena;
      const length = Math.min(bytes, this.pool.capacity(slot) - this.#arenaUsed);
      this.ledger.retain(slot);
      pieces.push({memory: this.pool.payload(slot) + this.#arenaUsed, length, slot});
      this.#arenaUsed += length;
      bytes -= length;
      if (this.#arenaUsed === this.pool.capacity(slot)) this.sealArena();
    }
    return pieces;
  }

  /** Gives up the rest of the arena, so that its slot is free once what is in it has been flushed. */
  sealArena(): void {
    if (this.#arena === -1) return;
    this.ledger.release(this.#arena);
    this.#arena = -1;
  }
}

/** Somebody reads [from, to): what is here, and what is not here from columns. */
export interface Look {
  readonly from: number;
  readonly to: number;
  /** Some of it was written since he looked here. */
  newer: boolean;
  /** And is on its way: columns may have shown some of that write, and not the rest of it. */
  overtaken: boolean;
}

/**
 * The bytes of one object that the data servers do not have yet. Two layers: `dirty` (newest) over `flushing`
 * (being written now); a read sees both.
 */
export class DirtyObject {
  readonly #cache: DirtyCache;
  readonly dirty: ExtentList;
  readonly flushing: ExtentList;
  readonly #looks = new LazySet<Look>();

  constructor(cache: DirtyCache) {
    this.#cache = cache;
    this.dirty = new ExtentList(cache.ledger);
    this.flushing = new ExtentList(cache.ledger);
  }

  get bytes(): number {
    return this.dirty.bytes + this.flushing.bytes;
  }

  /** Whether a write of these segments finds room; what is too much for an empty cache finds it there. */
  #fits(bytes: number): boolean {
    const {arenaBytes, bytesMax, heldBytes} = this.#cache;
    return heldBytes <= arenaBytes || heldBytes + bytes <= bytesMax;
  }

  /**
   * All of it or, if there is no room, nothing and false: then nothing was taken over either. Else one reference of
   * each segment's slot is.
   */
  write(offset: number, segments: readonly Segment[]): boolean {
    const cache = this.#cache;
    let total = 0;
    let copied = 0;
    for (const segment of segments) {
      total += segment.length;
      if (!keeps(cache.pool, segment)) copied += segment.length;
    }
    if (!this.#fits(total)) return false;
    const room = cache.reserve(copied);
    if (room === null) return false;
    for (const look of this.#looks)
      if (look.from < offset + total && offset < look.to) look.newer = true;
    let next = 0;
    for (const segment of segments) {
      if (keeps(cache.pool, segment)) {
        cache.ledger.adopt(segment.slot);
        const {length, slot} = segment;
        this.dirty.insert({offset, length, slot, memory: segment.offset});
        offset += length;
        continue;
      }
      let done = 0;
      while (done < segment.length) {
        const piece = room[next]!;
        const length = Math.min(piece.length, segment.length - done);
        const from = segment.offset + done;
        cache.pool.bytes.copyWithin(piece.memory, from, from + length);
        if (length < piece.length) cache.ledger.retain(piece.slot);
        this.dirty.insert({offset, length, slot: piece.slot, memory: piece.memory});
        piece.memory += length;
        piece.length -= length;
        if (piece.length === 0) next++;
        done += length;
        offset += length;
      }
      cache.pool.release(segment.slot);
    }
    return true;
  }

  /**
   * Begins a flush: what is dirty from `from` on before `to` becomes `flushing`, which must be empty. It leaves by `flushed`, or
   * comes back by `failed`.
   */
  take(to = Number.POSITIVE_INFINITY, from = 0): void {
    for (const look of this.#looks) look.overtaken ||= look.newer;
    this.dirty.moveBelow(this.flushing, to, from);
  }

  /** [from, to) of `flushing` has reached the data servers. */
  flushed(from: number, to: number): void {
    this.flushing.remove(from, to);
    this.#cache.released();
  }

  /** What is left of `flushing` is dirty again, under what was written since. */
  failed(): void {
    this.flushing.moveBelow(this.dirty);
    this.#cache.released();
  }

  /** Zeros from `from` to `to`, of which the shared slot has `capacity` at `memory`. Not bounded by the cache. */
  zero(from: number, to: number, slot: Slot, memory: number, capacity: number): void {
    for (let offset = from; offset < to; offset += capacity) {
      this.#cache.ledger.retain(slot);
      this.dirty.insert({offset, length: Math.min(capacity, to - offset), slot, memory});
    }
  }

  /** The first `length` bytes, at `memory` of `slot`, lie under what is dirty. One reference of the slot is taken over. */
  below(slot: Slot, memory: number, length: number): void {
    this.#cache.ledger.adopt(slot);
    this.dirty.insertBelow({offset: 0, length, slot, memory});
  }

  /** Forgets what lies at or after `size`. */
  truncate(size: number): void {
    this.drop(size, Number.POSITIVE_INFINITY);
  }

  /** Forgets [from, to). */
  drop(from: number, to: number): void {
    this.dirty.remove(from, to);
    this.flushing.remove(from, to);
    this.#cache.released();
  }

  /** Whoever reads [from, to) here, and in columns what is not here, learns if a write comes in between; `looked` must follow. */
  look(from: number, to: number): Look {
    const look = {from, to, newer: false, overtaken: false};
    this.#looks.add(look);
    return look;
  }

  looked(look: Look): void {
    this.#looks.delete(look);
  }

  /** Every byte of [from, to) that is here, newest first wins, in order; and the gaps between, with memory -1. */
  read(
    from: number,
    to: number,
    piece: (offset: number, length: number, memory: number, slot: Slot) => void,
  ): void {
    const below = (start: number, end: number): void => {
      let at = start;
      this.flushing.visit(start, end, (offset, length, memory, slot) => {
        if (offset > at) piece(at, offset - at, -1, -1);
        piece(offset, length, memory, slot);
        at = offset + length;
      });
      if (end > at) piece(at, end - at, -1, -1);
    };
    let at = from;
    this.dirty.visit(from, to, (offset, length, memory, slot) => {
      if (offset > at) below(at, offset);
      piece(offset, length, memory, slot);
      at = offset + length;
    });
    if (to > at) below(at, to);
  }
}

function keeps(pool: BufferPool, segment: Segment): boolean {
  return segment.length >= KEEP_BYTES_MIN && segment.length * 2 >= pool.capacity(segment.slot);
}
