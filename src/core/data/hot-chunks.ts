import {KIB} from '../base/units.js';
import type {HotChunk} from '../protocol/gen/wire.js';

/** A request counts as so many bytes more: the server and its disk have as much work with it. */
const REQUEST_BYTES = 16 * KIB;
const CHUNKS_MAX = 1024;
const TOLD_MAX = 16;

interface Read {
  oid: number;
  chunk: number;
  /** Half of it fades with each `told`. */
  weight: number;
}

/** Which chunks are read most on this server; of the others not much is known. */
export class HotChunks {
  readonly #reads = new Map<string, Read>();

  note(oid: number, chunk: number, bytes: number): void {
    const key = `${oid}.${chunk}`;
    let read = this.#reads.get(key);
    if (read === undefined) {
      if (this.#reads.size >= CHUNKS_MAX) this.#fade();
      // All of them are read much: this one is told when others are not any more.
      if (this.#reads.size >= CHUNKS_MAX) return;
      read = {oid, chunk, weight: 0};
      this.#reads.set(key, read);
    }
    read.weight += bytes + REQUEST_BYTES;
  }

  /** Once a second: those with at least `weight` a second, the most read first. */
  told(weight: number): HotChunk[] {
    const hot = [...this.#reads.values()]
      .map((read) => ({...read, weight: Math.round(read.weight / 2)}))
      .filter((read) => read.weight >= weight)
      .sort((a, b) => b.weight - a.weight)
      .slice(0, TOLD_MAX);
    this.#fade();
    return hot;
  }

  #fade(): void {
    for (const [key, read] of this.#reads) {
      read.weight /= 2;
      if (read.weight < REQUEST_BYTES) this.#reads.delete(key);
    }
  }
}
