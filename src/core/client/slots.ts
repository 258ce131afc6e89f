import {FsError} from '../base/errors.js';
import type {BufferPool, Segment, Slot} from '../base/pool.js';
import {MIB} from '../base/units.js';
import type {Clock} from '../env/clock.js';
import {Window} from './window.js';

/**
 * Longer than whoever waits for servers holds his slots (columnWaitMs), so that it ends only waits that would never end: of those
 * who wait for what they hold themselves.
 */
const SLOT_WAIT_MS = 60_000;

/** Slots for whoever may wait for one, and zeros that are shared. */
export class Slots {
  readonly pool: BufferPool;
  /** In slots: what is being written back may take so many. Who waits for more of them than there are holds none. */
  readonly passing: Window;
  readonly #clock: Clock;
  #zero: Slot = -1;
  #closed = false;

  constructor(pool: BufferPool, clock: Clock) {
    this.pool = pool;
    this.#clock = clock;
    this.passing = new Window(pool.passing);
  }

  /** A slot with room for `bytes`, referenced once. Waits until one is free, at most 60 s; then FsError EIO. */
  async alloc(bytes: number): Promise<Slot> {
    let slot = this.pool.alloc(bytes);
    if (slot !== -1) return slot;
    let late = false;
    let wake = (): void => {};
    const timer = this.#clock.timer(SLOT_WAIT_MS, () => {
      late = true;
      wake();
    });
    try {
      while (!late) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          this.pool.onFree(resolve);
        });
        slot = this.pool.alloc(bytes);
        if (slot !== -1) return slot;
      }
    } finally {
      timer.cancel();
    }
    throw new FsError(
      'EIO',
      `no buffer for ${bytes} bytes became free in ${SLOT_WAIT_MS / 1000} s`,
    );
  }

  /** The shared slot of zeros, large enough for any unit. It stays until `close`, after which there is none: EIO; who keeps it retains it. */
  async zeros(): Promise<Slot> {
    if (this.#zero !== -1) return this.#zero;
    const slot = await this.alloc(MIB);
    if (this.#zero !== -1 || this.#closed) {
      this.pool.release(slot);
      // What was being read ahead at the close goes on for a moment; nobody would give back what it asks for.
      if (this.#closed) throw new FsError('EIO', 'the client is closed');
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
    this.#closed = true;
    if (this.#zero !== -1) this.pool.release(this.#zero);
    this.#zero = -1;
  }
}
