import {REPLY_RING} from '../protocol/ops.js';

/** Half of what the meta server keeps replies of. */
const MUTATIONS_MAX = 128;
/** Yields besides, and what must be told before them: what the others wait for may wait for them. */
const YIELDS_MAX = 64;

/** Requests of a session that change something: their ids, how many there may be at once, and whether what they did is on stable storage. */
export class Mutations {
  #last = 0;
  #running = 0;
  /** Places in the ring of replies that outstanding requests have. */
  readonly #places = new Set<number>();
  #waiters: (() => void)[] = [];
  #yieldWaiters: (() => void)[] = [];
  /** Those that were answered, and that were not on stable storage by that. */
  made = 0;
  #synced = 0;

  /** The id of a request that may be sent, at once if it may, so that it leaves before those that are made after it; `end` must follow. `yields`: it takes along what others wait for. */
  begin(yields: boolean): number | Promise<number> {
    const max = yields ? MUTATIONS_MAX + YIELDS_MAX : MUTATIONS_MAX;
    if (this.#running >= max) {
      const waiters = yields ? this.#yieldWaiters : this.#waiters;
      return new Promise<void>((resolve) => waiters.push(resolve)).then(() => this.begin(yields));
    }
    this.#running++;
    return this.#takeId();
  }

  end(id: number): void {
    this.#places.delete(id % REPLY_RING);
    this.#running--;
    (this.#yieldWaiters.shift() ?? this.#waiters.shift())?.();
  }

  /** A new session knows of none. */
  restart(): void {
    this.#last = 0;
  }

  /** So many had been made when something was asked for that has synced them. */
  synced(made: number): void {
    this.#synced = Math.max(this.#synced, made);
  }

  /** Is all that was made on stable storage? */
  get durable(): boolean {
    return this.#synced === this.made;
  }

  /**
   * The next id whose place in the server's ring of replies no outstanding request has: else one that waits long (for
   * a recall, say) would find its place taken by a later one, and be refused. There are more places than requests.
   */
  #takeId(): number {
    do this.#last++;
    while (this.#places.has(this.#last % REPLY_RING));
    this.#places.add(this.#last % REPLY_RING);
    return this.#last;
  }
}
