import type {Durability} from '../base/durability.js';
import type {Ms} from '../base/ids.js';
import type {ClusterTiming} from '../cluster/control-api.js';
import type {ReadCopyPolicy} from '../cluster/read-copies.js';
import type {DirectoryLayout} from '../namespace/inode.js';
import type {HeldPort} from '../transport/held-port.js';
import type {BacktraceOptions} from './backtraces.js';
import type {Ledger} from './ledger.js';
import type {Reign} from './reign.js';
import type {Joining} from './tokens.js';

export interface MetaServerOptions {
  /** host:port to listen on, at `port` if that is there already. */
  address: string;
  port?: HeldPort;
  /** Of a new store; of an old one it must be the same. Absent: drawn, or what the store says. */
  clusterId?: string;
  /** Of the root directory of a new store. */
  rootLayout: DirectoryLayout;
  /** Slots of a group, in a new store. */
  groupSize: number;
  /** Servers of one group may lie in one failure domain. Default: no. */
  anyDomain?: boolean;
  /** Of read copies, until an administrator says something else. */
  readCopies?: ReadCopyPolicy;
  /** A copy of the state with the data servers, for a rebuild. Default: none. */
  backtraces?: BacktraceOptions;
  /** The log or the store failed, or a bug was found: the process must stop. */
  onFailed(error: unknown): void;
  recallMs?: Ms;
  timing?: ClusterTiming;
  /** Default: both. */
  durability?: Durability;
  /** Who decides which meta server is active, for people. */
  how?: string;
  /** Gives nodes that join their keys. Absent: none join so. */
  joining?: Joining;
  /** Its right to be the active one; absent: nobody else can be. */
  reign?: Reign;
  /** What it has followed until now; absent: it is read from the folder. It is the server's then. */
  ledger?: Ledger;
}
