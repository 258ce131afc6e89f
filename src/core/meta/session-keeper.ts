import {messageOf, Refusal} from '../base/errors.js';
import type {Identity} from '../base/identity.js';
import type {Ms} from '../base/ids.js';
import type {Env} from '../env/env.js';
import type * as wire from '../protocol/gen/wire.js';
import type {PeerLike} from '../transport/peer-api.js';
import type {Cluster} from './cluster.js';
import {confinedBy} from './confine.js';
import {type Leases, RECALL_MS} from './leases.js';
import type {Locks} from './locks.js';
import type {Machine} from './machine.js';
import type {Moves} from './moves.js';
import type {Removals} from './removal.js';
import {type Session, Sessions} from './sessions.js';

/** Clients trust nothing that they hold after this long without a renewal; SESSION_MS is 5 s more. */
export const CLIENT_SESSION_MS: Ms = 10_000;
/** A session that was not heard for so long is ended. */
export const SESSION_MS: Ms = 15_000;
/**
 * After a restart sessions of the life before have so long to come back. Whoever was heard just before the end of that life, and cannot
 * reach this one, trusts what it holds for CLIENT_SESSION_MS; the rest is for clocks that differ in rate.
 */
export const GRACE_MS: Ms = CLIENT_SESSION_MS + 1_000;

/** Each costs memory and a place in the log; DESIGN.md section 1 speaks of 300 servers. */
const SESSIONS_MAX = 10_000;

/** Its programs may trust what it holds until then. A data server's has none. */
const trustedUntil = ({server, heardAt}: Session): Ms =>
  server === '' ? heardAt + GRACE_MS : Number.NEGATIVE_INFINITY;

interface KeeperParts {
  readonly machine: Machine;
  readonly cluster: Cluster;
  readonly sessions: Sessions;
  readonly leases: Leases;
  readonly locks: Locks;
  readonly moves: Moves;
  readonly removals: Removals;
}

/** The name under which sessions are somebody's; servers, and who proves nothing, have ''. */
const ownerOf = (identity: Identity | null): string =>
  identity?.kind === 'client' ? identity.name : '';

/** Servers may take up any. */
const isOwn = ({owner}: {owner: string | null}, identity: Identity | null): boolean =>
  identity?.kind !== 'client' || owner === null || owner === identity.name;

/** A session that is being fenced. */
interface Ending {
  /** See Session.owner. */
  owner: string | null;
  /** It was writing. */
  wrote: boolean;
  /** Every data server refuses it. */
  refused: boolean;
  /** Its client may trust what it holds until then, unless it says that it has lost the session. */
  until: Ms;
}

/**
 * The life of sessions: from hello to goodbye, silence or fence.
 *
 * A session that holds anything for writing ends in this order: nothing more is granted to it; every data server
 * refuses it, and its client does not trust in it any more; what it held is free; what it was writing is checked (resync). So nobody
 * gets what a live writer still has, and nobody reads from its cache, or believes in a lock, what others have by then.
 */
export class SessionKeeper {
  readonly #env: Pick<Env, 'clock' | 'log'>;
  readonly #parts: KeeperParts;
  readonly #startedAt: Ms;
  readonly #ending = new Map<number, Ending>();
  #evicted: {id: number; resolve: () => void}[] = [];

  constructor(env: Pick<Env, 'clock' | 'log'>, parts: KeeperParts) {
    this.#env = env;
    this.#parts = parts;
    this.#startedAt = env.clock.now();
  }

  /** Takes over what an earlier life of the meta server left. Before the first hello. */
  start(): void {
    const {machine, sessions, leases, locks, cluster, removals} = this.#parts;
    const fenced = new Set(cluster.control.state.fenced);
    const left: Session[] = [];
    for (const record of machine.sessions()) {
      const session = Sessions.decode(record, this.#startedAt);
      // It was fenced in the life before, which ended before it could be forgotten.
      if (fenced.has(record.session)) left.push(session);
      else sessions.restore(session);
    }
    if (sessions.size + left.length > 0) {
      leases.startGrace();
      locks.startGrace();
    } else removals.start();
    for (const session of left) {
      const {owner} = session;
      const until = trustedUntil(session);
      this.#ending.set(session.id, {owner, wrote: true, refused: false, until});
      cluster.fence(session.id);
    }
  }

  /** For a hello: the session that holds from now on. Rejects with Refusal NoSession or Fenced. */
  async enter(
    q: wire.HelloRequest,
    peer: PeerLike,
    identity: Identity | null,
  ): Promise<{session: Session; resumed: boolean}> {
    const {sessions, machine, cluster, leases, locks} = this.#parts;
    const confined = confinedBy(machine, identity);
    const owner = ownerOf(identity);
    this.#lost(q.lost, identity);
    if (q.session === 0) {
      if (sessions.size >= SESSIONS_MAX) throw new Refusal('Busy', `${SESSIONS_MAX} sessions`);
      const id = await machine.createSession(Sessions.encode(q.name, peer.peer, q.server, owner));
      // A client relies on its session over a power cut of this machine, too.
      await machine.sync();
      const {clock} = this.#env;
      const session = sessions.add(id, q.name, peer.peer, clock.now(), q.server, owner);
      session.confined = confined;
      session.peer = peer;
      session.unleased = q.unleased;
      session.location = q.location;
      const {name, address} = session;
      this.#env.log.info('session.began', {session: id, name, address, server: q.server});
      return {session, resumed: false};
    }
    const session = sessions.get(q.session);
    const fenced = this.#ending.has(q.session) || cluster.control.state.fenced.includes(q.session);
    if (fenced || session?.state === 'ending') throw new Refusal('Fenced', `session ${q.session}`);
    // Who names somebody else's hears that there is none.
    if (session === undefined || !isOwn(session, identity))
      throw new Refusal('NoSession', `session ${q.session}`);
    session.owner ??= owner;
    session.confined = confined;
    const before = session.peer;
    session.peer = peer;
    session.name = q.name;
    session.unleased = q.unleased;
    session.location = q.location;
    session.address = peer.peer;
    session.heardAt = this.#env.clock.now();
    session.reclaiming = null;
    before?.close('its session has a newer connection');
    leases.cancelWaiting(session.id);
    locks.cancelWaiting(session.id);
    return {session, resumed: true};
  }

  /** The connection of a session has closed. */
  closed(session: Session, peer: PeerLike): void {
    if (session.peer !== peer) return;
    session.peer = null;
    session.reclaiming = null;
    this.#parts.leases.cancelWaiting(session.id);
    this.#parts.locks.cancelWaiting(session.id);
  }

  returned(session: Session): void {
    session.returned = true;
  }

  end(session: Session, why: string, fence: boolean): void {
    if (session.state === 'ending') return;
    const {leases, locks, cluster, sessions} = this.#parts;
    this.#env.log.info('session.end', {session: session.id, name: session.name, why, fence});
    const moved = this.#parts.moves.movesAny(session.id);
    session.state = 'ending';
    const {peer} = session;
    // Replies of this event leave first: the one to goodbye, and the refusals.
    if (peer !== null) this.#env.clock.soon(() => peer.close(`session ended: ${why}`));
    session.peer = null;
    const closed = sessions.remove(session);
    leases.fencing(session.id);
    locks.fencing(session.id);
    if (fence) {
      const wrote = leases.table.writes(session.id) || leases.table.grace || moved;
      const {owner} = session;
      this.#ending.set(session.id, {owner, wrote, refused: false, until: trustedUntil(session)});
      cluster.fence(session.id);
    } else this.#finish(session.id);
    for (const oid of closed) this.#parts.removals.unused(oid);
  }

  /** A data server is out of the epoch, or has begun another life: what its process repairs is done again, and nobody waits for what it holds for that. */
  serverLost(uuid: string): void {
    const {sessions, leases} = this.#parts;
    for (const session of [...sessions.all]) {
      if (session.server !== uuid) continue;
      this.end(session, 'its data server is lost', leases.table.grace || this.#wrote(session));
    }
  }

  #wrote(session: Session): boolean {
    const {leases, moves} = this.#parts;
    const {id, owed} = session;
    return leases.table.writes(id) || owed.size > 0 || moves.movesAny(id);
  }

  /** Ends a session. Resolves when every data server refuses it, and what it held is free. */
  evict(session: Session): Promise<void> {
    this.end(session, 'evicted by an administrator', true);
    return new Promise((resolve) => {
      if (this.#ending.has(session.id)) this.#evicted.push({id: session.id, resolve});
      else resolve();
    });
  }

  /** Every data server refuses it. */
  fenced(id: number): void {
    const ending = this.#ending.get(id);
    if (ending === undefined) return;
    ending.refused = true;
    this.#settle(id, ending);
  }

  /** Its client says so. */
  #lost(id: number, identity: Identity | null): void {
    const ending = this.#ending.get(id);
    if (ending === undefined || !isOwn(ending, identity)) return;
    ending.until = Number.NEGATIVE_INFINITY;
    this.#settle(id, ending);
  }

  #settle(id: number, {wrote, refused, until}: Ending): void {
    if (!refused || this.#env.clock.now() < until) return;
    this.#ending.delete(id);
    this.#finish(id);
    if (wrote) this.#parts.cluster.resync();
    for (const one of this.#evicted) if (one.id === id) one.resolve();
    this.#evicted = this.#evicted.filter((one) => one.id !== id);
  }

  tick(): void {
    const now = this.#env.clock.now();
    const {sessions, leases} = this.#parts;
    for (const [id, ending] of [...this.#ending]) this.#settle(id, ending);
    for (const session of sessions.silent(now - SESSION_MS)) {
      this.end(session, 'silent', this.#wrote(session));
    }
    if (leases.table.grace) this.#tickGrace(now);
  }

  /**
   * The grace period ends when everybody is back and has sent what he was giving back with a size, or when whoever is not,
   * or has not, was fenced.
   */
  #tickGrace(now: Ms): void {
    const {sessions, leases, locks, removals} = this.#parts;
    const missing = [...sessions.all].filter((session) => !session.returned);
    if (missing.length > 0 && now - this.#startedAt < GRACE_MS) return;
    for (const session of missing) this.end(session, 'did not come back after the restart', true);
    const owing = [...sessions.all].filter(({owed}) => owed.size > 0);
    if (owing.length > 0 && now - this.#startedAt < GRACE_MS + RECALL_MS) return;
    for (const session of owing) this.end(session, 'did not yield what it was giving back', true);
    if (this.#ending.size > 0) return;
    this.#env.log.info('grace.over', {sessions: sessions.size});
    leases.endGrace();
    locks.endGrace();
    removals.start();
  }

  #finish(id: number): void {
    const {leases, locks, machine} = this.#parts;
    leases.end(id);
    locks.end(id);
    machine.forgetSession(id).catch((error: unknown) => {
      this.#env.log.warn('session.not-forgotten', {session: id, error: messageOf(error)});
    });
  }
}
