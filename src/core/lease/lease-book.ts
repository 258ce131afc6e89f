import {
  type Holder,
  type LeaseObject,
  lasting,
  type Mode,
  NONE,
  READ,
  type Session,
  WRITE,
} from './lease-object.js';
import {isWhole, NOTHING, plus, type Ranges} from './ranges.js';
import {freeOf} from './split.js';

/** Who holds more ranges of an object gets none unasked. */
const EXTENDED_MAX = 512;

/** Who holds what. Changed by the lease table only. */
export abstract class LeaseBook {
  protected readonly objects = new Map<number, LeaseObject>();
  protected readonly sessions = new Map<number, Session>();

  /** A session that holds the object, or some of it, for writing; 0 if there is none. */
  writer(oid: number): number {
    const holder = this.objects.get(oid)?.holders[0];
    return holder !== undefined && holder.mode === WRITE ? holder.session.id : 0;
  }

  /** All but `session` that hold some of the object for writing. */
  otherWriters(oid: number, session: number): number[] {
    const holders = this.objects.get(oid)?.holders ?? [];
    if (holders[0]?.mode !== WRITE) return [];
    return holders.filter((holder) => holder.session.id !== session).map((h) => h.session.id);
  }

  /** Gives a holder of ranges also those of these that nobody else holds or waits for; they are returned. */
  extend(sessionId: number, oid: number, ranges: Ranges): Ranges {
    const holder = this.sessions.get(sessionId)?.leases.get(oid);
    if (holder === undefined || holder.mode !== WRITE || isWhole(holder.ranges)) return NOTHING;
    if (holder.recalledTo >= 0 || holder.session.fencing) return NOTHING;
    if (holder.ranges.length > EXTENDED_MAX) return NOTHING;
    const free = freeOf(holder.object, holder.session, ranges);
    holder.ranges = free.reduce(plus, holder.ranges);
    return free;
  }

  /** What it holds for writing. */
  ranges(sessionId: number, oid: number): Ranges {
    const holder = this.sessions.get(sessionId)?.leases.get(oid);
    return holder?.mode === WRITE ? holder.ranges : NOTHING;
  }

  /** What a session may count on of the whole object: what it holds, or what a recall under way leaves of it. */
  lasting(sessionId: number, oid: number): Mode {
    const holder = this.sessions.get(sessionId)?.leases.get(oid);
    return holder === undefined ? NONE : lasting(holder);
  }

  held(sessionId: number, oid: number): Mode {
    return this.sessions.get(sessionId)?.leases.get(oid)?.mode ?? NONE;
  }

  /** Sessions that hold it for reading. */
  readers(oid: number): number[] {
    const holders = this.objects.get(oid)?.holders ?? [];
    return holders.filter(({mode}) => mode === READ).map(({session}) => session.id);
  }

  count(sessionId: number): number {
    return this.sessions.get(sessionId)?.leases.size ?? 0;
  }
  /** Everything that is held. */
  *all(): Iterable<Holder> {
    for (const {leases} of this.sessions.values()) yield* leases.values();
  }
  /** Does it hold anything for writing? */
  writes(sessionId: number): boolean {
    return (this.sessions.get(sessionId)?.writeCount ?? 0) > 0;
  }

  protected session(id: number): Session {
    let session = this.sessions.get(id);
    if (session === undefined) {
      session = {id, leases: new Map(), writeCount: 0, waits: new Map(), fencing: false};
      this.sessions.set(id, session);
    }
    return session;
  }

  protected object(oid: number): LeaseObject {
    let object = this.objects.get(oid);
    if (object === undefined) {
      object = {
        oid,
        holders: [],
        queue: [],
        lookers: [],
        changers: [],
        splits: 0,
        splitAt: Number.NEGATIVE_INFINITY,
      };
      this.objects.set(oid, object);
    }
    return object;
  }

  protected drop(object: LeaseObject): void {
    const {holders, queue, lookers, changers} = object;
    if (holders.length + queue.length + lookers.length + changers.length === 0)
      this.objects.delete(object.oid);
  }
}
