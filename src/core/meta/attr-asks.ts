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

interface Ask {
  /** The holder has sent something newer on its own. */
  void: boolean;
  done: Promise<void>;
}

/** Asks write holders for size and times of what they hold; one question per object at a time. */
export class AttrAsks {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #machine: Machine;
  readonly #leases: Leases;
  readonly #sessions: Sessions;
  /** By object and session. */
  readonly #asks = new Map<string, Ask>();

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
    return this.#asks.get(keyOf(oid, writer))?.done ?? this.#ask(oid, writer);
  }

  async #afterGrace(oid: number, session: number): Promise<void> {
    await this.#leases.graceOver;
    await this.fresh(oid, session);
  }

  #ask(oid: number, writer: number): Promise<void> {
    const ask: Ask = {void: false, done: Promise.resolve()};
    const key = keyOf(oid, writer);
    ask.done = this.#untilReported(ask, oid, writer).finally(() => this.#asks.delete(key));
    this.#asks.set(key, ask);
    return ask.done;
  }

  /** A holder whose connection broke is asked again over its next one. */
  async #untilReported(ask: Ask, oid: number, writer: number): Promise<void> {
    const {clock, log} = this.#env;
    const end = clock.now() + REPORT_MS;
    let logged = false;
    for (let left = REPORT_MS; left > 0; left = end - clock.now()) {
      if (this.#leases.table.held(writer, oid) !== WRITE) return;
      const peer = this.#sessions.get(writer)?.peer;
      try {
        if (peer == null) throw new Lost('not connected');
        const {message} = await peer.call(OPS.reportAttr, {oid}, {deadlineMs: left, urgent: true});
        if (!ask.void) {
          await this.#apply(oid, writer, message.attr);
          return;
        }
        // What overtook it need not have brought a size (a link, say): so it is asked again.
        ask.void = false;
      } catch (error) {
        if (!logged) log.info('attr.not-reported', {oid, session: writer, error: messageOf(error)});
        logged = true;
        if (!(error instanceof Lost)) return;
        await sleep(clock, ASK_AGAIN_MS);
      }
    }
  }

  async #apply(oid: number, writer: number, item: FlushItem | null): Promise<void> {
    if (item?.oid !== oid) return; // Null: it knows nothing newer.
    const {table} = this.#leases;
    if (table.held(writer, oid) !== WRITE) return;
    // It may have had parts when it answered, or has since.
    if (!isWhole(table.ranges(writer, oid))) item.grow = true;
    if (!this.#machine.read((tx) => tx.exists(oid) && differs(item, tx.attr(oid)))) return;
    item.hasInline = false;
    item.inlineBytes = 0;
    const request = {items: [item], durable: false, changes: []};
    await this.#machine.submit(OPS.flush, {session: 0, requestId: 0, request});
  }
}

const keyOf = (oid: number, session: number): string => `${oid}.${session}`;

function differs(item: FlushItem, attr: Attr): boolean {
  if (item.hasSize && (item.size !== attr.size || item.blocks !== attr.blocks)) return true;
  const {mtime, atime} = item;
  const other = (a: FlushItem['mtime'], b: Attr['mtime']): boolean =>
    a !== null && (a.sec !== b.sec || a.nsec !== b.nsec);
  return (item.hasMtime && other(mtime, attr.mtime)) || (item.hasAtime && other(atime, attr.atime));
}
