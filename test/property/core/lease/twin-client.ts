import {assert} from '../../../../src/core/base/assert.js';
import {
  type LeaseEffect,
  type Mode,
  NONE,
  READ,
  type Wanted,
  WRITE,
} from '../../../../src/core/lease/lease-object.js';
import type {Claim} from '../../../../src/core/lease/lease-table.js';
import {type ByteRange, END, type Ranges, WHOLE} from '../../../../src/core/lease/ranges.js';

// Objects have nine cells, the last of them without an end.

export const OBJECTS = 2;
export const CELLS = 9;
export const ALL = 2 ** CELLS - 1;

/** Sets of cells are bits of a number. */
export const cellsIn = ({from, to}: ByteRange): number => {
  const last = to === END ? CELLS : to;
  assert(from < last && last <= CELLS && Number.isInteger(from), 'ranges are those of cells');
  return 2 ** last - 2 ** from;
};

export function rangesOf(cells: number): Ranges {
  const ranges: ByteRange[] = [];
  for (let from = 0; from < CELLS; from++) {
    let to = from;
    while (to < CELLS && (cells & (1 << to)) !== 0) to++;
    if (to > from) ranges.push({from, to: to === CELLS ? END : to});
    from = to;
  }
  return ranges;
}

/** What a session has of an object: all of it for reading, or cells of it for writing. */
export class Held {
  reads = false;
  cells = 0;

  get mode(): Mode {
    return this.cells !== 0 ? WRITE : this.whole;
  }

  /** Of the whole object. */
  get whole(): Mode {
    if (this.cells === ALL) return WRITE;
    return this.reads ? READ : NONE;
  }

  covers(mode: Wanted, cells: number): boolean {
    return mode === READ ? this.whole >= READ : mode === WRITE && (cells & ~this.cells) === 0;
  }

  take({mode, part}: {mode: Mode; part?: ByteRange | undefined}): void {
    if (part !== undefined) {
      assert(mode === NONE && !this.reads, 'who has read does not get a part');
      this.cells |= cellsIn(part);
    } else if (mode === WRITE) [this.cells, this.reads] = [ALL, false];
    else if (mode === READ && this.cells !== ALL) {
      assert(this.cells === 0, 'who writes a part does not get the whole for reading only');
      this.reads = true;
    }
  }

  lower(keep: Mode, stays: number): void {
    const left = this.cells & stays;
    this.reads = left === 0 && keep === READ && this.whole >= READ;
    this.cells = left;
  }

  get claim(): Claim {
    return {mode: this.mode, ranges: this.cells !== 0 ? rangesOf(this.cells) : WHOLE};
  }
}

/** May both be held, by two sessions? */
export const apart = (a: Held, b: Held): boolean =>
  (a.cells & b.cells) === 0 && !(a.reads && b.cells !== 0) && !(b.reads && a.cells !== 0);

export type Told =
  | (LeaseEffect & {do: 'grant' | 'recall'})
  | {do: 'answer'; oid: number; mode: Mode; ticket: number};

/** Knows what it was told. */
export class Client {
  held: Held[] = Array.from({length: OBJECTS + 1}, () => new Held());
  /** What was not obeyed yet; each includes the one before. */
  readonly recalls = new Map<number, {keep: Mode; cells: number}>();
  /** Requests that it waits for: ticket -> oid. */
  readonly asked = new Map<number, number>();
  readonly inbox: Told[] = [];
  readonly outbox: (() => void)[] = [];
  /** After a restart: it has not been back yet. */
  away = false;

  get quiet(): boolean {
    return this.inbox.length + this.outbox.length === 0 && !this.away;
  }

  hear(told: Told): void {
    const {oid} = told;
    if (told.do === 'recall') {
      const [recall, before] = [
        {keep: told.keep, cells: cellsIn(told.range)},
        this.recalls.get(oid),
      ];
      const more = before === undefined || (before.cells & ~recall.cells) === 0;
      assert(more && recall.keep <= (before?.keep ?? READ), 'a recall includes the one before');
      this.recalls.set(oid, recall);
    } else {
      this.asked.delete(told.ticket);
      this.held[oid]!.take(told);
    }
    this.forget(oid);
  }

  busy(oid: number): boolean {
    return [...this.asked.values()].includes(oid);
  }

  /** A recall is over when nothing of what it is about is held. */
  forget(oid: number): void {
    const recall = this.recalls.get(oid);
    const {mode, cells} = this.held[oid]!;
    if (recall === undefined) return;
    if (mode <= recall.keep || (mode === WRITE && (cells & recall.cells) === 0))
      this.recalls.delete(oid);
  }

  /** Nothing that was on its way arrives, and what was asked for will be asked for again. */
  cutOff(): void {
    this.inbox.length = this.outbox.length = 0;
    this.recalls.clear();
    this.asked.clear();
  }
}
