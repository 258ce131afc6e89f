import {Bug} from '../base/assert.js';
import type {Member} from '../base/coordinator-keys.js';
import {FsError, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import {MIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {OPS} from '../protocol/ops.js';
import {Handlers} from '../transport/handlers.js';
import type {Peer} from '../transport/peer.js';
import {Redial} from '../transport/redial.js';
import {takeOut} from './inline.js';
import {Diverged, Ledger} from './ledger.js';
import {recordAt} from './log.js';
import {checkWhole, StoreCopy} from './store-copy.js';

/** An active server says something four times a second: one that is silent for so long is asked anew. */
const SILENT_MS: Ms = 3_000;
const LOOK_MS: Ms = 500;
/** What waits in memory for the store: beyond it nothing more is taken, and the active one goes on without this standby until there is room. */
const OVERLAY_BYTES_MAX = 64 * MIB;
const CALL = {deadlineMs: 5_000 as Ms, urgent: true};
const NO_BYTES = new Uint8Array(0);
const tooSlow = (): FsError => new FsError('EBUSY', 'the store of this standby is too slow');

export type StandbyEnv = Pick<
  Env,
  'clock' | 'random' | 'net' | 'disk' | 'kv' | 'log' | 'pool' | 'release'
>;

export interface StandbyOptions {
  self: Member;
  /** Where it listens, for people and as a hint to clients. */
  address: string;
  /** The store or the log failed: the process must stop. */
  onFailed(error: unknown): void;
  /** The term of whom it follows, at each connection. Throws Refusal: it is an old one. */
  term(term: number): void;
  /** That wait in memory for the store, at most. */
  overlayBytesMax?: number;
}

/**
 * Follows the log of the active meta server: each record is appended to the own log and carried out, and said to be had only then. What does
 * not lead to the same state is not kept: then the whole state is copied anew.
 */
export class Standby {
  readonly #env: StandbyEnv;
  readonly #options: StandbyOptions;
  #ledger: Ledger | null = null;
  #redial: Redial | null = null;
  /** Bytes of a record of which the rest is to come. */
  #partly: Uint8Array = NO_BYTES;
  /** The connection whose records were too much. */
  #refused: Peer | null = null;
  #copy: StoreCopy | null = null;
  /** What is being done with the store; the next thing waits for it. */
  #work: Promise<void> = Promise.resolve();
  #kept = 0;
  #waiters: (() => void)[] = [];
  #closed = false;
  #heardAt: Ms = 0;
  #timer: Timer | null = null;
  /** How often all of it was copied. */
  #copies = 0;
  #durability = '';

  constructor(env: StandbyEnv, options: StandbyOptions) {
    this.#env = env;
    this.#options = options;
  }

  /** Opens what the folder holds. FsError EIO: it is damaged. */
  async open(): Promise<void> {
    try {
      checkWhole(this.#env.kv);
    } catch (error) {
      // It is copied again.
      this.#env.log.warn('standby.not-whole', {reason: messageOf(error)});
      return;
    }
    this.#use(await this.#openLedger());
  }

  async #openLedger(until?: number): Promise<Ledger> {
    const ledger = await Ledger.open(this.#env, until === undefined ? {} : {until});
    ledger.onFailed = this.#options.onFailed;
    return ledger;
  }

  #use(ledger: Ledger): void {
    this.#ledger = ledger;
    ledger.keptBy = (sequence) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (this.#kept >= sequence) resolve();
          else this.#waiters.push(look);
        };
        look();
      });
  }

  /** The last record that it has; 0: none. */
  get sequence(): number {
    return this.#ledger?.last ?? 0;
  }

  /** How often it had no use for what it had, and all was copied. */
  get copies(): number {
    return this.#copies;
  }

  /** Nothing that it does not have was answered, as it last heard. */
  get inSync(): boolean {
    if (this.#durability === 'disk') return false;
    return this.#ledger !== null && this.#kept >= this.#ledger.last;
  }

  /** What whom it follows waits for; empty: not known. */
  get durability(): string {
    return this.#durability;
  }

  /** Since it heard whom it follows. */
  get silentMs(): Ms {
    return this.#env.clock.now() - this.#heardAt;
  }

  get connected(): boolean {
    return this.#redial?.current != null;
  }

  /** What it has; null: nothing that is whole. */
  get ledger(): Ledger | null {
    return this.#ledger;
  }

  /** Whom it follows from now on; null: nobody. */
  follow(address: string | null): void {
    if (this.#closed || this.#redial?.address === address) return;
    this.#redial?.close('another one is active');
    this.#redial = null;
    if (address === null) return;
    this.#redial = new Redial(this.#env, {address, hello: (peer) => this.#hello(peer)});
    if (this.#timer === null) this.#look();
  }

  /** A machine that has lost its power closes no connections. */
  #look(): void {
    this.#timer = this.#env.clock.timer(LOOK_MS, () => {
      const peer = this.#redial?.current;
      if (this.#env.clock.now() - this.#heardAt > SILENT_MS) peer?.close('it is silent');
      this.#look();
    });
  }

  get #full(): boolean {
    const {overlayBytesMax = OVERLAY_BYTES_MAX} = this.#options;
    return (this.#ledger?.store.overlayBytes ?? 0) > overlayBytesMax;
  }

  async #hello(peer: Peer): Promise<void> {
    // Else whom it follows would read for it in vain. But it may be what the checkpoint waits for.
    if (this.#full && this.#waiters.length === 0) throw tooSlow();
    const {self, address, term} = this.#options;
    peer.serve(
      new Handlers<Peer>()
        .on(OPS.append, ({kept}, from, payload) => this.#append(kept, from, payload))
        .on(OPS.snapshot, (request, from, payload) => this.#snapshot(request, from, payload)),
      peer,
    );
    const hello = {
      role: 'standby',
      // Empty: whatever it is.
      cluster: this.#ledger?.cluster ?? '',
      server: self.node,
      name: self.life,
      address,
    };
    const message = await peer.hello(hello, CALL).catch((error: unknown) => {
      // It is not of this cluster, and will not be; what it has stays as it is.
      if (error instanceof Refusal && error.kind === 'WrongServer') this.#options.onFailed(error);
      throw error;
    });
    term(message.term);
    await this.#queue(() => this.#meet(peer));
    this.#heardAt = this.#env.clock.now();
  }

  /** Finds out from where on the own log is to be gone on with. */
  async #meet(peer: Peer): Promise<void> {
    this.#partly = NO_BYTES;
    let sequence = this.sequence;
    let sum = this.#ledger?.sum ?? 0;
    const floor = this.#ledger?.store.position.sequence ?? 0;
    for (;;) {
      const {message} = await peer.call(OPS.follow, {sequence, sum, floor}, CALL);
      this.#durability = message.durability === '' ? 'both' : message.durability;
      if (message.snapshot) return;
      const at = message.sequence;
      if (!message.back) {
        if (at < this.sequence) await this.#cut(at);
        return;
      }
      const own = at <= this.sequence ? ((await this.#ledger?.sumAt(at)) ?? null) : null;
      [sequence, sum] = own === null || at < floor ? [0, 0] : [at, own];
    }
  }

  /** The history went on without what comes behind. */
  async #cut(sequence: number): Promise<void> {
    this.#env.log.warn('standby.cut', {last: this.sequence, sequence});
    const ledger = this.#ledger!;
    this.#ledger = null;
    await ledger.abandon();
    this.#use(await this.#openLedger(sequence));
  }

  /** One after the other. */
  #queue(run: () => Promise<void>): Promise<void> {
    const done = this.#work.then(run);
    this.#work = done.catch(() => {});
    return done;
  }

  async #append(kept: number, from: Peer, payload: Segment | null) {
    this.#heardAt = this.#env.clock.now();
    const bytes = takeOut(this.#env.pool, payload);
    await this.#queue(async () => {
      const ledger = this.#ledger;
      if (from.closed || this.#closed || ledger === null) throw new FsError('ESTALE', 'append');
      // The checkpoint that makes room may wait for this.
      this.#keep(Math.min(kept, ledger.last));
      if (bytes.length > 0 && this.#full) this.#refused = from;
      // Of what comes behind it, too: there would be a gap.
      if (from === this.#refused) throw tooSlow();
      try {
        this.#take(ledger, bytes);
      } catch (error) {
        await this.#unlike(error);
        throw new FsError('EIO', messageOf(error));
      }
      this.#keep(Math.min(kept, ledger.last));
    });
    return {message: {sequence: this.sequence}};
  }

  #take(ledger: Ledger, bytes: Uint8Array): void {
    const all = this.#partly.length === 0 ? bytes : Buffer.concat([this.#partly, bytes]);
    let at = 0;
    for (let header = recordAt(all, at); header !== null; header = recordAt(all, at)) {
      ledger.follow(all.subarray(at, header.end));
      at = header.end;
    }
    this.#partly = at === all.length ? NO_BYTES : Buffer.from(all.subarray(at));
  }

  /** What came cannot be gone on with. If it gave another state than there, what is here is of no use. */
  async #unlike(error: unknown): Promise<void> {
    this.#env.log.error('standby.unlike', {last: this.sequence, error: messageOf(error)});
    // Asked for again.
    if (error instanceof FsError && error.errno === 'ESTALE') return;
    if (!(error instanceof Diverged) && !(error instanceof Bug)) {
      this.#options.onFailed(error);
      return;
    }
    await this.#ledger?.abandon();
    this.#ledger = null;
  }

  #keep(kept: number): void {
    if (kept <= this.#kept) return;
    this.#kept = kept;
    for (const look of this.#waiters.splice(0)) look();
  }

  async #snapshot(
    {first, last}: {first: boolean; last: boolean},
    from: Peer,
    payload: Segment | null,
  ) {
    this.#heardAt = this.#env.clock.now();
    const piece = takeOut(this.#env.pool, payload);
    await this.#queue(async () => {
      if (from.closed || this.#closed) throw new FsError('ESTALE', 'snapshot');
      if (first) {
        await this.#ledger?.abandon();
        this.#ledger = null;
        this.#env.log.info('standby.copying', {});
        this.#copy = await StoreCopy.begin(this.#env);
      }
      if (this.#copy === null) throw new FsError('EINVAL', 'snapshot');
      await this.#copy.put(piece, last);
      if (!last) return;
      this.#copy = null;
      this.#use(await this.#openLedger());
      this.#copies++;
      this.#env.log.info('standby.copied', {last: this.sequence});
    });
    return {message: {}};
  }

  /** Follows nobody any more: what it has is the history. The ledger is the caller's. */
  async promote(): Promise<Ledger | null> {
    await this.#leave();
    const ledger = this.#ledger;
    if (ledger !== null) ledger.keptBy = null;
    this.#keep(Number.POSITIVE_INFINITY);
    return ledger;
  }

  /** What it has may yet be cut back. */
  async close(): Promise<void> {
    await this.#leave();
    await this.#ledger?.abandon();
  }

  async #leave(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#redial?.close('it follows nobody any more');
    await this.#work;
  }
}
