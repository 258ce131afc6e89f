import type {Ms} from '../base/ids.js';
import type {Clock} from '../env/clock.js';
import {OPS} from '../protocol/ops.js';
import type {Session} from './session.js';

const IDS = 2048;
/** Free space changes: groups that were drawn longer ago are not used. */
const DRAWS_MS: Ms = 30_000;
/** Where all groups were full; servers say once a second how much room they have. */
const FULL_MS: Ms = 1_000;

/** Ids and groups for objects that this client makes without asking. */
export class Reserved {
  readonly #clock: Clock;
  readonly #session: Session;
  #next = 0;
  #left = 0;
  #draws: (readonly number[])[] = [];
  #drawn = 0;
  #drawnAt: Ms = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(clock: Clock, session: Session) {
    this.#clock = clock;
    this.#session = session;
  }

  /** May `take` and `draw` be called? */
  get ready(): boolean {
    const full = this.#draws.some((groups) => groups.length === 0);
    return this.#left > 0 && this.#clock.now() - this.#drawnAt < (full ? FULL_MS : DRAWS_MS);
  }

  take(): number {
    this.#left--;
    // Early enough, so that nobody waits.
    if (this.#left === IDS / 4) this.ask().catch(() => {});
    return this.#next++;
  }

  draw(): readonly number[] {
    return this.#draws[this.#drawn++ % this.#draws.length] ?? [];
  }

  /** Rejects with FsError as the meta server answers. Concurrent calls share one request. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const {message} = await this.#session.call(OPS.reserve, {count: IDS});
    // What is left of the range before is lost; it is small.
    this.#next = message.first;
    this.#left = message.count;
    this.#draws = message.draws.map(({groups}) => groups);
    this.#drawnAt = this.#clock.now();
  }
}
