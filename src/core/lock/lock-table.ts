import {
  conflicts,
  type Lock,
  type LockKind,
  sameOwner,
  UNLOCKED,
  WHOLE,
  withLock,
} from './range-locks.js';

const NO_LOCKS: readonly Lock[] = [];

/** Who holds what of which object. Decides nothing but what can be held together; objects without locks are not kept. */
export class LockTable {
  readonly #objects = new Map<number, readonly Lock[]>();
  readonly #counts = new Map<number, number>();

  /** The locks of an object, in no order. */
  of(oid: number): readonly Lock[] {
    return this.#objects.get(oid) ?? NO_LOCKS;
  }

  get oids(): Iterable<number> {
    return this.#objects.keys();
  }

  /** How many ranges a session holds, of all objects. */
  count(session: number): number {
    return this.#counts.get(session) ?? 0;
  }

  holds(oid: number, session: number, owner: number): boolean {
    return this.of(oid).some((held) => held.owner === owner && held.session === session);
  }

  /** A lock that is in the way; null: there is none. */
  conflict(oid: number, wanted: Lock): Lock | null {
    for (const held of this.of(oid)) if (conflicts(held, wanted)) return held;
    return null;
  }

  /**
   * Takes, changes or gives back; null, or what is in the way. flock(2) gives a lock of another type back first, and does not get it
   * again when the new one fails.
   */
  set(oid: number, wanted: Lock): Lock | null {
    this.convert(oid, wanted);
    const conflict = this.conflict(oid, wanted);
    if (conflict === null) this.put(oid, wanted);
    return conflict;
  }

  /** The same for what is known to be free. */
  put(oid: number, lock: Lock): void {
    this.#store(oid, withLock(this.of(oid), lock));
  }

  /** What one owner holds of an object goes. */
  release(oid: number, session: number, owner: number, kind: LockKind): void {
    this.#filter(
      oid,
      (held) => held.owner !== owner || held.session !== session || held.kind !== kind,
    );
  }

  /** What one session holds of an object goes. */
  releaseSession(oid: number, session: number): void {
    this.#filter(oid, (held) => held.session !== session);
  }

  clear(): void {
    this.#objects.clear();
    this.#counts.clear();
  }

  /** What flock(2) gives back before it asks for another type. */
  convert(oid: number, wanted: Lock): void {
    if (wanted.kind !== WHOLE || wanted.type === UNLOCKED) return;
    this.#filter(oid, (held) => !sameOwner(held, wanted) || held.type === wanted.type);
  }

  #filter(oid: number, stays: (held: Lock) => boolean): void {
    const before = this.of(oid);
    if (before.every(stays)) return;
    this.#store(oid, before.filter(stays));
  }

  #store(oid: number, locks: readonly Lock[]): void {
    for (const {session} of this.of(oid)) this.#count(session, -1);
    for (const {session} of locks) this.#count(session, 1);
    if (locks.length === 0) this.#objects.delete(oid);
    else this.#objects.set(oid, locks);
  }

  #count(session: number, by: number): void {
    const count = this.count(session) + by;
    if (count === 0) this.#counts.delete(session);
    else this.#counts.set(session, count);
  }
}
