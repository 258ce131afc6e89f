import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {owners} from '../layout/generations.js';
import {OPS} from '../protocol/ops.js';
import type {Peer} from '../transport/peer.js';
import type {ColumnId} from './format.js';

/** By then all clients have come back to a restarted meta server, or are fenced: what is gone, nobody writes any more. */
const ASK_MS: Ms = 20_000;
const AGAIN_MS: Ms = 5_000;
const OIDS_MAX = 1024;

export interface LostObjectsParts {
  meta(deadlineMs: Ms): Promise<Peer>;
  /** What was written lately. */
  suspects(): Promise<readonly ColumnId[]>;
  remove(oids: readonly number[]): Promise<void>;
  removeColumns(ids: readonly ColumnId[]): Promise<void>;
}

/**
 * Removes columns of objects whose creation a power cut of the meta server's machine took back. They are in the intent log:
 * no client settles a chunk of an object before its creation is on stable storage.
 */
export class LostObjects {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #parts: LostObjectsParts;
  #boot = 0;
  #timer: Timer | null = null;
  #closed = false;

  constructor(env: Pick<Env, 'clock' | 'log'>, parts: LostObjectsParts) {
    this.#env = env;
    this.#parts = parts;
  }

  /** The meta server has said hello; another `boot` is another life of it. */
  restarted(boot: number): void {
    if (boot === this.#boot) return;
    this.#boot = boot;
    this.#plan(ASK_MS);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #plan(delay: Ms): void {
    this.#timer?.cancel();
    this.#timer = this.#env.clock.timer(delay, () => {
      this.#run().catch((error: unknown) => {
        this.#env.log.info('lost-objects.failed', {reason: messageOf(error)});
        if (!this.#closed) this.#plan(AGAIN_MS);
      });
    });
  }

  async #run(): Promise<void> {
    const byOid = Map.groupBy(await this.#parts.suspects(), ({oid}) => oid);
    const oids = [...byOid.keys()];
    for (let at = 0; at < oids.length && !this.#closed; at += OIDS_MAX) {
      const meta = await this.#parts.meta(AGAIN_MS);
      const {message} = await meta.call(OPS.exists, {oids: oids.slice(at, at + OIDS_MAX)});
      // What it never heard of is not gone: it may have come back with an old state.
      const gone = message.missing.filter((oid) => oid < message.idsBelow);
      if (gone.length > 0) await this.#parts.remove(gone);
      const ownerOf = owners(message);
      const moved = [...new Set(message.parts.map(({oid}) => oid))].flatMap((oid) =>
        byOid.get(oid)!.filter((id) => ownerOf(id) === 'gone'),
      );
      if (moved.length > 0) await this.#parts.removeColumns(moved);
    }
  }
}
