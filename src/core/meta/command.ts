import type {DirectoryLayout} from '../namespace/inode.js';
import type {Layout} from '../protocol/gen/wire.js';

/** A request that changes something, on its way into the machine. */
export interface Command<Q> {
  /** Who asks; its reply is kept under `requestId`. 0: the server itself, nothing is kept. */
  session: number;
  requestId: number;
  request: Q;
  /**
   * For `create` and `mknod`: groups for a new file in the order in which they were drawn (layout/placement.ts),
   * as many as there are (at most GROUPS_PER_OBJECT_MAX); the file takes as many as its directory asks for, from the
   * front. Empty: ENOSPC. Others need none.
   */
  groups?: readonly number[];
  /** What came beside the message; the machine keeps it. */
  payload?: Uint8Array;
}

export interface Outcome<R> {
  /** The caller's to change: the machine has kept its own copy. */
  reply: R;
  /** The request had been carried out before and this is the reply of then. */
  repeated: boolean;
}

/** What the control part must act on; told after the batch is in the log and before its replies leave. */
export type Effect =
  /** Its last name went. It stays usable until `reap`; it is on the orphan list. */
  | {kind: 'orphan'; oid: number}
  /** A reaped file, or what one was moved from: it is on the removal queue until `removalDone`. */
  | ({kind: 'remove'} & Removal);

export interface Superblock {
  cluster: string;
  /** Of the root directory when the store was made; what a removed layout attribute falls back to. */
  rootLayout: DirectoryLayout;
  /** Slots of a group: no scheme is wider. */
  groupSize: number;
  /** What the state makes use of, of what came after the first release (base/features.ts). */
  features: readonly string[];
}

export interface Removal {
  oid: number;
  layout: Layout;
  /** All generations, wherever `layout` has them; else that of `layout`. */
  whole: boolean;
}

export interface SessionRecord {
  session: number;
  /** What was given to `createSession`; the machine does not look into it. */
  data: Uint8Array;
}
