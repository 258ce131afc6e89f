import type {Scheme} from '../layout/scheme.js';

export const SLOT = {empty: 0, ready: 1, away: 2, recovering: 3} as const;
export type SlotState = (typeof SLOT)[keyof typeof SLOT];
export const slotStateName = (state: number): string =>
  ['empty', 'ready', 'away', 'recovering'][state] ?? 'unknown';

export const GROUP = {
  creating: 0,
  ready: 1,
  degraded: 2,
  recovering: 3,
  failed: 4,
  draining: 5,
} as const;
export type GroupState = (typeof GROUP)[keyof typeof GROUP];
export const groupStateName = (state: number): string =>
  ['creating', 'ready', 'degraded', 'recovering', 'failed', 'draining'][state] ?? 'unknown';

export interface ServerInfo {
  uuid: string;
  address: string;
  totalBytes: number;
  freeBytes: number;
  badBlocks: number;
  connected: boolean;
  /** How it moves bytes to and from its disk, for people. */
  io: string;
  /** What is lost together; '': not known. */
  domain?: string;
  /** Where it is, outermost first, with slashes between; '': not known. */
  location?: string;
  /** Chunks that it has yet to rebuild, or to copy. */
  left?: number;
  /** Bytes a second that it moves for that, of late, and seconds that it takes yet; 0: not known. */
  recoveryRate?: number;
  /** That is less than it may be, because clients are served. */
  givesWay?: boolean;
  recoveryS?: number;
}

export interface SlotInfo {
  state: SlotState;
  server: ServerInfo | null;
  /** AWAY only: writes may have gone on without it, so it must be recovered before it is trusted. */
  stale: boolean;
  /** Epoch of its newest change of state. */
  since?: number;
  /** Epoch in which it was last made ready: what was noted of it before says nothing. */
  wholeAt?: number;
  /** Epoch in which it was lost and since which it may lack something. */
  lostAt?: number;
  /** Epoch in which it was last made from others, or came back without what it had not synced. 0: not known. */
  madeAt?: number;
  /** Uuid of the server that copies it, to take the slot; '': none. */
  successor?: string;
}

export interface GroupInfo {
  id: number;
  state: GroupState;
  slots: readonly SlotInfo[];
}

/** Servers, slots, states, under one epoch. Immutable: a change makes a new one. */
export interface ClusterMap {
  cluster: string;
  epoch: number;
  groups: readonly GroupInfo[];
  /** Sessions that every data server refuses. */
  fenced: readonly number[];
}

/** May this slot's column be read? Only what is whole. */
export const readable = (slot: SlotInfo): boolean => slot.state === SLOT.ready;

export const isAway = (slot: SlotInfo): boolean => slot.state === SLOT.away;

/** Must a write reach this slot's column? A recovering one gets new writes, so that it misses nothing more. */
export const writable = (slot: SlotInfo): boolean =>
  slot.state === SLOT.ready || slot.state === SLOT.recovering;

/** Has it been ready without a pause since `epoch`, or longer? */
export const readySince = (slot: SlotInfo, epoch: number): boolean =>
  readable(slot) && (slot.since ?? 0) <= epoch;

/**
 * Would the others know what a recovering slot lacks? Those that were lost after it may have been written without it, and what they
 * noted is away with them; but a slot that was ready all the time has noted everything of the chunks that it has columns of.
 */
export function vouched(slot: SlotInfo, others: readonly SlotInfo[]): boolean {
  const {lostAt = 0} = slot;
  return (
    !others.some((one) => isAway(one) && (one.since ?? 0) > lostAt) ||
    others.some((one) => readySince(one, lostAt))
  );
}

/**
 * Can a chunk of this scheme be written in this group? `columns`: the slots that hold its columns. Not while one of them has never had a server:
 * it joins as one without which nothing was written.
 */
export function enough(scheme: Scheme, columns: readonly SlotInfo[]): boolean {
  if (columns.some(({state}) => state === SLOT.empty)) return false;
  return columns.filter(readable).length >= scheme.k;
}

/** Are there, in a group of this layout, chunks that cannot be written for lack of servers? Of groups that are wider than it: may be. */
export const short = (
  {groups}: Pick<ClusterMap, 'groups'>,
  layout: {m: number; groups: readonly number[]},
): boolean =>
  layout.groups.some((id) => {
    const group = groups.find((one) => one.id === id);
    return group === undefined || unready(group.slots) > layout.m;
  });

/** How many slots are not ready. */
export const unready = (slots: readonly Pick<SlotInfo, 'state'>[]): number =>
  slots.reduce((count, {state}) => count + (state === SLOT.ready ? 0 : 1), 0);
