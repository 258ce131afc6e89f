import type {Ms} from '../base/ids.js';

/** A value, and the number of the change that put it there. */
export interface Versioned {
  value: Uint8Array;
  revision: number;
  /** That of the first of the changes that left it there. */
  created: number;
}

/** What is there, and in which era of the coordinator: each leader of it has one of its own. */
export interface Looked {
  found: Versioned | null;
  era: string;
}

/** A comparison of `commit`: the key has this revision, or was created by that change; 0: it is not there. */
export type Compare = {key: string} & ({revision: number} | {created: number});

export interface CoordinatorPut {
  key: string;
  value: Uint8Array;
  /** The key goes with it. */
  lease?: CoordinatorLease;
}

/** What goes when its holder is not heard any more. */
export interface CoordinatorLease {
  readonly id: string;
  readonly ttlMs: Ms;
  /** In which it was granted. */
  readonly era: string;
  /**
   * For how long it lasts at least, counted from when this was called. Rejects: it is gone (FsError ENOENT), its era is over, and who led in it may yet revoke
   * it (FsError ESTALE), or nobody knows (Lost).
   */
  keepAlive(): Promise<Ms>;
  /** Ends it at once, with its keys. */
  revoke(): Promise<void>;
}

/**
 * A small store that several machines agree on (etcd): who is the active meta server, and who may become it. All calls end within a bound; Lost:
 * nobody was reached, or whether it happened is not known.
 */
export interface Coordinator {
  /** As of now, whatever was answered to others before. */
  get(key: string): Promise<Versioned | null>;
  look(key: string): Promise<Looked>;
  /** All puts and deletions or none; the revision, or null: a comparison failed. */
  commit(
    compare: readonly Compare[],
    puts: readonly CoordinatorPut[],
    deletes?: readonly string[],
  ): Promise<number | null>;
  /** `key`: one that may be read, and that it is for. */
  grant(ttlMs: Ms, key: string): Promise<CoordinatorLease>;
  /** Calls at each change of a key with this prefix from now on; several may come as one, and one several times; the last is what counts. */
  watch(prefix: string, changed: (key: string, value: Versioned | null) => void): {close(): void};
  close(): Promise<void>;
}
