import {SLOT, writable} from '../cluster/map.js';
import type {Layout} from '../layout/scheme.js';
import type {Columns} from './columns.js';
import type {Held} from './held.js';
import type {ChunkPlace} from './place.js';

/** What was written of a chunk and not synced. Columns are bits. */
export interface Unsynced {
  /** Those that were written. */
  columns: number;
  /** How many losses (lives.ts) and which epoch there had been before the first of the writes. */
  losses: number;
  epoch: number;
  /** Those that were away from one of the writes, and the newest epoch in which one was. */
  missed: number;
  missedAt: number;
  /** `Held.tenure` of all of the writes; -1: they were of several. */
  tenure?: number;
}

/** What was written of a chunk of a layout that the object had. */
export interface Left {
  chunk: number;
  layout: Layout;
  entry: Unsynced;
}

/** Columns that are about to be written, none of them missing. */
export function unsynced(path: {columns: Columns}, columns: number): Unsynced {
  const {lives, map} = path.columns;
  return {columns, losses: lives.losses, epoch: map.epoch, missed: 0, missedAt: 0};
}

/**
 * To be called before a write is sent, and again when it has ended: a sync that was under way meanwhile may have passed it, and has
 * taken the first entry away.
 */
export function touch(held: Held, chunk: number, entry: Unsynced): void {
  const {columns, losses, epoch, missed, missedAt} = entry;
  const tenure = entry.tenure ?? held.tenure;
  const all = held.unsynced.get(chunk);
  if (all === undefined) {
    held.unsynced.set(chunk, {columns, losses, epoch, missed, missedAt, tenure});
    return;
  }
  all.columns |= columns;
  all.losses = Math.min(all.losses, losses);
  all.epoch = Math.min(all.epoch, epoch);
  all.missed |= missed;
  all.missedAt = Math.max(all.missedAt, missedAt);
  if (all.tenure !== tenure) all.tenure = -1;
}

/** What has become of unsynced columns: those that were synced in the life in which they were written, those that were not. */
export interface SyncedSo extends Unsynced {
  synced: number;
  lost: number;
}

/** Columns that must be synced before the others count. */
export function pending({columns, synced, lost}: SyncedSo, place: ChunkPlace): number {
  let left = columns & ~synced & ~lost;
  place.infos.forEach((info, column) => {
    if (!writable(info)) left &= ~(1 << column);
  });
  return left;
}

/**
 * Have k columns everything on stable storage, so that whatever is rebuilt is rebuilt from them? Certainly those that were synced and are not made from
 * others since. One that was away while others were written has been, which is worth as much if none of the written columns lost anything.
 * One that took the writes while it was being made whole has them, if nobody else can have touched the object since (`alone`).
 */
export function durable(part: SyncedSo, place: ChunkPlace, alone: boolean): boolean {
  const {columns, synced, missed} = part;
  let certain = 0;
  let made = 0;
  place.infos.forEach(({state, wholeAt = 0, madeAt = 0}, column) => {
    const bit = 1 << column;
    if (state !== SLOT.ready || (columns & ~synced & bit) !== 0) return;
    if ((missed & bit) === 0 && (alone || (madeAt || wholeAt) <= part.epoch)) certain++;
    else if ((missed & bit) === 0 || wholeAt > part.missedAt) made++;
  });
  const {k} = place.layout;
  return certain >= k || ((columns & ~synced) === 0 && certain + made >= k);
}
