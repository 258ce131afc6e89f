import {FsError, Lost} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {type Clock, sleep} from '../env/clock.js';
import type {Coordinator, Versioned} from '../env/coordinator.js';
import type {SimLand} from './machine.js';
import type {SeededRandom} from './random.js';

interface Entry extends Versioned {
  lease: string;
}

interface Lease {
  ttlMs: Ms;
  endsAt: Ms;
  era: number;
}

/** Its host; cut off from others as any host is. */
export const COORDINATOR_HOST = 'etcd';
/** It looks for leases that are over so often, as etcd does. */
const LOOK_MS: Ms = 500;
/** Who reaches nobody is told so after this. */
const LOST_MS: Ms = 1000;
/** Share of the calls that were carried out and of which nobody hears. */
const UNHEARD_CHANCE = 0.01;

/** A twin of etcd with several members: what they agree on, in memory. Time is that of the world. */
export class SimCoordinator {
  readonly entries = new Map<string, Entry>();
  readonly #land: SimLand;
  readonly #random: SeededRandom;
  readonly #leases = new Map<string, Lease>();
  readonly #watchers = new Set<{prefix: string; changed: (key: string) => void}>();
  #revision = 0;
  #made = 0;
  #down = false;
  #era = 1;

  constructor(land: SimLand) {
    this.#land = land;
    this.#random = land.random.split(COORDINATOR_HOST);
    this.#tick();
  }

  get #now(): Ms {
    return this.#land.scheduler.now;
  }

  #tick(): void {
    this.#land.scheduler.schedule(null, LOOK_MS, 'leases', () => {
      if (!this.#down)
        for (const [id, {endsAt}] of this.#leases) if (this.#now >= endsAt) this.#revoke(id);
      this.#tick();
    });
  }

  /** It has lost its quorum. */
  get down(): boolean {
    return this.#down;
  }

  /** With its quorum comes a new leader, which lets all leases begin anew. */
  set down(down: boolean) {
    this.#down = down;
    if (!down) this.newLeader();
  }

  newLeader(): void {
    this.#era++;
    for (const lease of this.#leases.values()) lease.endsAt = this.#now + lease.ttlMs;
  }

  /** One that led before goes on, and takes all leases that it knew for over. */
  formerLeaderWakes(): void {
    for (const [id, {era}] of this.#leases) if (era < this.#era) this.#revoke(id);
  }

  /** Its data is lost. */
  wipe(): void {
    this.entries.clear();
    this.#leases.clear();
    this.#revision = 0;
  }

  #revoke(id: string): void {
    this.#leases.delete(id);
    for (const [key, {lease}] of this.entries)
      if (lease === id) {
        this.entries.delete(key);
        this.#revision++;
        this.#changed(key);
      }
  }

  #changed(key: string): void {
    for (const {prefix, changed} of this.#watchers) if (key.startsWith(prefix)) changed(key);
  }

  /** As one process on `host` sees it. */
  seenFrom(clock: Clock, host: string): Coordinator {
    const reached = (): boolean =>
      !this.#down && this.#land.network.reachable(host, COORDINATOR_HOST);
    const lost = async (): Promise<never> => {
      await sleep(clock, LOST_MS);
      throw new Lost('the coordinator cannot be reached');
    };
    const call = async <T>(run: () => T): Promise<T> => {
      await sleep(clock, this.#land.network.latency());
      if (!reached()) return lost();
      const result = run();
      await sleep(clock, this.#land.network.latency());
      if (!reached() || this.#random.chance(UNHEARD_CHANCE)) return lost();
      return result;
    };
    const needLease = (id: string): Lease => {
      const lease = this.#leases.get(id);
      if (lease === undefined) throw new FsError('ENOENT', 'lease');
      return lease;
    };
    return {
      get: (key) => call(() => this.entries.get(key) ?? null),
      look: (key) => call(() => ({found: this.entries.get(key) ?? null, era: String(this.#era)})),
      commit: (compare, puts, deletes = []) =>
        call(() => {
          for (const one of compare) {
            const {revision, created} = this.entries.get(one.key) ?? {revision: 0, created: 0};
            if ('revision' in one ? one.revision !== revision : one.created !== created)
              return null;
          }
          for (const {lease} of puts) if (lease !== undefined) needLease(lease.id);
          const revision = ++this.#revision;
          for (const {key, value, lease} of puts) {
            const created = this.entries.get(key)?.created ?? revision;
            this.entries.set(key, {value, revision, created, lease: lease?.id ?? ''});
            this.#changed(key);
          }
          for (const key of deletes) this.entries.delete(key);
          return revision;
        }),
      grant: (ttlMs) =>
        call(() => {
          const id = String(++this.#made);
          const era = this.#era;
          this.#leases.set(id, {ttlMs, endsAt: this.#now + ttlMs, era});
          return {
            id,
            ttlMs,
            era: String(era),
            keepAlive: () =>
              call(() => {
                needLease(id).endsAt = this.#now + ttlMs;
                if (era !== this.#era) throw new FsError('ESTALE', 'another leader');
                return ttlMs;
              }),
            revoke: () => call(() => this.#revoke(id)),
          };
        }),
      watch: (prefix, changed) => {
        const watcher = {
          prefix,
          changed: (key: string) => {
            clock.timer(this.#land.network.latency(), () => {
              if (reached()) changed(key, this.entries.get(key) ?? null);
            });
          },
        };
        this.#watchers.add(watcher);
        return {close: () => void this.#watchers.delete(watcher)};
      },
      close: () => Promise.resolve(),
    };
  }
}
