/** Behind the last entry of every listing; programs of 32 bits cannot read larger ones than the first. */
const END_OFFSETS = [0x7fff_ffff, Number.MAX_SAFE_INTEGER - 1] as const;
/** The kernel's offsets: 1 is behind `.`, 2 behind `..`, and a directory's own cookies follow. */
export const DOTS = 2;
const DIRECTORIES_MAX = 4096;

/** Entries in the order of their cookies. `end`: no others follow. */
export interface Listed {
  entries: readonly {cookie: number}[];
  end: boolean;
}

/**
 * How far the kernel has got with the listing of each directory that it keeps. It adds an answer to what it has only where that ends, and
 * begins anew only once it has called it complete, which it does where an answer without entries is for the place where it ends: were that place gone, since the
 * name there was removed, it would never keep this listing again. So the end is the same place for all listings, and a name beside a place that the
 * kernel knows leads there: an offset may be any number from behind its entry to before the next.
 */
export class ListingOffsets {
  /** Least recently answered first. */
  readonly #reached = new Map<number, number>();

  /** Where what follows the entry of this number begins. */
  behind(oid: number, {entries, end}: Listed, index: number): number {
    const from = entries[index]!.cookie + DOTS;
    const next = entries[index + 1]?.cookie;
    if (next === undefined) return end ? END_OFFSETS.find((offset) => offset > from)! : from;
    const reached = this.#reached.get(oid) ?? 0;
    return from <= reached && reached < next + DOTS ? reached : from;
  }

  /** The kernel is answered what lies between these offsets. */
  answered(oid: number, from: number, to: number): void {
    const before = this.#reached.get(oid) ?? 0;
    // After the end it begins at 0 if it begins at all.
    if (from !== before && !(from === 0 && END_OFFSETS.some((end) => end === before))) return;
    this.#reached.delete(oid);
    this.#reached.set(oid, to);
    if (this.#reached.size > DIRECTORIES_MAX)
      this.#reached.delete(this.#reached.keys().next().value!);
  }

  /** The kernel has dropped the inode. */
  forgotten(oid: number): void {
    this.#reached.delete(oid);
  }
}
