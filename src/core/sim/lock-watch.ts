import type {LockWanted} from '../client/api.js';
import {LockTable} from '../lock/lock-table.js';
import {EXCLUSIVE, type Lock, UNLOCKED} from '../lock/range-locks.js';
import {SimFailure} from './scheduler.js';

/** The session of a life's client, counted from its first one; -1: it has none that it may rely on now. */
type SessionNow = () => number;

/**
 * Which locks the programs of a world believe that they hold: no two of them what cannot be held together. Programs believe in a lock from
 * the moment when they are told that they have it until the moment when they begin to give it back.
 */
export class LockWatch {
  readonly #table = new LockTable();
  readonly #sessions = new Map<number, SessionNow>();

  /** A client's life; `session` is asked when somebody is given a lock: what came from another session is not relied on. */
  born(life: number, session: SessionNow): void {
    this.#sessions.set(life, session);
  }

  /** Something weaker is asked for, or nothing. */
  begins(life: number, oid: number, wanted: LockWanted): void {
    const lock = {...wanted, session: life};
    this.#table.convert(oid, lock);
    if (wanted.type !== EXCLUSIVE) this.#weaken(oid, lock);
  }

  granted(life: number, oid: number, wanted: LockWanted): void {
    // The process does not matter here: its place has the session's number.
    const lock = {...wanted, session: life, pid: this.#sessions.get(life)?.() ?? -1};
    for (;;) {
      const conflict = this.#table.conflict(oid, lock);
      if (conflict === null) break;
      const {session, pid} = conflict;
      if (pid >= 0 && this.#sessions.get(session)?.() === pid)
        throw new SimFailure(`lives ${life} and ${session} both have a lock of ${oid}`);
      this.#table.releaseSession(oid, session);
    }
    this.#table.put(oid, lock);
  }

  /** Everything of an owner goes. */
  closes(life: number, oid: number, owner: number, kind: 0 | 1): void {
    this.#table.release(oid, life, owner, kind);
  }

  /** What it has for writing of this range, it has for reading at most. */
  #weaken(oid: number, lock: Lock): void {
    if (lock.type === UNLOCKED) this.#table.put(oid, lock);
    for (const held of this.#table.of(oid)) {
      const {session, owner, kind, type, start, end} = held;
      if (session !== lock.session || owner !== lock.owner || kind !== lock.kind) continue;
      if (type !== EXCLUSIVE || start > lock.end || end < lock.start) continue;
      const from = start > lock.start ? start : lock.start;
      const to = end < lock.end ? end : lock.end;
      this.#table.put(oid, {...lock, start: from, end: to});
    }
  }
}
