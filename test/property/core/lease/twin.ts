import {assert} from '../../../../src/core/base/assert.js';
import {
  CHANGE,
  type LeaseEffect,
  type Mode,
  NONE,
  READ,
  type Wanted,
  WRITE,
} from '../../../../src/core/lease/lease-object.js';
import {LeaseTable} from '../../../../src/core/lease/lease-table.js';
import {type ByteRange, EVERYTHING, type Ranges} from '../../../../src/core/lease/ranges.js';
import {ALL, apart, Client, cellsIn, Held, OBJECTS, rangesOf} from './twin-client.js';

// Clients that know only what they were told, next to a lease table, and what it should say that they hold. What they and the owner of the table
// tell each other travels, in order per session, and is lost when a connection or the meta server goes.

export const SESSIONS = 4;
export const RECALL_MS = 100;

export const equal = (a: Ranges, b: Ranges): boolean =>
  a.length === b.length && a.every(({from, to}, i) => b[i]!.from === from && b[i]!.to === to);

class Table extends LeaseTable {
  recalled(session: number, oid: number): boolean {
    return (this.sessions.get(session)?.leases.get(oid)?.recalledTo ?? -1) >= 0;
  }
}

interface Waiting {
  /** The how-manieth that came. */
  at: number;
  session: number;
  oid: number;
  /** NONE: looks. */
  mode: Wanted | typeof NONE;
  cells: number;
}

export const counts = {parts: 0, exact: 0, overtakes: 0, free: 0, kept: 0, fences: 0, reclaims: 0};

export class Twin {
  table: Table;
  now = 0;
  readonly clients: Client[] = Array.from({length: SESSIONS + 1}, () => new Client());
  /** What the table should say that sessions hold: by session, by object. */
  readonly views: Held[][] = this.clients.map(() => new Client().held);
  /** In the order in which they came. */
  readonly waiting = new Map<number, Waiting>();
  /** Changes under way. */
  changes: {session: number; oid: number; ticket: number}[] = [];
  readonly fenced = new Set<number>();
  readonly #max: number;
  readonly #lags: boolean;
  readonly #ranged: boolean;
  #ticket = 0;
  #came = 0;

  /** Without `ranged` whole objects are asked for. */
  constructor(leasesPerSessionMax: number, {lags = false, ranged = true} = {}) {
    this.#max = leasesPerSessionMax;
    this.#lags = lags;
    this.#ranged = ranged;
    this.table = this.#fresh();
  }

  #fresh(): Table {
    return new Table({recallMs: RECALL_MS, leasesPerSessionMax: this.#max});
  }

  /** One thing happens; without lag everything that was said because of it arrives. */
  step(happens: (twin: Twin) => void): void {
    happens(this);
    if (!this.#lags) this.settle();
    this.check();
  }

  settle(): void {
    while (this.clients.some((client) => client.inbox.length + client.outbox.length > 0)) {
      for (const [session] of this.clients.entries()) {
        this.up(session, Number.POSITIVE_INFINITY);
        this.down(session, Number.POSITIVE_INFINITY);
      }
    }
  }

  /** That many messages of a client arrive. */
  up(session: number, count: number): void {
    for (const arrives of this.clients[session]!.outbox.splice(0, count)) arrives();
  }

  down(session: number, count: number): void {
    const client = this.clients[session]!;
    for (const told of client.inbox.splice(0, count)) client.hear(told);
  }

  #live(session: number): Client | null {
    const client = this.clients[session]!;
    return client.away || this.fenced.has(session) ? null : client;
  }

  request(session: number, oid: number, mode: Wanted, range: ByteRange = EVERYTHING): void {
    const client = this.#live(session);
    if (client === null) return;
    const ticket = ++this.#ticket;
    const wanted = mode === WRITE && this.#ranged ? range : EVERYTHING;
    if (mode === CHANGE) {
      this.#change(session, oid, ticket);
      return;
    }
    client.asked.set(ticket, oid);
    client.outbox.push(() => {
      const waiting = {at: ++this.#came, session, oid, mode, cells: cellsIn(wanted)};
      const free = this.#free(waiting);
      this.waiting.set(ticket, waiting);
      const effects = this.table.request(session, oid, mode, ticket, this.now, wanted);
      if (free) {
        counts.free++;
        const here = effects.filter((e) => e.oid === oid);
        const granted = here.some((e) => e.do === 'grant' && e.ticket === ticket);
        assert(granted, 'what nobody has or wants is granted at once');
        assert(!here.some((e) => e.do === 'recall'), 'and asks nobody for anything');
      }
      this.#run(effects);
    });
  }

  #change(session: number, oid: number, ticket: number): void {
    if (this.table.tryChange(session, oid, ticket)) this.changes.push({session, oid, ticket});
    else {
      this.waiting.set(ticket, {at: ++this.#came, session, oid, mode: CHANGE, cells: ALL});
      this.#run(this.table.request(session, oid, CHANGE, ticket, this.now));
    }
  }

  /** Nobody else has anything of it, nobody waited for it before, and the session has nothing to give back. */
  #free(wanted: Waiting): boolean {
    const {at, session, oid, mode, cells} = wanted;
    if (this.table.grace || this.#inTheWay(wanted).length > 0) return false;
    const changing = this.changes.some((one) => one.oid === oid && one.session !== session);
    if (mode !== CHANGE && (changing || this.table.recalled(session, oid))) return false;
    return ![...this.waiting.values()].some((other) => {
      if (other.oid !== oid) return false;
      // Nobody begins to write while somebody waits for a moment in which nobody does.
      if (other.mode === NONE) return mode === WRITE && other.session !== session;
      return other.at < at && (other.cells & cells) !== 0;
    });
  }

  #inTheWay({session, oid, mode, cells}: Waiting): number[] {
    const wanted = new Held();
    [wanted.reads, wanted.cells] = [mode === READ, mode === READ ? 0 : cells];
    const all = this.views.map((_, other) => other);
    return all.filter((other) => other !== session && !apart(wanted, this.views[other]![oid]!));
  }

  look(session: number, oid: number): void {
    if (this.#live(session) === null) return;
    const ticket = ++this.#ticket;
    this.waiting.set(ticket, {at: ++this.#came, session, oid, mode: NONE, cells: 0});
    this.#run(this.table.look(session, oid, ticket, this.now));
  }

  try(session: number, oid: number, mode: 1 | 2): void {
    const client = this.#live(session);
    const ticket = ++this.#ticket;
    client?.asked.set(ticket, oid);
    client?.outbox.push(() => {
      const {mode: has, effects} = this.table.tryRequest(session, oid, mode, this.now);
      this.views[session]![oid]!.take({mode: has});
      client.inbox.push({do: 'answer', oid, mode: has, ticket});
      this.#run(effects);
    });
  }

  changed(nth: number): void {
    const [change] = this.changes.splice(nth % Math.max(1, this.changes.length), 1);
    if (change !== undefined) this.#run(this.table.changed(change.oid, change.ticket, this.now));
  }

  /** Whoever asked is answered with what he has. */
  cancel(nth: number): void {
    const found = [...this.waiting][nth % Math.max(1, this.waiting.size)];
    if (found === undefined) return;
    const [ticket, {session, oid, mode}] = found;
    this.waiting.delete(ticket);
    this.#run(this.table.cancel(session, oid, ticket, this.now));
    if (mode === NONE || mode === CHANGE) return;
    const has = this.table.lasting(session, oid);
    this.clients[session]!.inbox.push({do: 'answer', oid, mode: has, ticket});
  }

  /**
   * Gives up what it was asked for, and whatever else is not in `keeps`; of what it was asked for, what is in `late` takes longer.
   */
  obey(session: number, keeps = ALL, late = 0): void {
    const client = this.#live(session);
    for (const [oid, {keep, cells}] of client?.recalls ?? []) {
      const held = client!.held[oid]!;
      if (held.mode === WRITE && held.cells !== ALL) counts.kept++;
      const whole = held.whole > keep && keep === READ;
      if (whole && late !== 0) continue;
      // Who goes lower than he was asked to yields unasked.
      const lower = keep === READ && keeps === 0 && !client!.busy(oid) ? NONE : keep;
      this.#lower(session, oid, lower, whole ? 0 : (keeps & ~cells) | (late & cells));
    }
  }

  /** Unasked: only what it has no request out for. */
  yield(session: number, oid: number, keep: Mode, stays = 0): void {
    const client = this.#live(session);
    if (client !== null && !client.busy(oid)) this.#lower(session, oid, keep, stays);
  }

  #lower(session: number, oid: number, keep: Mode, stays: number): void {
    const client = this.clients[session]!;
    const held = client.held[oid]!;
    if (held.mode <= keep) return;
    held.lower(keep, stays);
    client.forget(oid);
    client.outbox.push(() => {
      const view = this.views[session]![oid]!;
      if (view.mode > keep) view.lower(keep, stays);
      this.#run(this.table.yield(session, oid, keep, this.now, rangesOf(stays)));
    });
  }

  /** The connection was lost, and is there again. */
  reconnect(session: number): void {
    const client = this.clients[session]!;
    if (this.fenced.has(session)) return;
    for (const [ticket, {oid, session: who}] of this.waiting) {
      if (who !== session) continue;
      this.waiting.delete(ticket);
      this.#run(this.table.cancel(session, oid, ticket, this.now));
    }
    client.cutOff();
    if (client.away) this.#reclaim(session);
    const claims = new Map([...client.held.entries()].map(([oid, held]) => [oid, held.claim]));
    for (const [oid, {reads, cells}] of client.held.entries())
      Object.assign(this.views[session]![oid]!, {reads, cells});
    this.#run(this.table.reconcile(session, claims, this.now));
  }

  /** The meta server is another one, and knows nothing; those in `away` (bits) do not come back at once. */
  restart(away: number): void {
    for (const session of [...this.fenced]) this.end(session);
    this.table = this.#fresh();
    this.table.startGrace();
    this.waiting.clear();
    this.changes = [];
    for (const [session, client] of this.clients.entries()) {
      client.cutOff();
      this.views[session] = new Client().held;
      client.away = (away & (1 << session)) !== 0;
      if (!client.away) this.#reclaim(session);
    }
  }

  #reclaim(session: number): void {
    const client = this.clients[session]!;
    client.away = false;
    for (const [oid, held] of client.held.entries()) {
      const {mode, ranges} = held.claim;
      if (mode === NONE) continue;
      const taken = this.table.reclaim(session, oid, mode, this.now, ranges);
      assert(taken, 'what was held can be taken back');
      this.views[session]![oid]!.take({mode: held.whole});
      this.views[session]![oid]!.cells |= held.cells;
      counts.reclaims++;
    }
  }

  /** Who has not come back by then is put out before. */
  graceOver(): void {
    if (!this.table.grace) return;
    for (const [session, client] of this.clients.entries()) if (client.away) this.end(session);
    this.#run(this.table.endGrace(this.now));
  }

  end(session: number): void {
    this.clients[session] = new Client();
    this.views[session] = new Client().held;
    for (const [ticket, w] of this.waiting) if (w.session === session) this.waiting.delete(ticket);
    // Ids are not used again: the next one with this number is another.
    for (const change of this.changes) if (change.session === session) change.session = 0;
    this.fenced.delete(session);
    this.#run(this.table.end(session, this.now));
  }

  tick(ms: number): void {
    this.now += ms;
    this.#run(this.table.tick(this.now));
  }

  #run(effects: readonly LeaseEffect[]): void {
    for (const e of effects) {
      assert(!this.fenced.has(e.session), 'who is being fenced hears nothing more');
      if (e.do === 'recall') {
        const whole = this.views[e.session]![e.oid]!.cells === ALL;
        assert(whole || e.keep === NONE, 'of parts nothing can stay for reading');
        this.clients[e.session]!.inbox.push(e);
      } else if (e.do === 'grant') this.#grant(e);
      else {
        counts.fences++;
        this.fenced.add(e.session);
        this.clients[e.session]!.cutOff();
        for (const [ticket, w] of this.waiting)
          if (w.session === e.session) this.waiting.delete(ticket);
      }
    }
  }

  #grant(e: LeaseEffect & {do: 'grant'}): void {
    const {session, oid, ticket} = e;
    const {at, mode, cells} = this.waiting.get(ticket)!;
    this.waiting.delete(ticket);
    const waiting = [...this.waiting.values()].filter((w) => w.oid === oid);
    const view = this.views[session]![oid]!;
    if (mode === NONE) {
      const others = this.views.filter((_, other) => other !== session);
      const free = others.every((other) => other[oid]!.cells === 0);
      assert(free && e.mode === NONE, 'who looks looks when nobody writes');
      return;
    }
    // First come, first served, but for what one has already and for what nobody before him wants.
    const before = waiting.filter((w) => w.at < at && w.mode !== NONE);
    if (before.some((w) => (w.cells & cells) !== 0))
      assert(mode !== CHANGE && view.covers(mode, cells), 'first come, first served');
    else if (before.length > 0) counts.overtakes++;
    if (mode === CHANGE) {
      this.changes.push({session, oid, ticket});
      return;
    }
    this.#take(e, cells, waiting);
    assert(view.covers(mode, cells), 'one gets what one asked for');
    this.clients[session]!.inbox.push(e);
  }

  #take(e: LeaseEffect & {do: 'grant'}, cells: number, waiting: readonly Waiting[]): void {
    const {session, oid} = e;
    const view = this.views[session]![oid]!;
    const before = view.reads ? ALL : view.cells;
    view.take(e);
    if (e.part !== undefined) counts.parts++;
    const gained = view.cells & ~before;
    let taken = before;
    for (const [other, held] of this.views.entries())
      if (other !== session) taken |= held[oid]!.cells;
    for (const w of waiting) {
      if (w.session === session || (w.cells & cells) !== 0) continue;
      assert((gained & w.cells) === 0, 'what others wait for is left to them');
      taken |= w.cells;
    }
    const around = ((cells << 1) | (cells >> 1)) & ALL & ~cells;
    if (gained !== 0 && (gained & ~cells) === 0 && (around & ~taken) !== 0) counts.exact++;
  }

  check(): void {
    this.table.check();
    for (const [session, client] of this.clients.entries()) {
      for (let oid = 1; oid <= OBJECTS; oid++) {
        const view = this.views[session]![oid]!;
        const same =
          this.table.held(session, oid) === view.mode &&
          equal(this.table.ranges(session, oid), rangesOf(view.cells));
        assert(same, 'sessions hold what they got and did not give back');
        for (let other = 0; other < session; other++) {
          const both =
            apart(view, this.views[other]![oid]!) &&
            apart(client.held[oid]!, this.clients[other]!.held[oid]!);
          assert(both, 'nobody holds what another one holds for writing');
        }
        if (!client.away && !this.fenced.has(session)) this.#checkClient(session, oid);
      }
    }
    for (const change of this.changes) {
      for (const [session, held] of this.views.entries()) {
        const alone = session === change.session || held[change.oid]!.mode === NONE;
        assert(alone, 'nobody else has anything of what is being changed');
      }
    }
    if (!this.table.grace) this.#checkQueue();
  }

  #checkClient(session: number, oid: number): void {
    const client = this.clients[session]!;
    const [held, view] = [client.held[oid]!, this.views[session]![oid]!];
    const less = (held.cells & ~view.cells) === 0 && held.whole <= view.whole;
    assert(less, 'a client holds what it believes to hold');
    if (!client.quiet) return;
    assert(held.cells === view.cells && held.reads === view.reads, 'it knows what it holds');
    const recall = client.recalls.get(oid);
    assert(this.table.recalled(session, oid) === (recall !== undefined), 'it knows its recalls');
    const lasts = held.whole === NONE ? NONE : Math.min(held.whole, recall?.keep ?? WRITE);
    assert(this.table.lasting(session, oid) === lasts, 'what it may count on');
  }

  /** Who wants what nobody before him wants waits for somebody, and whoever is in his way knows. */
  #checkQueue(): void {
    const wanted = new Array<number>(OBJECTS + 1).fill(0);
    for (const waiter of this.waiting.values()) {
      const {oid, cells} = waiter;
      const passes = waiter.mode !== NONE && (wanted[oid]! & cells) === 0;
      wanted[oid]! |= cells;
      if (!passes) continue;
      assert(!this.#free(waiter), 'nobody waits for nothing');
      for (const other of this.#inTheWay(waiter)) {
        const knows = this.fenced.has(other) || this.table.recalled(other, oid);
        assert(knows, 'whoever is in the way was recalled');
      }
    }
  }
}
