import {Lost, messageOf} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {sleep} from '../env/clock.js';
import type {Env} from '../env/env.js';
import {WRITE} from '../lease/lease-object.js';
import {isWhole} from '../lease/ranges.js';
import type {Attr, FlushItem} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Leases} from './leases.js';
import type {Machine} from './machine.js';
import type {Sessions} from './sessions.js';

/** A holder that does not say its sizes within this time is not waited for: the stored ones are answered. */
export const REPORT_MS: Ms = 2_000;
const ASK_AGAIN_MS: Ms = 50;
/** In one message. */
const OBJECTS_MAX = 1024;

interface Ask {
  /** The holder has sent something newer on its own. */
  void: boolean;
  done: PromiseWithResolvers<void>;
}

/** What is asked of one holder at one moment, by object. */
type Question = Map<number, Ask>;

/** Asks write holders for size and times of what they hold, for one object once at a time, and for all of one moment in one message. */
export class AttrAsks {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #machine: Machine;
  readonly #leases: Leases;
  readonly #sessions: Sessions;
  /** By object and session. */
  readonly #asks = new Map<string, Ask>();
  /** By session: what leaves soon. */
  readonly #next = new Map<number, Question>();

  constructor(
    env: Pick<Env, 'clock' | 'log'>,
    parts: {machine: Machine; leases: Leases; sessions: Sessions},
  ) {
    this.#env = env;
    this.#machine = parts.machine;
    this.#leases = parts.leases;
    this.#sessions = parts.sessions;
  }

  /** Null: what is stored is what `session` may be told. Else resolves, at the latest after REPORT_MS, when it is. */
  fresh(oid: number, session: number): Promise<void> | null {
    const {table} = this.#leases;
    if (table.grace) return table.lasting(session, oid) > 0 ? null : this.#afterGrace(oid, session);
    const writer = table.writer(oid);
    if (writer <= 0) return null;
    const [first, ...more] = table.otherWriters(oid, session);
    if (first === undefined) return null;
    const asked = this.#asked(oid, first);
    if (more.length === 0) return asked;
    return Promise.all([asked, ...more.map((one) => this.#asked(oid, one))]).then(() => {});
  }

  /** The holder is about to change what it would have reported: an answer that is under way is older. */
  overtake(oid: number, session: number): void {
    const ask = this.#asks.get(keyOf(oid, session));
    if (ask !== undefined) ask.void = true;
  }

  #asked(oid: number, writer: number): Promise<void> {
    const key = keyOf(oid, writer);
    let ask = this.#asks.get(key);
    if (ask === undefined) {
      ask = {void: false, done: Promise.withResolvers()};
      this.#asks.set(key, ask);
      this.#questionFor(writer).set(oid, ask);
    }
    return ask.done.promise;
  }

  #questionFor(writer: number): Question {
    let question = this.#next.get(writer);
    if (question === undefined || question.size >= OBJECTS_MAX) {
      const made: Question = new Map();
      this.#next.set(writer, made);
      queueMicrotask(() => {
        if (this.#next.get(writer) === made) this.#next.delete(writer);
        void this.#untilReported(made, writer).finally(() => this.#answered(made, writer));
      });
      question = made;
    }
    return question;
  }

  async #afterGrace(oid: number, session: number): Promise<void> {
    await this.#leases.graceOver;
    await this.fresh(oid, session);
  }

  /** A holder whose connection broke is asked again over its next one. */
  async #untilReported(question: Question, writer: number): Promise<void> {
    const {clock, log} = this.#env;
    const end = clock.now() + REPORT_MS;
    let logged = false;
    for (let left = REPORT_MS; left > 0; left = end - clock.now()) {
      this.#answered(question, writer, (oid) => !this.#writes(writer, oid));
      if (question.size === 0) return;
      const peer = this.#sessions.get(writer)?.peer;
      const oids = [...question.keys()];
      try {
        if (peer == null) throw new Lost('not connected');
        const options = {deadlineMs: left, urgent: true};
        const {message} = await peer.call(OPS.reportAttr, {oids}, options);
        const told = new Set(oids.filter((oid) => !question.get(oid)!.void));
        // What overtook it need not have brought a size (a link, say): so it is asked again.
        for (const ask of question.values()) ask.void = false;
        await this.#apply(
          writer,
          message.items.filter(({oid}) => told.has(oid)),
        );
        this.#answered(question, writer, (oid) => told.has(oid));
      } catch (error) {
        const reason = messageOf(error);
        if (!logged) log.info('attr.not-reported', {oid: oids[0]!, session: writer, error: reason});
        logged = true;
        if (!(error instanceof Lost)) return;
        await sleep(clock, ASK_AGAIN_MS);
      }
    }
  }

  /** What was asked about these objects is known, or will not be. */
  #answered(question: Question, writer: number, which = (_oid: number): boolean => true): void {
    for (const [oid, ask] of question) {
      if (!which(oid)) continue;
      question.delete(oid);
      this.#asks.delete(keyOf(oid, writer));
      ask.done.resolve();
    }
  }

  #writes(writer: number, oid: number): boolean {
    return this.#leases.table.held(writer, oid) === WRITE;
  }

  /** What is not told the holder knows nothing newer of. */
  async #apply(writer: number, told: readonly FlushItem[]): Promise<void> {
    const {table} = this.#leases;
    const items = told.filter((item) => {
      const {oid} = item;
      if (!this.#writes(writer, oid)) return false;
      // It may have had parts when it answered, or has since.
      if (!isWhole(table.ranges(writer, oid))) item.grow = true;
      return this.#machine.read((tx) => tx.exists(oid) && differs(item, tx.attr(oid)));
    });
    if (items.length === 0) return;
    for (const item of items) {
      item.hasInline = false;
      item.inlineBytes = 0;
    }
    const request = {items, durable: false, changes: []};
    await this.#machine.submit(OPS.flush, {session: 0, requestId: 0, request});
  }
}

const keyOf = (oid: number, session: number): string => `${oid}.${session}`;

function differs(item: FlushItem, attr: Attr): boolean {
  const sizes: [number, number][] = [
    [item.size, attr.size],
    [item.blocks, attr.blocks],
  ];
  if (item.hasSize && sizes.some(([a, b]) => (item.grow ? a > b : a !== b))) return true;
  const {mtime, atime} = item;
  const other = (a: FlushItem['mtime'], b: Attr['mtime']): boolean =>
    a !== null && (a.sec !== b.sec || a.nsec !== b.nsec);
  return (item.hasMtime && other(mtime, attr.mtime)) || (item.hasAtime && other(atime, attr.atime));
}
