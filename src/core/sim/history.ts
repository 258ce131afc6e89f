import {type Call, NAMING, type Outcome, showCall, showOutcome} from './call.js';
import {step} from './model.js';
import {SimFailure} from './scheduler.js';
import {Model} from './tree.js';

export interface Entry {
  id: number;
  call: Call;
  /** Null when its client died first: it may have happened until its end, or never. */
  outcome: Outcome | null;
  start: number;
  /** Infinity while there is no outcome, and the session of a client that died may not be over. */
  end: number;
  /** Virtual ms, for people. */
  time: number;
}

/** States that one search may visit; a history of a short world needs some hundreds. */
const VISITS_MAX = 1_000_000;

/**
 * What programs asked and got, in the order of beginnings and ends. `check` looks for an order of the calls, each
 * between its beginning and its end, that explains every outcome (linearizability, by the search of Wing and Gong
 * with Lowe's memory of configurations).
 */
export class History {
  readonly #entries: Entry[] = [];
  #clock = 0;
  #last = 0;
  #shown = 0;
  /** Clients whose calls may still happen, the one that died first at the beginning. */
  readonly #dead: {client: number; time: number}[] = [];

  /** Calls of programs. */
  get length(): number {
    return this.#entries.length - this.#shown;
  }

  begin(call: Call, time: number): Entry {
    while (this.#dead.length > 0 && this.#dead[0]!.time <= time)
      this.#over(this.#dead.shift()!.client);
    const entry: Entry = {
      id: ++this.#last,
      call,
      outcome: null,
      start: this.#clock++,
      end: Number.POSITIVE_INFINITY,
      time,
    };
    this.#entries.push(entry);
    return entry;
  }

  #over(client: number): void {
    const end = this.#clock++;
    for (const entry of this.#entries)
      if (entry.call.client === client && entry.outcome === null) entry.end = end;
  }

  end(entry: Entry, outcome: Outcome): void {
    entry.outcome = outcome;
    entry.end = this.#clock++;
  }

  /** A client (life) has died: what it had asked for may happen until `time`, and not after that. */
  died(client: number, time: number): void {
    this.#dead.push({client, time});
  }

  /** The answer to `entry`, which has ended, has shown this, too: as it was at some moment between its beginning and its end. */
  shown(entry: Entry, call: Call, outcome: Outcome): void {
    const {start, time} = entry;
    const look = {id: ++this.#last, call, outcome, start, end: this.#clock++, time};
    this.#entries.splice(this.#entries.indexOf(entry) + 1, 0, look);
    this.#shown++;
  }

  /** It changed nothing, and what came back is not to be explained. */
  drop(entry: Entry): void {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
  }

  /** Lines for people: the calls from `first` on. */
  show(first = 0): string[] {
    return this.#entries
      .slice(first)
      .map(
        (e) =>
          `#${e.id} ${e.time.toFixed(1)} [${e.start}-${e.end}] ${showCall(e.call)} -> ${showOutcome(e.outcome)}`,
      );
  }

  /**
   * The states in which it may have ended; throws SimFailure when nothing explains it. `delays`: what a client has done to names may be
   * lost with it.
   */
  check(delays = false): Model {
    return new Search(this.#entries, delays).run();
  }
}

interface Position {
  /** All entries before this index have been placed. */
  low: number;
  /** Indexes >= low that have been placed too, ascending. */
  placed: readonly number[];
  /** When the last of those began: what had ended by then, and was not placed, has never happened. */
  now: number;
  model: Model;
}

/** What a call does to names, whoever asks for it; null: it is not that alone. */
function changeOf({call, outcome}: Entry): string | null {
  if (outcome !== null || !NAMING.has(call.kind)) return null;
  return 'truncate' in call && call.truncate ? null : JSON.stringify({...call, client: 0});
}

/** Stands for a text that may be long: a million of them are kept. */
function digestOf(text: string): string {
  let [a, b] = [0x811c9dc5, 0x9747b28c];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b) ^ (b >>> 13);
  }
  return `${(a >>> 0).toString(36)}.${(b >>> 0).toString(36)}`;
}

class Search {
  readonly #entries: readonly Entry[];
  readonly #seen = new Set<string>();
  /** By index, of those without an outcome. */
  readonly #changes: readonly (string | null)[];
  /** Indexes of the deaths that may take names back, by client. */
  readonly #deaths = new Map<number, number>();
  #best: Position;

  constructor(entries: readonly Entry[], delays: boolean) {
    this.#entries = entries;
    const cuts = entries.filter(({call}) => call.kind === 'cut').length;
    const crashes = delays ? entries.filter(({call}) => call.kind === 'crash') : [];
    const mortal = new Set(crashes.map(({call}) => call.client));
    this.#best = {low: 0, placed: [], now: 0, model: Model.start(cuts, mortal)};
    this.#changes = entries.map(changeOf);
    for (const {call} of crashes)
      this.#deaths.set(
        call.client,
        entries.findIndex((one) => one.call === call),
      );
  }

  run(): Model {
    const stack: Position[] = [this.#best];
    for (let visits = 0; visits < VISITS_MAX; visits++) {
      const position = stack.pop();
      if (position === undefined) throw new SimFailure(this.#explain());
      if (this.#finished(position)) return position.model;
      const depth = position.low + position.placed.length;
      if (depth > this.#best.low + this.#best.placed.length) this.#best = position;
      for (const next of this.#successors(position)) {
        const key = `${next.low};${next.placed.join()};${digestOf(next.model.key)}`;
        if (this.#seen.has(key)) continue;
        this.#seen.add(key);
        stack.push(next);
      }
    }
    throw new SimFailure(`the history is too tangled to be checked in ${VISITS_MAX} states`);
  }

  /** Only calls that never ended are left. */
  #finished({low, placed}: Position): boolean {
    for (let i = low; i < this.#entries.length; i++) {
      if (this.#entries[i]!.outcome !== null && !placed.includes(i)) return false;
    }
    return true;
  }

  /** Calls that began before the first end of those that are left, and are not over. */
  #candidates({low, placed, now}: Position): number[] {
    const found: number[] = [];
    let firstEnd = Number.POSITIVE_INFINITY;
    for (let i = low; i < this.#entries.length; i++) {
      const entry = this.#entries[i]!;
      if (entry.start > firstEnd) break;
      if (placed.includes(i) || entry.end < now) continue;
      found.push(i);
      if (entry.outcome !== null) firstEnd = Math.min(firstEnd, entry.end);
    }
    return this.#first(
      found.filter((i) => this.#entries[i]!.start < firstEnd),
      (death) => death === undefined || death < low || placed.includes(death),
    );
  }

  /**
   * Without those that would do what another one would, which began no later and is over no later: whatever it is that the later one explains,
   * the earlier one does, and leaves the later one for more. Of no client that may yet take back what it did.
   */
  #first(candidates: readonly number[], over: (death: number | undefined) => boolean): number[] {
    const ends = new Map<string, number>();
    return candidates.filter((index) => {
      const change = this.#changes[index]!;
      const {call, end} = this.#entries[index]!;
      if (change === null || !over(this.#deaths.get(call.client))) return true;
      const before = ends.get(change);
      if (before !== undefined && before <= end) return false;
      ends.set(change, end);
      return true;
    });
  }

  /**
   * Where one more call leads to, the one to try first at the end. Calls whose client died come last: only what
   * explains something is taken to have happened. Two kinds of steps need no branch. A call that
   * ended and changes nothing here may as well have happened here: what follows is explained no better if it comes
   * later. A call whose client died and that changes nothing here may as well not have happened yet.
   * Its writes are tried before its death, which leaves each block old or new, whichever is seen: else they would be tried with everything.
   */
  #successors(position: Position): Position[] {
    const {model} = position;
    const found: Position[] = [];
    const unanswered: Position[] = [];
    const writes: Position[] = [];
    const candidates = this.#candidates(position);
    const calls = candidates.map((index) => this.#entries[index]!);
    const dying = new Set(
      calls.filter(({call}) => call.kind === 'crash').map((e) => e.call.client),
    );
    const last = ({call, outcome}: Entry): boolean =>
      call.kind === 'write' && outcome === null && dying.has(call.client);
    const writing = new Set(calls.filter(last).map(({call}) => call.client));
    for (const index of candidates.reverse()) {
      const entry = this.#entries[index]!;
      const {call, outcome, id} = entry;
      const models = step(model, call, outcome, id);
      const waits = call.kind === 'crash' && writing.has(call.client);
      if (outcome !== null && models.length === 1 && models[0] === model && !waits) {
        return this.#place(position, index, models);
      }
      const changed = models.filter((one) => one !== model || outcome !== null);
      const to = last(entry) ? writes : outcome === null ? unanswered : found;
      to.push(...this.#place(position, index, changed));
    }
    return [...unanswered, ...found, ...writes];
  }

  #place({low, placed, now}: Position, index: number, models: readonly Model[]): Position[] {
    if (models.length === 0) return [];
    let rest = [...placed, index].sort((a, b) => a - b);
    now = Math.max(now, this.#entries[index]!.start);
    while (low < this.#entries.length) {
      if (rest[0] === low) rest = rest.slice(1);
      else if (this.#entries[low]!.end >= now) break;
      low++;
    }
    return models.map((next) => ({low, placed: rest, now, model: next}));
  }

  #explain(): string {
    const stuck = this.#candidates(this.#best).map((i) => {
      const {call, outcome, id} = this.#entries[i]!;
      return `#${id} ${showCall(call)} -> ${showOutcome(outcome)}${this.#why(call, outcome)}`;
    });
    return `nothing explains ${stuck.join(', or ')}`;
  }

  #why(call: Call, outcome: Outcome | null): string {
    if (call.kind === 'read' && outcome !== null && 'bytes' in outcome) {
      const node = this.#best.model.byOid(call.oid);
      if (node === null) return ' (no such object)';
      return ` (${node.content.difference(call.offset, call.length, outcome.bytes)})`;
    }
    const {model} = this.#best;
    const wanted =
      'oid' in call ? model.byOid(call.oid) : 'parent' in call ? model.byOid(call.parent) : null;
    if (wanted === null) return '';
    const child = 'name' in call && wanted.entries.size > 0 ? model.child(wanted, call.name) : null;
    const shown = child ?? wanted;
    return ` (model: oid ${shown.oid} mode ${shown.mode.toString(8)} nlink ${shown.nlink} size ${shown.content.size} entries ${[...shown.entries.keys()]})`;
  }
}
