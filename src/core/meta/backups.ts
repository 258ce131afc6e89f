import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Segment} from '../base/pool.js';
import {KIB} from '../base/units.js';
import type {Timer} from '../env/clock.js';
import type {Env} from '../env/env.js';
import type {KvView} from '../env/kv.js';
import type {
  BackupReadReply,
  BackupReadRequest,
  BackupReply,
  BackupRequest,
} from '../protocol/gen/wire.js';
import {frameOf} from './backup-stream.js';
import {putInSoon} from './inline.js';
import {LINE_KEY} from './keys.js';
import type {Ledger} from './ledger.js';
import {recordAt} from './log.js';
import {decodeInt} from './records.js';
import {positionIn} from './store.js';
import {piecesOf} from './store-copy.js';

/** One message: a medium slot. */
const PIECE_BYTES = 128 * KIB;
/** Of a piece of the state: to read it from the store takes a millisecond, in which nobody is served. */
const STATE_BYTES = 32 * KIB;
/** Whoever asks for nothing for so long is gone; until then the store cannot use the space again of what is written over. */
const IDLE_MS: Ms = 60_000;
/** Each keeps a view of the store, and the log. */
const RUNS_MAX = 2;

type Piece = {part: 'state' | 'log'; bytes: Uint8Array};
type Answer = {message: BackupReadReply; payload?: [Segment]};

interface Run {
  pieces: AsyncGenerator<Piece>;
  /** What is read next. */
  next: number;
  /** Pieces are made one after the other. */
  tail: Promise<unknown>;
  timer: Timer;
  ended: boolean;
  end(): void;
}

/**
 * Gives administrators the state while it is in use: a view of the store, and the log behind it; or the log alone, from where an earlier
 * backup has ended. Whoever reads sets the pace.
 */
export class Backups {
  readonly #env: Pick<Env, 'clock' | 'pool' | 'log'>;
  readonly #ledger: Ledger;
  readonly #release: string;
  readonly #runs = new Map<number, Run>();
  readonly #begunAt: number;
  #lastId = 0;

  constructor(env: Pick<Env, 'clock' | 'pool' | 'log' | 'release'>, ledger: Ledger) {
    this.#env = env;
    this.#ledger = ledger;
    this.#release = env.release?.name ?? '';
    this.#begunAt = ledger.last;
  }

  /** FsError EBUSY: others are being read. */
  async begin({sequence, sum, release}: BackupRequest): Promise<BackupReply> {
    // What was logged by an earlier process, maybe of another release, is in the store.
    if (this.#ledger.store.position.sequence < this.#begunAt) await this.#ledger.checkpointed();
    if (this.#runs.size >= RUNS_MAX) throw new FsError('EBUSY', 'other backups are being made');
    const ledger = this.#ledger;
    const {store} = ledger;
    // Another release may carry records out otherwise.
    const same = release === this.#release;
    const continued = same && sequence > 0 && sequence <= ledger.last && sum !== 0;
    const hold = ledger.hold(continued ? sequence + 1 : store.position.sequence + 1);
    const full = !continued || (await ledger.sumAt(sequence)) !== sum;
    if (full) hold.from = Math.min(hold.from, store.position.sequence + 1);
    const view = full ? ledger.view() : null;
    const id = ++this.#lastId;
    const end = (): void => {
      view?.close();
      hold.release();
      run.timer.cancel();
      run.ended = true;
      this.#runs.delete(id);
    };
    const pieces = this.#pieces(view, sequence, hold);
    const start = {next: 0, tail: Promise.resolve(), timer: this.#idle(id), ended: false};
    const run: Run = {pieces, ...start, end};
    this.#runs.set(id, run);
    const line = store.get(LINE_KEY);
    this.#env.log.info('backup.begun', {id, full, last: ledger.last});
    return {
      ...{id, full, cluster: ledger.cluster, term: ledger.term, release: this.#release},
      line: line === undefined ? 0 : decodeInt(line),
    };
  }

  #idle(id: number): Timer {
    return this.#env.clock.timer(IDLE_MS, () => {
      this.#env.log.info('backup.idle', {id});
      this.#runs.get(id)?.end();
    });
  }

  /** FsError ESTALE: nobody has asked for it for a while; EINVAL: it is not its turn. */
  read({id, piece}: BackupReadRequest): Promise<Answer> {
    const run = this.#runs.get(id);
    if (run === undefined) throw new FsError('ESTALE', `backup ${id} has been given up`);
    if (piece !== run.next)
      throw new FsError('EINVAL', `piece ${piece} of a backup, not ${run.next}`);
    run.next++;
    run.timer.cancel();
    run.timer = this.#idle(id);
    const answer = run.tail.then(() => this.#answer(run));
    run.tail = answer.catch(() => run.end());
    return answer;
  }

  async #answer(run: Run): Promise<Answer> {
    // Its view is closed: it must not be read any more.
    if (run.ended) throw new FsError('ESTALE', 'the backup has been given up');
    const next = await run.pieces.next();
    if (next.done === true) {
      run.end();
      return {message: {part: 'end'}};
    }
    const {part, bytes} = next.value;
    return {message: {part}, payload: await putInSoon(this.#env, bytes)};
  }

  async *#pieces(
    view: KvView | null,
    sequence: number,
    hold: {from: number},
  ): AsyncGenerator<Piece> {
    let next = sequence + 1;
    if (view !== null) {
      next = positionIn(view).sequence + 1;
      for (const piece of piecesOf(view, STATE_BYTES)) yield* cut('state', frameOf(piece));
      view.close();
    }
    const {last} = this.#ledger;
    // What a power cut could take back is in no backup, or its numbers would stand for something else afterwards.
    await this.#ledger.sync();
    while (next <= last) {
      const bytes = await this.#ledger.recordsFrom(next);
      if (bytes === null) throw new FsError('ESTALE', `record ${next} is not kept any more`);
      let end = 0;
      for (let header = recordAt(bytes, 0); header !== null; header = recordAt(bytes, end)) {
        if (header.sequence > last) break;
        end = header.end;
        next = header.sequence + 1;
      }
      yield* cut('log', bytes.subarray(0, end));
      hold.from = next;
    }
  }

  close(): void {
    for (const run of [...this.#runs.values()]) run.end();
  }
}

function* cut(part: Piece['part'], bytes: Uint8Array): Generator<Piece> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES)
    yield {part, bytes: bytes.subarray(at, at + PIECE_BYTES)};
}
