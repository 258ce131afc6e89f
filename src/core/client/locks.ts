import {unlessAborted} from '../base/abort.js';
import {FsError} from '../base/errors.js';
import {LockTable} from '../lock/lock-table.js';
import {LAST_BYTE, type Lock, type LockKind, UNLOCKED} from '../lock/range-locks.js';
import {lockFromWire, lockToWire} from '../lock/wire.js';
import type {LockReply, ObjectLocks} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {LockFound, LockWanted} from './api.js';
import type {Session, SessionReply} from './session.js';

/** Programs that wait for a lock at the same time; one more gets ENOLCK. Each waits with a request of its own. */
const WAITING_MAX = 1024;
/** Ranges of this client; as the meta server has it. */
const LOCKS_MAX = 65_536;
/** Objects whose locks are kept here; beyond it idle ones are given back. */
const DELEGATED_MAX = 2048;
const GIVEN_BACK_AT_ONCE = 64;
/** Objects come and go between the meta server and this client while others want them, too. */
const TRIES_MAX = 1000;
const FOREVER = Number.POSITIVE_INFINITY;
/** Locks of an object that is kept here: they leave in one message. */
const KEPT_LOCKS_MAX = 1024;
/** Objects, and locks, in one message: each lock takes 60 bytes at most. */
const STATED_MAX = 512;
const STATED_LOCKS_MAX = 2048;
/** Locks in one listing. */
const LISTED_MAX = 2048;

/** In the table here all locks are this client's, whichever session it has. */
const OWN = 0;

const MANNER = {try: 0, wait: 1, test: 2} as const;

/** One owner of locks of one object, while it has some or asks for some. */
interface OwnerState {
  /** Grows with each change that was sent. */
  changes: number;
  /** Changes that do not wait are made one after the other. */
  turn: Promise<unknown>;
  /** Requests that have not been answered. */
  open: number;
}

/**
 * The locks of this client's programs. Of objects that the meta server has left to this client (`delegated`) the table here is
 * what counts; of others it repeats what the meta server has, which has to be told again after a reconnect.
 *
 * A request that has to wait is always made at the meta server, which finds deadlocks: so no object is delegated whose locks
 * somebody waits for.
 */
export class ClientLocks {
  readonly #session: Session;
  readonly #table = new LockTable();
  /** Number of the delegation, by object; least recently used first. */
  readonly #delegated = new Map<number, number>();
  readonly #owners = new Map<string, OwnerState>();
  #waiting = 0;
  #name = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Takes, changes or gives back. `wait`: until it is free, or the signal is given (EINTR). */
  async lock(oid: number, wanted: LockWanted, wait: AbortSignal | null): Promise<void> {
    const takes = wanted.type !== UNLOCKED;
    if (takes && this.#table.count(OWN) >= LOCKS_MAX)
      throw new FsError('ENOLCK', `${LOCKS_MAX} locks`);
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      // To give back needs nobody's leave.
      if (takes && !this.#session.valid)
        await unlessAborted(this.#session.ready(), wait ?? undefined);
      const lock = this.#own(wanted);
      if (!this.#delegated.has(oid)) {
        const done =
          wait === null || !takes ? await this.#now(oid, lock) : await this.#later(oid, lock, wait);
        if (done) return;
        continue;
      }
      this.#used(oid);
      if (takes && this.#table.of(oid).length >= KEPT_LOCKS_MAX) {
        this.#giveBack([oid]);
        continue;
      }
      if (this.#table.set(oid, lock) === null) return;
      if (wait === null) throw new FsError('EAGAIN', 'lock');
      this.#giveBack([oid]);
    }
    throw new FsError('EAGAIN', 'lock');
  }

  async testLock(oid: number, wanted: LockWanted): Promise<LockFound | null> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      if (!this.#session.valid) await this.#session.ready();
      const lock = this.#own(wanted);
      if (this.#delegated.has(oid)) {
        const found = this.#table.conflict(oid, lock);
        return found && {...found, own: true};
      }
      const request = {oid, lock: lockToWire(lock), manner: MANNER.test, name: 0};
      const {yours, conflict} = (await this.#session.call(OPS.lock, request)).message;
      if (yours) continue;
      const found = conflict && lockFromWire(conflict, conflict.session);
      return found && {...found, own: found.session === this.#session.id};
    }
    throw new FsError('EAGAIN', 'lock');
  }

  holdsLocks(oid: number, owner: number): boolean {
    return this.#table.holds(oid, OWN, owner);
  }

  /** Everything of one owner. A meta server that is away learns from the next reclaim what is still held. */
  async unlockAll(oid: number, owner: number, kind: LockKind): Promise<void> {
    const all = {kind, type: UNLOCKED, start: 0n, end: LAST_BYTE, owner, pid: 0} as const;
    if (this.holdsLocks(oid, owner) || this.#owners.has(`${oid}.${owner}`))
      await this.lock(oid, all, null);
  }

  // -------------------------------------------------------------- what the meta server wants

  /** Which locks are there of an object? `give`: others want it, so it is kept here no longer. None: it is not. `oid` 0: of all. */
  recall(oid: number, delegation: number, give: boolean): ObjectLocks[] {
    if (oid === 0) return this.#all();
    if (this.#delegated.get(oid) !== delegation) return [];
    const said = this.#said(oid);
    if (give) this.#delegated.delete(oid);
    return [said];
  }

  /** Of the objects that are kept here, as many as one message takes. */
  #all(): ObjectLocks[] {
    const found: ObjectLocks[] = [];
    let locks = 0;
    for (const oid of this.#delegated.keys()) {
      locks += this.#table.of(oid).length;
      if (locks > LISTED_MAX) break;
      if (this.#table.of(oid).length > 0) found.push(this.#said(oid));
    }
    return found;
  }

  /** All that is held and kept, in parts of one message each; an object with many locks in several. */
  *statements(): Iterable<ObjectLocks[]> {
    let part: ObjectLocks[] = [];
    let count = 0;
    for (const oid of [...new Set([...this.#delegated.keys(), ...this.#table.oids])]) {
      const said = this.#said(oid);
      for (let at = 0; at === 0 || at < said.locks.length; at += STATED_LOCKS_MAX) {
        const locks = said.locks.slice(at, at + STATED_LOCKS_MAX);
        if (part.length === STATED_MAX || count + locks.length > STATED_LOCKS_MAX) {
          yield part;
          part = [];
          count = 0;
        }
        part.push({...said, locks});
        count += locks.length;
      }
    }
    if (part.length > 0) yield part;
  }

  /** The session is gone, and with it all locks. */
  lost(): void {
    this.#table.clear();
    this.#delegated.clear();
  }

  // --------------------------------------------------------------

  /** False: the object's locks are kept here by now. */
  async #now(oid: number, lock: Lock): Promise<boolean> {
    const owner = this.#owner(oid, lock);
    owner.open++;
    const turn = owner.turn.then(() => this.#change(oid, lock, owner));
    owner.turn = turn.catch(() => {});
    try {
      return await turn;
    } finally {
      this.#done(oid, lock, owner);
    }
  }

  async #change(oid: number, lock: Lock, owner: OwnerState): Promise<boolean> {
    // It may have been left to this client while this request waited for its turn.
    if (this.#delegated.has(oid)) return false;
    owner.changes++;
    // The meta server does that first, too: what is not there any more must not be claimed after a reconnect.
    this.#table.convert(oid, lock);
    if (lock.type !== UNLOCKED) return this.#ask(oid, lock, 'try');
    this.#table.put(oid, lock);
    const request = {oid, lock: lockToWire(lock), manner: MANNER.try, name: 0};
    const reply = await this.#session.once(OPS.lock, request);
    return reply === null || !reply.yours;
  }

  async #later(oid: number, lock: Lock, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) throw new FsError('EINTR');
    if (this.#waiting >= WAITING_MAX) throw new FsError('ENOLCK', `${WAITING_MAX} requests wait`);
    const owner = this.#owner(oid, lock);
    owner.open++;
    this.#waiting++;
    try {
      await unlessAborted(owner.turn, signal);
      if (this.#delegated.has(oid)) return false;
      const before = owner.changes;
      this.#table.convert(oid, lock);
      if (!(await this.#untilAnswered(oid, lock, signal))) return false;
      if (owner.changes === before) return true;
      // The same owner has changed something meanwhile, and nobody can say what came first: begin again.
      await this.lock(oid, {...lock, type: UNLOCKED}, null);
      return false;
    } finally {
      this.#waiting--;
      this.#done(oid, lock, owner);
    }
  }

  /** False: the object's locks are kept here by now. */
  #granted(oid: number, lock: Lock, {message, generation}: SessionReply<LockReply>): boolean {
    if (message.yours) return false;
    // A lock of a session that is over is none.
    if (generation !== this.#session.generation) throw new FsError('EIO', 'the session was lost');
    this.#table.put(oid, lock);
    if (message.delegation > 0) {
      this.#delegated.set(oid, message.delegation);
      this.#trim();
    }
    return true;
  }

  /**
   * False: the object's locks are kept here by now. Answers are taken in the order in which they come, whoever waits for them: an
   * object that is left to this client comes with all that was answered before.
   */
  #ask(
    oid: number,
    lock: Lock,
    manner: 'try' | 'wait',
    more: {name: number; signal?: AbortSignal; deadlineMs?: number} = {name: 0},
  ): Promise<boolean> {
    const {name, ...options} = more;
    const request = {oid, lock: lockToWire(lock), manner: MANNER[manner], name};
    return this.#session
      .call(OPS.lock, request, options)
      .then((reply) => this.#granted(oid, lock, reply));
  }

  /**
   * Whoever does not want to wait any longer is let go: at once, if the request is not on its way; else when the meta server has
   * answered, or the connection is lost. So it is known what he holds then.
   */
  async #untilAnswered(oid: number, lock: Lock, signal: AbortSignal): Promise<boolean> {
    const name = ++this.#name;
    const cancel = (): void => {
      this.#session.tell(OPS.lockCancel, {name});
    };
    signal.addEventListener('abort', cancel);
    try {
      return await this.#ask(oid, lock, 'wait', {name, signal, deadlineMs: FOREVER});
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  #giveBack(oids: readonly number[]): void {
    const objects = oids.map((oid) => this.#said(oid));
    for (const oid of oids) this.#delegated.delete(oid);
    // Without a connection, the reclaim of the next one says so.
    if (objects.length > 0) this.#session.tell(OPS.lockReturn, {objects});
  }

  #trim(): void {
    if (this.#delegated.size <= DELEGATED_MAX) return;
    const idle: number[] = [];
    for (const oid of this.#delegated.keys()) {
      if (this.#table.of(oid).length === 0) idle.push(oid);
      if (idle.length === GIVEN_BACK_AT_ONCE) break;
    }
    this.#giveBack(idle);
  }

  #used(oid: number): void {
    const delegation = this.#delegated.get(oid)!;
    this.#delegated.delete(oid);
    this.#delegated.set(oid, delegation);
  }

  #said(oid: number): ObjectLocks {
    const locks = this.#table.of(oid).map(lockToWire);
    return {oid, delegation: this.#delegated.get(oid) ?? 0, locks};
  }

  #own(wanted: LockWanted): Lock {
    return {...wanted, session: OWN};
  }

  #owner(oid: number, {owner}: Lock): OwnerState {
    const key = `${oid}.${owner}`;
    let state = this.#owners.get(key);
    if (state === undefined) {
      state = {changes: 0, turn: Promise.resolve(), open: 0};
      this.#owners.set(key, state);
    }
    return state;
  }

  #done(oid: number, {owner}: Lock, state: OwnerState): void {
    if (--state.open === 0) this.#owners.delete(`${oid}.${owner}`);
  }
}
