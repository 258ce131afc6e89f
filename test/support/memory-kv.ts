import type {Kv, KvView} from '../../src/core/env/kv.js';

/** A store in memory, for tests that need neither time nor a disk. */
export class MemoryKv implements Kv {
  readonly rows = new Map<string, Uint8Array>();

  get(key: string): Uint8Array | undefined {
    return this.rows.get(key);
  }

  *range(from: string, to: string, limit: number): Iterable<[string, Uint8Array]> {
    const keys = [...this.rows.keys()].filter((key) => key >= from && key < to).sort();
    for (const key of keys.slice(0, limit)) yield [key, this.rows.get(key)!];
  }

  async write(changes: Iterable<[string, Uint8Array | null]>): Promise<void> {
    for (const [key, value] of changes) {
      if (value === null) this.rows.delete(key);
      else this.rows.set(key, value);
    }
  }

  async clear([key, value]: [string, Uint8Array]): Promise<void> {
    this.rows.clear();
    this.rows.set(key, value);
  }

  view(): KvView {
    const then = new MemoryKv();
    for (const [key, value] of this.rows) then.rows.set(key, value);
    return {range: (...a) => then.range(...a), close: () => {}};
  }

  async close(): Promise<void> {}
}
