import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes, columnBytesMax, stripeBytes} from '../layout/stripe.js';

/** An object has no more at first, so that what changes of it fits into a message; of a large one each is larger. */
const PIECES_MAX = 16_384;

/** An object in pieces: whole stripes, so that the server of any column can tell by the place in its column which one changes. */
export class Pieces {
  readonly pieceBytes: number;
  readonly perChunk: number;
  readonly #layout: Layout;
  readonly #chunkBytes: number;
  readonly #dataBytes: number;

  /** `size`: of the object, about. */
  constructor(layout: Layout, size: number) {
    this.#layout = layout;
    this.#chunkBytes = chunkDataBytes(layout);
    const most = columnBytesMax(layout);
    let bytes = layout.unitBytes;
    while (bytes < most && size / (bytes * layout.k) > PIECES_MAX) bytes *= 2;
    this.pieceBytes = bytes;
    this.#dataBytes = bytes * layout.k;
    this.perChunk = Math.ceil(most / bytes);
  }

  /** Those before this one are enough for an object of this size. */
  count(size: number): number {
    const chunk = Math.floor(size / this.#chunkBytes);
    const left = size - chunk * this.#chunkBytes;
    return chunk * this.perChunk + Math.ceil(left / this.#dataBytes);
  }

  range(piece: number): {from: number; to: number} {
    const chunk = Math.floor(piece / this.perChunk);
    const start = chunk * this.#chunkBytes;
    const from = start + (piece - chunk * this.perChunk) * this.#dataBytes;
    return {from, to: Math.min(from + this.#dataBytes, start + this.#chunkBytes)};
  }

  get stripe(): number {
    return stripeBytes(this.#layout);
  }
}

/** A set of small numbers, many of them next to each other. */
export class Bits {
  readonly #words = new Map<number, number>();

  has(bit: number): boolean {
    return ((this.#words.get(Math.floor(bit / 32)) ?? 0) & (1 << (bit % 32))) !== 0;
  }

  add(bit: number): void {
    const word = Math.floor(bit / 32);
    this.#words.set(word, (this.#words.get(word) ?? 0) | (1 << (bit % 32)));
  }

  /** What is not below `bit` goes. */
  cut(bit: number): void {
    const last = Math.floor(bit / 32);
    for (const [word, bits] of this.#words) {
      if (word > last) this.#words.delete(word);
      else if (word === last) this.#words.set(word, bits & ((1 << (bit % 32)) - 1));
    }
  }
}
