/** Kinds: those of fcntl(2) (and its OFD locks) and those of flock(2) know nothing of each other, as on a local Linux disk. */
export const RANGE = 0;
export const WHOLE = 1;
export type LockKind = 0 | 1;

/** Types of a lock (LockType on the wire). */
export const UNLOCKED = 0;
export const SHARED = 1;
export const EXCLUSIVE = 2;
export type LockType = 0 | 1 | 2;

/** The last byte that a lock may cover; a lock that ends here ends wherever the file does. */
export const LAST_BYTE = 2n ** 63n - 1n;

/** What is asked for, or held: the bytes `start` to `end`, both inclusive. UNLOCKED: nothing is to be held of them. */
export interface Lock {
  readonly kind: LockKind;
  readonly type: LockType;
  readonly start: bigint;
  readonly end: bigint;
  /** Session of the client, and the owner's number there: a process (fcntl) or an open file (OFD, flock). */
  readonly session: number;
  readonly owner: number;
  /** Who took it, for people and F_GETLK. */
  readonly pid: number;
}

export const sameOwner = (a: Lock, b: Lock): boolean =>
  a.owner === b.owner && a.session === b.session && a.kind === b.kind;

/** Could not both be held? */
export const conflicts = (a: Lock, b: Lock): boolean =>
  a.kind === b.kind &&
  a.start <= b.end &&
  b.start <= a.end &&
  (a.type === EXCLUSIVE || b.type === EXCLUSIVE) &&
  a.type !== UNLOCKED &&
  b.type !== UNLOCKED &&
  !sameOwner(a, b);

/**
 * The locks after `lock`'s owner has `lock.type` on its range, whatever he had there before: what he has beyond stays, ranges of
 * one type that touch become one.
 */
export function withLock(locks: readonly Lock[], lock: Lock): Lock[] {
  const result: Lock[] = [];
  let {start, end} = lock;
  for (const held of locks) {
    if (!sameOwner(held, lock) || held.end < lock.start - 1n || held.start > lock.end + 1n) {
      result.push(held);
    } else if (held.type === lock.type) {
      if (held.start < start) start = held.start;
      if (held.end > end) end = held.end;
    } else {
      if (held.start < lock.start)
        result.push(held.end < lock.start ? held : {...held, end: lock.start - 1n});
      if (held.end > lock.end)
        result.push(held.start > lock.end ? held : {...held, start: lock.end + 1n});
    }
  }
  if (lock.type !== UNLOCKED) result.push({...lock, start, end});
  return result;
}
