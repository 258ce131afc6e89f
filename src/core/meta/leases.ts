import {assert} from '../base/assert.js';
import {FsError, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import {
  CHANGE,
  type LeaseEffect,
  type Mode,
  NONE,
  READ,
  type Wanted,
  WRITE,
} from '../lease/lease-object.js';
import {LeaseTable} from '../lease/lease-table.js';
import {
  type ByteRange,
  EVERYTHING,
  isEverything,
  isWhole,
  NOTHING,
  type Ranges,
  WHOLE,
  without,
} from '../lease/ranges.js';
import {OPS} from '../protocol/ops.js';
import type {Session, Sessions} from './sessions.js';

export const RECALL_MS: Ms = 10_000;
const LEASES_PER_SESSION_MAX = 100_000;
/** So long clients wait for a lease whose holder cannot write back for lack of servers; then it is EIO, as a read would be. */
const SPARED_WAIT_MS: Ms = 20_000;
/**
 * A directory whose lease was recalled is not offered again for so long: else every change by one client would have to wait
 * for another one that only looks.
 */
const COOL_MS: Ms = 50;
const COOL_MAX = 1024;
/** In one message. */
const RECALLS_MAX = 1024;

/** What is held of the whole object; and, if it is not null, a range that is held for writing. */
export interface Granted {
  mode: Mode;
  part: ByteRange | null;
}

/** By object; a later recall includes what an earlier one asked for. */
type Gathered = Map<number, {keep: Mode; range: ByteRange}>;

interface Waiter {
  session: number;
  oid: number;
  mode: Wanted;
  since: Ms;
  resolve(granted: Granted): void;
  reject(error: Refusal | FsError): void;
}

/**
 * Carries out what the lease table decides. Ids of sessions above 0 are clients; the server itself takes leases under
 * numbers below 0, each used once.
 *
 * Grants are promises; recalls leave when the promises of the current event have been served. So the reply with a
 * grant always leaves before a recall of what it granted, as the table demands.
 */
export class Leases {
  readonly table: LeaseTable;
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #sessions: Sessions;
  readonly #fence: (session: number, oid: number) => void;
  readonly #changing: (oid: number) => void;
  readonly #spared: (session: number, oid: number) => boolean;
  readonly #waiters = new Map<number, Waiter>();
  readonly #cool = new Map<number, Ms>();
  /** Recalls of this event, by session. */
  readonly #recalls = new Map<number, Gathered>();
  #quiet = false;
  #ticket = 0;
  #own = 0;
  #graceOver: {promise: Promise<void>; resolve: () => void} | null = null;

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    sessions: Sessions,
    options: {
      fence(session: number, oid: number): void;
      /** From now on somebody may change the object. */
      changing?(oid: number): void;
      /** Could it not have yielded in time, by no fault of its own? */
      spared?(session: number, oid: number): boolean;
      recallMs?: Ms;
      leasesPerSessionMax?: number;
    },
  ) {
    this.#env = env;
    this.#sessions = sessions;
    this.#fence = options.fence;
    this.#changing = (oid) => options.changing?.(oid);
    this.#spared = (session, oid) => session > 0 && options.spared?.(session, oid) === true;
    this.table = new LeaseTable({
      recallMs: options.recallMs ?? RECALL_MS,
      leasesPerSessionMax: options.leasesPerSessionMax ?? LEASES_PER_SESSION_MAX,
    });
  }

  startGrace(): void {
    this.table.startGrace();
    let resolve = (): void => {};
    const promise = new Promise<void>((done) => {
      resolve = done;
    });
    this.#graceOver = {promise, resolve};
  }

  endGrace(): void {
    this.run(this.table.endGrace(this.#now));
    this.#graceOver?.resolve();
    this.#graceOver = null;
  }

  /** Null outside of the grace period. */
  get graceOver(): Promise<void> | null {
    return this.#graceOver?.promise ?? null;
  }

  /** Resolves with what is held then; rejects with Refusal(Fenced) when the session ends. */
  acquire(
    session: number,
    oid: number,
    mode: 1 | 2,
    range: ByteRange = EVERYTHING,
  ): Promise<Granted> {
    return this.#request(session, oid, mode, ++this.#ticket, range);
  }

  /** As `acquire`; after `ms` it resolves with what is held then, and does not wait any more. */
  acquireWithin(session: number, oid: number, mode: 1 | 2, ms: Ms): Promise<Granted> {
    const ticket = ++this.#ticket;
    const granted = this.#request(session, oid, mode, ticket);
    const timer = this.#env.clock.timer(ms, () => {
      const waiter = this.#waiters.get(ticket);
      if (waiter === undefined) return;
      this.#waiters.delete(ticket);
      this.run(this.table.cancel(session, oid, ticket, this.#now));
      waiter.resolve({mode: this.table.lasting(session, oid), part: null});
    });
    return granted.finally(() => timer.cancel());
  }

  /** Nothing more is granted for writing to clients; resolves when none of them holds anything for that. */
  async quiesce(): Promise<void> {
    this.#quiet = true;
    const written = new Set<number>();
    for (const {object, session, mode} of this.table.all())
      if (mode === WRITE && session.id > 0) written.add(object.oid);
    await Promise.all([...written].map((oid) => this.exclusive(oid, () => Promise.resolve())));
  }

  resume(): void {
    this.#quiet = false;
  }

  #request(
    session: number,
    oid: number,
    mode: Wanted,
    ticket: number,
    range = EVERYTHING,
  ): Promise<Granted> {
    if (this.#quiet && session > 0 && mode === WRITE)
      return Promise.reject(new Refusal('Busy', 'the cluster is being shut down'));
    return new Promise((resolve, reject) => {
      this.#waiters.set(ticket, {session, oid, mode, since: this.#now, resolve, reject});
      this.run(this.table.request(session, oid, mode, ticket, this.#now, range));
    });
  }

  /** Resolves when no other session holds the object for writing; nothing is granted. Rejects as `acquire`. */
  look(session: number, oid: number): Promise<unknown> {
    const ticket = ++this.#ticket;
    return new Promise((resolve, reject) => {
      this.#waiters.set(ticket, {session, oid, mode: READ, since: this.#now, resolve, reject});
      this.run(this.table.look(session, oid, ticket, this.#now));
    });
  }

  /** What is free now, without waiting; the mode that the session holds then. */
  offer(session: number, oid: number, mode: 1 | 2): Mode {
    if (this.#quiet && mode === WRITE) return this.table.lasting(session, oid);
    const answer = this.table.tryRequest(session, oid, mode, this.#now);
    if (answer.mode === WRITE) this.#changing(oid);
    this.run(answer.effects);
    return answer.mode;
  }

  /** As `offer` for reading, unless there was a conflict lately. */
  offerDirectory(session: number, oid: number): Mode {
    return this.cool(oid) ? this.table.lasting(session, oid) : this.offer(session, oid, READ);
  }

  /** Was it taken from somebody a moment ago? */
  cool(oid: number): boolean {
    const until = this.#cool.get(oid);
    if (until === undefined) return false;
    if (until > this.#now) return true;
    this.#cool.delete(oid);
    return false;
  }

  /**
   * Begins a change of an object by the meta server for a session: nobody else holds anything of it until `changed` is
   * called with the ticket. Rejects as `acquire`.
   */
  change(session: number, oid: number): number | Promise<number> {
    const begun = this.tryChange(session, oid);
    if (begun !== null) return begun;
    const ticket = ++this.#ticket;
    return this.#request(session, oid, CHANGE, ticket).then(() => ticket);
  }

  /** As `change`; null if it would have to wait. */
  tryChange(session: number, oid: number): number | null {
    const ticket = ++this.#ticket;
    if (!this.table.tryChange(session, oid, ticket)) return null;
    this.#changing(oid);
    return ticket;
  }

  changed(oid: number, ticket: number): void {
    this.run(this.table.changed(oid, ticket, this.#now));
  }

  /** `gone`: what it gives up; the rest stays as it is. */
  yield(session: number, oid: number, keep: Mode, gone: Ranges = WHOLE): void {
    const stays = isWhole(gone) ? NOTHING : without(this.table.ranges(session, oid), gone);
    this.run(this.table.yield(session, oid, keep, this.#now, stays));
  }

  /** Runs while nobody else holds any lease of the object. */
  async exclusive<T>(oid: number, run: () => Promise<T>): Promise<T> {
    const own = --this.#own;
    try {
      await this.acquire(own, oid, WRITE);
      return await run();
    } finally {
      this.run(this.table.end(own, this.#now));
    }
  }

  /** Its connection is gone, and with it the replies that its waiting requests would get. */
  cancelWaiting(session: number): void {
    for (const [ticket, waiter] of this.#waiters) {
      if (waiter.session !== session) continue;
      this.#waiters.delete(ticket);
      this.run(this.table.cancel(session, waiter.oid, ticket, this.#now));
      waiter.reject(new Refusal('Busy', 'the connection was closed'));
    }
  }

  /** Nothing more is granted to it. */
  fencing(session: number): void {
    this.run(this.table.fencing(session, this.#now));
    this.#rejectAll(session);
  }

  end(session: number): void {
    this.run(this.table.end(session, this.#now));
    this.#rejectAll(session);
  }

  tick(): void {
    const deadline = this.table.nextDeadline();
    if (deadline === null || deadline > this.#now) return;
    const spared = new Set<number>();
    const effects = this.table.tick(this.#now, (session, oid) => {
      const spares = this.#spared(session, oid);
      if (spares) spared.add(oid);
      return spares;
    });
    this.run(effects);
    if (spared.size > 0) this.#rejectLate(spared);
  }

  /** Who has waited for these objects for long. */
  #rejectLate(oids: ReadonlySet<number>): void {
    for (const [ticket, {session, oid, since, reject}] of this.#waiters) {
      if (session < 0 || !oids.has(oid) || this.#now - since < SPARED_WAIT_MS) continue;
      this.#waiters.delete(ticket);
      this.run(this.table.cancel(session, oid, ticket, this.#now));
      reject(
        new FsError(
          'EIO',
          `object ${oid}: its group has too few servers to take what a client has written`,
        ),
      );
    }
  }

  run(effects: readonly LeaseEffect[]): void {
    for (const effect of effects) {
      if (effect.do === 'grant') {
        const {ticket, mode, part = null} = effect;
        this.#grant(ticket, {mode, part});
      } else if (effect.do === 'recall') this.#recall(effect);
      else if (effect.session > 0) {
        this.#rejectAll(effect.session);
        this.#fence(effect.session, effect.oid);
      }
    }
  }

  #grant(ticket: number, granted: Granted): void {
    const waiter = this.#waiters.get(ticket);
    assert(waiter !== undefined, 'a grant has a request');
    this.#waiters.delete(ticket);
    if (waiter.mode !== READ) this.#changing(waiter.oid);
    waiter.resolve(granted);
  }

  #recall({session, oid, keep, range}: LeaseEffect & {do: 'recall'}): void {
    if (keep === NONE) this.#chill(oid);
    // The server's own leases end by themselves, soon.
    if (session < 0) return;
    let gathered = this.#recalls.get(session);
    if (gathered === undefined) {
      gathered = new Map();
      this.#recalls.set(session, gathered);
      if (this.#recalls.size === 1) this.#env.clock.soon(() => this.#pushRecalls());
    }
    gathered.set(oid, {keep, range});
  }

  /** Those of one event go to each session in one message. */
  #pushRecalls(): void {
    const all = [...this.#recalls];
    this.#recalls.clear();
    for (const [session, gathered] of all) {
      const holder: Session | undefined = this.#sessions.get(session);
      // Without a connection it is told when it is back (`reconcile`), or fenced.
      if (holder === undefined || holder.peer === null || holder.state !== 'live') continue;
      const recalls = [...gathered];
      for (let at = 0; at < recalls.length; at += RECALLS_MAX) {
        const some = recalls.slice(at, at + RECALLS_MAX);
        const [oid, ...more] = some.map(([object]) => object);
        const [keep, ...keeps] = some.map(([, recall]) => recall.keep);
        const ranges = some
          .filter(([, {range}]) => !isEverything(range))
          .map(([object, {range}]) => ({oid: object, ranges: [range]}));
        holder.peer.push(OPS.recall, {oid: oid!, keep: keep!, more, keeps, ranges});
      }
    }
  }

  #chill(oid: number): void {
    const now = this.#now;
    if (this.#cool.size >= COOL_MAX) {
      for (const [other, until] of this.#cool) if (until <= now) this.#cool.delete(other);
      if (this.#cool.size >= COOL_MAX) return;
    }
    this.#cool.set(oid, now + COOL_MS);
  }

  #rejectAll(session: number): void {
    for (const [ticket, waiter] of this.#waiters) {
      if (waiter.session !== session) continue;
      this.#waiters.delete(ticket);
      waiter.reject(new Refusal('Fenced', `session ${session}`));
    }
  }

  get #now(): Ms {
    return this.#env.clock.now();
  }
}
