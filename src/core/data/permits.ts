import {FsError, messageOf, Refusal} from '../base/errors.js';
import type {Identity} from '../base/identity.js';
import type {Ms} from '../base/ids.js';
import type {BufferPool} from '../base/pool.js';
import type {Clock} from '../env/clock.js';
import type {Log} from '../env/log.js';
import type * as wire from '../protocol/gen/wire.js';
import {type AnyOp, OPS} from '../protocol/ops.js';
import type {Guard} from '../transport/handlers.js';
import type {Peer} from '../transport/peer.js';
import type {DataContext} from './ops/context.js';

/** What the meta server has allowed is believed for so long: what is moved away can be touched until then. */
const BELIEVED_MS: Ms = 10_000;
const ASK_MS: Ms = 5_000;
const KEPT_MAX = 8_192;
const SESSIONS_MAX = 4_096;
/** In one question. */
const OIDS_MAX = 512;

interface Meta {
  peer(deadlineMs: Ms): Promise<Peer>;
}

/** What one connection may touch, of which the meta server is asked; names are its business alone. */
export class Permit {
  readonly #permits: Permits;
  readonly #who: {session: number; name: string};
  /** Until when; the oldest answer first. */
  readonly #allowed = new Map<number, Ms>();

  constructor(permits: Permits, who: {session: number; name: string}) {
    this.#permits = permits;
    this.#who = who;
  }

  /** Null: all of them. Rejects with EACCES, or Refusal Busy while the meta server cannot be asked. */
  check(oids: readonly number[]): Promise<void> | null {
    const {clock} = this.#permits;
    const now = clock.now();
    const unknown = oids.filter((oid) => !((this.#allowed.get(oid) ?? -1) > now));
    return unknown.length === 0 ? null : this.#ask([...new Set(unknown)]);
  }

  async #ask(oids: readonly number[]): Promise<void> {
    const {name} = this.#who;
    for (let at = 0; at < oids.length; at += OIDS_MAX) {
      const some = oids.slice(at, at + OIDS_MAX);
      const until = this.#permits.clock.now() + BELIEVED_MS;
      const {allowed} = await this.#permits.ask({...this.#who, oids: some});
      for (const oid of allowed) {
        this.#allowed.delete(oid);
        this.#allowed.set(oid, until);
      }
      const may = new Set(allowed);
      const outside = some.find((oid) => !may.has(oid));
      if (outside !== undefined)
        throw new FsError('EACCES', `object ${outside} is not what ${name} may touch`);
    }
    for (const oldest of this.#allowed.keys()) {
      if (this.#allowed.size <= KEPT_MAX) return;
      this.#allowed.delete(oldest);
    }
  }
}

/** Who has come as which session, and what it may touch: as the meta server says. */
export class Permits {
  readonly clock: Clock;
  readonly #log: Log;
  readonly #meta: () => Meta | null;
  /** By session the name of its credential; the oldest first. So who comes back need not wait for the meta server. */
  readonly #known = new Map<number, string>();

  constructor({clock, log}: {clock: Clock; log: Log}, meta: () => Meta | null) {
    this.clock = clock;
    this.#log = log;
    this.#meta = meta;
  }

  /** For a hello: null if it may touch everything. Refusals NoSession: it is another one's; Busy: the meta server cannot be asked. */
  async welcome(identity: Identity | null, session: number): Promise<Permit | null> {
    if (identity?.kind !== 'client') return null;
    const {name, limits} = identity;
    if (this.#known.get(session) !== name) {
      const {known} = await this.ask({session, name, oids: []}, limits === undefined);
      if (!known) throw new Refusal('NoSession', `session ${session} is not that of ${name}`);
      this.#known.set(session, name);
      const [oldest] = this.#known.keys();
      if (this.#known.size > SESSIONS_MAX) this.#known.delete(oldest!);
    }
    return limits === undefined || limits.path === '' ? null : new Permit(this, {session, name});
  }

  /** `trusting`: one of an older release, which cannot say, is taken for one that knows the session. */
  async ask(request: wire.AllowRequest, trusting = false): Promise<wire.AllowReply> {
    try {
      const peer = await this.#meta()!.peer(ASK_MS);
      if (trusting && !peer.knows(OPS.allow)) return {known: true, allowed: []};
      return (await peer.call(OPS.allow, request, {deadlineMs: ASK_MS})).message;
    } catch (error) {
      this.#log.warn('permit.not-asked', {session: request.session, reason: messageOf(error)});
      throw new Refusal('Busy', 'the meta server cannot be asked');
    }
  }
}

type Objects<Q> = (q: Q) => readonly number[];
const TABLE = new Map<number, Objects<never>>();
const row = <Q>(ops: {code: number}[], objects: Objects<Q>): void => {
  for (const {code} of ops) TABLE.set(code, objects as Objects<never>);
};

row([OPS.heartbeat], () => []);
row<{ref: wire.ColumnRef}>(
  [
    ...[OPS.write, OPS.delta, OPS.read, OPS.truncate, OPS.punch, OPS.stat],
    ...[OPS.badBlock, OPS.doubt],
  ],
  ({ref}) => [ref.oid],
);
row<{chunks: wire.ChunkRef[]}>([OPS.sync, OPS.settle], ({chunks}) => chunks.map(({oid}) => oid));
row<wire.SumsRequest>([OPS.sums], ({items}) => items.map(({ref}) => ref.oid));
/** Of one object only: it is none when that is 0. */
row<wire.ListRequest>([OPS.list], ({kind, oid}) => [kind === 'intents' ? oid : 0]);

/** Holds the requests of confined connections against what the meta server allows; what is not in the table is not for them. */
export function permitted(pool: Pick<BufferPool, 'release'>): Guard<DataContext> {
  return (op, request, {permit}, payload, run) => {
    if (permit == null) return run();
    const refused = (error: unknown): never => {
      if (payload !== null) pool.release(payload.slot);
      throw error;
    };
    const wait = checked(permit, op, request);
    if (wait instanceof FsError) return refused(wait);
    return wait === null ? run() : wait.then(run, refused);
  };
}

function checked(permit: Permit, op: AnyOp, request: unknown): Promise<void> | FsError | null {
  const objects = TABLE.get(op.code) as Objects<unknown> | undefined;
  if (objects === undefined) return new FsError('EACCES', `${op.name} is not for it`);
  return permit.check(objects(request));
}
