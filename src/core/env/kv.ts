/** An ordered key-value store. Keys are strings of bytes (latin1, at most 500), ordered by byte value. */
export interface Kv {
  get(key: string): Uint8Array | undefined;
  /** Entries with from <= key < to, ascending, at most `limit`. */
  range(from: string, to: string, limit: number): Iterable<[string, Uint8Array]>;
  /**
   * All changes or none; null removes. Resolves when they are on stable storage. Reads see them at the latest
   * then. One write at a time.
   */
  write(changes: Iterable<[string, Uint8Array | null]>): Promise<void>;
  /** Removes everything, and puts this one entry, as `write` does it. In a time that the entries hardly count in. */
  clear(left: [string, Uint8Array]): Promise<void>;
  /** What is in it now, for as long as it is open. Until then the store cannot use the space again of what is written over. */
  view(): KvView;
  close(): Promise<void>;
}

export interface KvView {
  /** As `Kv.range`. */
  range(from: string, to: string, limit: number): Iterable<[string, Uint8Array]>;
  close(): void;
}
