import {assert} from '../base/assert.js';

/** Ids that are reserved at once: a start costs at most this many of 2^53, and a burst of creations one wait. */
const RANGE_IDS = 65_536;

/**
 * Ids that may be given: their reservation is on stable storage. So none is given twice even if a power cut takes the
 * last batches, which an id on a data server would outlive. What a run did not use is lost.
 */
export class IdRange {
  #next: number;
  /** Ids below may be given. */
  #usable: number;
  #reserving: Promise<void> | null = null;
  /** Records that ids below its argument are taken; resolves when that is durable. */
  readonly #record: (below: number) => Promise<void>;

  constructor(next: number, record: (below: number) => Promise<void>) {
    this.#next = next;
    this.#usable = next;
    this.#record = record;
  }

  enough(count: number): boolean {
    return this.#usable - this.#next >= count;
  }

  /** The first of so many. `enough` was asked before. Half-way through, the next range is reserved in the background. */
  take(count = 1): number {
    assert(this.#next + count <= this.#usable, 'an id that is not reserved');
    const first = this.#next;
    this.#next += count;
    return first;
  }

  get low(): boolean {
    return this.#usable - this.#next < RANGE_IDS / 2 && this.#reserving === null;
  }

  /** Makes another range usable. Concurrent calls share one reservation. */
  reserve(): Promise<void> {
    this.#reserving ??= this.#extend().finally(() => {
      this.#reserving = null;
    });
    return this.#reserving;
  }

  async #extend(): Promise<void> {
    const below = this.#usable + RANGE_IDS;
    await this.#record(below);
    this.#usable = below;
  }

  /** No reservation is under way. */
  async settled(): Promise<void> {
    await this.#reserving;
  }
}
