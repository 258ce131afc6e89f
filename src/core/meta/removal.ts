import {messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import {CHUNKS_END} from '../layout/generations.js';
import {OPS} from '../protocol/ops.js';
import type {Cluster} from './cluster.js';
import type {Removal} from './command.js';
import type {Leases} from './leases.js';
import type {Machine} from './machine.js';
import type {Sessions} from './sessions.js';

/** Removals of so many milliseconds go out together. */
const GATHER_MS: Ms = 50;
const RETRY_MS: Ms = 1_000;
const BATCH_MAX = 512;
const REAPS_AT_ONCE_MAX = 64;
/** Objects to be reaped that are in memory; the others wait in the machine's list. */
const REAPING_MAX = 4096;

/**
 * Ends objects without a name that nobody has open, and has their columns removed. Both lists are kept by the
 * machine; a start of the meta server goes through them again.
 */
export class Removals {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #machine: Machine;
  readonly #cluster: Cluster;
  readonly #leases: Leases;
  readonly #sessions: Sessions;
  readonly #reaping = new Set<number>();
  #toReap: number[] = [];
  #working = false;
  #planned = false;
  #reapsPlanned = false;
  /** There were more than `REAPING_MAX`. */
  #more = false;
  #closed = false;

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    parts: {machine: Machine; cluster: Cluster; leases: Leases; sessions: Sessions},
  ) {
    this.#env = env;
    this.#machine = parts.machine;
    this.#cluster = parts.cluster;
    this.#leases = parts.leases;
    this.#sessions = parts.sessions;
  }

  /** After the grace period: what an earlier life of the meta server left. */
  start(): void {
    this.#lookAtOrphans();
    this.plan(0);
  }

  /** Until memory is full, or there are no more. */
  #lookAtOrphans(): void {
    this.#more = false;
    for (let after = 0; !this.#more; ) {
      const oids = this.#machine.orphans(after, BATCH_MAX);
      if (oids.length === 0) break;
      after = oids.at(-1)!;
      for (const oid of oids) this.unused(oid);
    }
  }

  close(): void {
    this.#closed = true;
  }

  /** The object has lost its last name or its last open: if both are gone it ends. */
  unused(oid: number): void {
    if (this.#leases.table.grace || this.#sessions.isOpen(oid) || this.#reaping.has(oid)) return;
    if (!this.#machine.isOrphan(oid)) return;
    if (this.#reaping.size >= REAPING_MAX) {
      this.#more = true;
      return;
    }
    this.#reaping.add(oid);
    this.#toReap.push(oid);
    // Whoever has removed it gives its lease up unasked (OPS.unlink).
    if (this.#reapsPlanned) return;
    this.#reapsPlanned = true;
    this.#env.clock.timer(GATHER_MS, () => {
      this.#reapsPlanned = false;
      const running = this.#reaping.size - this.#toReap.length;
      const more = Math.min(this.#toReap.length, REAPS_AT_ONCE_MAX - running);
      for (let i = 0; i < more; i++) void this.#reapNext();
    });
  }

  /** There is something in the removal queue. */
  plan(delay: Ms = GATHER_MS): void {
    if (this.#planned || this.#working || this.#closed) return;
    this.#planned = true;
    this.#env.clock.timer(delay, () => {
      this.#planned = false;
      void this.#work();
    });
  }

  async #reapNext(): Promise<void> {
    for (let oid = this.#toReap.shift(); oid !== undefined; oid = this.#toReap.shift()) {
      try {
        // A holder that still writes would make columns anew behind the removal; so it gives its lease up first.
        const object = oid;
        await this.#leases.exclusive(object, async () => {
          if (!this.#sessions.isOpen(object) && !this.#closed) await this.#machine.reap([object]);
        });
      } catch (error) {
        this.#env.log.warn('orphan.not-reaped', {oid, error: messageOf(error)});
      } finally {
        this.#reaping.delete(oid);
      }
    }
    if (this.#more && !this.#closed && this.#reaping.size < REAPING_MAX / 2) this.#lookAtOrphans();
  }

  async #work(): Promise<void> {
    if (this.#working || this.#closed) return;
    this.#working = true;
    let failed = false;
    try {
      for (let after: Removal | null = null; !this.#closed; ) {
        const batch: Removal[] = this.#machine.removals(after, BATCH_MAX);
        if (batch.length === 0) break;
        after = batch.at(-1)!;
        // A name that a power cut brings back must find its bytes.
        await this.#machine.sync();
        const done = await this.#removeColumns(batch);
        if (done.length < batch.length) failed = true;
        if (done.length > 0) await this.#machine.removalDone(done);
      }
    } catch (error) {
      failed = true;
      this.#env.log.warn('removal.failed', {error: messageOf(error)});
    } finally {
      this.#working = false;
    }
    if (failed) this.plan(RETRY_MS);
    else if (!this.#closed && this.#machine.removals(null, 1).length > 0) this.plan();
  }

  /** Those of which no live server has columns any more. Servers that are away ask when they come back. */
  async #removeColumns(batch: readonly Removal[]): Promise<Removal[]> {
    const byGroup = new Map<number, Removal[]>();
    for (const removal of batch) {
      for (const group of new Set(removal.layout.groups)) {
        const removals = byGroup.get(group);
        if (removals === undefined) byGroup.set(group, [removal]);
        else removals.push(removal);
      }
    }
    const failed = new Set<Removal>();
    await Promise.all(
      [...byGroup].map(async ([group, removals]) => {
        if (!(await this.#removeFrom(group, removals)))
          for (const removal of removals) failed.add(removal);
      }),
    );
    return batch.filter((removal) => !failed.has(removal));
  }

  async #removeFrom(group: number, removals: readonly Removal[]): Promise<boolean> {
    const servers = this.#cluster.servers(group);
    if (servers === null) return false;
    const {epoch} = this.#cluster.durableMap;
    const oids = removals.filter(({whole}) => whole).map(({oid}) => oid);
    const parts = removals
      .filter(({whole}) => !whole)
      .map(({oid, layout: {generation}}) => ({oid, generation, from: 0, to: CHUNKS_END}));
    try {
      await Promise.all(servers.map(({peer}) => peer.call(OPS.remove, {epoch, oids, parts})));
    } catch (error) {
      this.#env.log.info('columns.not-removed', {group, error: messageOf(error)});
      return false;
    }
    // A server that was lost and came back meanwhile may have missed it only if it asked for everything it holds.
    return true;
  }
}
