import {assert} from '../base/assert.js';
import type {BufferPool, Slot} from '../base/pool.js';

/** `length` bytes of an object from `offset` on, at the absolute byte `memory` of the pool, inside `slot`. */
export interface Extent {
  offset: number;
  length: number;
  slot: Slot;
  memory: number;
}

/**
 * References to pool slots, with the bytes that they keep from others: a slot counts with its whole capacity as
 * long as one reference is left, however little of it is in use.
 */
export class SlotLedger {
  readonly pool: BufferPool;
  readonly #counts = new Map<Slot, number>();
  #heldBytes = 0;

  constructor(pool: BufferPool) {
    this.pool = pool;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Takes over a reference that the caller owns. */
  adopt(slot: Slot): void {
    const count = this.#counts.get(slot) ?? 0;
    if (count === 0) this.#heldBytes += this.pool.capacity(slot);
    this.#counts.set(slot, count + 1);
  }

  retain(slot: Slot): void {
    this.pool.retain(slot);
    this.adopt(slot);
  }

  release(slot: Slot): void {
    const count = this.#counts.get(slot);
    assert(count !== undefined, 'release of a slot that the ledger does not hold');
    if (count > 1) this.#counts.set(slot, count - 1);
    else {
      this.#counts.delete(slot);
      this.#heldBytes -= this.pool.capacity(slot);
    }
    this.pool.release(slot);
  }
}

/**
 * Bytes of one object by offset. Invariant: extents are sorted, do not overlap, and each holds one reference of
 * its slot in the ledger.
 */
export class ExtentList {
  readonly #ledger: SlotLedger;
  #extents: Extent[] = [];
  #bytes = 0;

  constructor(ledger: SlotLedger) {
    this.#ledger = ledger;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#extents.length;
  }

  /** The first byte, or -1. */
  get start(): number {
    return this.#extents[0]?.offset ?? -1;
  }

  /** One after the last byte, or -1. */
  get end(): number {
    const last = this.#extents.at(-1);
    return last === undefined ? -1 : last.offset + last.length;
  }

  /** Index of the first extent that ends after `offset`. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#extents.length;
    const last = this.#extents[high - 1];
    if (last === undefined || last.offset + last.length <= offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const extent = this.#extents[middle]!;
      if (extent.offset + extent.length <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts an extent over whatever was there. One reference of its slot in the ledger is taken over. */
  insert(extent: Extent): void {
    if (extent.length === 0) {
      this.#ledger.release(extent.slot);
      return;
    }
    this.remove(extent.offset, extent.offset + extent.length);
    const at = this.#find(extent.offset);
    this.#bytes += extent.length;
    const before = this.#extents[at - 1];
    if (
      before !== undefined &&
      before.offset + before.length === extent.offset &&
      before.slot === extent.slot &&
      before.memory + before.length === extent.memory
    ) {
      before.length += extent.length;
      this.#ledger.release(extent.slot);
      return;
    }
    if (at === this.#extents.length) this.#extents.push(extent);
    else this.#extents.splice(at, 0, extent);
  }

  /** As `insert`, with a reference of its own. */
  add(extent: Extent): void {
    this.#ledger.retain(extent.slot);
    this.insert(extent);
  }

  /** Puts an extent only where nothing is. One reference of its slot in the ledger is taken over. */
  insertBelow(extent: Extent): void {
    const gaps: Extent[] = [];
    let from = extent.offset;
    const end = extent.offset + extent.length;
    const add = (to: number): void => {
      if (to <= from) return;
      this.#ledger.retain(extent.slot);
      gaps.push({
        offset: from,
        length: to - from,
        slot: extent.slot,
        memory: extent.memory + (from - extent.offset),
      });
    };
    this.visit(extent.offset, end, (offset, length) => {
      add(offset);
      from = offset + length;
    });
    add(end);
    for (const gap of gaps) this.insert(gap);
    this.#ledger.release(extent.slot);
  }

  /** Forgets [from, to). */
  remove(from: number, to: number): void {
    let at = this.#find(from);
    const first = this.#extents[at];
    if (first === undefined || first.offset >= to) return;
    const firstEnd = first.offset + first.length;
    if (first.offset < from) {
      if (firstEnd > to) {
        // One extent on both sides: the right part becomes its own.
        this.#ledger.retain(first.slot);
        const right: Extent = {
          offset: to,
          length: firstEnd - to,
          slot: first.slot,
          memory: first.memory + (to - first.offset),
        };
        first.length = from - first.offset;
        this.#bytes -= to - from;
        this.#extents.splice(at + 1, 0, right);
        return;
      }
      this.#bytes -= firstEnd - from;
      first.length = from - first.offset;
      at++;
    }
    let last = at;
    for (; last < this.#extents.length; last++) {
      const extent = this.#extents[last]!;
      const end = extent.offset + extent.length;
      if (extent.offset >= to) break;
      if (end > to) {
        const cut = to - extent.offset;
        this.#bytes -= cut;
        extent.offset += cut;
        extent.memory += cut;
        extent.length -= cut;
        break;
      }
      this.#bytes -= extent.length;
      this.#ledger.release(extent.slot);
    }
    if (last > at) this.#extents.splice(at, last - at);
  }

  /** Every piece inside [from, to), in order, cut to it. The list must not change meanwhile. */
  visit(
    from: number,
    to: number,
    piece: (offset: number, length: number, memory: number, slot: Slot) => void,
  ): void {
    for (let at = this.#find(from); at < this.#extents.length; at++) {
      const extent = this.#extents[at]!;
      if (extent.offset >= to) return;
      const start = Math.max(from, extent.offset);
      const end = Math.min(to, extent.offset + extent.length);
      piece(start, end - start, extent.memory + (start - extent.offset), extent.slot);
    }
  }

  /** Where [from, to) lies in memory if one extent holds all of it, else -1. */
  contiguous(from: number, to: number): number {
    const extent = this.#extents[this.#find(from)];
    if (extent === undefined || extent.offset > from || extent.offset + extent.length < to)
      return -1;
    return extent.memory + (from - extent.offset);
  }

  /** The first byte at or after `offset` that is here, or -1. */
  next(offset: number): number {
    const extent = this.#extents[this.#find(offset)];
    return extent === undefined ? -1 : Math.max(offset, extent.offset);
  }

  /** The slot that holds all of [from, to); only after `contiguous` has found it. */
  slotAt(offset: number): Slot {
    return this.#extents[this.#find(offset)]!.slot;
  }

  /** How many bytes of [from, to) are here. */
  covered(from: number, to: number): number {
    let bytes = 0;
    this.visit(from, to, (_offset, length) => {
      bytes += length;
    });
    return bytes;
  }

  /** Moves what lies from `from` on before `to` into `other`, under what is there already. */
  moveBelow(other: ExtentList, to = Number.POSITIVE_INFINITY, from = 0): void {
    if (from <= this.start && to >= this.end && other.count === 0) {
      [this.#extents, other.#extents] = [other.#extents, this.#extents];
      [this.#bytes, other.#bytes] = [other.#bytes, this.#bytes];
      return;
    }
    this.visit(from, to, (offset, length, memory, slot) => {
      this.#ledger.retain(slot);
      other.insertBelow({offset, length, memory, slot});
    });
    this.remove(from, to);
  }

  clear(): void {
    for (const extent of this.#extents) this.#ledger.release(extent.slot);
    this.#extents = [];
    this.#bytes = 0;
  }
}
