import {MIB} from '../base/units.js';

const DAY_S = 24 * 3600;

/** How data servers go through their columns (docs, "Scrub"): the same for all, kept by the meta server. */
export interface ScrubOrder {
  /** Number of the newest order to begin a pass; 0: none yet. */
  order: number;
  /** Of that order: redundancy is computed from the data again. */
  deep: boolean;
  paused: boolean;
  /** Bytes a second that one server reads at most. */
  rate: number;
  /** A pass begins by itself so long after the last one; 0: never. */
  intervalS: number;
}

export const SCRUB_ORDER: ScrubOrder = {
  order: 0,
  deep: false,
  paused: false,
  // A tenth of what a disk with moving parts reads, and a week for 12 TB.
  rate: 20 * MIB,
  intervalS: 7 * DAY_S,
};

export const SCRUB_STATE = {idle: 0, running: 1, paused: 2, waiting: 3} as const;
export type ScrubState = (typeof SCRUB_STATE)[keyof typeof SCRUB_STATE];
export const scrubStateName = (state: number): string =>
  ['idle', 'running', 'paused', 'waiting'][state] ?? 'unknown';

/** The smallest rate: even so the blocks of a small disk are seen some day. */
export const SCRUB_RATE_MIN = 64 * 1024;

/** What is to be changed; numbers as in the message. */
export interface ScrubChange {
  start: boolean;
  deep: boolean;
  /** 0: as it is, 1: no, 2: yes. */
  paused: number;
  /** 0: as it is. */
  rate: number;
  /** 0: as it is, 1: never, else the seconds and one more. */
  interval: number;
}

/** A pass that is ordered begins at once, so it also ends a pause. */
export function changed(before: ScrubOrder, change: ScrubChange): ScrubOrder {
  const {start, paused, rate, interval} = change;
  const after = {...before};
  if (start) {
    after.order++;
    after.deep = change.deep;
    after.paused = false;
  }
  if (paused > 0) after.paused = paused === 2;
  if (rate > 0) after.rate = Math.max(SCRUB_RATE_MIN, rate);
  if (interval > 0) after.intervalS = interval - 1;
  return after;
}

interface Findings {
  bad: number;
  repaired: number;
  lost: number;
}

/** What a server's scrub has found since it spoke last; null: nothing. The counts of a new pass begin at 0. */
export function foundSince(before: Findings | undefined, now: Findings): Findings | null {
  const anew = before === undefined || now.bad < before.bad || now.lost < before.lost;
  const was = anew ? {bad: 0, repaired: 0, lost: 0} : before;
  if (now.bad <= was.bad && now.lost <= was.lost) return null;
  const {bad, repaired, lost} = now;
  return {bad, repaired, lost};
}
