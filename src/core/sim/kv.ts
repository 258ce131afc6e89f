import BTreeModule from 'sorted-btree';
import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import type {Clock} from '../env/clock.js';
import type {Kv} from '../env/kv.js';

const BTree = BTreeModule.default;
const KEY_BYTES_MAX = 500;
/** A durable transaction of LMDB on a disk that is neither idle nor swamped. */
const WRITE_MS_MAX: Ms = 5;

type Change = [string, Uint8Array | null];

/** An ordered store that outlives processes: what is in it is durable. */
export class SimKv {
  readonly #random: {float(): number};
  readonly #entries = new BTree<string, Uint8Array>(undefined, (a, b) =>
    a < b ? -1 : a > b ? 1 : 0,
  );
  /** The transaction that is being written. */
  #writing: Change[] | null = null;

  constructor(random: {float(): number}) {
    this.#random = random;
  }

  /** The store as one life of a process sees it; its clock decides when writes are done. */
  attach(clock: Pick<Clock, 'timer'>): Kv {
    return {
      get: (key) => this.#entries.get(key)?.slice(),
      range: (...a) => rangeOf(this.#entries, ...a),
      write: (changes) => this.#write(changes, clock),
      clear: (left) => {
        const gone = this.#entries.keysArray().map((key): Change => [key, null]);
        return this.#write([...gone, left], clock);
      },
      view: () => {
        const entries = this.#entries.clone();
        return {range: (...a) => rangeOf(entries, ...a), close: () => {}};
      },
      close: () => Promise.resolve(),
    };
  }

  /** Call when the process has been killed or lost power: the write in progress is wholly there or not at all. */
  crash(): void {
    if (this.#writing !== null && this.#random.float() < 0.5) this.#apply(this.#writing);
    this.#writing = null;
  }

  wipe(): void {
    this.#entries.clear();
    this.#writing = null;
  }

  #write(changes: Iterable<Change>, clock: Pick<Clock, 'timer'>): Promise<void> {
    assert(this.#writing === null, 'one write at a time');
    const writing = Array.from(changes, ([key, value]): Change => {
      assert(key.length > 0 && key.length <= KEY_BYTES_MAX, `key of ${key.length} bytes`);
      return [key, value?.slice() ?? null];
    });
    this.#writing = writing;
    return new Promise((resolve) => {
      clock.timer(this.#random.float() * WRITE_MS_MAX, () => {
        if (this.#writing === writing) {
          this.#apply(writing);
          this.#writing = null;
        }
        resolve();
      });
    });
  }

  #apply(changes: readonly Change[]): void {
    for (const [key, value] of changes) {
      if (value === null) this.#entries.delete(key);
      else this.#entries.set(key, value);
    }
  }
}

function rangeOf(
  entries: BTreeModule.default<string, Uint8Array>,
  from: string,
  to: string,
  limit: number,
): [string, Uint8Array][] {
  const result: [string, Uint8Array][] = [];
  for (const [key, value] of entries.entries(from, [])) {
    if (key >= to || result.length >= limit) break;
    result.push([key, value.slice()]);
  }
  return result;
}
