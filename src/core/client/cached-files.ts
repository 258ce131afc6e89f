import type {Cached} from './cached-names.js';

/** Attributes of what is no directory, by object; they go together with the directory whose lease covers them, its name being known or not. */
export class CachedFiles {
  readonly #files = new Map<number, Cached>();
  readonly #under = new Map<number, Set<number>>();

  get size(): number {
    return this.#files.size;
  }

  get(oid: number): Cached | undefined {
    return this.#files.get(oid);
  }

  put(oid: number, cached: Cached): void {
    const old = this.#files.get(oid);
    if (old !== undefined && old.parent !== cached.parent) this.#leave(oid, old.parent);
    this.#files.set(oid, cached);
    const under = this.#under.get(cached.parent);
    if (under === undefined) this.#under.set(cached.parent, new Set([oid]));
    else under.add(oid);
  }

  drop(oid: number): void {
    const old = this.#files.get(oid);
    if (old === undefined) return;
    this.#files.delete(oid);
    this.#leave(oid, old.parent);
  }

  dropUnder(parent: number): void {
    for (const oid of this.#under.get(parent) ?? []) this.#files.delete(oid);
    this.#under.delete(parent);
  }

  #leave(oid: number, parent: number): void {
    const under = this.#under.get(parent);
    under?.delete(oid);
    if (under?.size === 0) this.#under.delete(parent);
  }
}
