// Sets and maps of which there are many, nearly all of them empty: an empty one of the language takes 180 bytes.

/** As Set, and takes memory from the first value on until it is empty again. */
export class LazySet<T> implements Iterable<T> {
  #values: Set<T> | null = null;

  get size(): number {
    return this.#values === null ? 0 : this.#values.size;
  }

  has(value: T): boolean {
    return this.#values?.has(value) === true;
  }

  add(value: T): void {
    this.#values ??= new Set();
    this.#values.add(value);
  }

  delete(value: T): boolean {
    const had = this.#values?.delete(value) === true;
    if (this.#values?.size === 0) this.#values = null;
    return had;
  }

  clear(): void {
    this.#values = null;
  }

  [Symbol.iterator](): Iterator<T> {
    return (this.#values ?? []).values();
  }
}

/** As Map, and takes memory from the first entry on until it is empty again. */
export class LazyMap<K, V> implements Iterable<[K, V]> {
  #entries: Map<K, V> | null = null;

  get size(): number {
    return this.#entries === null ? 0 : this.#entries.size;
  }

  has(key: K): boolean {
    return this.#entries?.has(key) === true;
  }

  get(key: K): V | undefined {
    return this.#entries?.get(key);
  }

  set(key: K, value: V): void {
    this.#entries ??= new Map();
    this.#entries.set(key, value);
  }

  delete(key: K): boolean {
    const had = this.#entries?.delete(key) === true;
    if (this.#entries?.size === 0) this.#entries = null;
    return had;
  }

  clear(): void {
    this.#entries = null;
  }

  keys(): Iterator<K> & Iterable<K> {
    return (this.#entries ?? new Map<K, V>()).keys();
  }

  [Symbol.iterator](): Iterator<[K, V]> {
    return (this.#entries ?? new Map<K, V>()).entries();
  }
}
