import {formatSize} from '../../core/base/units.js';
import {span as time} from '../health/outlook.js';
import type {LeaseRow, LockRow} from '../holdings.js';
import type {ClientRow, EventRow, GroupRow, ServerRow, SlotCell, View} from './model.js';
import {operationsOf, type Rate} from './rates.js';
import type {Column, Order, Table} from './table.js';
import {
  bar,
  type Glyphs,
  harmless,
  type Line,
  type Style,
  short,
  shortBytes,
  span,
} from './text.js';

export const PANELS = ['groups', 'servers', 'clients', 'files', 'leases', 'events'] as const;
export type PanelId = (typeof PANELS)[number];

type HotRow = View['hot'][number];
/** A lease, or a lock of a program. */
export type HoldingRow = (LeaseRow & {what: 'lease'}) | (LockRow & {what: 'lock'});

export interface Panel<R> extends Table<R> {
  id: PanelId;
  title: string;
  rows(view: View): readonly R[];
  order: Order;
  /** Enter shows more of a row. */
  drills: boolean;
}

const stateStyle = (state: string): Style | undefined =>
  ({
    ready: 'good' as const,
    recovering: 'warn' as const,
    degraded: 'warn' as const,
    creating: 'dim' as const,
    away: 'bad' as const,
    failed: 'bad' as const,
  })[state];

const rated = (rate: Rate | null, of: (rate: Rate) => number): string =>
  rate === null ? '-' : shortBytes(of(rate));
const counted = (rate: Rate | null, of: (rate: Rate) => number): string =>
  rate === null ? '-' : short(of(rate));
const orNothing = (rate: Rate | null, of: (rate: Rate) => number): number =>
  rate === null ? -1 : of(rate);
const percent = (share: number): string => `${Math.floor(share * 100)}%`;

/** How bad a state is. */
const RANK: Record<string, number> = {failed: 4, away: 4, degraded: 3, recovering: 2, creating: 1};
const rank = (state: string): number => RANK[state] ?? 0;

function slotCell({index, state, progress}: SlotCell, glyphs: Glyphs): Line {
  const style = stateStyle(state);
  const {ready, away, recovering, vacant} = glyphs;
  const mark = {ready, away, recovering}[state] ?? vacant;
  const far = progress === null ? '' : percent(progress);
  return [span(`${index}`, 'dim'), span(`${mark}${far}`, style), span(' ')];
}

const readColumn = <R extends {rate: Rate | null}>(from?: number): Column<R> => ({
  title: 'read/s',
  width: 7,
  right: true,
  ...(from === undefined ? {} : {from}),
  cell: ({rate}) => rated(rate, ({readBytes}) => readBytes),
  by: ({rate}) => orNothing(rate, ({readBytes}) => readBytes),
});
const writeColumn = <R extends {rate: Rate | null}>(from?: number): Column<R> => ({
  title: 'write/s',
  width: 8,
  right: true,
  ...(from === undefined ? {} : {from}),
  cell: ({rate}) => rated(rate, ({writeBytes}) => writeBytes),
  by: ({rate}) => orNothing(rate, ({writeBytes}) => writeBytes),
});

const share = ({usedBytes, totalBytes}: {usedBytes: number; totalBytes: number}): number =>
  totalBytes === 0 ? 0 : usedBytes / totalBytes;

const groups: Panel<GroupRow> = {
  id: 'groups',
  title: 'Groups',
  rows: ({groups: rows}) => rows,
  order: {column: 1, reverse: false},
  drills: false,
  key: ({id}) => String(id),
  text: ({id, state}) => `group ${id} ${state}`,
  columns: [
    {title: 'group', width: 6, cell: ({id}) => String(id), by: ({id}) => -id},
    {
      title: 'state',
      width: 10,
      cell: ({state}) => state,
      style: ({state}) => stateStyle(state),
      by: ({state}) => rank(state),
    },
    {
      title: 'bears',
      width: 6,
      right: true,
      cell: ({bears}) => (bears === null ? '?' : String(bears)),
      style: ({bears, state}) =>
        bears !== null && bears <= 0 && state !== 'ready' ? 'bad' : undefined,
      by: ({bears}) => -(bears ?? 99),
    },
    {title: 'used', width: 5, right: true, cell: (one) => percent(share(one)), by: share},
    readColumn(),
    writeColumn(),
    {
      title: 'slots',
      width: 8,
      cell: ({slots}, glyphs) => slots.flatMap((slot) => slotCell(slot, glyphs)),
    },
  ],
};

/** What a server is about at this moment. */
function stateOf({state, progress, awaySeconds, left, recoverySeconds}: ServerRow): string {
  if (state === 'away') return awaySeconds === null ? 'away' : `away ${time(awaySeconds)}`;
  if (state !== 'recovering') return state;
  if (left === 0) return 'recovering';
  const far = progress === null ? `${left} left` : percent(progress);
  return `recov. ${far}${recoverySeconds > 0 ? ` ${time(recoverySeconds)}` : ''}`;
}

const servers: Panel<ServerRow> = {
  id: 'servers',
  title: 'Servers',
  rows: ({servers: rows}) => rows,
  order: {column: 2, reverse: false},
  drills: true,
  key: ({uuid}) => uuid,
  text: (one) =>
    harmless(
      `${one.group}.${one.slot} ${one.address} ${one.state} ${one.domain} ${one.location} ${one.codes.join(' ')}`,
    ),
  columns: [
    {
      title: 'slot',
      width: 6,
      cell: ({group, slot}) => `${group}.${slot}`,
      by: ({group, slot}) => -(group * 1000 + slot),
    },
    {
      title: 'address',
      width: 21,
      cell: ({address}) => harmless(address),
      by: ({address}) => address,
    },
    {
      title: 'state',
      width: 17,
      cell: stateOf,
      style: ({state, codes}) =>
        state === 'ready' && codes.length > 0 ? 'warn' : stateStyle(state),
      by: ({state, codes}) => rank(state) * 10 + codes.length,
    },
    {
      title: 'used',
      width: 5,
      right: true,
      cell: (one) => percent(share(one)),
      style: (one) => (share(one) > 0.9 ? 'bad' : undefined),
      by: share,
    },
    readColumn(),
    writeColumn(),
    {
      title: 'op/s',
      width: 6,
      right: true,
      cell: ({rate}) => counted(rate, operationsOf),
      by: ({rate}) => orNothing(rate, operationsOf),
    },
    {
      title: 'bad',
      width: 5,
      right: true,
      from: 100,
      cell: ({badBlocks}) => String(badBlocks),
      style: ({badBlocks}) => (badBlocks > 0 ? 'bad' : undefined),
      by: ({badBlocks}) => badBlocks,
    },
    {title: 'codes', width: 22, from: 120, cell: ({codes}) => codes.join(' '), style: () => 'warn'},
    {
      title: 'domain',
      width: 8,
      from: 90,
      cell: ({domain, location}) => harmless(domain || location),
      by: ({location, domain}) => domain || location,
    },
  ],
};

const SILENT_MS = 15_000;

const clients: Panel<ClientRow> = {
  id: 'clients',
  title: 'Clients',
  rows: ({clients: rows}) => rows,
  order: {column: 4, reverse: false},
  drills: true,
  key: ({id}) => String(id),
  text: ({id, name, address}) => harmless(`${id} ${name} ${address}`),
  columns: [
    {title: 'client', width: 6, cell: ({id}) => String(id), by: ({id}) => -id},
    {
      title: 'leases',
      width: 7,
      right: true,
      cell: ({leases}) => short(leases),
      by: ({leases}) => leases,
    },
    {title: 'open', width: 5, right: true, cell: ({opens}) => short(opens), by: ({opens}) => opens},
    {
      title: 'heard',
      width: 7,
      right: true,
      cell: ({idleMs}) => time(idleMs / 1000),
      style: ({idleMs}) => (idleMs >= SILENT_MS ? 'bad' : undefined),
      by: ({idleMs}) => idleMs,
    },
    readColumn(),
    writeColumn(),
    {
      title: 'meta/s',
      width: 7,
      right: true,
      cell: ({rate}) => counted(rate, ({metaCalls}) => metaCalls),
      by: ({rate}) => orNothing(rate, ({metaCalls}) => metaCalls),
    },
    {
      title: 'name',
      width: 8,
      cell: ({name, address}) => harmless(`${name} ${address}`),
      by: ({name}) => name,
    },
  ],
};

export const fileName = (path: string | null, inode: number): string =>
  path === null ? `inode ${inode}` : harmless(path);

const files: Panel<HotRow> = {
  id: 'files',
  title: 'Hot files',
  rows: ({hot}) => hot,
  order: {column: 0, reverse: false},
  drills: true,
  key: ({inode}) => String(inode),
  text: ({inode, path}) => `${inode} ${path ?? ''}`,
  columns: [
    {
      title: 'load/s',
      width: 8,
      right: true,
      cell: ({weight}) => shortBytes(weight),
      by: ({weight}) => weight,
    },
    {
      title: 'inode',
      width: 10,
      right: true,
      cell: ({inode}) => String(inode),
      by: ({inode}) => -inode,
    },
    {
      title: 'path',
      width: 8,
      cell: ({path, inode}) => fileName(path, inode),
      by: ({path}) => path ?? '',
    },
  ],
};

const holdingState = (one: HoldingRow): string =>
  one.what === 'lease' ? (one.recalled ? 'recalled' : 'held') : one.state;

const leases: Panel<HoldingRow> = {
  id: 'leases',
  title: 'Leases',
  rows: ({locks, leases: held}) => [
    ...locks.locks.map((one) => ({...one, what: 'lock' as const})),
    ...held.leases.map((one) => ({...one, what: 'lease' as const})),
  ],
  order: {column: 3, reverse: false},
  drills: true,
  key: (one) =>
    one.what === 'lease'
      ? `lease ${one.session} ${one.inode}`
      : `lock ${one.session} ${one.inode} ${one.pid} ${one.start} ${one.state}`,
  text: (one) => `${one.what} ${one.session} ${one.inode} ${one.path ?? ''} ${holdingState(one)}`,
  columns: [
    {title: 'client', width: 6, cell: ({session}) => String(session), by: ({session}) => -session},
    {title: 'what', width: 6, cell: ({what}) => what, by: ({what}) => what},
    {
      title: 'mode',
      width: 10,
      cell: (one) => (one.what === 'lease' ? one.mode : one.type),
      by: (one) => (one.what === 'lease' ? one.mode : one.type),
    },
    {
      title: 'state',
      width: 9,
      cell: holdingState,
      style: (one) => (holdingState(one) === 'held' ? undefined : 'warn'),
      by: (one) => (holdingState(one) === 'held' ? 0 : 1),
    },
    {
      title: 'inode',
      width: 10,
      right: true,
      cell: ({inode}) => String(inode),
      by: ({inode}) => -inode,
    },
    {
      title: 'path',
      width: 8,
      cell: ({path, inode}) => fileName(path, inode),
      by: ({path}) => path ?? '',
    },
  ],
};

const LEVELS: Record<string, Style> = {error: 'bad', warn: 'warn'};

const events: Panel<EventRow> = {
  id: 'events',
  title: 'Events',
  // The newest first.
  rows: ({events: rows}) => [...rows].reverse(),
  order: {column: 0, reverse: false},
  drills: false,
  key: ({number, at}) => `${number} ${at}`,
  text: ({text, level}) => `${level} ${text}`,
  columns: [
    {
      title: 'UTC',
      width: 8,
      cell: ({at}) => at.slice(11, 19),
      style: () => 'dim',
      // Numbers begin anew with each meta server.
      by: ({at}) => Date.parse(at),
    },
    {
      title: 'event',
      width: 20,
      cell: ({text}) => harmless(text),
      style: ({level}) => LEVELS[level],
    },
  ],
};

const ALL: {[K in PanelId]: Panel<unknown>} = {groups, servers, clients, files, leases, events};
export const panelOf = (id: PanelId): Panel<unknown> => ALL[id];

export function capacityLine(
  {capacity, files: count, scheme}: View,
  width: number,
  glyphs: Glyphs,
): Line {
  const used = share(capacity);
  const style = used > 0.98 ? 'bad' : used > 0.9 ? 'warn' : 'good';
  const text = ` ${percent(used)}  ${formatSize(capacity.usedBytes)} of ${formatSize(capacity.totalBytes)} raw   files ${count}   ${scheme}`;
  return [
    span('capacity ', 'dim'),
    ...bar(used, Math.max(10, Math.min(40, width - 70)), glyphs, style),
    span(text),
  ];
}
