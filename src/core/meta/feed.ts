import {assert} from '../base/assert.js';
import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import {KIB, MIB} from '../base/units.js';
import {sleep, type Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {FollowReply, FollowRequest} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {PeerLike} from '../transport/peer-api.js';
import {putInSoon} from './inline.js';
import type {Ledger} from './ledger.js';
import {recordAt} from './log.js';
import {positionIn} from './store.js';
import {piecesOf} from './store-copy.js';

/** One message: a medium slot. */
const PIECE_BYTES = 128 * KIB;
/** Messages without an answer. */
const WINDOW = 8;
/** Records that wait in memory; who is farther behind is given them from the files of the log. */
const LIVE_BYTES_MAX = 8 * MIB;
/** Of what is read from files; and of the newest records, which wait for the reader to come to them. */
const READ_BYTES_MAX = LIVE_BYTES_MAX / 2;
/** Whoever says nothing for so long is not waited for. */
const SILENT_MS: Ms = 1000;
/** One write of a store that is being copied. */
const COPY_MS: Ms = 20_000;
/** Without anything new it is told so often who else has what. */
const IDLE_MS: Ms = 250;

export interface FeedOptions {
  /** Whoever must have them has the records up to this one. */
  kept(): number;
  /** It has more than before. */
  onAck(): void;
  /** It is not to be reached, or has said something that cannot be. Once. */
  onFailed(reason: string): void;
  silentMs?: Ms;
}

/** Whole records, or what is left of them, and the sequence behind them. */
interface Queued {
  bytes: Uint8Array;
  next: number;
}

/** What one standby is given: first what it lacks, then each record as it is appended. */
export class Feed {
  readonly #env: Pick<Env, 'clock' | 'pool' | 'log'>;
  readonly #ledger: Ledger;
  readonly #peer: PeerLike;
  readonly #options: FeedOptions;
  readonly #hold: ReturnType<Ledger['hold']>;
  readonly #silentMs: Ms;
  /** `asking`: nobody knows yet where it is. `reading`: from files. `live`: from memory. */
  #state: 'asking' | 'copying' | 'reading' | 'live' | 'ended' = 'asking';
  /** Doubled with each step back in search of where the histories part. */
  #stride = 1;
  #acked = 0;
  /** The record that is queued next. */
  #next = 0;
  #queue: Queued[] = [];
  #queuedBytes = 0;
  /** While it reads: the last records that were appended, without a gap. */
  #tail: {sequence: number; record: Uint8Array}[] = [];
  #tailBytes = 0;
  #calls = 0;
  #pumping = false;
  #idle: Timer | null = null;

  constructor(
    env: Pick<Env, 'clock' | 'pool' | 'log'>,
    ledger: Ledger,
    peer: PeerLike,
    options: FeedOptions,
  ) {
    this.#env = env;
    this.#ledger = ledger;
    this.#peer = peer;
    this.#options = options;
    this.#silentMs = options.silentMs ?? SILENT_MS;
    this.#hold = ledger.hold(Number.POSITIVE_INFINITY);
  }

  /** The last record that it has. */
  get acked(): number {
    return this.#acked;
  }

  /** It gets records as they are made. */
  get live(): boolean {
    return this.#state === 'live';
  }

  /** What waits in memory to be sent. The file that is being read comes to that. */
  get waitingBytes(): number {
    return this.#queuedBytes + this.#tailBytes;
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** Where its log ends. What is answered decides on what it does with it. */
  async follow({sequence, sum, floor}: FollowRequest): Promise<Omit<FollowReply, 'durability'>> {
    if (this.#state !== 'asking') throw new FsError('EINVAL', 'follow');
    const ledger = this.#ledger;
    const at = Math.min(sequence, ledger.last);
    if (at > 0 && sum !== 0) {
      if (at === sequence && (await ledger.sumAt(at)) === sum) {
        this.#begin(at);
        return {snapshot: false, back: false, sequence: at};
      }
      const before = at === sequence ? Math.max(at - this.#stride, floor) : at;
      this.#stride *= 2;
      if (before > 0 && before < sequence && (await ledger.sumAt(before)) !== null)
        return {snapshot: false, back: true, sequence: before};
    }
    this.#state = 'copying';
    this.#hold.from = 1;
    this.#env.clock.soon(() => void this.#attempt(() => this.#copy()));
    return {snapshot: true, back: false, sequence: 0};
  }

  #begin(behind: number): void {
    this.#acked = behind;
    this.#next = behind + 1;
    this.#hold.from = this.#next;
    this.#state = 'reading';
    // The answer leaves first.
    this.#env.clock.soon(() => void this.#attempt(() => this.#read()));
    this.#planIdle();
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.end(messageOf(error));
    }
  }

  end(reason: string): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#idle?.cancel();
    this.#hold.release();
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#dropTail();
    this.#options.onFailed(reason);
  }

  // ---------------------------------------------------------------- the whole state

  async #copy(): Promise<void> {
    const ledger = this.#ledger;
    await ledger.checkpointed();
    if (this.ended) return;
    const view = ledger.view();
    const {sequence} = positionIn(view);
    this.#hold.from = sequence + 1;
    try {
      let first = true;
      let piece: Uint8Array | null = null;
      for (const next of piecesOf(view, PIECE_BYTES)) {
        if (piece !== null) {
          await this.#give(piece, {first, last: false});
          first = false;
        }
        if (this.ended) return;
        piece = next;
      }
      await this.#give(piece!, {first, last: true});
    } finally {
      view.close();
    }
    if (!this.ended) this.#begin(sequence);
  }

  async #give(piece: Uint8Array, message: {first: boolean; last: boolean}): Promise<void> {
    const payload = await putInSoon(this.#env, piece);
    await this.#peer.call(OPS.snapshot, message, {payload, deadlineMs: COPY_MS});
  }

  // ---------------------------------------------------------------- records

  /** A record has been appended. */
  logged(sequence: number, record: Uint8Array): void {
    if (this.#state === 'live') {
      assert(sequence === this.#next, 'records come in their order');
      if (this.#queuedBytes + record.length <= LIVE_BYTES_MAX || this.#queue.length <= 1) {
        this.#put(record, sequence + 1);
        return;
      }
      this.#fallBack();
    }
    if (this.#state !== 'reading') return;
    if (this.#tailBytes + record.length > READ_BYTES_MAX) this.#dropTail();
    this.#tail.push({sequence, record});
    this.#tailBytes += record.length;
  }

  #dropTail(): void {
    this.#tail = [];
    this.#tailBytes = 0;
  }

  /** The reader has come to the records that are in memory: there will always be newer ones in the files. */
  #meetTail(): boolean {
    const first = this.#tail[0]?.sequence ?? this.#ledger.last + 1;
    if (first > this.#next) return false;
    this.#state = 'live';
    const rest = this.#tail.filter(({sequence}) => sequence >= this.#next);
    this.#dropTail();
    for (const {sequence, record} of rest) this.#put(record, sequence + 1);
    return true;
  }

  #put(records: Uint8Array, next: number): void {
    this.#queue.push({bytes: records, next});
    this.#queuedBytes += records.length;
    this.#next = next;
    if (this.#pumping) return;
    this.#pumping = true;
    this.#env.clock.soon(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  /** It is too far behind for memory. What has begun to be sent is sent. */
  #fallBack(): void {
    const begun = this.#queue[0]!;
    this.#queue = [begun];
    this.#queuedBytes = begun.bytes.length;
    this.#next = begun.next;
    this.#state = 'reading';
    this.#env.clock.soon(() => void this.#attempt(() => this.#read()));
  }

  async #read(): Promise<void> {
    while (this.#state === 'reading') {
      if (this.#meetTail()) {
        this.#options.onAck();
        return;
      }
      const bytes = await this.#ledger.recordsFrom(this.#next);
      if (bytes === null) throw new FsError('ESTALE', `record ${this.#next} is not kept any more`);
      for (let at = 0; at < bytes.length && this.#state === 'reading'; ) {
        const end = pieceEnd(bytes, at);
        if (end === at) break;
        this.#put(bytes.subarray(at, end), recordAfter(bytes, at, end));
        at = end;
        while (this.#queuedBytes > READ_BYTES_MAX && !this.ended) await sleep(this.#env.clock, 2);
      }
    }
  }

  #pump(): void {
    while (this.#calls < WINDOW && this.#queuedBytes > 0 && !this.ended) {
      const {pool} = this.#env;
      const length = Math.min(PIECE_BYTES, this.#queuedBytes);
      const slot = pool.alloc(length);
      if (slot === -1) {
        pool.onFree(() => this.#pump());
        return;
      }
      const offset = pool.payload(slot);
      this.#take(pool.view(offset, length));
      this.#send([{slot, offset, length}]);
    }
  }

  /** Fills `room` from the queue. */
  #take(room: Uint8Array): void {
    for (let at = 0; at < room.length; ) {
      const head = this.#queue[0]!;
      const bytes = Math.min(head.bytes.length, room.length - at);
      room.set(head.bytes.subarray(0, bytes), at);
      at += bytes;
      this.#queuedBytes -= bytes;
      if (bytes === head.bytes.length) this.#queue.shift();
      else this.#queue[0] = {bytes: head.bytes.subarray(bytes), next: head.next};
    }
  }

  #send(payload: readonly Segment[] | undefined): void {
    this.#calls++;
    const options = {deadlineMs: this.#silentMs, urgent: true, ...(payload ? {payload} : {})};
    this.#peer.call(OPS.append, {kept: this.#options.kept()}, options).then(
      ({message}) => {
        this.#calls--;
        this.#answered(message.sequence);
      },
      (error: unknown) => this.end(messageOf(error)),
    );
  }

  #answered(sequence: number): void {
    if (this.ended) return;
    if (sequence >= this.#next) {
      this.end(`it says that it has record ${sequence}`);
      return;
    }
    if (sequence > this.#acked) {
      this.#acked = sequence;
      this.#hold.from = sequence + 1;
      this.#options.onAck();
    }
    this.#pump();
  }

  #planIdle(): void {
    this.#idle = this.#env.clock.timer(IDLE_MS, () => {
      if (this.#calls === 0 && this.#queuedBytes === 0) this.#send(undefined);
      this.#planIdle();
    });
  }
}

/** Whole records from `at` on, at least one, of about a piece together. */
function pieceEnd(bytes: Uint8Array, at: number): number {
  let end = at;
  for (let header = recordAt(bytes, end); header !== null; header = recordAt(bytes, end)) {
    end = header.end;
    if (end - at >= PIECE_BYTES) break;
  }
  return end;
}

/** The sequence behind the records of bytes[at, end). */
function recordAfter(bytes: Uint8Array, at: number, end: number): number {
  let next = 0;
  for (let from = at; from < end; ) {
    const header = recordAt(bytes, from)!;
    next = header.sequence + 1;
    from = header.end;
  }
  return next;
}
