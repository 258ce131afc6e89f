import type {Maintenance} from './life.js';
import {
  type ClusterMap,
  GROUP,
  type GroupInfo,
  type GroupState,
  type ServerInfo,
  SLOT,
  type SlotInfo,
  type SlotState,
} from './map.js';
import type {MoveState} from './moves.js';
import type {ReadCopyPolicy} from './read-copies.js';
import type {RecoveryOrder} from './recovery.js';
import type {ScrubOrder} from './scrub.js';

/** What the meta server keeps of a data server besides what the map says. */
export interface Member {
  readonly uuid: string;
  address: string;
  /** What is lost together: a host, or what the server was told; '': not known. */
  domain: string;
  /** Where it is, outermost first, with slashes between; '': not known. */
  location: string;
  /** Without a slot: it may also be one of a new group. */
  auto: boolean;
  /** It has a connection. */
  connected: boolean;
  /** It has registered since this meta server started. */
  seen: boolean;
  /** Number of the server process's registration; 0: none since this meta server started. */
  incarnation: number;
  /** In which it keeps what it was told to write, synced or not; 0: not known. */
  life: number;
  heardAt: number;
  /** When the connection closed; meaningful while not connected. */
  closedAt: number;
  /** Newest epoch that it obeys. */
  ackedEpoch: number;
  /** Since when it owes an acknowledgement; null: it owes none. */
  owesSince: number | null;
  /** Since when clients have reported it without a pause, and when last; null: not reported. */
  reportedSince: number | null;
  reportedAt: number;
  /** It has registered again and gets its slot back when the others know that it was away. */
  returning: boolean;
  /** Since when it waits for others that may have what it has lost; null: it does not. */
  waitsSince: number | null;
  /** How often this process was lost because clients did not reach it, and until when that keeps it away. */
  losses: number;
  heldUntil: number;
  totalBytes: number;
  freeBytes: number;
  badBlocks: number;
  /** How it moves bytes to and from its disk, for people. */
  io: string;
  /** Chunks that its recovery has yet to rebuild. */
  recoveryLeft: number;
  /** Bytes a second, and seconds that it takes yet, as it says. */
  recoveryRate: number;
  givesWay: boolean;
  recoveryS: number;
  /** Chunks that only a resync settles. */
  doubts: number;
}

export interface SlotRecord {
  state: SlotState;
  member: Member | null;
  /** AWAY, RECOVERING: writes may have gone on without it. */
  stale: boolean;
  /**
   * The epoch that made it stale by the loss of a whole server; as long as no client has seen that epoch, nothing
   * was written under it. 0: stale for another reason, which does not pass.
   */
  staleSince: number;
  /** Epoch of its newest change of state. */
  since: number;
  /** Epoch in which it was last made ready. */
  wholeAt: number;
  /** Epoch in which it was lost and since which it may lack something. */
  lostAt: number;
  /** Epoch in which it was last made from others, or came back without what it had not synced. */
  madeAt: number;
  /** The life of its server in which it was last ready; 0: not known. */
  life: number;
  /** Since when it is away, as far as this meta server has seen; null: it is not. */
  awaySince: number | null;
  /** The same, but for the time of a maintenance. */
  missedSince: number | null;
  /** The waiting server that is to take the slot when it has copied what there is; '': none. */
  successor: string;
  /** It has; as soon as all know that the slot is away it gets it. */
  handover: boolean;
}

/** The newest order to check the chunks of a group's intent logs. */
export interface ResyncOrder {
  number: number;
  /** The slot that carries it out; -1: nobody yet. */
  slot: number;
  done: boolean;
}

export interface GroupRecord {
  readonly id: number;
  readonly slots: SlotRecord[];
  /** Smallest k of all schemes that objects of this group have: with fewer ready slots nothing can be written. */
  kMin: number;
  /** Smallest k + m of all of them. */
  columnsMin: number;
  /** Smallest m of all of them: so many slots may be lost for ever. */
  mMin: number;
  order: ResyncOrder;
}

export interface ClusterState {
  readonly cluster: string;
  epoch: number;
  readonly groups: GroupRecord[];
  /** Servers without a slot, as long as they are there; not kept. */
  pool: Member[];
  /** Oldest first. */
  fenced: number[];
  /** Servers whose slot was given to another one, oldest first. */
  retired: string[];
  /** Absent: nobody has changed it. */
  scrub?: ScrubOrder | undefined;
  recovery?: RecoveryOrder | undefined;
  readCopies?: ReadCopyPolicy | undefined;
  moves?: MoveState | undefined;
  maintenance?: Maintenance | undefined;
  /** It was shut down in order. */
  closed?: boolean | undefined;
}

export const newMember = (uuid: string, address: string, now: number): Member => ({
  uuid,
  address,
  domain: '',
  location: '',
  auto: false,
  connected: false,
  seen: false,
  incarnation: 0,
  life: 0,
  heardAt: now,
  closedAt: now,
  ackedEpoch: 0,
  owesSince: null,
  reportedSince: null,
  reportedAt: 0,
  returning: false,
  waitsSince: null,
  losses: 0,
  heldUntil: 0,
  totalBytes: 0,
  freeBytes: 0,
  badBlocks: 0,
  io: '',
  recoveryLeft: 0,
  recoveryRate: 0,
  givesWay: false,
  recoveryS: 0,
  doubts: 0,
});

export const emptySlot = (): SlotRecord => ({
  state: SLOT.empty,
  member: null,
  stale: false,
  staleSince: 0,
  since: 0,
  wholeAt: 0,
  lostAt: 0,
  madeAt: 0,
  life: 0,
  awaySince: null,
  missedSince: null,
  successor: '',
  handover: false,
});

export const countSlots = (group: GroupRecord, state: SlotState): number =>
  group.slots.reduce((count, slot) => count + (slot.state === state ? 1 : 0), 0);

/**
 * Can anything be written? Recovering slots count: writers trust them with chunks that they do not lack. A group that is being
 * created has no objects yet.
 */
export const groupWritable = (group: GroupRecord): boolean =>
  countSlots(group, SLOT.empty) === 0 &&
  countSlots(group, SLOT.ready) + countSlots(group, SLOT.recovering) >= group.kMin;

export function groupState(group: GroupRecord): GroupState {
  if (countSlots(group, SLOT.empty) > 0) return GROUP.creating;
  const recovering = countSlots(group, SLOT.recovering);
  if (countSlots(group, SLOT.ready) + recovering < group.kMin) return GROUP.failed;
  if (countSlots(group, SLOT.away) > 0) return GROUP.degraded;
  if (recovering > 0) return GROUP.recovering;
  return group.slots.some(({successor}) => successor !== '') ? GROUP.draining : GROUP.ready;
}

export const serverInfo = (m: Member): ServerInfo => ({
  uuid: m.uuid,
  address: m.address,
  totalBytes: m.totalBytes,
  freeBytes: m.freeBytes,
  badBlocks: m.badBlocks,
  connected: m.connected,
  io: m.io,
  domain: m.domain,
  location: m.location,
  left: m.recoveryLeft,
  recoveryRate: m.recoveryRate,
  givesWay: m.givesWay,
  recoveryS: m.recoveryS,
});

const slotInfo = (slot: SlotRecord): SlotInfo => ({
  state: slot.state,
  server: slot.member === null ? null : serverInfo(slot.member),
  stale: slot.stale,
  since: slot.since,
  wholeAt: slot.wholeAt,
  lostAt: slot.lostAt,
  madeAt: slot.madeAt,
  successor: slot.successor,
});

export const groupInfo = (group: GroupRecord): GroupInfo => ({
  id: group.id,
  state: groupState(group),
  slots: group.slots.map(slotInfo),
});

export const clusterMap = (state: ClusterState): ClusterMap => ({
  cluster: state.cluster,
  epoch: state.epoch,
  groups: state.groups.map(groupInfo),
  fenced: [...state.fenced],
});

/** What of the state survives a restart of the meta server, as bytes of JSON. */
export function encodeState(state: ClusterState): Uint8Array {
  const groups = state.groups.map(({id, slots, kMin, columnsMin, mMin, order}) => ({
    id,
    kMin,
    columnsMin,
    mMin,
    order,
    slots: slots.map((slot) => ({
      state: slot.state,
      uuid: slot.member?.uuid ?? null,
      address: slot.member?.address ?? '',
      domain: slot.member?.domain ?? '',
      location: slot.member?.location ?? '',
      stale: slot.stale,
      staleSince: slot.staleSince,
      since: slot.since,
      wholeAt: slot.wholeAt,
      lostAt: slot.lostAt,
      madeAt: slot.madeAt,
      life: slot.life,
      successor: slot.successor,
    })),
  }));
  const {groups: _records, pool: _pool, ...rest} = state;
  return Buffer.from(JSON.stringify({version: 1, ...rest, groups}));
}

interface Saved {
  version: number;
  cluster: string;
  epoch: number;
  fenced: number[];
  retired: string[];
  scrub?: ScrubOrder;
  recovery?: RecoveryOrder;
  readCopies?: ReadCopyPolicy;
  moves?: MoveState;
  maintenance?: Maintenance;
  closed?: boolean;
  groups: {
    id: number;
    kMin: number;
    columnsMin: number;
    /** An older release has not kept it. */
    mMin?: number;
    order: ResyncOrder;
    slots: {
      state: SlotState;
      uuid: string | null;
      address: string;
      stale: boolean;
      staleSince: number;
      since: number;
      wholeAt: number;
      lostAt: number;
      /** An older release has not kept these. */
      madeAt?: number;
      life?: number;
      successor?: string;
      domain?: string;
      location?: string;
    }[];
  }[];
}

export function decodeState(bytes: Uint8Array, now: number): ClusterState {
  const saved = JSON.parse(Buffer.from(bytes).toString()) as Saved;
  if (saved.version !== 1)
    throw new Error(`state of the cluster has version ${saved.version}, not 1`);
  const groups = saved.groups.map(({id, kMin, columnsMin, mMin, order, slots}) => ({
    id,
    kMin,
    columnsMin,
    // Whether all objects had as much is not known: servers are not given up without being asked.
    mMin: mMin ?? 0,
    order,
    slots: slots.map(
      ({
        uuid,
        address,
        domain = '',
        location = '',
        madeAt = 0,
        life = 0,
        successor = '',
        ...slot
      }) => ({
        ...slot,
        madeAt: madeAt || slot.wholeAt,
        life,
        awaySince: null,
        missedSince: null,
        successor,
        handover: false,
        member: uuid === null ? null : {...newMember(uuid, address, now), domain, location},
      }),
    ),
  }));
  const {cluster, epoch, fenced, retired, scrub, recovery, readCopies, moves} = saved;
  const {maintenance, closed} = saved;
  const orders = {scrub, recovery, readCopies, moves, maintenance, closed};
  return {cluster, epoch, fenced, retired, groups, pool: [], ...orders};
}
