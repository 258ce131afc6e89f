import {assert} from '../base/assert.js';
import type {Ms} from '../base/ids.js';
import type {Claim} from '../lease/lease-table.js';
import type {Statement} from '../lock/lock-keeper.js';
import type {SessionInfo} from '../protocol/gen/wire.js';
import type {PeerLike} from '../transport/peer-api.js';
import type {SessionRecord} from './command.js';
import type {Confined} from './confine.js';

/** What a session has said so far about what it holds, by object. */
export interface Reclaiming {
  claims: Map<number, Claim>;
  opens: Map<number, number>;
  owed: Set<number>;
  locks: Map<number, Statement>;
  /** How many of them, and of objects, came in all messages. */
  claimed: number;
}

/** A client that registered. Opens are in memory only: its client tells them again after a restart. */
export interface Session {
  readonly id: number;
  name: string;
  /** Id of the data server in whose process it works; empty: none. No program relies on such a session. */
  readonly server: string;
  address: string;
  /** The name of the credential with which it was begun; '': without one. Null: an older release has not kept it. */
  owner: string | null;
  /** Null: it may do all that its rights give. */
  confined: Confined | null;
  /** Its connection; null: none at the moment. */
  peer: PeerLike | null;
  /** When a request of it came last. */
  heardAt: Ms;
  /** What it has open, and how often. */
  opens: Map<number, number>;
  /** `ending`: being fenced; nothing is served to it any more. */
  state: 'live' | 'ending';
  /** Names and attributes are told to it without a lease: it believes them for a while, and nobody asks it before they change. */
  unleased: boolean;
  /** Where it is, outermost first, with slashes between; '': not known. */
  location: string;
  /** Null: it is not saying anything. */
  reclaiming: Reclaiming | null;
  /**
   * Objects of which a yield with a size is still to come, since a restart of the meta server: the session says that it
   * held them for writing and sent one. The grace period lasts until there are none.
   */
  owed: Set<number>;
  /** It has said something since the meta server started. */
  returned: boolean;
}

/** Begins with the first thing that it says after a hello. */
export function reclaiming(session: Session): Reclaiming {
  session.reclaiming ??= {
    claims: new Map(),
    opens: new Map(),
    owed: new Set(),
    locks: new Map(),
    claimed: 0,
  };
  return session.reclaiming;
}

const text = new TextDecoder();

const newSession = (
  id: number,
  name: string,
  address: string,
  now: Ms,
  server = '',
  owner: string | null = '',
): Session => ({
  owner,
  confined: null,
  id,
  name,
  server,
  address,
  peer: null,
  heardAt: now,
  opens: new Map(),
  unleased: false,
  location: '',
  state: 'live',
  reclaiming: null,
  owed: new Set(),
  returned: true,
});

/** Sessions, and who has what open. Invariant: `openCount` is the sum over all sessions. */
export class Sessions {
  readonly #byId = new Map<number, Session>();
  /** By oid: opens of all sessions together. */
  readonly #openCount = new Map<number, number>();

  get all(): Iterable<Session> {
    return this.#byId.values();
  }

  get size(): number {
    return this.#byId.size;
  }

  /** What is kept of a session over a restart. */
  static encode(name: string, address: string, server: string, owner: string): Uint8Array {
    return Buffer.from(JSON.stringify({name, address, server, owner}));
  }

  /** A session of an earlier life of the meta server. */
  static decode(record: SessionRecord, now: Ms): Session {
    const {name, address, server, owner} = JSON.parse(text.decode(record.data)) as {
      name: string;
      address: string;
      /** An older release has not kept these. */
      server?: string;
      owner?: string;
    };
    return newSession(record.session, name, address, now, server, owner ?? null);
  }

  /** It has to come back. */
  restore(session: Session): void {
    session.returned = false;
    this.#add(session);
  }

  add(id: number, name: string, address: string, now: Ms, server = '', owner = ''): Session {
    return this.#add(newSession(id, name, address, now, server, owner));
  }

  #add(session: Session): Session {
    assert(!this.#byId.has(session.id), 'a session id is given once');
    this.#byId.set(session.id, session);
    return session;
  }

  get(id: number): Session | undefined {
    return this.#byId.get(id);
  }

  /** Forgets it; the objects that it had open. */
  remove(session: Session): number[] {
    const oids = this.setOpens(session, new Map());
    this.#byId.delete(session.id);
    return oids;
  }

  opened(session: Session, oid: number): void {
    session.opens.set(oid, (session.opens.get(oid) ?? 0) + 1);
    this.#openCount.set(oid, (this.#openCount.get(oid) ?? 0) + 1);
  }

  /** True if nobody has it open any more. One more release than opens is nothing: clients are not trusted to count. */
  released(session: Session, oid: number): boolean {
    const mine = session.opens.get(oid);
    if (mine === undefined) return false;
    if (mine === 1) session.opens.delete(oid);
    else session.opens.set(oid, mine - 1);
    return this.#count(oid, -1) === 0;
  }

  /** Replaces what a session has open; the objects that nobody has open any more. */
  setOpens(session: Session, opens: Map<number, number>): number[] {
    const before = session.opens;
    session.opens = opens;
    for (const [oid, count] of opens) this.#count(oid, count);
    const closed: number[] = [];
    for (const [oid, count] of before) if (this.#count(oid, -count) === 0) closed.push(oid);
    return closed;
  }

  isOpen(oid: number): boolean {
    return this.#openCount.has(oid);
  }

  /** Live sessions that were last heard at or before `before`. */
  silent(before: Ms): Session[] {
    return [...this.#byId.values()].filter((s) => s.state === 'live' && s.heardAt <= before);
  }

  describe(leases: (id: number) => number, now: Ms): SessionInfo[] {
    return [...this.#byId.values()].map((s) => ({
      id: s.id,
      name: s.name,
      address: s.address,
      leases: leases(s.id),
      opens: s.opens.size,
      idleMs: Math.max(0, Math.round(now - s.heardAt)),
    }));
  }

  #count(oid: number, by: number): number {
    const count = (this.#openCount.get(oid) ?? 0) + by;
    assert(count >= 0, 'opens are counted');
    if (count === 0) this.#openCount.delete(oid);
    else this.#openCount.set(oid, count);
    return count;
  }
}
