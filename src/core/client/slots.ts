import type {BufferPool, Segment, Slot} from '../base/pool.js';
import {MIB} from '../base/units.js';

/** Slots for whoever may wait for one, and zeros that are shared. */
export class Slots {
  readonly pool: BufferPool;
  #zero: Slot = -1;

  constructor(pool: BufferPool) {
    this.pool = pool;
  }

  /** A slot with room for `bytes`, referenced once. Waits until one is free. */
  async alloc(bytes: number): Promise<Slot> {
    for (;;) {
      const slot = this.pool.alloc(bytes);
      if (slot !== -1) return slot;
      await new Promise<void>((resolve) => this.pool.onFree(resolve));
    }
  }

  /** The shared slot of zeros, large enough for any unit. It stays until `close`; who keeps it retains it. */
  async zeros(): Promise<Slot> {
    if (this.#zero !== -1) return this.#zero;
    const slot = await this.alloc(MIB);
    if (this.#zero !== -1) {
      this.pool.release(slot);
      return this.#zero;
    }
    this.pool.view(this.pool.payload(slot), MIB).fill(0);
    this.#zero = slot;
    return slot;
  }

  releaseAll(segments: readonly Segment[]): void {
    for (const segment of segments) this.pool.release(segment.slot);
  }

  close(): void {
    if (this.#zero !== -1) this.pool.release(this.#zero);
    this.#zero = -1;
  }
}
