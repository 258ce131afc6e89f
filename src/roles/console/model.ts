import type {Status} from '../admin.js';
import {type ClusterEvent, eventText} from '../events.js';
import {type Finding, type Health, healthOf} from '../health/findings.js';
import {okToStopSlot} from '../health/ok-to-stop.js';
import {type Outlook, outlookOf} from '../health/outlook.js';
import type {Leases, Locks} from '../holdings.js';
import type {MetaStatus} from '../meta/nodes.js';
import {type History, Meters, type Rate, type Traffic} from './rates.js';

/** What one look at a cluster has found. */
export interface Look {
  status: Status;
  /** null: nobody has asked for them yet. */
  metas: MetaStatus | null;
  leases: Leases;
  locks: Locks;
  /** Those since the look before. */
  events: ClusterEvent[];
}

/** What `cpfs top --json` prints. Stable: fields are added, never changed; `version` counts breaks. */
export interface View {
  version: 1;
  /** What the clock of the meta server says, ISO 8601. */
  at: string;
  cluster: string;
  release: string;
  state: Status['state'];
  epoch: number;
  scheme: string;
  files: number;
  /** As in the status. */
  phase: Status['phase'];
  maintenance: Status['maintenance'];
  health: Health['state'];
  findings: Finding[];
  outlook: Outlook;
  /** Of the disks of all data servers that have a slot, with redundancy. */
  capacity: {totalBytes: number; usedBytes: number};
  /** null: not known yet. */
  traffic: Traffic | null;
  history: History;
  metas: {address: string; role: string; inSync: boolean; why: string}[];
  groups: GroupRow[];
  servers: ServerRow[];
  /** Data servers without a slot. */
  spares: Status['waiting'];
  clients: ClientRow[];
  /** Files of which most is read, the hottest first. */
  hot: Status['hot'];
  leases: Leases;
  locks: Locks;
  /** The newest ones, the oldest first. */
  events: EventRow[];
}

export interface SlotCell {
  index: number;
  state: string;
  server: string | null;
  /** How much of what it lacked it has got since somebody looks, 0 to 1; null: it lacks nothing, or that is not known. */
  progress: number | null;
}

export interface GroupRow {
  id: number;
  state: string;
  /** As in the status. */
  bears: number | null;
  slots: SlotCell[];
  usedBytes: number;
  totalBytes: number;
  rate: Rate | null;
}

export type ServerRow = Status['servers'][number] & {
  state: string;
  awaySeconds: number | null;
  progress: number | null;
  rate: Rate | null;
  /** What is wrong with it. */
  codes: string[];
  /** As `cpfs ok-to-stop` says. */
  okToStop: {ok: boolean; why: string};
};

export type ClientRow = Status['sessions'][number] & {rate: Rate | null};

export interface EventRow {
  number: number;
  at: string;
  level: string;
  text: string;
  /** Of the slot or the group that it is about; null: it is about none. */
  group: number | null;
  slot: number | null;
  /** Of the client that it is about. */
  session: number | null;
}

const EVENTS_MAX = 200;
const numberOr = (value: unknown): number | null => (typeof value === 'number' ? value : null);

function eventRow(one: ClusterEvent): EventRow {
  const {number, at, level, fields} = one;
  const [group, slot, session] = [fields.group, fields.slot, fields.session].map(numberOr);
  return {
    number,
    at,
    level,
    text: eventText(one),
    group: group ?? null,
    slot: slot ?? null,
    session: session ?? null,
  };
}

/** Makes of one look after the other what there is to see: what goes on in a second, and how far recoveries are. */
export class Model {
  readonly #meters: Meters;
  /** The most that each recovering server was seen to lack. */
  #most = new Map<string, number>();
  #events: EventRow[] = [];

  constructor(everyMs: number) {
    this.#meters = new Meters(everyMs);
  }

  /** `now` by a clock that only goes forward. */
  take({status, metas, leases, locks, events}: Look, now: number): View {
    const traffic = this.#meters.take(status, now);
    this.#events = [...this.#events, ...events.map(eventRow)].slice(-EVENTS_MAX);
    const progress = this.#progress(status);
    const health = healthOf(status, metas);
    const {cluster, release, state, epoch, scheme, files, at, hot, phase, maintenance} = status;
    const servers = this.#servers(status, health.findings, progress);
    return {
      version: 1,
      at,
      cluster,
      release,
      state,
      epoch,
      scheme,
      files,
      phase,
      maintenance,
      health: health.state,
      findings: health.findings,
      outlook: outlookOf(status),
      capacity: capacityOf(status.servers),
      traffic,
      history: this.#meters.history,
      metas: (metas?.servers ?? []).map(({address, role, inSync, why}) => ({
        address,
        role,
        inSync,
        why,
      })),
      groups: groupsOf(status, servers),
      servers,
      spares: status.waiting,
      clients: status.sessions.map((one) => ({...one, rate: this.#meters.clientRate(one.id)})),
      hot,
      leases,
      locks,
      events: this.#events,
    };
  }

  #servers(
    status: Status,
    findings: readonly Finding[],
    progress: ReadonlyMap<string, number>,
  ): ServerRow[] {
    const {groups, servers} = status;
    const byId = new Map(groups.map((group) => [group.id, group]));
    const slots = new Map(
      groups.flatMap(({id, slots: all}) => all.map((slot) => [`slot ${id}.${slot.index}`, slot])),
    );
    const codes = new Map<string, string[]>();
    for (const {subject, code} of findings)
      codes.set(subject, [...(codes.get(subject) ?? []), code]);
    return servers.map((one) => {
      const name = `slot ${one.group}.${one.slot}`;
      const slot = slots.get(name);
      const {ok, why} = okToStopSlot(byId.get(one.group)!, one.slot);
      return {
        ...one,
        state: slot?.state ?? 'empty',
        awaySeconds: slot?.awaySeconds ?? null,
        progress: progress.get(one.uuid) ?? null,
        rate: one.connected ? this.#meters.serverRate(one.uuid) : null,
        codes: codes.get(name) ?? [],
        okToStop: {ok, why},
      };
    });
  }

  #progress({groups, servers}: Status): Map<string, number> {
    const recovering = new Set(
      groups.flatMap(({slots}) =>
        slots.flatMap(({state, server}) =>
          state === 'recovering' && server !== null ? [server] : [],
        ),
      ),
    );
    const most = new Map<string, number>();
    const progress = new Map<string, number>();
    for (const {uuid, left} of servers) {
      if (!recovering.has(uuid)) continue;
      const highest = Math.max(left, this.#most.get(uuid) ?? 0);
      most.set(uuid, highest);
      // One chunk alone says nothing of how far it is.
      if (highest > 1) progress.set(uuid, 1 - left / highest);
    }
    this.#most = most;
    return progress;
  }
}

function capacityOf(servers: readonly {totalBytes: number; usedBytes: number}[]) {
  const sum = {totalBytes: 0, usedBytes: 0};
  for (const {totalBytes, usedBytes} of servers) {
    sum.totalBytes += totalBytes;
    sum.usedBytes += usedBytes;
  }
  return sum;
}

function groupsOf({groups}: Status, servers: readonly ServerRow[]): GroupRow[] {
  const byGroup = Map.groupBy(servers, ({group}) => group);
  return groups.map(({id, state, bears, slots}) => {
    const own = byGroup.get(id) ?? [];
    const told = own.flatMap(({rate}) => (rate === null ? [] : [rate]));
    const sum = (name: keyof Rate): number => told.reduce((total, rate) => total + rate[name], 0);
    const rate: Rate = {
      reads: sum('reads'),
      readBytes: sum('readBytes'),
      writes: sum('writes'),
      writeBytes: sum('writeBytes'),
      syncs: sum('syncs'),
      calls: sum('calls'),
      metaCalls: 0,
    };
    return {
      id,
      state,
      bears,
      slots: slots.map(({index, state: slot, server}) => ({
        index,
        state: slot,
        server,
        progress: own.find(({uuid}) => uuid === server)?.progress ?? null,
      })),
      ...capacityOf(own),
      rate: told.length === 0 ? null : rate,
    };
  });
}
