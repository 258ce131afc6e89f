import {FsError, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {alignDown, alignUp, MIB} from '../base/units.js';
import {sleep, type Timer} from '../env/clock.js';
import {owners} from '../layout/generations.js';
import type {Layout} from '../layout/scheme.js';
import {chunkDataBytes} from '../layout/stripe.js';
import {EVERYTHING} from '../lease/ranges.js';
import {LEASE, OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {OpenedClient} from './index.js';
import {laid} from './laid.js';
import {MoveCopy} from './move-copy.js';
import {MoveWatch, type News} from './move-watch.js';
import type {Pace} from './pace.js';
import {Pieces} from './pieces.js';
import {locate} from './place.js';
import {doubted} from './scrub-repair.js';

/** A larger object is copied in rounds from the beginning. */
const WHOLE_BYTES = 4 * MIB;
/** So long programs wait for the last step; after as many vain rounds or last steps. Then an object is given up. */
const PATIENCE_MS: readonly Ms[] = [1000, 2000, 4000, 6000];
/** The same, with what is to be done when everything is copied: a lease that is recalled must go within 10 s. */
const LATE_MS: Ms = 9000;
/** Chunks are settled, which takes 2 s at most, if programs have not waited longer. */
const SETTLE_LATE_MS: Ms = 4000;
/** A server that does not answer makes the move try again later. */
const MOVE_WAIT_MS: Ms = 3000;
/** A round is in vain if it leaves more than this of what the one before left. */
const SHRINKS = 0.7;
const ASK_MS: Ms = 5000;
const ASK_LAST_MS: Ms = 500;
const AGAIN_MS: Ms = 500;
/** So often servers may be lost, or come back, or not answer, while an object is moved. */
const LOSSES_MAX = 20;
/** Until then a resync has seen what somebody gave up half way. */
const DOUBT_MS: Ms = 60_000;

/** Of the end of a move that was ended before, maybe in the middle of a round: what was copied after that nobody else knows of. */
const OVER: ReadonlySet<string> = new Set(['EAGAIN', 'ENOENT', 'ESTALE']);

/** Where an object is to go. No groups: the meta server draws as many as `groupCount`. */
export type Target = Omit<Layout, 'generation'> & {groupCount: number};

export interface MoveOptions {
  /** Asked between steps: true ends the move, and what was copied goes. */
  stopped(): boolean;
  pace?: Pace | undefined;
  /** Others than usual. */
  sizes?: {wholeBytes: number; stepBytes: number; patienceMs?: readonly Ms[]} | undefined;
}

/** The move is given up: programs want the object, or it was stopped. */
export class Wanted extends Error {
  override readonly name = 'Wanted';
}

/** How long it may go on. */
interface Leave {
  revoked(): boolean;
  /** False: not now; rejects: not any more. Asked before each step. */
  goesOn(): boolean;
  /** After each step. */
  rest(): Promise<void>;
}

interface LastLeave extends Leave {
  wantedSince(): Ms | null;
}

/**
 * One attempt to move an object. Small ones are copied under the lease. What is large, or wanted meanwhile, is copied in rounds while programs go on: servers note what changes, and
 * that is copied again, until so little is left that the lease is taken for it.
 */
export class Move {
  readonly #client: OpenedClient;
  readonly #path: BytePath;
  readonly #options: MoveOptions;
  readonly #source: {oid: number; layout: Layout};
  readonly #copy: MoveCopy;
  readonly #session: number;
  /** The meta server was told that it is there. */
  #ended = false;
  #live: boolean;
  #watch: MoveWatch | null = null;
  #pieces: Pieces;
  /** Pieces that are still to be copied. */
  #left = new Set<number>();
  #vain = 0;
  #losses = 0;
  #doubtSince: Ms | null = null;
  /** What was copied, holes too, and how long that took. */
  #speed = {bytes: 0, ms: 0};
  /** What was written, as often as it was. */
  copied = 0;
  /** Of the object, when it was moved. */
  bytes = 0;
  /** Those in which something was copied. */
  count = 0;
  /** Programs have waited for the last step for so long that nothing else is done under the lease. */
  late = false;

  private constructor(
    client: OpenedClient,
    held: Held,
    next: Layout,
    options: MoveOptions,
    large: boolean,
  ) {
    const {path, session} = client.parts;
    this.#client = client;
    this.#options = options;
    this.#session = session.generation;
    this.#path = {...path, columnWaitMs: MOVE_WAIT_MS, tooFewWaitMs: 0};
    this.#source = {oid: held.oid, layout: held.layout!};
    this.#copy = new MoveCopy(client, this.#source, next, options.sizes?.stepBytes);
    this.#live = large;
    this.#pieces = new Pieces(this.#source.layout, held.flushedSize);
  }

  /** Inside `held.exclusive`. */
  static async begin(
    client: OpenedClient,
    held: Held,
    {groupCount, ...where}: Target,
    options: MoveOptions,
  ): Promise<Move> {
    const layout = {...where, groups: [...where.groups], generation: 0};
    const large = held.flushedSize > (options.sizes?.wholeBytes ?? WHOLE_BYTES);
    // Of a large one the servers are asked that note its changes.
    if (!large && (await inDoubt(client.parts.path, held))) throw new Wanted();
    const request = {oid: held.oid, layout, begin: true, moved: false, groupCount};
    try {
      const {message} = await client.parts.session.call(OPS.relocate, request);
      return new Move(client, held, message.layout!, options, large);
    } catch (error) {
      // Somebody else is moving it.
      if (error instanceof FsError && error.errno === 'EBUSY') throw new Wanted();
      throw error;
    }
  }

  /** Inside `held.exclusive`. True: it is moved; false: what is left is to be copied in rounds first. */
  async tenure(held: Held): Promise<boolean> {
    const {session} = this.#client.parts;
    const moved = held.layout!.generation !== this.#source.layout.generation;
    if (moved || session.generation !== this.#session) throw new Wanted();
    const leave = this.#held(held);
    if (this.#live) {
      if (this.#watch === null) return this.#look(held);
      if (!this.#learnt(await this.#watch.ask(ASK_LAST_MS))) return false;
    } else this.#everything(held);
    return this.#last(held, leave);
  }

  /** Copies what is left while programs use the object, until the rest can be copied under its lease. */
  async rounds(): Promise<void> {
    if (this.#watch === null) {
      if (++this.#losses > LOSSES_MAX) throw new Wanted();
      return sleep(this.#path.clock, this.#live && this.#losses > 1 ? AGAIN_MS : 0);
    }
    const {syncer} = this.#client.parts;
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      if (this.#left.size > 0) {
        this.count++;
        await this.#copyLeft(this.#alone(), null);
        const start = this.#path.clock.now();
        await syncer.sync(this.#copy.held, true);
        this.#speed.ms += this.#path.clock.now() - start;
      }
      const news = await this.#watch.ask(ASK_MS);
      if (!this.#learnt(news)) {
        if (this.#watch === null) return;
        this.#alone().goesOn();
        await this.#path.columns.newer(this.#path.columns.map.epoch, AGAIN_MS);
        continue;
      }
      if (!(await this.#known())) throw new Wanted();
      const left = this.#msLeft();
      if (left <= this.#patience) return;
      if (left > before * SHRINKS) this.#failed();
      before = left;
    }
  }

  /** What was copied goes. Never rejects: what nobody tells the meta server is found when the next attempt begins. */
  async giveUp(): Promise<void> {
    this.#copy.held.forget();
    if (this.#ended) return;
    const {oid} = this.#source;
    const {holder} = this.#client.parts;
    try {
      await this.#end(false).catch((error: unknown) => {
        if (!(error instanceof FsError && error.errno === 'EAGAIN')) throw error;
        // A meta server that was started since does not know who began it.
        return holder.use(oid, LEASE.write, () => this.#end(false), EVERYTHING, true);
      });
    } catch (error) {
      this.#path.log.info('move.unended', {oid, reason: messageOf(error)});
      const over = error instanceof FsError && OVER.has(error.errno);
      if (over) await this.#copy.remove(this.#path);
    }
  }

  /** Does the meta server still know where it goes? A resync may have ended the move, if the meta server was started since it began. */
  async #known(): Promise<boolean> {
    const {oid} = this.#source;
    const {generation} = this.#copy.layout;
    const {message} = await this.#client.parts.session.call(OPS.exists, {oids: [oid]});
    return owners(message)({oid, chunk: 0, generation}) === 'somebody';
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await this.#watch?.end();
    this.#watch = null;
  }

  get #patiences(): readonly Ms[] {
    return this.#options.sizes?.patienceMs ?? PATIENCE_MS;
  }

  get #patience(): Ms {
    return this.#patiences[this.#vain]!;
  }

  #failed(): void {
    this.#vain++;
    const {oid} = this.#source;
    this.#path.log.info('move.vain', {oid, rounds: this.count, left: this.#left.size});
    if (this.#vain >= this.#patiences.length) throw new Wanted();
  }

  /** Under the lease: what changes from now on is noted, and until now nobody has written behind `flushedSize`. */
  async #look(held: Held): Promise<false> {
    this.#pieces = new Pieces(this.#source.layout, held.flushedSize);
    const watch = new MoveWatch(this.#path, this.#source, this.#pieces);
    const news = await watch.ask(ASK_LAST_MS);
    if (typeof news === 'string') {
      void watch.end();
      return false;
    }
    this.#watch = watch;
    this.#everything(held);
    return false;
  }

  #everything(held: Held): void {
    // What was copied before behind the present end is not what is there when the object is longer again.
    const count = this.#pieces.count(Math.max(held.flushedSize, this.#copy.end));
    this.#left = new Set(Array.from({length: count}, (_, piece) => piece));
  }

  /** False: it is not known what has changed, or must not be believed. */
  #learnt(news: News): boolean {
    const {clock} = this.#path;
    if (news === 'lost') {
      void this.#watch?.end();
      this.#watch = null;
      return false;
    }
    if (news === 'unanswered') {
      if (++this.#losses > LOSSES_MAX) throw new Wanted();
      return false;
    }
    for (const piece of news.pieces) this.#left.add(piece);
    if (!news.doubt) this.#doubtSince = null;
    else {
      this.#doubtSince ??= clock.now();
      if (clock.now() - this.#doubtSince > DOUBT_MS) throw new Wanted();
    }
    return !news.doubt;
  }

  /** While others write it. */
  #alone(): Leave {
    const {session} = this.#client.parts;
    const {stopped, pace} = this.#options;
    const revoked = (): boolean => session.generation !== this.#session;
    const ends = (): boolean => revoked() || stopped();
    return {
      revoked,
      goesOn: () => {
        if (ends()) throw new Wanted();
        return true;
      },
      rest: async () => pace?.wait(ends, this.count > 1),
    };
  }

  /** Under the lease: until others have waited for `#patience`. */
  #held(held: Held): LastLeave {
    const {clock} = this.#path;
    const {stopped, pace} = this.#options;
    const {tenure} = held;
    let since: Ms | null = null;
    const wanted = (): boolean => {
      since = held.gate === null ? null : (since ?? clock.now());
      return since !== null;
    };
    const revoked = (): boolean => held.revoked || held.tenure !== tenure;
    wanted();
    return {
      revoked,
      wantedSince: () => since,
      goesOn: () => {
        if (revoked() || stopped()) throw new Wanted();
        return !wanted() || clock.now() - since! < this.#patience;
      },
      rest: async () => {
        // Paused.
        if (!wanted() && (await pace?.moved(clock.now(), wanted)) === false && !wanted())
          throw new Wanted();
      },
    };
  }

  /** What is left is copied under the lease, and the object is moved. False: others have waited too long. */
  async #last(held: Held, leave: LastLeave): Promise<boolean> {
    const size = held.flushedSize;
    await this.#copy.cut(this.#path, size, leave.revoked);
    await this.#copyLeft(leave, size);
    if (this.#left.size > 0 || !(await this.#synced(leave.wantedSince))) {
      // All that was copied is to be found changed, or not, by those who note it.
      this.#live = true;
      this.#failed();
      return false;
    }
    if (held.gone) throw new FsError('ESTALE', `object ${held.oid}`);
    leave.goesOn();
    const {clock} = this.#path;
    this.late = clock.now() - (leave.wantedSince() ?? clock.now()) > SETTLE_LATE_MS;
    this.bytes = Math.min(this.copied, size);
    await this.#end(true);
    const chunks = [...this.#copy.held.settle];
    laid(held, this.#copy.layout);
    for (const chunk of chunks) held.settle.add(chunk);
    return true;
  }

  /** False: it takes longer than programs may wait. */
  async #synced(wantedSince: () => Ms | null): Promise<boolean> {
    const {clock} = this.#path;
    const {syncer} = this.#client.parts;
    const since = wantedSince() ?? clock.now();
    let timer: Timer | null = null;
    const late = new Promise<false>((resolve) => {
      timer = clock.timer(Math.max(0, since + LATE_MS - clock.now()), () => resolve(false));
    });
    const done = syncer.sync(this.#copy.held, true).then(() => true);
    try {
      return await Promise.race([done, late]);
    } finally {
      (timer as Timer | null)?.cancel();
      done.catch(() => {});
    }
  }

  async #end(moved: boolean): Promise<void> {
    this.#ended ||= moved;
    const {oid} = this.#source;
    const {session} = this.#client.parts;
    const layout = {...this.#copy.layout, groups: [...this.#copy.layout.groups]};
    await session.call(OPS.relocate, {oid, layout, begin: false, moved, groupCount: 0});
  }

  /** `size`: of the object, when nobody changes it; what is behind that is left out. */
  async #copyLeft(leave: Leave, size: number | null): Promise<void> {
    const {step, stripe} = this.#copy;
    const sorted = [...this.#left].sort((a, b) => a - b);
    for (const run of runs(sorted, this.#pieces, step)) {
      const to = Math.min(size ?? Number.POSITIVE_INFINITY, alignUp(run.to, stripe));
      let whole = true;
      for (let at = alignDown(run.from, stripe); at < to; at += step) {
        if (!leave.goesOn()) return;
        const start = this.#path.clock.now();
        const how = {shared: size === null, revoked: leave.revoked};
        const bytes = await this.#copy.put(this.#path, [at, Math.min(to, at + step)], how);
        this.#speed.ms += this.#path.clock.now() - start;
        whole &&= bytes !== null;
        this.copied += bytes ?? 0;
        await leave.rest();
      }
      this.#speed.bytes += run.to - run.from;
      if (whole) for (const piece of run.pieces) this.#left.delete(piece);
    }
  }

  /** How long what is left takes, as fast as it has gone so far. */
  #msLeft(): Ms {
    let left = 0;
    for (const piece of this.#left) {
      const {from, to} = this.#pieces.range(piece);
      left += to - from;
    }
    const {bytes, ms} = this.#speed;
    return bytes === 0 ? 0 : (left * ms) / bytes;
  }
}

/** Is there a change that was given up half way, and that no resync has seen? Which column is read decides what is copied then. */
async function inDoubt(path: BytePath, {oid, layout, flushedSize}: Held): Promise<boolean> {
  const chunks = Math.ceil(flushedSize / chunkDataBytes(layout!));
  for (let chunk = 0; chunk < chunks; chunk++)
    if (await doubted(path, locate(path.columns.map, layout!, oid, chunk))) return true;
  return false;
}

/** Pieces in order that are one behind the other, until they are `most` bytes. */
function* runs(
  all: readonly number[],
  pieces: Pieces,
  most: number,
): Generator<{from: number; to: number; pieces: number[]}> {
  let run: {from: number; to: number; pieces: number[]} | null = null;
  for (const piece of all) {
    const {from, to} = pieces.range(piece);
    if (run !== null && run.to === from && to - run.from <= most) {
      run.to = to;
      run.pieces.push(piece);
      continue;
    }
    if (run !== null) yield run;
    run = {from, to, pieces: [piece]};
  }
  if (run !== null) yield run;
}
