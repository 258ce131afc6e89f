import type {Held} from './held.js';

/** No operation runs, and none can begin but by an open. */
export function resting(held: Held): boolean {
  const {opens, users, gate, layout, doomed} = held;
  if (opens > 0 || users > 0 || gate !== null || layout === null || doomed) return false;
  return !held.uneven && held.error === null;
}

/** Closed, written back and synced, and the meta server knows all of it. */
export function idle(held: Held): boolean {
  const {unsynced, settle, syncing} = held;
  if (!resting(held) || held.unwritten || held.news() !== null) return false;
  return unsynced.size === 0 && settle.size === 0 && syncing === null;
}
