import type {Clock} from '../env/clock.js';
import {OPS} from '../protocol/ops.js';
import type {Session} from './session.js';

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
  #planned = false;

  constructor(clock: Clock, session: Session) {
    this.#clock = clock;
    this.#session = session;
  }

  add(oid: number): void {
    this.#pending.push(oid);
    if (this.#planned) return;
    this.#planned = true;
    this.#clock.soon(() => {
      this.#planned = false;
      this.send();
    });
  }

  /** A reclaim with the opens of this moment is on its way. */
  said(): void {
    this.#pending = [];
  }

  /** Without a connection they wait: `said` or this is called when there is one. */
  send(): void {
    if (this.#pending.length === 0) return;
    if (this.#session.tell(OPS.release, {oids: this.#pending})) this.#pending = [];
  }
}
