import {messageOf} from '../base/errors.js';
import type {Env} from '../env/env.js';
import {
  type ByteRange,
  EVERYTHING,
  isWhole,
  overlaps,
  type Ranges,
  WHOLE,
} from '../lease/ranges.js';
import type {FlushItem} from '../protocol/gen/wire.js';
import {type LeaseMode, OPS} from '../protocol/ops.js';
import type {Session} from './session.js';

/** Objects whose last yield is remembered one by one. */
const REMEMBERED_MAX = 16_384;
/** What was given up of one object, one after the other; more count as all of it. */
const RANGES_MAX = 32;
/** In one message. */
const YIELDS_MAX = 1024;

/** A yield without an answer, or several one after the other. */
interface Yield {
  /** It takes a size along that the meta server may not know. */
  sized: boolean;
  done: Promise<void>;
}

/** What was given up. */
interface Given {
  /** When the meta server had answered; infinity until then. */
  count: number;
  readonly gone: Ranges;
}

/** Of one object. */
interface Last {
  /** When something else than a yield made answers about it old. */
  outdated: number;
  yielded: Given[];
}

/** Leases on their way back, and which answers are older than that. */
export class Yields {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #session: Session;
  /** Without an answer: a new request must not overtake them. */
  readonly #under = new Map<number, Yield>();
  /** Those without news that leave soon. */
  #bare: {oids: number[]; keeps: LeaseMode[]; done: Promise<void>} | null = null;
  /** Counts yields, so that a grant that was answered before a yield is not believed after it. */
  #count = 0;
  readonly #last = new Map<number, Last>();
  /** Tickets below this are void for every object: `last` has forgotten which. */
  #ticketMin = 0;

  constructor(env: Pick<Env, 'clock' | 'log'>, session: Session) {
    this.#env = env;
    this.#session = session;
  }

  /** To be kept by whoever asks for a grant. */
  get ticket(): number {
    return this.#count;
  }

  /** May what was asked for at `ticket` about the object be believed? */
  current(oid: number, ticket: number): boolean {
    return this.kept(oid, ticket, EVERYTHING) && (this.#last.get(oid)?.outdated ?? 0) <= ticket;
  }

  /** Was nothing given up of this range since the ticket was taken? */
  kept(oid: number, ticket: number, range: ByteRange): boolean {
    if (this.#ticketMin > ticket) return false;
    const yielded = this.#last.get(oid)?.yielded ?? [];
    return !yielded.some(({count, gone}) => count > ticket && overlaps(gone, range));
  }

  /** What was asked for until now about this object is not to be believed. */
  outdate(oid: number): void {
    const last = this.#next(oid);
    last.outdated = this.#count;
  }

  #yielded(oid: number, gone: Ranges): Given {
    const last = this.#next(oid);
    const all = isWhole(gone) || last.yielded.length >= RANGES_MAX;
    const given = {count: Number.POSITIVE_INFINITY, gone: all ? WHOLE : gone};
    if (all) last.yielded = [given];
    else last.yielded.push(given);
    return given;
  }

  /** What is asked for from now on is granted after the yield. What was asked for before may have been granted first, and taken back by it. */
  #answered(oid: number, given: Given): void {
    const known = this.#last.get(oid)?.yielded.includes(given) === true;
    // Without it there is a later one of everything, which counts for this one, too.
    if (known) given.count = ++this.#count;
  }

  #next(oid: number): Last {
    this.#count++;
    if (this.#last.size > REMEMBERED_MAX + this.#under.size) {
      for (const known of this.#last.keys()) if (!this.#under.has(known)) this.#last.delete(known);
      this.#ticketMin = this.#count;
    }
    let last = this.#last.get(oid);
    if (last === undefined) {
      last = {outdated: 0, yielded: []};
      this.#last.set(oid, last);
    }
    return last;
  }

  /** Resolves when the meta server has everything that went with yields of the object. */
  async done(oid: number): Promise<void> {
    for (let entry = this.#under.get(oid); entry; entry = this.#under.get(oid)) await entry.done;
  }

  async allDone(): Promise<void> {
    await Promise.all([...this.#under.values()].map((entry) => entry.done));
  }

  /** Objects that are being given back. */
  get oids(): Iterable<number> {
    return this.#under.keys();
  }

  sized(oid: number): boolean {
    return this.#under.get(oid)?.sized === true;
  }

  /** The session is gone: they end with an error, and the next one owes nothing. Nor is what it was granted held by the next one. */
  lost(): void {
    for (const entry of this.#under.values()) entry.sized = false;
    this.#ticketMin = ++this.#count;
  }

  /** `gone`: what is given up; everything, if `keep` is not none. */
  add(oid: number, keep: LeaseMode, attr: FlushItem | null, gone: Ranges = WHOLE): void {
    const given = this.#yielded(oid, gone);
    const before = this.#under.get(oid);
    const {generation} = this.#session;
    const send = async (): Promise<void> => {
      if (generation !== this.#session.generation) return;
      const all = isWhole(gone);
      if (attr === null && all) return this.#sendWithOthers(oid, keep);
      const request = {oid, keep, attr, gone: all ? [] : [...gone]};
      await this.#session.call(OPS.yieldLease, request, {urgent: true});
    };
    // One that takes nothing along is done at once over there, so it must not come before what another one takes along.
    const sent = before === undefined ? send() : before.done.then(send);
    const entry: Yield = {
      sized: attr !== null || before?.sized === true,
      done: sent
        .catch((error: unknown) =>
          this.#env.log.info('yield.failed', {oid, reason: messageOf(error)}),
        )
        .finally(() => {
          this.#answered(oid, given);
          if (this.#under.get(oid) === entry) this.#under.delete(oid);
        }),
    };
    this.#under.set(oid, entry);
  }

  /** Yields of one moment that bring no news leave in one message. */
  #sendWithOthers(oid: number, keep: LeaseMode): Promise<void> {
    let batch = this.#bare;
    if (batch === null || batch.oids.length >= YIELDS_MAX) {
      const oids: number[] = [];
      const keeps: LeaseMode[] = [];
      const {generation} = this.#session;
      const next = new Promise<void>((resolve) => this.#env.clock.soon(resolve));
      const done = next.then(async () => {
        if (this.#bare?.oids === oids) this.#bare = null;
        if (generation !== this.#session.generation) return;
        const [first, ...more] = oids;
        const [kept, ...rest] = keeps;
        const request = {oid: first!, keep: kept!, attr: null, more, keeps: rest};
        await this.#session.call(OPS.yieldLease, request, {urgent: true});
      });
      batch = this.#bare = {oids, keeps, done};
    }
    batch.oids.push(oid);
    batch.keeps.push(keep);
    return batch.done;
  }
}
