import {FsError, Lost, messageOf, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import {
  type LockEffect,
  LockKeeper,
  type LockManner,
  type LockResult,
  type Statement,
} from '../lock/lock-keeper.js';
import type {Lock} from '../lock/range-locks.js';
import {lockFromWire, lockToWire} from '../lock/wire.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {RECALL_MS} from './leases.js';
import type {Session, Sessions} from './sessions.js';

/** Ranges of one session, as many as a busy server of mail or files has; each costs some 200 bytes. */
export const LOCKS_PER_SESSION_MAX = 65_536;
/** A client gives idle ones back from half of it on. */
const DELEGATED_PER_SESSION_MAX = 4096;
/** How long a listing waits for what clients keep themselves. */
const LIST_MS: Ms = 1000;

interface Waiter {
  session: number;
  manner: LockManner;
  resolve(reply: wire.LockReply): void;
  reject(error: Error): void;
}

type Recall = LockEffect & {do: 'recall'};

/** One lock, and where it was found. */
export interface LockRow {
  oid: number;
  lock: Lock;
  waiting: boolean;
}

const GRANTED: wire.LockReply = {delegation: 0, yours: false, conflict: null};
const MANNERS: readonly LockManner[] = ['try', 'wait', 'test'];

/** Carries out what the lock keeper decides. */
export class Locks {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #sessions: Sessions;
  readonly #fence: (session: number, oid: number) => void;
  readonly #keeper: LockKeeper;
  readonly #waiters = new Map<number, Waiter>();
  #ticket = 0;

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    sessions: Sessions,
    options: {fence(session: number, oid: number): void; recallMs?: Ms},
  ) {
    this.#env = env;
    this.#sessions = sessions;
    this.#fence = options.fence;
    this.#keeper = new LockKeeper({
      recallMs: options.recallMs ?? RECALL_MS,
      locksPerSessionMax: LOCKS_PER_SESSION_MAX,
      delegatedPerSessionMax: DELEGATED_PER_SESSION_MAX,
    });
  }

  startGrace(): void {
    this.#keeper.startGrace();
  }

  endGrace(): void {
    this.#run(this.#keeper.endGrace(this.#now));
  }

  /** FsError EAGAIN, EDEADLK, ENOLCK, EINTR (cancelled), EINVAL; Refusal when its connection or session ends. */
  ask(session: Session, q: wire.LockRequest): Promise<wire.LockReply> {
    const wanted = lockFromWire(q.lock, session.id);
    const manner = MANNERS[q.manner];
    if (wanted === null || manner === undefined) throw new FsError('EINVAL', 'lock');
    const ticket = ++this.#ticket;
    return new Promise((resolve, reject) => {
      this.#waiters.set(ticket, {session: session.id, manner, resolve, reject});
      const ask = {session: session.id, name: q.name, ticket, oid: q.oid, wanted, manner};
      this.#run(this.#keeper.request(ask, this.#now));
    });
  }

  cancel(session: Session, name: number): void {
    this.#run(this.#keeper.cancel(session.id, name, this.#now));
  }

  /** The session keeps the locks of these itself no longer. */
  gaveBack(session: Session, objects: readonly wire.ObjectLocks[]): void {
    for (const object of objects) {
      const said = statementOf(object, session.id);
      this.#run(this.#keeper.gaveBack(session.id, object.oid, said, this.#now));
    }
  }

  /** What the session has and keeps is this. False: others have it. */
  restate(session: Session, said: ReadonlyMap<number, Statement>): boolean {
    const effects = this.#keeper.restate(session.id, said, this.#now);
    if (effects === null) return false;
    this.#run(effects);
    return true;
  }

  cancelWaiting(session: number): void {
    this.#reject(session, () => new Refusal('Busy', 'the connection was closed'));
    this.#run(this.#keeper.cancelAll(session, this.#now));
  }

  fencing(session: number): void {
    this.#reject(session, () => new Refusal('Fenced', `session ${session}`));
    this.#run(this.#keeper.fencing(session, this.#now));
  }

  end(session: number): void {
    this.#run(this.#keeper.end(session, this.#now));
  }

  tick(): void {
    this.#run(this.#keeper.tick(this.#now));
  }

  /** Everything that is held and waited for. Clients that do not say in time what they keep themselves are left out. */
  async list(): Promise<LockRow[]> {
    const rows: LockRow[] = [];
    for (const {oid, lock} of this.#keeper.held()) rows.push({oid, lock, waiting: false});
    for (const {oid, wanted, manner} of this.#keeper.waiting())
      if (manner === 'wait') rows.push({oid, lock: wanted, waiting: true});
    const kept = [...this.#keeper.delegates()].map(async (session) => {
      const all = {oid: 0, delegation: 0, give: false};
      const peer = this.#sessions.get(session)?.peer;
      const answer = await peer?.call(OPS.lockRecall, all, {deadlineMs: LIST_MS}).catch(() => null);
      for (const object of answer?.message.objects ?? [])
        for (const lock of statementOf(object, session).locks)
          rows.push({oid: object.oid, lock, waiting: false});
    });
    await Promise.all(kept);
    return rows;
  }

  #run(effects: readonly LockEffect[]): void {
    for (const effect of effects) {
      // Not now: the request that is being made has nobody yet who waits for its answer, and must not be answered after those that come next.
      if (effect.do === 'answer') queueMicrotask(() => this.#answer(effect.ticket, effect));
      else if (effect.do === 'fence') this.#fence(effect.session, effect.oid);
      // The answer by which it got the object leaves first.
      else this.#env.clock.soon(() => void this.#recall(effect));
    }
  }

  #answer(
    ticket: number,
    {result, delegation, conflict}: {result: LockResult; delegation: number; conflict: Lock | null},
  ): void {
    const waiter = this.#waiters.get(ticket);
    // Its connection has closed.
    if (waiter === undefined) return;
    this.#waiters.delete(ticket);
    if (result === 'granted') waiter.resolve({...GRANTED, delegation});
    else if (result === 'yours') waiter.resolve({...GRANTED, yours: true});
    else if (result === 'conflict' && waiter.manner === 'test')
      waiter.resolve({...GRANTED, conflict: lockToWire(conflict!)});
    else waiter.reject(new FsError(FAILURES[result], 'lock'));
  }

  /** Without a connection it is told when it is back (`restate`), or fenced. */
  async #recall({session, oid, delegation}: Recall): Promise<void> {
    const holder = this.#sessions.get(session);
    if (holder === undefined || holder.peer === null || holder.state !== 'live') return;
    try {
      const push = {oid, delegation, give: true};
      const {message} = await holder.peer.call(OPS.lockRecall, push, {urgent: true});
      // None: it has given it back already.
      this.gaveBack(holder, message.objects);
    } catch (error) {
      if (!(error instanceof Lost))
        this.#env.log.warn('locks.not-given', {session, oid, error: messageOf(error)});
    }
  }

  #reject(session: number, why: () => Error): void {
    for (const [ticket, waiter] of this.#waiters) {
      if (waiter.session !== session) continue;
      this.#waiters.delete(ticket);
      waiter.reject(why());
    }
  }

  get #now(): Ms {
    return this.#env.clock.now();
  }
}

const FAILURES = {
  conflict: 'EAGAIN',
  deadlock: 'EDEADLK',
  full: 'ENOLCK',
  ended: 'EINTR',
} as const;

/** What a session says of an object. */
export function statementOf({delegation, locks}: wire.ObjectLocks, session: number): Statement {
  const held = locks.map((one) => lockFromWire(one, session)).filter((lock) => lock !== null);
  return {delegation, locks: held};
}
