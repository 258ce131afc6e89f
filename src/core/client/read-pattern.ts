import {alignDown, BLOCK_BYTES, KIB} from '../base/units.js';

/** What is read at once: a few stripes, so that all columns have something to do and the first bytes come soon. */
const PIECE_BYTES = 512 * KIB;
/** Records that are read ahead at even distances. */
const RECORDS_MAX = 32;
/** So often a pattern must have been seen. */
const STREAK_MIN = 2;
/** After so many reads without a pattern more is read than is asked for: at first this, after so many such reads twice as much, and so on. */
const LOOSE_MIN = 4;
const AROUND_BYTES_MIN = 64 * KIB;
const AROUND_READS = 16;
const AROUND_DOUBLINGS = 3;
/** After so many of them all of the object is wanted: what is left comes in pieces of so many bytes. */
const REST_READS = 16;
const REST_BYTES = 1024 * KIB;
/** Of what is read in vain: so many times the object. */
const WASTE = 2;

/** How a program reads an object: one piece after the other, or pieces at even distances. */
export class Pattern {
  #from = 0;
  #to = 0;
  #distance = 0;
  #streak = 0;
  #window = 0;
  /** Up to here a stream is read ahead. */
  #ahead = 0;
  /** Reads since the last one that another one led to. */
  #loose = 0;
  /** Reads with what is around them. */
  #wide = 0;
  /** Up to here all of it was read, or is being read. */
  #rest = 0;
  /** So many bytes more that nobody has asked for may be read. Null: not counted yet. */
  #credit: number | null = null;

  /** What is to be read ahead after [from, to); `stream`: also of what is read one piece after the other. */
  next(from: number, to: number, windowMax: number, stream: boolean): {from: number; to: number}[] {
    const length = to - from;
    const distance = from - this.#from;
    const follows = from === this.#to;
    const led = this.#leads(from, to);
    this.#streak = led ? this.#streak + 1 : 0;
    this.#loose = led ? 0 : this.#loose + 1;
    this.#distance = distance;
    this.#from = from;
    this.#to = to;
    if (this.#streak < STREAK_MIN) {
      this.#window = 0;
      this.#ahead = to;
      return [];
    }
    if (!follows) return this.#records(from, to, windowMax);
    return stream ? this.#stream(to, length, windowMax) : [];
  }

  /** Is the object read here and there? */
  get loose(): boolean {
    return this.#loose >= LOOSE_MIN;
  }

  /**
   * In how many bytes, aligned to as many, [from, to) of an object of `size` bytes is to be read that is read here and there; 0: alone. They grow
   * while it goes on, so that an object of which much is read is soon here as a whole. What nobody asks for is bounded by the size.
   */
  around(from: number, to: number, size: number): number {
    if (this.#leads(from, to) || !this.loose || size === 0) return 0;
    const doubled = Math.min(AROUND_DOUBLINGS, Math.floor(this.#wide / AROUND_READS));
    const bytes = AROUND_BYTES_MIN * 2 ** doubled;
    this.#credit ??= WASTE * size;
    if (this.#credit < bytes || to > alignDown(from, bytes) + bytes) return 0;
    this.#credit -= bytes;
    this.#wide++;
    // What was here has gone.
    if (this.#rest >= size) this.#rest = 0;
    return bytes;
  }

  /** The next piece of the rest of an object of `size` bytes that is read here and there all over; null: it is not, or nothing is left. */
  rest(size: number, known: (block: number) => boolean): [number, number] | null {
    if (this.#wide < REST_READS || !this.loose) return null;
    const most = Math.min(REST_BYTES, size - this.#rest);
    if (most <= 0 || this.#credit === null || this.#credit < most) return null;
    let from = this.#rest;
    while (from < size && known(from)) from += BLOCK_BYTES;
    let to = from;
    while (to < size && to - from < REST_BYTES && !known(to)) to += BLOCK_BYTES;
    this.#rest = from;
    if (to === from) return null;
    this.#credit -= to - from;
    this.#rest = to;
    return [from, to];
  }

  /** What was asked for had been read before. */
  hit(): void {
    if (this.#credit !== null) this.#credit += AROUND_BYTES_MIN;
  }

  /** Do the reads before lead to this one? */
  #leads(from: number, to: number): boolean {
    const distance = from - this.#from;
    const even = distance === this.#distance && to - from === this.#to - this.#from;
    return from === this.#to || (even && distance > 0);
  }

  /** Nothing after `to` is read ahead any more. */
  lost(to: number): void {
    this.#ahead = Math.min(this.#ahead, to);
  }

  #records(from: number, to: number, windowMax: number): {from: number; to: number}[] {
    const distance = this.#distance;
    const count = Math.min(
      RECORDS_MAX,
      2 ** (this.#streak - STREAK_MIN + 1),
      Math.floor(windowMax / (to - from)),
    );
    const records: {from: number; to: number}[] = [];
    for (let i = 1; i <= count; i++)
      records.push({from: from + i * distance, to: to + i * distance});
    return records;
  }

  #stream(at: number, length: number, windowMax: number): {from: number; to: number}[] {
    // Half of what was read ahead has been used.
    if (this.#ahead - at > this.#window / 2) return [];
    this.#window = Math.min(windowMax, Math.max(2 * length, 2 * this.#window));
    const pieces: {from: number; to: number}[] = [];
    const end = at + this.#window;
    // Pieces that end evenly are even pieces of columns, and fill their slots.
    for (let from = Math.max(at, this.#ahead); from < end; ) {
      const to = Math.min(end, alignDown(from, PIECE_BYTES) + PIECE_BYTES);
      pieces.push({from, to});
      from = to;
    }
    this.#ahead = Math.max(this.#ahead, end);
    return pieces;
  }
}
