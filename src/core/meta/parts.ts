import {Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import {drawGroups} from '../layout/placement.js';
import {GROUPS_PER_OBJECT_MAX} from '../layout/scheme.js';
import type {StatusReply} from '../protocol/gen/wire.js';
import type {Op} from '../protocol/ops.js';
import {OWN_ID_MIN, type PeerLike} from '../transport/peer-api.js';
import type {AttrAsks} from './attr-asks.js';
import type {Cluster} from './cluster.js';
import type {Outcome} from './command.js';
import type {Figures} from './figures.js';
import type {Leases} from './leases.js';
import type {Locks} from './locks.js';
import type {Machine} from './machine.js';
import type {Moves} from './moves.js';
import type {ReadCopies} from './read-copies.js';
import type {Removals} from './removal.js';
import type {Session, Sessions} from './sessions.js';

export type MetaEnv = Pick<
  Env,
  'clock' | 'random' | 'net' | 'disk' | 'kv' | 'log' | 'pool' | 'release'
>;

/** What the handlers of requests work with. */
export interface Parts {
  readonly env: MetaEnv;
  readonly machine: Machine;
  readonly cluster: Cluster;
  readonly sessions: Sessions;
  readonly leases: Leases;
  readonly locks: Locks;
  readonly asks: AttrAsks;
  readonly removals: Removals;
  readonly space: Space;
  readonly readCopies: ReadCopies;
  readonly moves: Moves;
  readonly figures: Figures;
  /** Ends a session; `fence`: data servers must refuse it before what it holds is free. */
  endSession(session: Session, why: string, fence: boolean): void;
  /** See SessionKeeper.evict. */
  evict(session: Session): Promise<void>;
  /** It has said everything that it holds. */
  sessionReturned(session: Session): void;
  /** What was answered before the call is as safe as was configured (durability.ts). */
  durable(): Promise<void>;
  status(): StatusReply;
}

/** One connection of a client. */
export interface ClientConnection {
  readonly peer: PeerLike;
  readonly session: Session;
}

/** At the entry of every request of a client. */
export function heard(c: ClientConnection, env: Pick<Env, 'clock'>): void {
  if (c.session.state !== 'live') throw new Refusal('Fenced', `session ${c.session.id}`);
  c.session.heardAt = env.clock.now();
}

/** Is this still the session's connection? What is granted over an old one never arrives. */
export const current = (c: ClientConnection): boolean =>
  c.session.state === 'live' && c.session.peer === c.peer;

const NO_GROUPS: readonly number[] = [];
const NO_BYTES = new Uint8Array(0);

export function submit<Q, R>(
  parts: Parts,
  op: Op<Q, R>,
  request: Q,
  from: {c: ClientConnection; id: number; groups?: readonly number[]; payload?: Uint8Array},
): Promise<Outcome<R>> {
  const kept = from.id > 0 && from.id < OWN_ID_MIN;
  const session = kept ? from.c.session.id : 0;
  const requestId = kept ? from.id : 0;
  const {groups = NO_GROUPS, payload = NO_BYTES} = from;
  return parts.machine.submit(op, {session, requestId, request, groups, payload});
}

const CANDIDATES_MS: Ms = 500;

/** Free space, and where new objects go. */
export class Space {
  readonly #env: Pick<Env, 'clock' | 'random'>;
  readonly #cluster: Cluster;
  #candidates: ReturnType<Cluster['candidates']> = [];
  #asOf = {at: Number.NEGATIVE_INFINITY, epoch: 0};

  constructor(env: Pick<Env, 'clock' | 'random'>, cluster: Cluster) {
    this.#env = env;
    this.#cluster = cluster;
  }

  /** Of a new regular file. While there are whole groups but none can be written its client waits: Refusal(Busy). */
  draw(): number[] {
    const groups = this.#groups();
    if (groups.length === 0 && this.#cluster.complete) {
      throw new Refusal('Busy', 'no group can be written now');
    }
    return drawGroups(groups, GROUPS_PER_OBJECT_MAX, this.#env.random);
  }

  /** Bytes for users' data, under a scheme. */
  bytes({k, m}: {k: number; m: number}): {totalBytes: number; freeBytes: number} {
    let total = 0;
    let free = 0;
    for (const group of this.#groups()) {
      total += group.totalBytes;
      free += (group.freeBytes ?? 0) * group.slots;
    }
    const share = k / (k + m);
    return {totalBytes: Math.floor(total * share), freeBytes: Math.floor(free * share)};
  }

  #groups(): ReturnType<Cluster['candidates']> {
    const at = this.#env.clock.now();
    const {epoch} = this.#cluster.control;
    if (epoch !== this.#asOf.epoch || at - this.#asOf.at >= CANDIDATES_MS) {
      this.#candidates = this.#cluster.candidates();
      this.#asOf = {at, epoch};
    }
    return this.#candidates;
  }
}
