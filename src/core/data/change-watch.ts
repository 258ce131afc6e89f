import {type ColumnId, nameOf} from './format.js';
import {type Parts, PieceWatches} from './piece-watch.js';

/** More changes than this are as good as all. */
const CHANGES_MAX = 500_000;

/**
 * While another server copies the columns of this one: which of them change. It asks in passes: with each it hears what changed since the one
 * before, and again if it asks again. So nothing that changes is missed by both, however often the answer is lost.
 */
export class ChangeWatch {
  #owner = '';
  #pass = 0;
  #now = new Map<string, ColumnId>();
  #before = new Map<string, ColumnId>();

  /** The same for who moves single objects. */
  readonly pieces = new PieceWatches();

  /** At the beginning and at the end of every change of a column, with what it changes there. */
  note(id: ColumnId, parts: Parts): void {
    this.pieces.note(id, parts);
    if (this.#owner === '') return;
    this.#now.set(nameOf(id), id);
    if (this.#now.size > CHANGES_MAX) this.stop();
  }

  /** What changed between the last two passes of `owner`; null: not known, so it must begin with pass 1. */
  pass(owner: string, pass: number): ColumnId[] | null {
    if (pass === 1) {
      this.stop();
      this.#owner = owner;
      this.#pass = 1;
      return [];
    }
    if (owner !== this.#owner) return null;
    if (pass === this.#pass + 1) {
      this.#before = this.#now;
      this.#now = new Map();
      this.#pass = pass;
    }
    return pass === this.#pass ? [...this.#before.values()] : null;
  }

  stop(): void {
    this.#owner = '';
    this.#now = new Map();
    this.#before = new Map();
  }
}
