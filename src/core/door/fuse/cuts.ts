import type {Ms} from '../../base/ids.js';
import {type Clock, sleep} from '../../env/clock.js';

/** So long after the answer the thread that cuts has most surely run. */
const TAKEN_MS: Ms = 20;
/** A read waits no longer than this: the cut may be waiting for a lease, and that for the read. */
const WAIT_MS_MAX: Ms = 50;
const POLL_MS: Ms = 1;

interface Cut {
  running: number;
  /** Threads that have been answered and not been heard since; until when they are waited for. */
  readonly unseen: Map<number, Ms>;
}

/**
 * Files that programs of this mount are cutting (SETATTR with a size). Until the thread has taken the answer over, the kernel goes by the
 * old size, and fills up an answer to a read that ends before it with zeros: so such an answer waits.
 */
export class Cuts {
  readonly #clock: Clock;
  readonly #cuts = new Map<number, Cut>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A thread sets a size; what is returned is called when it is answered. */
  begin(oid: number, pid: number): () => void {
    let cut = this.#cuts.get(oid);
    if (cut === undefined) {
      cut = {running: 0, unseen: new Map()};
      this.#cuts.set(oid, cut);
    }
    const {unseen} = cut;
    cut.running++;
    return () => {
      cut.running--;
      unseen.set(pid, this.#clock.now() + TAKEN_MS);
      this.#clock.timer(TAKEN_MS, () => this.#over(oid));
    };
  }

  /** The thread has asked for something else. */
  heard(pid: number): void {
    if (this.#cuts.size === 0) return;
    for (const [oid, {unseen}] of this.#cuts) if (unseen.delete(pid)) this.#over(oid);
  }

  /** Resolves when an answer that ends before the file did may be given; null: now. */
  passed(oid: number): Promise<void> | null {
    return this.#over(oid) ? null : this.#wait(oid);
  }

  async #wait(oid: number): Promise<void> {
    for (let waited = 0; waited < WAIT_MS_MAX && !this.#over(oid); waited += POLL_MS)
      await sleep(this.#clock, POLL_MS);
  }

  #over(oid: number): boolean {
    const cut = this.#cuts.get(oid);
    if (cut === undefined) return true;
    const now = this.#clock.now();
    for (const [pid, until] of cut.unseen) if (until <= now) cut.unseen.delete(pid);
    if (cut.running > 0 || cut.unseen.size > 0) return false;
    this.#cuts.delete(oid);
    return true;
  }
}
