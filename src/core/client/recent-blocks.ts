import type {BufferPool, Segment} from '../base/pool.js';
import {alignDown, alignUp, BLOCK_BYTES, MIB} from '../base/units.js';
import type {Lives} from './lives.js';

/** Larger reads and writes are not worth a copy: they are of streams. */
export const RECENT_BYTES_MAX = 64 * 1024;
/** All that is kept. */
export const RECENT_TOTAL_BYTES_MAX = 64 * MIB;
const BLOCKS_MAX = RECENT_TOTAL_BYTES_MAX / BLOCK_BYTES;
/** Memory is taken as it is needed. */
const SLAB_BLOCKS = MIB / BLOCK_BYTES;

/** Of one object: where each block is. */
interface Blocks {
  readonly oid: number;
  readonly places: Map<number, number>;
  /** Grows when some of them change or are forgotten. */
  changes: number;
}

/** Bytes of an object, and where they lie in the pool. */
export interface Written {
  offset: number;
  length: number;
  memory: number;
}

/** What was known of an object when something of it was asked for. */
export interface RecentTicket {
  blocks: Blocks;
  changes: number;
}

/**
 * Blocks as columns have them of objects whose lease is held, that programs have read or written a moment ago around the kernel's pages: handles
 * that may write bypass those, and databases read the same blocks again and again. The clock goes round and takes what was not used
 * since it came by last.
 */
export class RecentBlocks {
  readonly #pool: BufferPool;
  readonly #lives: Lives;
  readonly #on: boolean;
  readonly #objects = new Map<number, Blocks>();
  readonly #slabs: Uint8Array[] = [];
  readonly #owners: (Blocks | null)[] = [];
  readonly #numbers = new Float64Array(BLOCKS_MAX);
  readonly #used = new Uint8Array(BLOCKS_MAX);
  #hand = 0;
  #losses = 0;

  /** `on` false: nothing is kept. */
  constructor(pool: BufferPool, lives: Lives, on: boolean) {
    this.#pool = pool;
    this.#lives = lives;
    this.#on = on;
  }

  /** Before something is asked for that is to be kept; `end` must follow. */
  begin(oid: number): RecentTicket {
    let blocks = this.#objects.get(oid);
    if (blocks === undefined) {
      blocks = {oid, places: new Map(), changes: 0};
      this.#objects.set(oid, blocks);
    }
    return {blocks, changes: blocks.changes};
  }

  /** Keeps the whole blocks of `segments`, which are what columns have from byte `from` on, if nothing of the object has changed meanwhile. */
  end({blocks, changes}: RecentTicket, from: number, segments: readonly Segment[]): void {
    if (blocks.changes === changes && this.#objects.get(blocks.oid) === blocks) {
      let at = from;
      for (const {offset, length} of segments) {
        this.#keep(blocks, at, offset, length);
        at += length;
      }
    }
    this.#tidy(blocks);
  }

  /** These are in columns since just now. Who has read them meanwhile may have got what was there before. */
  wrote(oid: number, extents: readonly Written[], keep: boolean): void {
    for (const {offset, length} of extents) this.forget(oid, offset, offset + length);
    if (!keep) return;
    const {blocks} = this.begin(oid);
    for (const {offset, length, memory} of extents) this.#keep(blocks, offset, memory, length);
    this.#tidy(blocks);
  }

  /** Is all of [from, to) here? */
  has(oid: number, from: number, to: number): boolean {
    // What a server has lost is not to be taken for what it has.
    if (this.#lives.losses !== this.#losses) this.#clear();
    const blocks = this.#objects.get(oid);
    if (blocks === undefined) return false;
    for (let at = alignDown(from, BLOCK_BYTES); at < to; at += BLOCK_BYTES)
      if (!blocks.places.has(at / BLOCK_BYTES)) return false;
    return true;
  }

  /** Copies [from, to) to `memory` of the pool. False: not all of it is here. */
  copy(oid: number, from: number, to: number, memory: number): boolean {
    if (!this.has(oid, from, to)) return false;
    const {places} = this.#objects.get(oid)!;
    for (let at = from; at < to; ) {
      const block = Math.floor(at / BLOCK_BYTES);
      const place = places.get(block)!;
      const end = Math.min(to, (block + 1) * BLOCK_BYTES);
      const bytes = this.#bytes(place);
      const start = at - block * BLOCK_BYTES;
      this.#pool.bytes.set(bytes.subarray(start, start + end - at), memory + at - from);
      this.#used[place] = 1;
      at = end;
    }
    return true;
  }

  /** These bytes change; default: all of the object, or its lease has gone. */
  forget(oid: number, from = 0, to = Number.POSITIVE_INFINITY): void {
    const blocks = this.#objects.get(oid);
    if (blocks === undefined) return;
    blocks.changes++;
    const [first, end] = [Math.floor(from / BLOCK_BYTES), Math.ceil(to / BLOCK_BYTES)];
    if (end - first > blocks.places.size) {
      for (const block of [...blocks.places.keys()])
        if (block >= first && block < end) this.#drop(blocks, block);
    } else for (let block = first; block < end; block++) this.#drop(blocks, block);
    this.#tidy(blocks);
  }

  #keep(blocks: Blocks, from: number, memory: number, length: number): void {
    if (!this.#on) return;
    for (
      let at = alignUp(from, BLOCK_BYTES);
      at + BLOCK_BYTES <= from + length;
      at += BLOCK_BYTES
    ) {
      const block = at / BLOCK_BYTES;
      let place = blocks.places.get(block);
      if (place === undefined) {
        place = this.#take(blocks);
        this.#owners[place] = blocks;
        this.#numbers[place] = block;
        this.#used[place] = 0;
        blocks.places.set(block, place);
      }
      const source = memory + at - from;
      this.#bytes(place).set(this.#pool.bytes.subarray(source, source + BLOCK_BYTES));
    }
  }

  /** A place for a block. */
  #take(blocks: Blocks): number {
    for (;;) {
      const place = this.#hand;
      this.#hand = (this.#hand + 1) % BLOCKS_MAX;
      const owner = this.#owners[place] ?? null;
      if (owner === null) return place;
      if (this.#used[place] === 0) {
        this.#drop(owner, this.#numbers[place]!);
        if (owner !== blocks) this.#tidy(owner);
        return place;
      }
      this.#used[place] = 0;
    }
  }

  #drop({places}: Blocks, block: number): void {
    const place = places.get(block);
    if (place === undefined) return;
    places.delete(block);
    this.#owners[place] = null;
  }

  #clear(): void {
    this.#losses = this.#lives.losses;
    for (const oid of [...this.#objects.keys()]) this.forget(oid);
  }

  #tidy(blocks: Blocks): void {
    if (blocks.places.size === 0 && this.#objects.get(blocks.oid) === blocks)
      this.#objects.delete(blocks.oid);
  }

  #bytes(place: number): Uint8Array {
    const slab = Math.floor(place / SLAB_BLOCKS);
    this.#slabs[slab] ??= new Uint8Array(SLAB_BLOCKS * BLOCK_BYTES);
    const start = (place % SLAB_BLOCKS) * BLOCK_BYTES;
    return this.#slabs[slab].subarray(start, start + BLOCK_BYTES);
  }
}
