import type {Ms} from '../base/ids.js';
import type {Holder} from './lease-object.js';

/** Recalls in the order of their deadlines. */
export class RecallDeadlines {
  readonly #recallMs: Ms;
  /** Those that were obeyed, or were given more time since, are skipped. */
  readonly #all: {holder: Holder; by: Ms}[] = [];
  #first = 0;

  constructor(recallMs: Ms) {
    this.#recallMs = recallMs;
  }

  /** It has the whole time from now on. */
  add(holder: Holder, now: Ms): void {
    holder.recallBy = now + this.#recallMs;
    this.#all.push({holder, by: holder.recallBy});
  }

  /** Takes out one whose time is over; null: none is. */
  take(now: Ms): Holder | null {
    let found: Holder | null = null;
    while (found === null && this.#first < this.#all.length) {
      const {holder, by} = this.#all[this.#first]!;
      const open = holder.recalledTo >= 0 && holder.recallBy === by;
      if (open && by > now) break;
      this.#first++;
      if (open) found = holder;
    }
    if (this.#first > this.#all.length / 2) {
      this.#all.splice(0, this.#first);
      this.#first = 0;
    }
    return found;
  }

  /** When the first one ends at the earliest; null: there is none. */
  get next(): Ms | null {
    return this.#all[this.#first]?.by ?? null;
  }
}
