import type {Ms} from '../base/ids.js';
import type {ClusterMap} from '../cluster/map.js';
import type * as wire from '../protocol/gen/wire.js';
import type {ReadCopyMaker} from './read-copies.js';
import type {ScrubPeers} from './scrub.js';

export interface DataServerOptions {
  /** 0: its own, if it has one; else it waits until the meta server gives it a slot. */
  group: number;
  /** Without a group: a new one may be made of it and others like it. */
  auto?: boolean;
  /** The failure domain: what is lost together with this server. '': not known. */
  domain?: string;
  /** Where it is, outermost first, with slashes between. '': not known. */
  location?: string;
  /** host:port of the meta server. */
  metaAddress: string;
  /** Where clients reach this server; port 0 picks one. */
  listen: string;
  /** How the disk of its environment moves bytes; shown in the status. */
  io?: string;
  /** Free bytes that writes leave alone, for removal, logs and repair. Default: 1 % of the disk, at most 64 MiB. */
  reserveBytes?: number;
  /** How long an object must be missing before its columns here are taken for nobody's. Default: an hour. */
  leakGraceMs?: Ms | undefined;
  /** After each map that this server obeys; the role runs the recovery agent by it. */
  onMap?(map: ClusterMap, slot: number): void;
  /** The meta server wants the group's intents checked; answer with `resyncDone`. */
  onResync?(order: number): void;
  /** With each heartbeat: is this server to move objects, and how fast? */
  onMoves?(order: wire.MoveOrder): void;
  /** Judges what a scrub finds. Absent: it is only counted. */
  scrubPeers?: ScrubPeers;
  /** Makes read copies that are to be here. Absent: none are made. */
  readCopies?: ReadCopyMaker;
  /** The disk lost what it had taken, or a bug was found: the process must stop at once. Default: thrown. */
  onFailed?(error: unknown): void;
}
