import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {
  type ByteRange,
  EVERYTHING,
  hull,
  isEverything,
  NOTHING,
  overlaps,
  type Ranges,
  WHOLE,
  without,
} from '../lease/ranges.js';
import {LEASE, type LeaseMode} from '../protocol/ops.js';
import {COLUMN_WAIT_MS} from './column-io.js';
import {contended} from './contention.js';
import type {Held} from './held.js';
import type {HolderOptions} from './holder-options.js';
import type {LeaseHolder} from './lease-holder.js';
import {RecallTime} from './recall-time.js';
import {staysOf} from './recent-use.js';
import type {Session} from './session.js';
import type {Stats} from './stats.js';
import type {Yields} from './yields.js';

/** What failed for lack of servers is tried again. */
const AGAIN_MS: Ms = 500;

/** A recall that is being carried out: of what, the mode that may stay, and what came since and is not part of it. */
interface Recall {
  keep: LeaseMode;
  range: ByteRange;
  next: {keep: LeaseMode; range: ByteRange} | null;
  done: Promise<void>;
}

/** How leases are given back. */
export class Recalls {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #session: Session;
  readonly #yields: Yields;
  readonly #holder: LeaseHolder;
  readonly #options: HolderOptions;
  readonly #stats: Stats;
  readonly #running = new Map<number, Recall>();
  /** When the meta server was met that asks now. */
  #metAt: Ms = Number.NEGATIVE_INFINITY;

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    session: Session,
    yields: Yields,
    holder: LeaseHolder,
    options: HolderOptions,
    stats: Stats,
  ) {
    this.#env = env;
    this.#session = session;
    this.#yields = yields;
    this.#holder = holder;
    this.#options = options;
    this.#stats = stats;
  }

  has(oid: number): boolean {
    return this.#running.has(oid);
  }

  /** Another meta server than the one that had asked: it knows of no recall, and gives each as much time as ever. */
  restarted(): void {
    this.#metAt = this.#env.clock.now();
  }

  async done(oid: number): Promise<void> {
    await this.#running.get(oid)?.done;
  }

  async allDone(): Promise<void> {
    await Promise.all([...this.#running.values()].map((recall) => recall.done));
  }

  recall(oid: number, keep: LeaseMode, range: ByteRange): void {
    this.#stats.recalls++;
    const running = this.#running.get(oid);
    if (running !== undefined) {
      if (isEverything(running.range)) running.keep = Math.min(running.keep, keep) as LeaseMode;
      else {
        const all = running.next === null ? range : hull(running.next.range, range);
        running.next = {keep: Math.min(running.next?.keep ?? keep, keep) as LeaseMode, range: all};
      }
      return;
    }
    const held = this.#holder.peek(oid);
    if (held === undefined || (held.mode <= keep && !held.split)) {
      this.#yields.add(oid, held?.mode ?? LEASE.none, null);
      return;
    }
    if (held.split && !overlaps(held.parts, range)) {
      this.#yields.add(oid, LEASE.none, null, [range]);
      return;
    }
    const recall: Recall = {keep, range, next: null, done: Promise.resolve()};
    this.#running.set(oid, recall);
    recall.done = this.#giveUp(held, recall)
      .catch((error: unknown) =>
        this.#env.log.error('recall.failed', {oid, error: messageOf(error)}),
      )
      .finally(() => {
        this.#running.delete(oid);
        if (recall.next !== null) this.recall(oid, recall.next.keep, recall.next.range);
      });
  }

  /**
   * In this order: no new operation; those under way end; what is dirty is written back; the cache owner gives up
   * what it has (it may read and write meanwhile, under the old lease); once more what came by that; then, in one
   * step, the mode changes and the yield leaves.
   */
  async #giveUp(held: Held, recall: Recall): Promise<void> {
    const {generation} = this.#session;
    const {clock} = this.#env;
    let open = held.close();
    try {
      await held.idle();
      const part = !isEverything(recall.range) && held.divisible;
      const used = part ? held.recent.ranges(clock.now()) : NOTHING;
      const keeps = (): Ranges =>
        part ? staysOf(held.split ? held.parts : WHOLE, recall.range, used) : NOTHING;
      const had = (): Ranges => (held.split ? held.parts : WHOLE);
      let goes = without(had(), keeps());
      // What is spread over the object is not told apart from the rest.
      const gone = (): ByteRange => {
        const [gap, ...more] = without(WHOLE, without(had(), goes));
        return gap !== undefined && more.length === 0 ? gap : EVERYTHING;
      };
      if (held.layout === null) await this.#options.settle(held.oid);
      else await this.#settled(held, gone());
      if (this.#options.cacheOwner !== null) {
        // More may be wanted meanwhile. What is granted meanwhile stays, if it is of something else.
        const more = (): boolean => overlaps(without(without(had(), keeps()), goes), recall.range);
        for (let keep = -1; keep !== recall.keep || more(); ) {
          // Under a directory's lease nothing has to be done first, and nothing may be told any more.
          if (held.layout !== null) open();
          // Answers that were computed under the lease reach the cache owner before it is asked to forget.
          await new Promise<void>((resolve) => clock.soon(resolve));
          keep = recall.keep;
          goes = without(had(), keeps());
          await this.#options.cacheOwner.invalidate(held.oid, keep === 0 ? 0 : 1, goes);
          if (held.layout !== null) open = held.close();
          await held.idle();
          if (held.layout !== null) await this.#settled(held, gone());
        }
      }
      const stays = (): Ranges =>
        this.#options.cacheOwner === null ? keeps() : without(had(), goes);
      if (generation !== this.#session.generation) return;
      // A write that may still arrive must not meet the next holder's: the recall time passes and the fence stops it.
      // Nor may the next holder settle what this one left half written.
      await this.#doubted(held, generation);
      if (recall.keep === LEASE.none && stays().length === 0) await this.#holder.tellOpen(held);
      const handOver = (): void => {
        if (generation === this.#session.generation) this.#handOver(held, recall.keep, stays());
      };
      if (held.layout === null) handOver();
      // What is being written in the background may be of stripes that are about to be in several hands.
      else await held.exclusive(() => Promise.resolve(handOver()));
    } finally {
      open();
    }
  }

  /** In one step. */
  #handOver(held: Held, keep: LeaseMode, stays: Ranges): void {
    if (this.#unsure(held)) return;
    const news = held.writes && held.layout !== null ? held.news() : null;
    if (held.layout === null) contended(held, this.#env.clock.now());
    const had = held.split ? held.parts : WHOLE;
    held.mode = stays.length > 0 || held.split ? LEASE.none : keep;
    held.parts = stays;
    held.tenure++;
    if (held.layout === null) this.#options.returned(held.oid);
    if (held.mode === LEASE.none) {
      held.settle.clear();
      held.current = false;
      if (stays.length === 0) held.inline = null;
      held.fresh = false;
      held.known.clear();
      this.#options.ended(held.oid);
      held.checked.clear();
    }
    this.#env.log.debug('lease.given', {oid: held.oid, mode: held.mode, parts: stays.length});
    this.#yields.add(held.oid, held.mode, news, stays.length === 0 ? WHOLE : without(had, stays));
    if (news !== null) held.told(news);
  }

  /** Servers know of what is half written, and none will take what was sent to it; or it is too late. */
  async #doubted(held: Held, generation: number): Promise<void> {
    const time = this.#time(held);
    for (;;) {
      if (held.torn.size > 0) await this.#options.doubt(held);
      if (!this.#unsure(held) || time.over || !time.waited) return;
      if (generation !== this.#session.generation) return;
      await sleep(this.#env.clock, AGAIN_MS);
    }
  }

  #unsure(held: Held): boolean {
    return this.#holder.doubts(held) || held.torn.size > 0;
  }

  #time(held: Held): RecallTime {
    const {short, tooFewWaitMs} = this.#options;
    return new RecallTime(this.#env.clock, {
      metAt: () => this.#metAt,
      short: () => short(held),
      patienceMs: Math.max(COLUMN_WAIT_MS, tooFewWaitMs),
      connected: () => this.#session.connected,
    });
  }

  /** Written back, or noted as lost: a lease is given up in time either way. */
  async #settled(held: Held, range: ByteRange): Promise<void> {
    // What is being written elsewhere may be of the same stripes.
    if (!held.unwrittenIn(range)) {
      if (!isEverything(range)) await held.exclusive(() => Promise.resolve());
      return;
    }
    const time = this.#time(held);
    const late = time.watch(() => {
      held.revoked = true;
    });
    const flush = (): Promise<unknown> =>
      this.#options.flush(held, range).then(
        () => null,
        (error: unknown) => error,
      );
    let error = await flush();
    const {generation} = this.#session;
    while (
      error !== null &&
      time.waited &&
      !held.revoked &&
      generation === this.#session.generation
    ) {
      await sleep(this.#env.clock, AGAIN_MS);
      error = await flush();
    }
    late.cancel();
    held.revoked = false;
    if (error === null && !held.unwrittenIn(range)) return;
    const reason = error === null ? 'dirty again' : messageOf(error);
    this.#env.log.error('data.lost', {oid: held.oid, bytes: held.dirty.bytes, reason});
    held.error ??= error instanceof FsError ? error : new FsError('EIO', reason);
    held.giveUp();
  }
}
