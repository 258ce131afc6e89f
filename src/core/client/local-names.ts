import {FsError} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Clock, Timer} from '../env/clock.js';
import type {DirectoryPart} from '../namespace/inode.js';
import {NAME_CHANGES} from '../namespace/table.js';
import type {Attr} from '../protocol/gen/wire.js';
import {LEASE, OPS, type Op} from '../protocol/ops.js';
import {contended} from './contention.js';
import type {Journal} from './journal.js';
import type {LeaseHolder} from './lease-holder.js';
import {LocalTx, Unknown} from './local-tx.js';
import type {NameCache} from './name-cache.js';
import type {Reserved} from './reserved.js';
import type {Session} from './session.js';

/** What is missing is asked for so often before the whole change is. */
const TRIES = 8;
/** A directory that nothing was changed in for so long is kept for reading only; looked at so often. */
const IDLE_MS: Ms = 10_000;
const SWEEP_MS: Ms = 5_000;
const NO_BYTES = new Uint8Array(0);

export interface LocalParts {
  clock: Clock;
  session: Session;
  holder: LeaseHolder;
  names: NameCache;
  journal: Journal;
  reserved: Reserved;
  /** Something has been added to the journal. */
  plan(): void;
}

/** How a change went that was carried out here. */
export interface Done<R> {
  reply: R;
  tx: LocalTx;
}

/**
 * Carries out changes of names and attributes here, where this client holds all directories that they touch for writing; the
 * meta server is told later. Where it does not hold them it asks for them first.
 */
export class LocalNames {
  readonly #parts: LocalParts;
  #timer: Timer | null = null;
  #closed = false;
  readonly #acquiring = new Map<number, Promise<boolean>>();
  /** Brings a name into the cache. Rejects with FsError. */
  look: (parent: number, name: Uint8Array) => Promise<unknown> = () => Promise.resolve();
  /** A directory had to be asked for to be changed here. */
  asked: (oid: number) => void = () => {};
  /** Resolves when it has come with others; null: it is not on its way. */
  coming: (oid: number) => Promise<void> | null = () => null;

  constructor(parts: LocalParts) {
    this.#parts = parts;
  }

  /**
   * Null: the meta server must be asked. Rejects with FsError as it would answer. `directories` are those whose names or
   * attributes change. `finish` completes the request that the meta server gets, when the change has been made and nothing has
   * happened since.
   */
  async run<Q extends object, R>(
    op: Op<Q, R>,
    request: Q,
    directories: readonly number[],
    finish?: (tx: LocalTx) => void,
  ): Promise<Done<R> | null> {
    const {session, names, journal, reserved} = this.#parts;
    const {makes} = NAME_CHANGES.get(op.code)!;
    for (let tries = 0; tries < TRIES && session.valid; tries++) {
      const missing = directories.find((oid) => !names.mine(oid));
      if (missing !== undefined) {
        if (!(await this.#acquire(missing))) return null;
      } else if (journal.full) {
        await journal.room();
      } else if (makes && !reserved.ready) {
        await reserved.ask();
      } else {
        try {
          return this.#apply(op, request, finish);
        } catch (error) {
          if (!(error instanceof Unknown)) throw error;
          if (!(await this.#learn(error.lacks))) return null;
        }
      }
    }
    return null;
  }

  /** In one step. Throws Unknown, or FsError. */
  #apply<Q extends object, R>(op: Op<Q, R>, request: Q, finish?: (tx: LocalTx) => void): Done<R> {
    const {clock, names, journal, reserved} = this.#parts;
    const {run, makes} = NAME_CHANGES.get(op.code)!;
    const tx = new LocalTx(names);
    const ms = clock.wall();
    const sec = Math.floor(ms / 1000);
    const now = {sec, nsec: Math.min(999_999_999, Math.floor((ms - sec * 1000) * 1e6))};
    const groups = makes ? reserved.draw() : [];
    const oid = makes ? reserved.take() : 0;
    const reply = run(tx, request, {now, oid, groups, payload: NO_BYTES}) as R;
    const touches = tx.commit();
    if (touches.length > 0) {
      this.#used(touches);
      finish?.(tx);
      const made = tx.made?.oid ?? 0;
      const body = op.request.encode(request);
      const change = {code: op.code, request: body, oid: made, groups: [...groups], now};
      const removes = tx.orphan?.directory == null ? 0 : tx.orphan.oid;
      journal.add({change, touches, makes: made, removes});
      this.#parts.plan();
    }
    return {reply, tx};
  }

  #used(oids: readonly number[]): void {
    const {clock, holder} = this.#parts;
    for (const oid of oids) {
      const held = holder.peek(oid);
      if (held !== undefined) held.changedAt = clock.now();
    }
    this.#planSweep();
  }

  /** What is not used goes down to reading: should this client die, others need not wait for it there. */
  #planSweep(): void {
    if (this.#closed) return;
    this.#timer ??= this.#parts.clock.timer(SWEEP_MS, () => {
      this.#timer = null;
      const {clock, holder, names} = this.#parts;
      const old = clock.now() - IDLE_MS;
      let left = false;
      for (const oid of [...names.entrustedOids()]) {
        if ((holder.peek(oid)?.changedAt ?? old) <= old) holder.keepForReading(oid);
        else left = true;
      }
      if (left) this.#planSweep();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #learn(lacks: Unknown['lacks']): Promise<boolean> {
    if (lacks === null) return false;
    if ('directory' in lacks) return this.#acquire(lacks.directory);
    try {
      await this.look(lacks.parent, lacks.name);
    } catch (error) {
      if (!(error instanceof FsError) || error.errno !== 'ENOENT') return false;
    }
    return true;
  }

  /** False: it is not to be had now. True: it was given, or something has changed. */
  async #acquire(oid: number): Promise<boolean> {
    const {clock, holder, names} = this.#parts;
    const held = holder.get(oid);
    if (held.gate !== null) {
      await held.gate;
      return true;
    }
    if (held.layout !== null || names.changing(oid) || held.contendedUntil > clock.now())
      return false;
    const coming = this.coming(oid);
    if (coming !== null) {
      await coming;
      if (names.mine(oid)) return true;
    }
    let asking = this.#acquiring.get(oid);
    if (asking === undefined) {
      asking = this.#ask(oid).finally(() => this.#acquiring.delete(oid));
      this.#acquiring.set(oid, asking);
    }
    return asking;
  }

  /** A directory is held for writing since an answer that was asked for at `ticket`. */
  lent(attr: Attr, part: DirectoryPart, ticket: number): void {
    const {clock, holder, names} = this.#parts;
    const held = holder.get(attr.oid);
    held.entrustedAt = held.changedAt = clock.now();
    this.#planSweep();
    names.entrusted(attr, part, ticket);
  }

  async #ask(oid: number): Promise<boolean> {
    const {clock, holder, names, session} = this.#parts;
    await holder.yielded(oid);
    const held = holder.get(oid);
    const {ticket} = holder;
    const {changes} = held;
    try {
      const request = {oid, mode: LEASE.write, reclaim: false, inline: false, directory: true};
      const {message} = await session.call(OPS.lease, request);
      const {attr, directory: part} = message;
      if (attr === null || part === null || message.mode !== LEASE.write) {
        contended(held, clock.now());
        return false;
      }
      const {parent, nextCookie, layoutSet, ...layout} = part;
      // Whatever was under way over there may have come before or after this answer.
      if (held.changes === changes && holder.peek(oid) === held && !names.changing(oid))
        this.lent(attr, {parent, nextCookie, layoutSet, layout}, ticket);
      this.asked(oid);
      return true;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      return false;
    }
  }
}
