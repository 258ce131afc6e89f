import type {ClusterMap} from '../cluster/map.js';
import type {ByteRange} from '../lease/ranges.js';
import type {FlushItem, ObjectLocks, ReadCopy, ReclaimRequest} from '../protocol/gen/wire.js';

export interface SessionOptions {
  /** host:port of the meta server. */
  address: string;
  /** For people: host:pid or the mount point. */
  name: string;
  /** Id of the data server in whose process this client works; empty: none. */
  server: string;
  /** It gives way to others, and data servers tell it when there are any. */
  agent: boolean;
  /** Leases of directories are not wanted but for changing them. */
  unleased: boolean;
  /** Where it is, outermost first, with slashes between; '': not known. */
  location: string;
}

/** What the session asks of, and tells, whoever holds leases under it. */
export interface SessionEvents {
  recall(oid: number, keep: number, range: ByteRange): void;
  /** Read copies of an object that it holds for reading. */
  copied(oid: number, copies: readonly ReadCopy[]): void;
  /** Size and times of an object that is held for writing, or null. */
  report(oid: number): FlushItem | null;
  /** Before the `holdings` are asked for: what is not claimed again is given up. Bounded by the caller. */
  returning(): Promise<void>;
  /** Everything that is held and open, for a meta server that may have forgotten it. */
  holdings(): ReclaimRequest;
  /** Of the holdings: these objects do not exist any more. */
  gone(oids: readonly number[]): void;
  /** There is a connection, and the server knows the `holdings` of a moment ago. */
  up(): void;
  /** The server is another process than before; what it had not synced may be lost. */
  restarted(): void;
  mapChanged(map: ClusterMap): void;
  /** Which locks are there of this object (0: of all)? `give`: and keep them no longer. None: they are not kept under this number. */
  lockRecall(oid: number, delegation: number, give: boolean): ObjectLocks[];
  /** All locks that are held and all objects whose locks are kept, in parts of one message each. */
  locks(): Iterable<ObjectLocks[]>;
  /**
   * Before a request leaves: resolves when the meta server knows what was done here to the objects that it is about, or all, if it changes
   * names; null: it does.
   */
  settled(code: number, request: object): Promise<void> | null;
  /** There has been no connection for so long that others may be given what is held: nothing of it is told any more until there is. */
  lapsed(): void;
  /** The session is gone and everything it held is void; a new one is on its way. */
  lost(reason: string): void;
}
