import type {Ms} from '../base/ids.js';
import type {Clock, Timer} from '../env/clock.js';
import {OPS} from '../protocol/ops.js';
import type {Session} from './session.js';

/** A close that waits keeps no more than bytes of an unlinked object: many go in one message. */
const GATHER_MS: Ms = 50;
const OIDS_MAX = 1024;

/**
 * Tells the meta server about closes, each exactly once: the server counts opens and cannot tell a close that is sent again
 * from another one. Either a release says it over the connection that is up, and is never sent again; or, if the
 * connection is lost before the answer, the reclaim of the next one does, which gives the number of opens.
 */
export class Closes {
  readonly #clock: Clock;
  readonly #session: Session;
  /** An entry for each close that neither a release nor a reclaim has said. */
  #pending: number[] = [];
  #timer: Timer | null = null;

  constructor(clock: Clock, session: Session) {
    this.#clock = clock;
    this.#session = session;
  }

  add(oid: number): void {
    this.#pending.push(oid);
    if (this.#pending.length >= OIDS_MAX) this.send();
    else this.#timer ??= this.#clock.timer(GATHER_MS, () => this.send());
  }

  /** A reclaim with the opens of this moment is on its way. */
  said(): void {
    this.#pending = [];
  }

  /** Without a connection they wait: `said` or this is called when there is one. */
  send(): void {
    this.close();
    if (this.#pending.length === 0) return;
    if (this.#session.tell(OPS.release, {oids: this.#pending})) this.#pending = [];
  }

  /** What has not been sent goes with the session. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
