import {assert} from '../base/assert.js';
import {FsError, messageOf, Refusal} from '../base/errors.js';
import type {Env} from '../env/env.js';
import {GROUPS_PER_OBJECT_MAX} from '../layout/scheme.js';
import type {ChangeRow} from '../namespace/table.js';
import type {ReaddirReply, Time} from '../protocol/gen/wire.js';
import type {Op} from '../protocol/ops.js';
import type {CheckpointWatch} from './backtraces.js';
import type {Batch, LoggedCommand} from './batch.js';
import type {Command, Effect, Outcome, Removal, SessionRecord, Superblock} from './command.js';
import {IdRange} from './id-range.js';
import {INTERNAL} from './internal-ops.js';
import * as keys from './keys.js';
import {Ledger, type LedgerOptions, type Verdict} from './ledger.js';
import {CHANGES, QUERIES} from './machine-table.js';
import {readShort} from './ops/readdir.js';
import {decodeInt, decodeRemoval, decodeSuperblock} from './records.js';
import {outcomeOf} from './replies.js';
import {MetaRoom} from './room.js';
import type {LayeredStore} from './store.js';
import {type ReadTx, Tx} from './tx.js';

export interface MachineOptions extends LedgerOptions {
  /** What an empty store becomes. */
  format: Superblock;
  /** Effects in the order in which they happened. Must not throw; may call `submit` and the like. */
  onApplied(effects: readonly Effect[]): void;
  /** The log or the store failed, or the machine found a bug of its own: nothing works any more, the process must stop. */
  onFailed(error: unknown): void;
  checkpoints?: CheckpointWatch | undefined;
}

/** Commands of one batch; what was submitted beyond it goes into the next, so that replies are not held back for long. */
const BATCH_COMMANDS_MAX = 1024;

interface Pending {
  row: ChangeRow<Tx>;
  command: Command<unknown>;
  resolve(outcome: Outcome<unknown>): void;
  reject(error: unknown): void;
}

/**
 * The deterministic state machine of the meta server (docs/architecture.md): the same batches on the same state give the
 * same state. Commands of one tick make one batch: applied, appended to the log, then answered.
 */
export class Machine {
  readonly #env: Pick<Env, 'clock' | 'disk' | 'log'>;
  readonly #options: MachineOptions;
  readonly #ledger: Ledger;
  readonly #store: LayeredStore;
  readonly #room: MetaRoom;
  #ids!: IdRange;
  #pending: Pending[] = [];
  #scheduled = false;
  #state: 'opening' | 'open' | 'closing' | 'failed' = 'opening';

  private constructor(
    env: Pick<Env, 'clock' | 'disk' | 'log'>,
    options: MachineOptions,
    ledger: Ledger,
  ) {
    this.#env = env;
    this.#options = options;
    this.#ledger = ledger;
    this.#store = ledger.store;
    this.#room = new MetaRoom(env);
  }

  /** Reads the store and replays the log. `env.kv` and `env.disk` stay the caller's to close, after `close`. */
  static async open(
    env: Pick<Env, 'clock' | 'disk' | 'kv' | 'log'>,
    options: MachineOptions,
  ): Promise<Machine> {
    return Machine.over(env, options, await Ledger.open(env, options));
  }

  /** Goes on with a ledger, which is the machine's from now on. */
  static async over(
    env: Pick<Env, 'clock' | 'disk' | 'log'>,
    options: MachineOptions,
    ledger: Ledger,
  ): Promise<Machine> {
    const machine = new Machine(env, options, ledger);
    ledger.onFailed = (error) => machine.#fail(error);
    await machine.#open();
    return machine;
  }

  async #open(): Promise<void> {
    await this.#options.checkpoints?.begin(this.#store.position.sequence);
    this.#ledger.watch = this.#options.checkpoints;
    this.#state = 'open';
    if (this.#store.get(keys.SUPERBLOCK_KEY) === undefined)
      this.#applyOwn(INTERNAL.format, this.#options.format);
    this.#ids = new IdRange(decodeInt(this.#store.get(keys.IDS_KEY)!), async (below) => {
      this.#applyOwn(INTERNAL.idRange, below);
      await this.#ledger.sync();
    });
    await this.#ids.reserve();
    await this.#room.start();
  }

  // ---------------------------------------------------------------- requests

  /**
   * Carries out a request that changes something (machine-table.ts). Resolves when it is in the log, which survives the
   * death of the process; durable after `sync`. Rejects with FsError (kept like a reply), or Refusal: NoSession,
   * OutOfState (a request id whose reply has been dropped), Busy (closing).
   */
  submit<Q, R>(op: Op<Q, R>, command: Command<Q>): Promise<Outcome<R>> {
    const row = CHANGES.get(op.code);
    assert(row !== undefined, `${op.name} changes nothing`);
    if (this.#state !== 'open') return Promise.reject(new Refusal('Busy', this.#state));
    return new Promise((resolve, reject) => {
      this.#pending.push({
        row,
        command: command as Command<unknown>,
        resolve: resolve as Pending['resolve'],
        reject,
      });
      this.#schedule();
    });
  }

  /** Answers a request that changes nothing, from everything that has been applied. Throws FsError. */
  query<Q, R>(op: Op<Q, R>, request: Q): R {
    const run = QUERIES.get(op.code);
    assert(run !== undefined, `${op.name} is no query`);
    return run(new Tx(this.#store), request) as R;
  }

  /** All of a directory, or how many names were looked at before it was found to have more than `max`. */
  readShort(oid: number, max: number): ReaddirReply | number {
    return readShort(new Tx(this.#store), oid, max);
  }

  /** Begins a checkpoint, unless one is being written. */
  checkpoint(): void {
    this.#ledger.checkpoint();
  }

  /** Looks at the state. `tx` must not be used afterwards. */
  read<T>(look: (tx: ReadTx) => T): T {
    return look(new Tx(this.#store));
  }

  /** As `read`, for checks: with what is under it. Must not change anything. */
  audit<T>(look: (tx: Tx) => T): T {
    return look(new Tx(this.#store));
  }

  /** Resolves when everything that was answered before the call is on stable storage. Concurrent calls share one sync. */
  async sync(): Promise<void> {
    try {
      await this.#ledger.sync();
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** That many ids, which nobody else gets: the first of them. FsError ENOSPC. */
  async reserveIds(count: number): Promise<number> {
    if (this.#room.short) throw new FsError('ENOSPC', 'the meta server has only its reserve left');
    while (!this.#ids.enough(count + BATCH_COMMANDS_MAX)) {
      if (this.#state !== 'open') throw new Refusal('Busy', this.#state);
      await this.#ids.reserve();
    }
    return this.#ids.take(count);
  }

  // ---------------------------------------------------------------- batches

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#env.clock.soon(() => {
      if (this.#ledger.full) void this.#ledger.room().then(() => this.#turn());
      else this.#turn();
    });
  }

  #turn(): void {
    this.#scheduled = false;
    try {
      this.#runBatch();
    } catch (error) {
      this.#fail(error);
    }
  }

  #runBatch(): void {
    if (this.#state === 'failed' || this.#pending.length === 0) return;
    if (!this.#ids.enough(BATCH_COMMANDS_MAX)) {
      // Only after a burst that outran the disk: ids must be durable before they are given.
      void this.#ids.reserve().then(
        () => this.#schedule(),
        (error: unknown) => this.#fail(error),
      );
      return;
    }
    const pending = this.#pending.splice(0, BATCH_COMMANDS_MAX);
    const batch = this.#ledger.batch(this.#now());
    const tx = new Tx(this.#store);
    const verdicts = pending.map((entry) => this.#judge(tx, batch, entry));
    tx.finish();
    if (batch.commands.length > 0) this.#ledger.append(batch);
    if (this.#ids.low) void this.#ids.reserve().catch((error: unknown) => this.#fail(error));
    if (tx.effects.length > 0) this.#options.onApplied(tx.effects);
    for (const [index, verdict] of verdicts.entries()) {
      if ('outcome' in verdict) pending[index]!.resolve(verdict.outcome);
      else pending[index]!.reject(verdict.error);
    }
    if (this.#pending.length > 0) this.#schedule();
  }

  /** Repeats and refusals do not enter the batch; all else is applied and does. */
  #judge(tx: Tx, batch: Batch, {row, command}: Pending): Verdict {
    const {session, requestId} = command;
    try {
      const kept = session === 0 ? null : this.#ledger.replies.find(session, requestId);
      if (kept !== null) return {outcome: {reply: outcomeOf(row.op, kept), repeated: true}};
    } catch (error) {
      if (error instanceof FsError || error instanceof Refusal) return {error};
      throw error;
    }
    const refusal = this.#room.refusal(row.op.code, command.request, command.payload);
    if (refusal !== null) return {error: refusal};
    const logged: LoggedCommand = {
      code: row.op.code,
      session,
      requestId,
      oid: row.makes ? this.#ids.take() : 0,
      groups: command.groups?.slice(0, GROUPS_PER_OBJECT_MAX) ?? [],
      request: row.op.request.encode(command.request as Partial<unknown>),
      payload: command.payload ?? NO_BYTES,
    };
    batch.commands.push(logged);
    return this.#ledger.carryOut(tx, row, logged, {request: command.request, now: batch.now});
  }

  /** A batch of one command of the machine's own, at once. */
  #applyOwn<Q>(op: Op<Q, unknown>, request: Q): void {
    const row = CHANGES.get(op.code)!;
    const bytes = op.request.encode(request as Partial<Q>);
    const c = {
      code: op.code,
      session: 0,
      requestId: 0,
      oid: 0,
      groups: [],
      request: bytes,
      payload: NO_BYTES,
    };
    const batch = this.#ledger.batch(this.#now());
    batch.commands.push(c);
    const tx = new Tx(this.#store);
    this.#ledger.carryOut(tx, row, c, {request, now: batch.now});
    tx.finish();
    this.#ledger.append(batch);
  }

  #now(): Time {
    const wall = this.#env.clock.wall();
    const sec = Math.floor(wall / 1000);
    return {sec, nsec: Math.min(999_999_999, Math.floor((wall - sec * 1000) * 1e6))};
  }

  #fail(error: unknown): void {
    if (this.#state === 'failed') return;
    this.#state = 'failed';
    this.#room.close();
    this.#env.log.error('meta.failed', {error: messageOf(error)});
    for (const {reject} of this.#pending.splice(0)) reject(new Refusal('Busy', 'failed'));
    this.#options.onFailed(error);
  }

  // ---------------------------------------------------------------- the server's own state

  async #own<Q>(op: Op<Q, unknown>, request: Q): Promise<void> {
    await this.submit(op, {session: 0, requestId: 0, request});
  }

  /** A new session; its id is never given again. */
  async createSession(data: Uint8Array): Promise<number> {
    const op = INTERNAL.sessionCreate;
    const {reply} = await this.submit(op, {session: 0, requestId: 0, request: data});
    return reply.session;
  }

  /** Drops a session and its replies. Unknown ones are nothing. */
  forgetSession(session: number): Promise<void> {
    return this.#own(INTERNAL.sessionForget, session);
  }

  sessions(): SessionRecord[] {
    return this.#store
      .range('s', keys.letterEnd('s'), Number.MAX_SAFE_INTEGER)
      .map(([key, data]) => ({session: keys.keyId(key, 1), data}));
  }

  get superblock(): Superblock {
    return decodeSuperblock(this.#store.get(keys.SUPERBLOCK_KEY)!);
  }

  /** They are made use of from now on. */
  useFeatures(names: readonly string[]): Promise<void> {
    return this.#own(INTERNAL.features, names.join(' '));
  }

  /** Tokens and deeds, which are the business of those who ask for it. FsError: what the operation says. */
  async keep(op: Op<Uint8Array, unknown>, row: object): Promise<void> {
    if (!this.superblock.features.includes('deeds'))
      throw new FsError('EOPNOTSUPP', "not switched on: run 'cpfs upgrade finalize'");
    await this.#own(op, Buffer.from(JSON.stringify(row)));
  }

  /** Of the last reign that began; 0: none did. */
  get term(): number {
    return this.#ledger.term;
  }

  beginReign(term: number): Promise<void> {
    return this.#own(INTERNAL.reign, term);
  }

  /** What `putMap` stored last; null in a new store. */
  get map(): Uint8Array | null {
    return this.#store.get(keys.MAP_KEY) ?? null;
  }

  putMap(bytes: Uint8Array): Promise<void> {
    return this.#own(INTERNAL.mapPut, bytes);
  }

  /** Ends objects that have no name any more; those that have one (or are gone) are left. */
  reap(oids: readonly number[]): Promise<void> {
    return this.#own(INTERNAL.reap, oids);
  }

  isOrphan(oid: number): boolean {
    return this.#store.get(keys.orphanKey(oid)) !== undefined;
  }

  /** Objects without a name, above `after`, ascending. */
  orphans(after: number, limit: number): number[] {
    const found = this.#store.range(keys.orphanKey(after + 1), keys.letterEnd('o'), limit);
    return found.map(([key]) => keys.keyId(key, 1));
  }

  /** Files whose columns must go, and parts of files, behind `after`, in the order of the queue. */
  removals(after: Removal | null, limit: number): Removal[] {
    const from = after === null ? 'q' : `${keyOf(after)}\0`;
    const found = this.#store.range(from, keys.letterEnd('q'), limit);
    return found.map(([key, layout]) => ({
      oid: keys.keyId(key, 1),
      layout: decodeRemoval(layout),
      whole: key.length === keys.ID_KEY_LENGTH,
    }));
  }

  async removalDone(done: readonly Removal[]): Promise<void> {
    const whole = done.filter((one) => one.whole).map(({oid}) => oid);
    const parts = done.filter((one) => !one.whole);
    if (whole.length > 0) await this.#own(INTERNAL.removalDone, whole);
    if (parts.length > 0)
      await this.#own(
        INTERNAL.partsRemoved,
        parts.flatMap(({oid, layout}) => [oid, layout.generation]),
      );
  }

  /** Which of these objects do not exist. */
  missing(oids: readonly number[]): number[] {
    return oids.filter((oid) => this.#store.get(keys.inodeKey(oid)) === undefined);
  }

  /** Inodes of any kind, orphans included. */
  get files(): number {
    return decodeInt(this.#store.get(keys.FILES_KEY)!);
  }

  /** Number of the last batch. */
  get sequence(): number {
    return this.#ledger.last;
  }

  /** Ends as if killed: what was logged last may be cut off by who goes on without it. */
  async abandon(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closing';
    this.#room.close();
    for (const {reject} of this.#pending.splice(0)) reject(new Refusal('Busy', 'closing'));
    await this.#ledger.abandon();
  }

  /** Answers what was submitted. Later calls reject with Refusal(Busy), and nothing is logged any more. */
  async end(): Promise<void> {
    if (this.#state !== 'open') return;
    while (this.#pending.length > 0) {
      if (!this.#ids.enough(BATCH_COMMANDS_MAX)) await this.#ids.reserve();
      // Without `room`: a checkpoint may wait for standbys for as long as nobody can say that they do not count.
      this.#runBatch();
    }
    this.#state = 'closing';
    this.#room.close();
    await this.#ids.settled();
  }

  /** The same, and writes a checkpoint. */
  async close(): Promise<void> {
    await this.end();
    if (this.#state === 'closing') await this.#ledger.close();
  }
}

const NO_BYTES = new Uint8Array(0);
const keyOf = ({oid, layout, whole}: Removal): string =>
  keys.removalKey(oid, whole ? -1 : layout.generation);
