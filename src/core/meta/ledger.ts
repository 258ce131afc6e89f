import {assert} from '../base/assert.js';
import {FsError} from '../base/errors.js';
import {type FeatureName, lacking, THIS_RELEASE} from '../base/features.js';
import type {Ms} from '../base/ids.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {KvView} from '../env/kv.js';
import type {ChangeRow} from '../namespace/table.js';
import type {Time} from '../protocol/gen/wire.js';
import type {CheckpointWatch} from './backtraces.js';
import {type Batch, decodeBatch, encodeBatch, type LoggedCommand} from './batch.js';
import {Checkpointer, checkpointDefaults} from './checkpointer.js';
import type {Outcome} from './command.js';
import {INTERNAL} from './internal-ops.js';
import {SUPERBLOCK_KEY, TERM_KEY} from './keys.js';
import {BatchLog, type LogHold} from './log.js';
import {CHANGES} from './machine-table.js';
import {decodeInt, decodeSuperblock, type ReplyRecord} from './records.js';
import {Replies, refusedReply, replyOf} from './replies.js';
import {LayeredStore} from './store.js';
import {checkWhole} from './store-copy.js';
import {Tx} from './tx.js';

export interface LedgerOptions {
  /** A checkpoint is begun when this much time has passed, or this much was logged, since the last one. */
  checkpointMs?: Ms;
  checkpointBytes?: number;
  /** A segment of the log is at least this long. */
  segmentBytes?: number;
  /** Segments that are kept although the checkpoint does not need them. */
  segmentsKept?: number;
  /** Batches after this one are cut off: the history went on without them. */
  until?: number;
}

const SEGMENT_BYTES = 16 * 1024 * 1024;
const SEGMENTS_KEPT = 4;
const NO_BYTES = new Uint8Array(0);

/** How a command went. */
export type Verdict = {outcome: Outcome<unknown>} | {error: unknown};

/** A batch gave another state here than where it was carried out first. */
export class Diverged extends Error {
  constructor(sequence: number) {
    super(`the state differs before batch ${sequence}`);
  }
}

/**
 * The state of a meta server and the log of the batches that led to it, whoever decides on them: the machine of the active one
 * (machine.ts), or those of the active one's log that a standby follows.
 */
export class Ledger {
  readonly store: LayeredStore;
  readonly replies: Replies;
  readonly #env: Pick<Env, 'clock' | 'disk' | 'kv' | 'log' | 'release'>;
  readonly #options: LedgerOptions;
  #log!: BatchLog;
  #checkpointer!: Checkpointer;
  #timer: Timer | null = null;
  #closed = false;
  /** What the state makes use of. */
  #features: readonly string[] = [];
  /** A checkpoint could not be written: nothing works any more. */
  onFailed: ((error: unknown) => void) | null = null;
  /** Sees what checkpoints write. */
  watch: CheckpointWatch | undefined;
  /** Sees every record that is appended. */
  onRecord: ((sequence: number, record: Uint8Array) => void) | null = null;
  /** Resolves when whoever must have what was logged up to a sequence has it: no checkpoint goes beyond. Null: nobody must. */
  keptBy: ((sequence: number) => Promise<void>) | null = null;

  private constructor(
    env: Pick<Env, 'clock' | 'disk' | 'kv' | 'log' | 'release'>,
    options: LedgerOptions,
    store: LayeredStore,
  ) {
    this.#env = env;
    this.#options = options;
    this.store = store;
    this.replies = new Replies(store);
  }

  /** Reads the store and replays the log. FsError EIO: they do not belong together. */
  static async open(
    env: Pick<Env, 'clock' | 'disk' | 'kv' | 'log' | 'release'>,
    options: LedgerOptions = {},
  ): Promise<Ledger> {
    const ledger = new Ledger(env, options, new LayeredStore(env.kv));
    await ledger.#open();
    return ledger;
  }

  async #open(): Promise<void> {
    checkWhole(this.#env.kv);
    this.#learn();
    const {segmentBytes = SEGMENT_BYTES, segmentsKept = SEGMENTS_KEPT, until} = this.#options;
    const {position} = this.store;
    const replay = ({sequence, bytes}: {sequence: number; bytes: Uint8Array}): void => {
      try {
        this.#replay(sequence, bytes);
      } catch (error) {
        if (!(error instanceof Diverged)) throw error;
        // It has happened already: an earlier release did it otherwise, or there is a bug. A standby starts anew, the only server cannot.
        this.#env.log.error('meta.diverged', {sequence});
        this.#apply(bytes);
      }
    };
    const limits = {segmentBytes, segmentsKept};
    this.#log = await BatchLog.open(this.#env, limits, position, replay, until);
    this.#env.log.info('meta.replayed', {position: position.sequence, last: this.#log.last});
    this.#checkpointer = new Checkpointer(this.store, this.#log, {
      ...checkpointDefaults,
      bytes: this.#options.checkpointBytes ?? checkpointDefaults.bytes,
      watch: () => this.watch,
      kept: (sequence) => this.keptBy?.(sequence) ?? Promise.resolve(),
      failed: (error) => {
        if (!this.#closed) this.onFailed?.(error);
      },
    });
    this.#tick();
  }

  #tick(): void {
    this.#timer = this.#env.clock.timer(this.#options.checkpointMs ?? checkpointDefaults.ms, () => {
      this.#checkpointer.begin();
      this.#tick();
    });
  }

  /** The Kv as of its last checkpoint, `position`. */
  view(): KvView {
    return this.#env.kv.view();
  }

  /** Number of the last batch; 0: there is none. */
  get last(): number {
    return this.#log.last;
  }

  /** Stands for all batches until now; 0: not known. */
  get sum(): number {
    return this.#log.sum;
  }

  /** Of the last reign that began; 0: none did. */
  get term(): number {
    const bytes = this.store.get(TERM_KEY);
    return bytes === undefined ? 0 : decodeInt(bytes);
  }

  /** Id of the cluster; empty: it has none yet. */
  get cluster(): string {
    const bytes = this.store.get(SUPERBLOCK_KEY);
    return bytes === undefined ? '' : decodeSuperblock(bytes).cluster;
  }

  /** What was logged is on stable storage. */
  sync(): Promise<void> {
    return this.#log.sync();
  }

  /** Batches as they are in the log, from this one on; null: not kept any more, or not there yet. */
  recordsFrom(sequence: number): Promise<Uint8Array | null> {
    return this.#log.readFrom(sequence);
  }

  /** Keeps the log from there on, until it is released; `from` may be moved. */
  hold(from: number): LogHold & {release(): void} {
    const {holds} = this.#log;
    const hold = {from, release: () => void holds.delete(hold)};
    holds.add(hold);
    return hold;
  }

  /** Begins a checkpoint, unless one is being written. */
  checkpoint(): void {
    this.#checkpointer.begin();
  }

  /** The store cannot keep up: nothing is to be appended before `room` resolves. */
  get full(): boolean {
    return this.#checkpointer.behind;
  }

  async room(): Promise<void> {
    while (this.full) await this.#checkpointer.next();
  }

  /** Resolves when what was logged before the call is in the Kv, which may have more. Rejects when it will not be. */
  checkpointed(): Promise<void> {
    return this.#checkpointer.finish();
  }

  /** Of a batch whose record is kept, else null. */
  async sumAt(sequence: number): Promise<number | null> {
    const {position} = this.store;
    if (sequence === position.sequence && position.sum !== 0) return position.sum;
    return this.#log.sumAt(sequence);
  }

  /** A batch to come. Its commands are carried out in its turn, without a pause, then it is appended. */
  batch(now: Time): Batch {
    const digest = this.#uses('digests') ? this.store.digest : null;
    return {now, digest, commands: []};
  }

  /** Carries a command out. An FsError is a verdict like others, and changes nothing. */
  carryOut(
    tx: Tx,
    row: ChangeRow<Tx>,
    c: LoggedCommand,
    {request, now}: {request: unknown; now: Time},
  ): Verdict {
    const before = tx.changes;
    let verdict: Verdict;
    let kept: ReplyRecord;
    try {
      const reply = row.run(tx, request, {now, oid: c.oid, groups: c.groups, payload: c.payload});
      verdict = {outcome: {reply, repeated: false}};
      kept = replyOf(
        c.requestId,
        c.session === 0 ? NO_BYTES : row.op.reply.encode(reply as object),
      );
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      tx.refused(before);
      verdict = {error};
      kept = refusedReply(c.requestId, error);
    }
    if (c.session !== 0) this.replies.keep(c.session, kept);
    if (c.code === INTERNAL.features.code || c.code === INTERNAL.format.code) this.#learn();
    if (c.code === INTERNAL.sessionForget.code) this.replies.forget(request as number);
    return verdict;
  }

  #uses(feature: FeatureName): boolean {
    return this.#features.includes(feature);
  }

  /** FsError EINVAL, which no caller may take for an answer: this release lacks what the state makes use of. */
  #learn(): void {
    const bytes = this.store.get(SUPERBLOCK_KEY);
    this.#features = bytes === undefined ? [] : decodeSuperblock(bytes).features;
    const reason = lacking(this.#features, this.#env.release ?? THIS_RELEASE);
    if (reason !== null) throw new FsError('EINVAL', reason);
  }

  append(batch: Batch): void {
    const bytes = encodeBatch(batch);
    const record = this.#log.append(this.#log.last + 1, bytes);
    this.#appended(record);
  }

  /**
   * Appends and carries out a record of the log that this one follows. FsError ESTALE: it is not the next one. Diverged: it gives another state
   * than there.
   */
  follow(record: Uint8Array): void {
    const {sequence, bytes} = this.#log.follow(record);
    this.#appended(record);
    this.#replay(sequence, bytes);
  }

  #appended(record: Uint8Array): void {
    this.#checkpointer.logged(record.length);
    this.onRecord?.(this.#log.last, record);
  }

  #replay(sequence: number, bytes: Uint8Array): void {
    const batch = decodeBatch(bytes);
    if (batch.digest !== null && batch.digest !== this.store.digest) throw new Diverged(sequence);
    this.#run(batch);
  }

  /** Whatever the state was. */
  #apply(bytes: Uint8Array): void {
    const batch = decodeBatch(bytes);
    this.store.digest = batch.digest!;
    this.#run(batch);
  }

  #run({commands, now}: Batch): void {
    const tx = new Tx(this.store);
    for (const c of commands) {
      const row = CHANGES.get(c.code);
      assert(
        row !== undefined,
        `the log has an operation ${c.code} that this release does not know`,
      );
      this.carryOut(tx, row, c, {request: row.op.request.decode(c.request), now});
    }
    tx.finish();
  }

  /** With everything in the store: the next start has nothing to replay. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#timer?.cancel();
    await this.#checkpointer.close();
    this.#closed = true;
    await this.#log.close();
  }

  /** As it is: what was logged last may be cut off at the next opening. */
  async abandon(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    await this.#checkpointer.abandon();
    await this.#log.close();
  }
}
