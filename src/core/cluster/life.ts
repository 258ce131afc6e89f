import type {Ms} from '../base/ids.js';
import type {ClusterState, Member} from './state.js';

/** Servers that are away by intent: their slots are not given to others. Ends by itself. */
export interface Maintenance {
  /** Their uuids; empty: all. */
  servers: string[];
  forMs: Ms;
  /** Wall clock at its beginning. */
  beganMs: number;
  why: string;
}

/** Who forgets it does not stop the cluster from mending itself for ever. */
export const MAINTENANCE_MS_MAX: Ms = 7 * 86_400_000;

/** What of it is left. A clock that was set back makes it no longer than it was to be. */
export const maintenanceLeft = ({forMs, beganMs}: Maintenance, wall: number): Ms =>
  Math.min(forMs, Math.max(0, beganMs + forMs - wall));

export function inMaintenance({maintenance}: ClusterState, {uuid}: Member): boolean {
  if (maintenance === undefined) return false;
  return maintenance.servers.length === 0 || maintenance.servers.includes(uuid);
}

/**
 * A cluster that was shut down opens when all servers are back that were there. After so long it does without the others: they are lost then, as
 * always.
 */
export const HELD_MS: Ms = 300_000;
