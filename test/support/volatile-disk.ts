import {closeSync, fsyncSync, openSync, readSync, writeSync} from 'node:fs';
import {SeededRandom} from '../../src/core/sim/random.js';

const PAGE_BYTES = 4096;
/** What a disk writes as a whole: two sectors, since the local file systems count on that for their superblocks. */
const PIECE_BYTES = 1024;

type Fate = 'kept' | 'lost' | 'torn';

/**
 * A disk with a cache that a power cut empties: what was written since the last flush is in the image as the machine sees it, and what was
 * there before is kept here. A cut takes some of the writes back, each whole or torn, in any order, as disks do.
 */
export class VolatileDisk {
  readonly #image: number;
  /** Pages as they were at the last flush, of those that were written since. */
  readonly #stable = new Map<number, Buffer>();
  #dead = false;

  constructor(path: string) {
    this.#image = openSync(path, 'r+');
  }

  /** Without power: it answers nothing but errors. */
  get dead(): boolean {
    return this.#dead;
  }

  read(into: Uint8Array, offset: number): void {
    const count = readSync(this.#image, into, 0, into.length, offset);
    into.fill(0, count);
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
      if (this.#stable.has(page)) continue;
      const before = Buffer.alloc(PAGE_BYTES);
      this.read(before, page * PAGE_BYTES);
      this.#stable.set(page, before);
    }
    writeSync(this.#image, bytes, 0, bytes.length, offset);
  }

  flush(): void {
    this.#stable.clear();
  }

  /** Gives how many pages were not flushed, and how many of them have not outlived it as a whole. */
  cut(seed: number): {unflushed: number; lost: number} {
    const random = new SeededRandom(seed);
    const unflushed = this.#stable.size;
    let lost = 0;
    const keep = random.pick([0, 0.2, 0.5, 0.8, 1]);
    const tear = random.pick([0, 0.1, 0.5]);
    let fate: Fate = 'kept';
    let before = -1;
    for (const [page, stable] of this.#stable) {
      // Neighbours were one request, most of the time.
      if (page !== before + 1 || random.chance(0.1))
        fate = random.chance(tear) ? 'torn' : random.chance(keep) ? 'kept' : 'lost';
      before = page;
      if (fate === 'kept') continue;
      lost++;
      this.#takeBack(page, stable, fate, random);
    }
    this.#stable.clear();
    this.#dead = true;
    return {unflushed, lost};
  }

  revive(): void {
    this.#dead = false;
  }

  close(): void {
    fsyncSync(this.#image);
    closeSync(this.#image);
  }

  #takeBack(page: number, stable: Buffer, fate: Fate, random: SeededRandom): void {
    for (let at = 0; at < PAGE_BYTES; at += PIECE_BYTES) {
      if (fate === 'torn' && random.chance(0.5)) continue;
      writeSync(this.#image, stable, at, PIECE_BYTES, page * PAGE_BYTES + at);
    }
  }
}
