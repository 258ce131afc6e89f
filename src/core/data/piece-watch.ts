import type {Range, WatchRequest} from '../protocol/gen/wire.js';
import type {ColumnId} from './format.js';

/** One mover has two at a time; who is put out by others begins anew. */
const WATCHES_MAX = 8;
/** So many fit into one message. An object of which more change is copied anew. */
export const CHANGED_PIECES_MAX = 32_768;

/** What of a column changes: these bytes, or everything from a byte on; what counts is what is noted when it has changed. */
export type Parts = readonly Range[] | {from: number};

type Object = Pick<WatchRequest, 'oid' | 'generation' | 'pieceBytes' | 'piecesPerChunk'>;

/** Of one object: the pieces that changed since the last pass, and between the two before it. */
class Watch {
  pass = 1;
  before = new Set<number>();
  now = new Set<number>();

  constructor(readonly of: Object) {}

  note({chunk}: ColumnId, parts: Parts): void {
    if ('from' in parts) this.#add(chunk, parts.from, Number.POSITIVE_INFINITY);
    else for (const {offset, length} of parts) this.#add(chunk, offset, offset + length);
  }

  #add(chunk: number, from: number, to: number): void {
    const {pieceBytes, piecesPerChunk} = this.of;
    const end = Math.min(Math.ceil(to / pieceBytes), piecesPerChunk);
    for (let piece = Math.floor(from / pieceBytes); piece < end; piece++)
      this.now.add(chunk * piecesPerChunk + piece);
  }
}

/**
 * While objects are moved and programs go on writing them: which pieces of their columns change. Passes are as of `ChangeWatch`: what changes is missed by none, however often
 * the answer is lost. In memory only: a server that was started again does not know, and says so.
 */
export class PieceWatches {
  /** The one that was asked for last is the last. */
  readonly #watches = new Map<string, Watch>();

  note(id: ColumnId, parts: Parts): void {
    if (this.#watches.size === 0) return;
    for (const [key, watch] of this.#watches) {
      const {oid, generation} = watch.of;
      if (oid !== id.oid || generation !== id.generation) continue;
      watch.note(id, parts);
      if (watch.now.size > CHANGED_PIECES_MAX) this.#watches.delete(key);
    }
  }

  /** `key`: whose it is. What changed between his last two passes, in order; null: not known, so he must begin with pass 1. */
  pass(key: string, pass: number, of: Object): number[] | null {
    const watch = this.#watches.get(key);
    this.#watches.delete(key);
    if (pass === 0) return [];
    if (pass === 1) {
      this.#keep(key, new Watch(of));
      return [];
    }
    if (watch === undefined || (pass !== watch.pass && pass !== watch.pass + 1)) return null;
    if (pass === watch.pass + 1) {
      watch.before = watch.now;
      watch.now = new Set();
      watch.pass = pass;
    }
    this.#keep(key, watch);
    return [...watch.before].sort((a, b) => a - b);
  }

  #keep(key: string, watch: Watch): void {
    this.#watches.set(key, watch);
    for (const oldest of this.#watches.keys()) {
      if (this.#watches.size <= WATCHES_MAX) return;
      this.#watches.delete(oldest);
    }
  }
}
