import {FsError, Lost, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Layout} from '../layout/scheme.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {Pieces} from './pieces.js';
import {groupSignature, liveSlots} from './repair-path.js';

const ID_BELOW = 2 ** 48;

/** What has changed since the pass before; `doubt`: a change was given up half way. lost: nobody can say; unanswered: to be asked again. */
export type News = {pieces: readonly number[]; doubt: boolean} | 'lost' | 'unanswered';

/**
 * What programs change of an object while it is copied, as the servers of its columns note it. Every server that takes writes of it is asked, and has been asked since
 * the beginning: so it ends when one of them is lost, comes back, or was started again.
 */
export class MoveWatch {
  readonly #path: BytePath;
  readonly #object: {oid: number; layout: Layout};
  readonly #pieces: Pieces;
  readonly #id: number;
  readonly #signature: string;
  #pass = 0;
  /** What servers have said, and nobody was told yet. */
  readonly #changed = new Set<number>();
  /** Some were asked for the pass that is under way, and not all have answered. */
  #open = false;

  constructor(path: BytePath, object: {oid: number; layout: Layout}, pieces: Pieces) {
    this.#path = path;
    this.#object = object;
    this.#pieces = pieces;
    this.#id = path.random.below(ID_BELOW);
    this.#signature = this.#signed();
  }

  /** What changed until this was called, at least, since it was last told. */
  async ask(deadlineMs: Ms): Promise<News> {
    // That pass does not have what changed since it was begun.
    const late = this.#open;
    let answer = await this.#round(deadlineMs);
    if (late && typeof answer !== 'string') answer = await this.#round(deadlineMs);
    if (typeof answer === 'string') return answer;
    const pieces = [...this.#changed];
    this.#changed.clear();
    return {pieces, doubt: answer.doubt};
  }

  /** Never rejects. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#slots().map((slot) => this.#call(slot, 0)));
  }

  async #round(deadlineMs: Ms): Promise<{doubt: boolean} | 'lost' | 'unanswered'> {
    if (!this.#open) this.#pass++;
    this.#open = true;
    const slots = this.#slots();
    const answers = await Promise.allSettled(
      slots.map((slot) => this.#call(slot, this.#pass, deadlineMs)),
    );
    if (this.#signed() !== this.#signature) return 'lost';
    let doubt = false;
    let unanswered = false;
    for (const answer of answers) {
      if (answer.status === 'rejected') {
        if (!passing(answer.reason)) throw answer.reason;
        unanswered = true;
        continue;
      }
      const {message} = answer.value;
      if (!message.known) return 'lost';
      doubt ||= message.doubt;
      let piece = 0;
      for (const step of message.pieces) {
        piece += step;
        this.#changed.add(piece);
      }
    }
    if (unanswered) return 'unanswered';
    this.#open = false;
    return {doubt};
  }

  #groups(): number[] {
    return [...new Set(this.#object.layout.groups)];
  }

  #signed(): string {
    const {map} = this.#path.columns;
    return this.#groups()
      .map((group) => groupSignature(map, group))
      .join(';');
  }

  #slots(): {group: number; slot: number}[] {
    const {map} = this.#path.columns;
    return this.#groups().flatMap((group) => liveSlots(map, group).map((slot) => ({group, slot})));
  }

  #call({group, slot}: {group: number; slot: number}, pass: number, deadlineMs?: Ms) {
    const {columns, stats} = this.#path;
    const {oid, layout} = this.#object;
    stats.dataCalls++;
    const {pieceBytes, perChunk} = this.#pieces;
    const {epoch} = columns.map;
    const watched = {oid, generation: layout.generation, pieceBytes, piecesPerChunk: perChunk};
    const request = {...watched, watch: this.#id, pass, epoch};
    const options = deadlineMs === undefined ? {} : {deadlineMs};
    return columns.call(group, slot, OPS.watch, request, options);
  }
}

/** Under a newer map, or a moment later, there may be an answer. */
function passing(error: unknown): boolean {
  if (error instanceof Refusal) return error.kind !== 'Fenced';
  return error instanceof Lost || (error instanceof FsError && error.errno === 'EIO');
}
