import {assert} from '../base/assert.js';
import type {BufferPool, Slot} from '../base/pool.js';
import {KIB} from '../base/units.js';

/** Old and new sums of 256 blocks (a frame of payload) of the widest redundancy column, 32 * 4 bytes each. */
export const SCRATCH_BYTES = 64 * KIB;
const SLOT_BYTES = 128 * KIB;
const PIECES = SLOT_BYTES / SCRATCH_BYTES;
/** So many columns are written or read at the same moment; a disk gains nothing from more. */
const SLOTS_MAX = 8;

/**
 * Pool memory for sums and headers, set aside: whoever has some waits for the disk only, never for the pool, so those
 * who hold payload and wait for scratch come to their turn even when the pool is empty.
 */
export class Scratch {
  readonly #pool: BufferPool;
  readonly #slots: Slot[] = [];
  readonly #free: number[] = [];
  readonly #waiters: ((offset: number) => void)[] = [];

  constructor(pool: BufferPool) {
    this.#pool = pool;
    const count = Math.max(1, Math.min(SLOTS_MAX, Math.floor(pool.freeCount(SLOT_BYTES) / 4)));
    for (let i = 0; i < count; i++) {
      const slot = pool.setAside(SLOT_BYTES);
      assert(slot >= 0, 'a pool has room for scratch memory');
      this.#slots.push(slot);
      const at = pool.payload(slot);
      for (let piece = 0; piece < SLOT_BYTES; piece += SCRATCH_BYTES) this.#free.push(at + piece);
    }
  }

  /** Runs `work` with the absolute offset of SCRATCH_BYTES of pool memory, in the order of the calls. */
  async use<T>(work: (offset: number) => Promise<T>): Promise<T> {
    const offset = await this.#take();
    try {
      return await work(offset);
    } finally {
      const next = this.#waiters.shift();
      if (next === undefined) this.#free.push(offset);
      else next(offset);
    }
  }

  /** Gives the memory back when those who use it are done; nobody may come any more. Twice is nothing. */
  async close(): Promise<void> {
    const slots = this.#slots.splice(0);
    for (let piece = 0; piece < slots.length * PIECES; piece++) await this.#take();
    for (const slot of slots) this.#pool.takeBack(slot);
  }

  #take(): number | Promise<number> {
    return this.#free.pop() ?? new Promise((take) => this.#waiters.push(take));
  }
}
