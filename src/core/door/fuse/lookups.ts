/**
 * How often the kernel has been told of each inode. It says how many of these it gives back (FORGET), and has dropped the inode when it has given all
 * back: it may have been told of a new one while it was dropping the one before, and that is not gone then.
 */
export class Lookups {
  readonly #counts = new Map<number, number>();

  /** An answer with the inode is about to leave. */
  add(oid: number): void {
    this.#counts.set(oid, (this.#counts.get(oid) ?? 0) + 1);
  }

  /** The kernel gives some back. Has it dropped the inode? */
  forget(oid: number, count: number): boolean {
    const left = (this.#counts.get(oid) ?? 0) - count;
    if (left > 0) this.#counts.set(oid, left);
    else this.#counts.delete(oid);
    return left <= 0;
  }

  /** Inodes that the kernel has. */
  get size(): number {
    return this.#counts.size;
  }
}
