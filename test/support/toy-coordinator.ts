import {FsError, Lost} from '../../src/core/base/errors.js';
import {type Clock, sleep} from '../../src/core/env/clock.js';
import type {Coordinator, Versioned} from '../../src/core/env/coordinator.js';

interface Entry extends Versioned {
  lease: string;
}

/** What several machines agree on, in memory, 2 ms away from each. Time is that of one clock. */
export class ToyCoordinator {
  readonly entries = new Map<string, Entry>();
  readonly #clock: Clock;
  readonly #expiry = new Map<string, number>();
  readonly #watchers = new Set<{prefix: string; changed: (key: string) => void}>();
  #revision = 0;
  #leases = 0;
  /** Nobody reaches it. */
  down = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#tick();
  }

  #tick(): void {
    this.#clock.timer(50, () => {
      for (const [id, at] of this.#expiry) if (this.#clock.now() >= at) this.#revoke(id);
      this.#tick();
    });
  }

  #revoke(id: string): void {
    this.#expiry.delete(id);
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

  /** As one machine sees it. */
  seenFrom(clock: Clock, cut: () => boolean): Coordinator {
    const call = async <T>(run: () => T): Promise<T> => {
      await sleep(clock, 1);
      if (this.down || cut()) {
        await sleep(clock, 1000);
        throw new Lost('the coordinator cannot be reached');
      }
      const result = run();
      await sleep(clock, 1);
      return result;
    };
    return {
      get: (key) => call(() => this.entries.get(key) ?? null),
      commit: (compare, puts, deletes = []) =>
        call(() => {
          for (const {key, revision} of compare)
            if ((this.entries.get(key)?.revision ?? 0) !== revision) return null;
          const revision = ++this.#revision;
          for (const {key, value, lease} of puts) {
            if (lease !== undefined && !this.#expiry.has(lease.id))
              throw new FsError('ENOENT', 'lease');
            this.entries.set(key, {value, revision, lease: lease?.id ?? ''});
            this.#changed(key);
          }
          for (const key of deletes) this.entries.delete(key);
          return revision;
        }),
      grant: (ttlMs) =>
        call(() => {
          const id = String(++this.#leases);
          this.#expiry.set(id, this.#clock.now() + ttlMs);
          return {
            id,
            ttlMs,
            keepAlive: () =>
              call(() => {
                if (!this.#expiry.has(id)) throw new FsError('ENOENT', 'lease');
                this.#expiry.set(id, this.#clock.now() + ttlMs);
                return ttlMs;
              }),
            revoke: () => call(() => this.#revoke(id)),
          };
        }),
      watch: (prefix, changed) => {
        const watcher = {
          prefix,
          changed: (key: string) => {
            clock.timer(1, () => {
              if (!this.down && !cut()) changed(key, this.entries.get(key) ?? null);
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
