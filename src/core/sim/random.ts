import type {Random} from '../env/random.js';

/** Spreads a 32-bit state over the whole word (splitmix32); successive calls walk through all states. */
function splitmix(state: number): number {
  let z = (state + 0x9e3779b9) | 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return z ^ (z >>> 15);
}

/** FNV-1a of a label; so that the stream of one node does not depend on how often another one draws. */
export function labelHash(label: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < label.length; i++) {
    hash = Math.imul(hash ^ label.charCodeAt(i), 0x01000193);
  }
  return hash;
}

/** Seeded numbers (xoshiro128**, Blackman and Vigna 2018). The same seed gives the same numbers on every machine. */
export class SeededRandom implements Random {
  readonly #seed: number;
  /** Four words; as plain fields each of them would be allocated anew in each draw. */
  readonly #state = new Int32Array(4);

  /** `seed`: a non-negative safe integer. */
  constructor(seed: number) {
    const low = seed | 0;
    const high = Math.floor(seed / 2 ** 32) | 0;
    this.#seed = low ^ splitmix(high);
    const a = splitmix(this.#seed);
    const b = splitmix(a);
    const c = splitmix(b);
    this.#state.set([a, b, c, splitmix(c) | 1]);
  }

  /** Another stream, which depends on this one's seed and the label only. */
  split(label: string): SeededRandom {
    return new SeededRandom((splitmix(this.#seed) ^ labelHash(label)) >>> 0);
  }

  #next(): number {
    const state = this.#state;
    const a = state[0]!;
    const b = state[1]!;
    const c = state[2]! ^ a;
    const d = state[3]! ^ b;
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    state[0] = a ^ d;
    state[1] = b ^ c;
    state[2] = c ^ (b << 9);
    state[3] = (d << 11) | (d >>> 21);
    return result >>> 0;
  }

  float(): number {
    return this.#next() / 2 ** 32;
  }

  below(bound: number): number {
    return Math.floor(this.float() * bound);
  }

  hex(bytes: number): string {
    let text = '';
    for (let i = 0; i < bytes; i++) text += (this.#next() >>> 24).toString(16).padStart(2, '0');
    return text;
  }

  /** low <= x <= high. */
  range(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('pick from nothing');
    return item;
  }

  /** Bytes that differ from draw to draw; cheap, not evenly distributed. */
  fill(bytes: Uint8Array): void {
    let word = this.#next() | 1;
    for (let i = 0; i < bytes.length; i++) {
      word = (Math.imul(word, 1664525) + 1013904223) | 0;
      bytes[i] = word >>> 24;
    }
  }
}
