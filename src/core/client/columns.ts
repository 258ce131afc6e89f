import type {Ms} from '../base/ids.js';
import type {BufferPool} from '../base/pool.js';
import type {ClusterMap} from '../cluster/map.js';
import type {Clock} from '../env/clock.js';
import type {Codec} from '../env/codec.js';
import type {Log} from '../env/log.js';
import type {Random} from '../env/random.js';
import type {Op} from '../protocol/ops.js';
import type {CallOptions, Reply} from '../transport/peer-api.js';
import type {Copies} from './copies.js';
import type {JointReads} from './joint-reads.js';
import type {Lives} from './lives.js';
import type {Slots} from './slots.js';
import type {Stats} from './stats.js';

/** The data servers as the paths of bytes see them. Implemented by data-servers.ts; by a few lines in tests. */
export interface Columns {
  /** The newest map that this client has. */
  readonly map: ClusterMap;
  /** Which servers have lost what was not synced. */
  readonly lives: Lives;
  /**
   * One request to whoever fills the slot in the newest map. Rejects with FsError, Refusal, or Lost (also when the
   * slot is empty or its connection was given up because the map says away).
   */
  call<Q, R>(
    group: number,
    slot: number,
    op: Op<Q, R>,
    request: Partial<Q>,
    options?: CallOptions,
  ): Promise<Reply<R>>;
  /** Resolves when there is a connection to whoever fills the slot, or it cannot be had soon; null: there is one. Never rejects. */
  reach?(group: number, slot: number): Promise<void> | null;
  /** When the slot came to the state that it has, by the clock's `now`, as far as this client has seen. Absent: it has just come to it. */
  cameAt?(group: number, slot: number): Ms;
  /** Tells the meta server that a column does not answer. Never fails; seldom sent twice. */
  report(group: number, slot: number, epoch: number, reason: string): void;
  /** Resolves when the map is newer than `epoch`, or after `timeoutMs`. Asks the meta server if need be. */
  newer(epoch: number, timeoutMs: number): Promise<void>;
}

/** What the paths of bytes need of the world. */
export interface BytePath {
  clock: Clock;
  random: Random;
  codec: Codec;
  log: Log;
  pool: BufferPool;
  slots: Slots;
  columns: Columns;
  joint: JointReads;
  copies: Copies;
  stats: Stats;
  /** How long a column that does not answer, or takes no write, is waited for; then EIO. */
  columnWaitMs: number;
  /** What is changed is nobody's write: who misses it lacks nothing that anybody was told of. */
  repair: boolean;
  /** For so long too few servers may have been there, by the map itself, while reads wait for them; then EIO (DESIGN.md section 9). */
  tooFewWaitMs: number;
}
