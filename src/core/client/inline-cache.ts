import {MIB} from '../base/units.js';

/** Inline bytes that are kept of files whose lease is held. */
const BYTES_MAX = 32 * MIB;
/** Objects that are looked at for one that may be forgotten. */
const LOOKS_MAX = 64;

/** An object with inline bytes, as the cache sees it. */
export interface Inlined {
  readonly inlineBytes: number;
  /** The meta server has them for good, or got them from somebody else. */
  readonly inlineSafe: boolean;
  forgetInline(): void;
}

/** Bounds the inline bytes that a client keeps: the longest unused go first, but not what only this client may have. */
export class InlineCache {
  readonly #objects = new Set<Inlined>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** There is more than should be, and only a sync of the meta server makes it safe to forget. */
  get pressed(): boolean {
    return this.#bytes > BYTES_MAX;
  }

  /** `object` has `bytes` more (or fewer) than before, or was looked at. */
  used(object: Inlined, change: number): void {
    this.#bytes += change;
    this.#objects.delete(object);
    if (object.inlineBytes > 0) this.#objects.add(object);
    if (this.#bytes > BYTES_MAX) this.#shrink();
  }

  #shrink(): void {
    let looks = 0;
    for (const object of this.#objects) {
      if (this.#bytes <= BYTES_MAX || ++looks > LOOKS_MAX) return;
      if (object.inlineSafe) object.forgetInline();
    }
  }
}
