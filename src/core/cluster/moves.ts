import {MIB} from '../base/units.js';

export const MOVE = {convert: 0, rebalance: 1, drain: 2} as const;
export type MoveKind = (typeof MOVE)[keyof typeof MOVE];
export const moveKindName = (kind: number): string =>
  ['convert', 'rebalance', 'drain'][kind] ?? 'unknown';

/** What an administrator wants to be moved; fields as in the message. */
export interface MoveTask {
  id: number;
  kind: MoveKind;
  root: number;
  k: number;
  m: number;
  unitBytes: number;
  chunkBytes: number;
  groupCount: number;
  group: number;
  /** Per cent above the mean. */
  tolerance: number;
}

export const NO_TASK: MoveTask = {
  id: 0,
  kind: 0,
  root: 0,
  k: 0,
  m: 0,
  unitBytes: 0,
  chunkBytes: 0,
  groupCount: 0,
  group: 0,
  tolerance: 0,
};

/** Kept by the meta server with the state of the cluster. */
export interface MoveState {
  tasks: MoveTask[];
  /** Number of the newest task. */
  last: number;
  paused: boolean;
  /** Bytes a second that are moved at most, to and from servers. */
  rate: number;
}

export const TASKS_MAX = 64;
/** The smallest rate: even so a move ends some day. */
export const MOVE_RATE_MIN = 64 * 1024;

export const MOVES: MoveState = {tasks: [], last: 0, paused: false, rate: 64 * MIB};

/** Groups that are to be removed: they get nothing new. */
export const drained = (moves: MoveState | undefined): Set<number> =>
  new Set(moves?.tasks.filter(({kind}) => kind === MOVE.drain).map(({group}) => group));

interface Weighed {
  k: number;
  m: number;
  groups: readonly number[];
}

/** Bytes in columns of an object of `size` bytes. */
export const columnBytesOf = ({k, m}: Weighed, size: number): number => (size * (k + m)) / k;

/** How full groups are by what objects have in them, and what has to go so that none is too full. */
export class Balance {
  readonly #groups = new Map<number, {bytes: number; capacity: number; slots: number}>();
  readonly #tolerance: number;

  /** Groups whose capacity is not known count as the others do. `tolerance`: per cent above the mean. */
  constructor(
    groups: readonly {id: number; totalBytes: number; slots: number}[],
    tolerance: number,
  ) {
    this.#tolerance = tolerance;
    const known = groups.every(({totalBytes}) => totalBytes > 0);
    for (const {id, totalBytes, slots} of groups)
      this.#groups.set(id, {bytes: 0, capacity: known ? totalBytes : slots, slots});
  }

  add(layout: Weighed, size: number): void {
    const each = columnBytesOf(layout, size) / layout.groups.length;
    for (const group of layout.groups) {
      const entry = this.#groups.get(group);
      if (entry !== undefined) entry.bytes += each;
    }
  }

  /** The groups that the object is to have, which counts as done; null: it stays. */
  choose(layout: Weighed, size: number): number[] | null {
    if (size === 0) return null;
    const mean = this.#mean;
    const fill = (id: number): number => {
      const {bytes, capacity} = this.#groups.get(id)!;
      return bytes / capacity;
    };
    const mine = layout.groups.filter((id) => this.#groups.has(id));
    const full = mine.sort((a, b) => fill(b) - fill(a))[0];
    if (full === undefined || fill(full) <= mean * (1 + this.#tolerance / 100)) return null;
    const each = columnBytesOf(layout, size) / layout.groups.length;
    const free = [...this.#groups]
      .filter(([id, {slots}]) => !layout.groups.includes(id) && slots >= layout.k + layout.m)
      .sort(([a], [b]) => fill(a) - fill(b))[0];
    if (free === undefined) return null;
    // What makes the other one the fuller one would come back with the next pass.
    const [to, entry] = free;
    const source = this.#groups.get(full)!;
    if ((entry.bytes + each) / entry.capacity > (source.bytes - each) / source.capacity)
      return null;
    source.bytes -= each;
    entry.bytes += each;
    return layout.groups.map((id) => (id === full ? to : id));
  }

  get #mean(): number {
    let bytes = 0;
    let capacity = 0;
    for (const one of this.#groups.values()) {
      bytes += one.bytes;
      capacity += one.capacity;
    }
    return bytes / Math.max(1, capacity);
  }
}
