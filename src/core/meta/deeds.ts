import {FsError, messageOf, Refusal} from '../base/errors.js';
import type {Identity} from '../base/identity.js';
import type {Ms} from '../base/ids.js';
import {KIB} from '../base/units.js';
import type {Clock, Timer} from '../env/clock.js';
import type {Log, LogFields} from '../env/log.js';
import type * as wire from '../protocol/gen/wire.js';
import {type AnyOp, OPS} from '../protocol/ops.js';
import type {Guard} from '../transport/handlers.js';
import {lastDeed} from './deed-op.js';
import {INTERNAL} from './internal-ops.js';
import * as keys from './keys.js';
import type {Machine} from './machine.js';

/** Who asks as an administrator. */
export interface Asker {
  who: string;
  from: string;
}

export const askerOf = (identity: Identity | null | undefined, from: string): Asker => {
  if (identity == null) return {who: '', from};
  if (identity.kind === 'client') return {who: identity.name, from};
  return {who: identity.kind === 'server' ? 'server' : `token ${identity.id}`, from};
};

/** Refusals at once, and then one in so long: who knocks all day must not make the list forget what others did. */
const REFUSALS_MAX = 30;
const REFUSAL_MS: Ms = 600_000;
const WITH_CHARS_MAX = 300;
const RESULT_CHARS_MAX = 200;
const ROWS_MAX = 500;
const ROWS_BYTES_MAX = 96 * KIB;
const WAIT_MS_MAX: Ms = 20_000;
const WAITERS_MAX = 64;
/** What the log says of those who were not let in. */
const REFUSED = /^(net\.refused|hello\.denied|request\.denied|net\.cut|token\.refused)$/;

const always = (): boolean => true;
const DEEDS = new Map<number, (q: never) => boolean>();
const deed = <Q>(
  op: {code: number; request: {decode(bytes: Uint8Array): Q}},
  is: (q: Q) => boolean,
) => DEEDS.set(op.code, is as (q: never) => boolean);
for (const op of [OPS.evict, OPS.replace, OPS.groupCreate, OPS.groupRemove, OPS.drain])
  deed(op as never, always);
for (const op of [OPS.recovery, OPS.layoutSet, OPS.mend, OPS.tokenCreate, OPS.tokenRevoke])
  deed(op as never, always);
deed(OPS.life, ({close, open, begin, end}) => close || open || end || begin !== null);
deed(OPS.scrub, ({start, settings}) => start || settings !== null);
deed(
  OPS.moves,
  ({plan, add, stop, paused, rate}) => !plan && (add !== null || stop + paused + rate > 0),
);
deed(OPS.readCopies, ({policy}) => policy !== null);
deed(OPS.upgrade, ({finalize}) => finalize);

type Row = Omit<wire.Deed, 'number'>;

/** What administrators did, and who was refused: in the state, so that each meta server has it. */
export class Deeds {
  readonly #env: {clock: Clock; log: Log};
  readonly #machine: () => Machine;
  readonly #waiting = new Set<() => void>();
  #refusals = REFUSALS_MAX;
  #refilledAt: Ms;
  /** Refusals that were not written down. */
  #more = 0;

  constructor(env: {clock: Clock; log: Log}, machine: () => Machine) {
    this.#env = env;
    this.#machine = machine;
    this.#refilledAt = env.clock.now();
  }

  /** Writes down what is done, with what came of it. */
  guard(): Guard<Asker> {
    return (op, request, asker, _payload, run) => {
      if (DEEDS.get(op.code)?.(request as never) !== true) return run();
      return this.#carriedOut(op, request, asker, run);
    };
  }

  async #carriedOut(
    op: AnyOp,
    request: unknown,
    asker: Asker,
    run: () => ReturnType<Guard<Asker>>,
  ): Promise<Awaited<ReturnType<Guard<Asker>>>> {
    try {
      const answer = await run();
      this.record(asker, op.name, request, 'ok');
      return answer;
    } catch (error) {
      const expected = error instanceof FsError || error instanceof Refusal;
      this.record(asker, op.name, request, expected ? messageOf(error) : 'failed');
      throw error;
    }
  }

  record({who, from}: Asker, what: string, request: unknown, result: string, more = 0): void {
    const atMs = Math.max(0, Math.round(this.#env.clock.wall()));
    const row: Row = {
      ...{atMs, who, from, what},
      with: shown(request).slice(0, WITH_CHARS_MAX),
      result: result.slice(0, RESULT_CHARS_MAX),
      more,
    };
    this.#env.log.info('deed', {who, from, what, result: row.result, with: row.with});
    this.#machine()
      .keep(INTERNAL.deed, row)
      .then(() => this.#wake())
      .catch((error: unknown) => {
        // Before an upgrade is finalized there is no such list.
        if (!(error instanceof FsError || error instanceof Refusal)) throw error;
      });
  }

  /** A log that is heard for refusals. */
  over(log: Log): Log {
    return {
      debug: (event, fields) => log.debug(event, fields),
      info: (event, fields) => log.info(event, fields),
      warn: (event, fields) => {
        log.warn(event, fields);
        if (REFUSED.test(event)) this.refused(event, fields ?? {});
      },
      error: (event, fields) => log.error(event, fields),
      with: (fields) => this.over(log.with(fields)),
    };
  }

  refused(event: string, fields: LogFields): void {
    const now = this.#env.clock.now();
    const refill = Math.floor((now - this.#refilledAt) / REFUSAL_MS);
    if (refill > 0) {
      this.#refusals = Math.min(REFUSALS_MAX, this.#refusals + refill);
      this.#refilledAt += refill * REFUSAL_MS;
    }
    if (this.#refusals === 0) {
      this.#more++;
      return;
    }
    this.#refusals--;
    const {peer = '', name = '', reason = '', ...others} = fields;
    const more = this.#more;
    this.#more = 0;
    const asker = {who: String(name), from: String(peer)};
    this.record(asker, event, others, String(reason), more);
  }

  async read(q: wire.DeedsRequest): Promise<wire.DeedsReply> {
    const last = (): number => this.#machine().audit(lastDeed);
    if (q.waitMs > 0 && last() <= q.after) await this.#next(Math.min(q.waitMs, WAIT_MS_MAX));
    const most = Math.min(q.max || ROWS_MAX, ROWS_MAX);
    return this.#machine().audit((tx) => {
      const found = tx.store.range(keys.deedKey(q.after + 1), keys.letterEnd('a'), most);
      const deeds: wire.Deed[] = [];
      let bytes = 0;
      for (const [key, value] of found) {
        bytes += value.length;
        if (bytes > ROWS_BYTES_MAX && deeds.length > 0) break;
        const row = JSON.parse(Buffer.from(value).toString('utf8')) as Row;
        deeds.push({...row, number: keys.keyId(key, 1)});
      }
      const first = deeds[0]?.number ?? q.after + 1;
      return {deeds, missed: Math.max(0, first - q.after - 1)};
    });
  }

  close(): void {
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #next(ms: Ms): Promise<void> {
    if (this.#waiting.size >= WAITERS_MAX) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#waiting.delete(done);
        resolve();
      };
      const timer: Timer = this.#env.clock.timer(ms, done);
      this.#waiting.add(done);
    });
  }
}

/** Without what is not said; names of files as text. */
function shown(request: unknown): string {
  const plain = (_: string, value: unknown): unknown => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
    const nothing = value === null || value === '' || value === 0 || value === false;
    return nothing || (Array.isArray(value) && value.length === 0) ? undefined : value;
  };
  // A buffer would say of itself what it is before it is asked.
  const own = (value: unknown): unknown =>
    value instanceof Uint8Array ? new TextDecoder().decode(value) : value;
  const top = Object.fromEntries(
    Object.entries(request ?? {}).map(([key, value]) => [key, own(value)]),
  );
  return JSON.stringify(top, plain);
}
