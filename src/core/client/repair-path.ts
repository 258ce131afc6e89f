import {Lost} from '../base/errors.js';
import {
  type ClusterMap,
  readySince,
  SLOT,
  type SlotInfo,
  vouched,
  writable,
} from '../cluster/map.js';
import type {Layout} from '../layout/scheme.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath, Columns} from './columns.js';
import {JointReads} from './joint-reads.js';
import {type ChunkPlace, locate} from './place.js';

const PAGE = 2048;
/** A column that does not answer a repair for so long makes it try again later: a lease that is recalled must go within 10 s. */
const REPAIR_WAIT_MS = 3000;

export const chunkKey = ({oid, chunk, generation}: ChunkRef): string =>
  `${oid}.${chunk}.${generation}`;

/** What one list of one data server holds; `oid`: of that object, 0: of all. Rejects as the call does; what is listed may change meanwhile. */
export async function listAll(
  path: BytePath,
  group: number,
  server: number,
  kind: 'columns' | 'intents' | 'missed' | 'written',
  slot = 0,
  oid = 0,
): Promise<ChunkRef[]> {
  const all: ChunkRef[] = [];
  for (let cursor = ''; ; ) {
    path.stats.dataCalls++;
    const request = {cursor, max: PAGE, kind, slot, oid};
    const {message} = await path.columns.call(group, server, OPS.list, request);
    all.push(...message.chunks);
    if (message.end) return all;
    cursor = message.cursor;
  }
}

/** Slots of a group that answer now, by the map. */
export function liveSlots(map: ClusterMap, group: number): number[] {
  const slots = map.groups.find((candidate) => candidate.id === group)?.slots ?? [];
  return [...slots.keys()].filter((slot) => writable(slots[slot]!));
}

/** What a recovering slot lacks, as the others have noted it, by chunk. */
export interface Missed {
  /** Chunks that it may lack: written without it, or an intent when it was lost. */
  all: ReadonlyMap<string, ChunkRef>;
  /** Of those the ones that were written without it, with the slots that have noted it. */
  written: ReadonlyMap<string, ReadonlySet<number>>;
  /** It came empty: the others have noted only what was written since, but it lacks whatever there is. */
  empty: boolean;
}

/** By slot, of all slots of a group that are recovering. */
export type MissedBySlot = ReadonlyMap<number, Missed>;

export async function missedBySlot(path: BytePath, group: number): Promise<MissedBySlot> {
  const {map} = path.columns;
  const slots = map.groups.find((candidate) => candidate.id === group)?.slots ?? [];
  const missed = new Map<number, Missed>();
  for (const slot of liveSlots(map, group)) {
    if (slots[slot]!.state !== SLOT.recovering) continue;
    const request = {cursor: '', max: 1, kind: 'whole', slot};
    const {message} = await path.columns.call(group, slot, OPS.list, request);
    const all = new Map<string, ChunkRef>();
    const written = new Map<string, Set<number>>();
    for (const server of liveSlots(map, group)) {
      if (server === slot) continue;
      for (const chunk of await listAll(path, group, server, 'missed', slot))
        all.set(chunkKey(chunk), chunk);
      for (const chunk of await listAll(path, group, server, 'written', slot))
        noted(written, chunkKey(chunk)).add(server);
    }
    missed.set(slot, {all, written, empty: !message.end});
  }
  return missed;
}

function noted(written: Map<string, Set<number>>, key: string): Set<number> {
  const slots = written.get(key) ?? new Set();
  written.set(key, slots);
  return slots;
}

/** Changes when a slot of the group does: what the slots lack must then be asked again. */
export function groupSignature(map: ClusterMap, group: number): string {
  const slots = map.groups.find((candidate) => candidate.id === group)?.slots ?? [];
  return slots.map(({state, server, since}) => `${state} ${server?.uuid} ${since}`).join();
}

/**
 * Was the chunk certainly written without the slot? A slot that was ready all the time has noted every such write that was acknowledged.
 * Where there is one that has a column of the chunk, what only others have noted was never acknowledged, or came
 * again with this slot.
 */
export function lacks(place: ChunkPlace, slot: number, {empty, written}: Missed): boolean {
  if (empty) return true;
  const told = written.get(chunkKey(place));
  if (told === undefined) return false;
  const own = place.infos[place.slots.indexOf(slot)];
  const ever = place.slots.filter(
    (other, column) => other !== slot && readySince(place.infos[column]!, own?.lostAt ?? 0),
  );
  return ever.length === 0 || ever.some((other) => told.has(other));
}

/** Which recovering slots have no column of a chunk that may be read. */
export interface Trust {
  distrusted: ReadonlySet<number>;
  /** Columns that may be read. */
  columns: number;
  /** No server is away that might have more. */
  final: boolean;
}

/**
 * Whom to trust with a chunk: recovering slots that do not lack it are as good as ready ones. So are those which lack it only
 * maybe, if there would be too few columns otherwise. `own` is never trusted; -1: none.
 */
export function trustOf(
  map: ClusterMap,
  layout: Layout,
  chunk: ChunkRef,
  missed: MissedBySlot,
  own: number,
): Trust {
  const key = chunkKey(chunk);
  const place = locate(map, layout, chunk.oid, chunk.chunk);
  const known = (slot: number): boolean => {
    const column = place.slots.indexOf(slot);
    return column < 0 || vouched(place.infos[column]!, place.infos.toSpliced(column, 1));
  };
  const lacking = (judge: (one: Missed, slot: number) => boolean): Set<number> => {
    const slots = [...missed]
      .filter(([slot, one]) => one.empty || judge(one, slot) || !known(slot))
      .map(([slot]) => slot);
    return new Set(own < 0 ? slots : [...slots, own]);
  };
  const count = (distrusted: ReadonlySet<number>): number =>
    place.slots.filter((slot, column) => writable(place.infos[column]!) && !distrusted.has(slot))
      .length;
  const final = place.infos.every(writable);
  const maybe = lacking(({all}) => all.has(key));
  if (count(maybe) >= layout.k) return {distrusted: maybe, columns: count(maybe), final};
  const surely = lacking((one, slot) => lacks(place, slot, one));
  return {distrusted: surely, columns: count(surely), final};
}

/**
 * The same path, but recovering slots of the group are read like ready ones, and `distrusted` ones are not read at all. It waits for
 * nobody: who works under it holds a lease that others may be waiting for. Lost, if a slot of the group has changed.
 */
export function trusting(
  path: BytePath,
  group: number,
  distrusted: ReadonlySet<number>,
  signature: string,
): BytePath {
  const inner = path.columns;
  let seen: ClusterMap | null = null;
  let mine: ClusterMap | null = null;
  const columns: Columns = {
    get map() {
      if (seen === inner.map && mine !== null) return mine;
      if (groupSignature(inner.map, group) !== signature)
        throw new Lost('the map has changed during a repair');
      seen = inner.map;
      mine = {
        ...seen,
        groups: seen.groups.map((one) =>
          one.id === group ? {...one, slots: one.slots.map(judged)} : one,
        ),
      };
      return mine;
    },
    lives: inner.lives,
    call: (...a) => inner.call(...a),
    report: (...a) => inner.report(...a),
    newer: (...a) => inner.newer(...a),
  };
  function judged(info: SlotInfo, slot: number): SlotInfo {
    if (!writable(info)) return info;
    return {...info, state: distrusted.has(slot) ? SLOT.recovering : SLOT.ready};
  }
  const joint = new JointReads();
  return {...path, columns, joint, repair: true, columnWaitMs: REPAIR_WAIT_MS, tooFewWaitMs: 0};
}
