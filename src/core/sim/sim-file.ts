import {BLOCK_BYTES} from '../base/units.js';
import type {SeededRandom} from './random.js';

const SECTOR_BYTES = 512;
const ZEROS = new Uint8Array(BLOCK_BYTES);

type Pages = Map<number, Uint8Array>;

/**
 * One file: what programs see, and what a power cut leaves. Both are sparse pages, which they share until one is
 * written again.
 */
export class SimFile {
  #pages: Pages = new Map();
  #size = 0;
  #durable: Pages = new Map();
  #durableSize = 0;
  /** Pages in which the two may differ. */
  readonly #dirty = new Set<number>();
  /** Pages that the medium cannot read any more, until they are written anew. */
  readonly #unreadable = new Set<number>();

  get size(): number {
    return this.#size;
  }

  /** Bytes of the medium that programs' view of it uses. */
  get allocated(): number {
    return this.#pages.size * BLOCK_BYTES;
  }

  get dirtyPages(): number {
    return this.#dirty.size;
  }

  /** How many pages a write there would add. */
  newPages(offset: number, length: number): number {
    let count = 0;
    for (
      let page = Math.floor(offset / BLOCK_BYTES);
      page * BLOCK_BYTES < offset + length;
      page++
    ) {
      if (!this.#pages.has(page)) count++;
    }
    return count;
  }

  read(offset: number, into: Uint8Array): void {
    this.#each(offset, into.length, (page, inPage, at, length) => {
      const bytes = this.#pages.get(page) ?? ZEROS;
      into.set(bytes.subarray(inPage, inPage + length), at);
    });
    const beyond = Math.max(0, this.#size - offset);
    if (beyond < into.length) into.fill(0, beyond);
  }

  /** Fails a read of any of these bytes; and a write that needs what lies beside them. */
  unreadable(offset: number, length: number, writing = false): boolean {
    if (this.#unreadable.size === 0) return false;
    let found = false;
    this.#each(offset, length, (page, _inPage, _at, bytes) => {
      found ||= this.#unreadable.has(page) && !(writing && bytes === BLOCK_BYTES);
    });
    return found;
  }

  /** The medium loses this page. */
  spoil(page: number): void {
    this.#unreadable.add(page);
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#each(offset, bytes.length, (page, inPage, at, length) => {
      this.#unreadable.delete(page);
      this.#own(page).set(bytes.subarray(at, at + length), inPage);
    });
    this.#size = Math.max(this.#size, offset + bytes.length);
  }

  punch(offset: number, length: number): void {
    const end = Math.min(offset + length, this.#size);
    for (const page of [...this.#pages.keys()]) {
      const start = page * BLOCK_BYTES;
      if (start >= end || start + BLOCK_BYTES <= offset) continue;
      const from = Math.max(0, offset - start);
      const to = Math.min(BLOCK_BYTES, end - start);
      if (from === 0 && to === BLOCK_BYTES) this.#drop(page);
      else this.#own(page).fill(0, from, to);
    }
  }

  truncate(size: number): void {
    if (size < this.#size) {
      for (const page of [...this.#pages.keys()]) {
        const start = page * BLOCK_BYTES;
        if (start >= size) this.#drop(page);
        else if (start + BLOCK_BYTES > size) this.#own(page).fill(0, size - start);
      }
    }
    this.#size = size;
  }

  sync(): void {
    for (const page of this.#dirty) this.#settle(page);
    this.#dirty.clear();
    this.#durableSize = this.#size;
  }

  /** What the kernel's write-back does at any time: one page becomes durable early. */
  writeBack(random: SeededRandom): void {
    if (this.#dirty.size === 0) return;
    this.#settle(random.pick([...this.#dirty]));
    this.#durableSize = Math.max(this.#durableSize, this.#size);
  }

  /** Of what was not synced each page is kept, lost, or torn into sectors. */
  powerCut(random: SeededRandom): void {
    const keep = random.pick([0, 0.5, 0.5, 1]);
    for (const page of this.#dirty) {
      const now = this.#pages.get(page) ?? ZEROS;
      const then = this.#durable.get(page) ?? ZEROS;
      if (random.chance(0.3)) this.#durable.set(page, tear(now, then, random));
      else if (random.chance(keep)) this.#settle(page);
    }
    this.#dirty.clear();
    if (this.#size !== this.#durableSize) this.#durableSize = this.#sizeAfterCut(random);
    this.#pages = new Map(this.#durable);
    this.#size = this.#durableSize;
    for (const page of [...this.#pages.keys()]) {
      const start = page * BLOCK_BYTES;
      if (start >= this.#size) this.#drop(page);
      else if (start + BLOCK_BYTES > this.#size) this.#own(page).fill(0, this.#size - start);
    }
    this.sync();
  }

  /** A bit of the medium turns over. False where nothing is allocated. */
  flip(offset: number, bit: number): boolean {
    const page = Math.floor(offset / BLOCK_BYTES);
    const bytes = this.#pages.get(page);
    if (bytes === undefined) return false;
    const wasDirty = this.#dirty.has(page);
    const own = this.#own(page);
    const at = offset - page * BLOCK_BYTES;
    own[at] = own[at]! ^ (1 << bit);
    if (!wasDirty) {
      this.#settle(page);
      this.#dirty.delete(page);
    }
    return true;
  }

  /** Numbers of the allocated pages, ascending. */
  pages(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  #sizeAfterCut(random: SeededRandom): number {
    const how = random.below(3);
    if (how === 0) return this.#durableSize;
    if (how === 1) return this.#size;
    const low = Math.min(this.#size, this.#durableSize);
    const sectors = Math.ceil((Math.max(this.#size, this.#durableSize) - low) / SECTOR_BYTES);
    // A file with sums far above its data is never a million sectors apart in a way that matters.
    return Math.min(
      Math.max(this.#size, this.#durableSize),
      low + random.below(sectors) * SECTOR_BYTES,
    );
  }

  /** A page that may be changed: not shared with the durable view. */
  #own(page: number): Uint8Array {
    const bytes = this.#pages.get(page);
    if (bytes !== undefined && this.#durable.get(page) !== bytes) {
      this.#dirty.add(page);
      return bytes;
    }
    const copy = bytes === undefined ? new Uint8Array(BLOCK_BYTES) : bytes.slice();
    this.#pages.set(page, copy);
    this.#dirty.add(page);
    return copy;
  }

  #drop(page: number): void {
    this.#unreadable.delete(page);
    this.#pages.delete(page);
    this.#dirty.add(page);
  }

  #settle(page: number): void {
    const bytes = this.#pages.get(page);
    if (bytes === undefined) this.#durable.delete(page);
    else this.#durable.set(page, bytes);
  }

  #each(
    offset: number,
    length: number,
    visit: (page: number, inPage: number, at: number, length: number) => void,
  ): void {
    for (let at = 0; at < length; ) {
      const page = Math.floor((offset + at) / BLOCK_BYTES);
      const inPage = offset + at - page * BLOCK_BYTES;
      const piece = Math.min(length - at, BLOCK_BYTES - inPage);
      visit(page, inPage, at, piece);
      at += piece;
    }
  }
}

function tear(now: Uint8Array, then: Uint8Array, random: SeededRandom): Uint8Array {
  const mixed = then.slice();
  for (let at = 0; at < BLOCK_BYTES; at += SECTOR_BYTES) {
    if (random.chance(0.5)) mixed.set(now.subarray(at, at + SECTOR_BYTES), at);
  }
  return mixed;
}
