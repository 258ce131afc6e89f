import type {Env} from '../env/env.js';
import type {Op} from '../protocol/ops.js';
import type {Command, Effect, Outcome, Removal, SessionRecord, Superblock} from './command.js';
import type {ReadTx} from './tx.js';

export interface MachineOptions {
  /** What an empty store becomes. */
  format: Superblock;
  /** Effects in the order in which they happened. Must not throw; may call `submit` and the like. */
  onApplied(effects: readonly Effect[]): void;
  /** The log or the store failed, or the machine found a bug of its own: nothing works any more, the process must stop. */
  onFailed(error: unknown): void;
  /** A checkpoint is begun when this much time has passed, or this much was logged, since the last one. */
  checkpointMs?: number;
  checkpointBytes?: number;
  /** A segment of the log is at least this long. */
  segmentBytes?: number;
  /** Segments that are kept although the checkpoint does not need them. */
  segmentsKept?: number;
}

/**
 * The deterministic state machine of the meta server (docs/architecture.md): the same batches on the same state give the
 * same state. Commands of one tick make one batch: applied, appended to the log, then answered.
 */
export declare class Machine {
  /** Reads the store and replays the log. `env.kv` and `env.disk` stay the caller's to close, after `close`. */
  static open(
    env: Pick<Env, 'clock' | 'disk' | 'kv' | 'log'>,
    options: MachineOptions,
  ): Promise<Machine>;

  /**
   * Carries out a request that changes something (`op.mutates`, machine-table.ts). Resolves when it is in the log, which
   * survives the death of the process; durable after `sync`. Rejects with FsError (kept like a reply), or Refusal:
   * NoSession, OutOfState (a request id whose reply has been dropped).
   */
  submit<Q, R>(op: Op<Q, R>, command: Command<Q>): Promise<Outcome<R>>;
  /** Answers a request that changes nothing, from everything that has been applied. Throws FsError. */
  query<Q, R>(op: Op<Q, R>, request: Q): R;
  /** Looks at the state. `tx` must not be used afterwards. */
  read<T>(look: (tx: ReadTx) => T): T;
  /** Resolves when everything that was answered before the call is on stable storage. Concurrent calls share one sync. */
  sync(): Promise<void>;

  /** A new session; its id is never given again. */
  createSession(data: Uint8Array): Promise<number>;
  /** Drops a session and its replies. Unknown ones are nothing. */
  forgetSession(session: number): Promise<void>;
  sessions(): SessionRecord[];

  readonly superblock: Superblock;
  /** What `putMap` stored last; null in a new store. */
  readonly map: Uint8Array | null;
  putMap(bytes: Uint8Array): Promise<void>;

  /** Ends objects that have no name any more; those that have one (or are gone) are left. */
  reap(oids: readonly number[]): Promise<void>;
  /** Objects without a name, above `after`, ascending. */
  orphans(after: number, limit: number): number[];
  /** Files whose columns must go, above `after`, ascending. */
  removals(after: number, limit: number): Removal[];
  removalDone(oids: readonly number[]): Promise<void>;
  /** Which of these objects do not exist. */
  missing(oids: readonly number[]): number[];

  /** Inodes of any kind, orphans included. */
  readonly files: number;
  /** Number of the last batch. */
  readonly sequence: number;

  /** Answers what was submitted, writes a checkpoint. Later calls reject with Refusal(Busy). */
  close(): Promise<void>;
}
