import {Lost} from '../base/errors.js';
import {type ClusterMap, SLOT, writable} from '../cluster/map.js';
import type {ChunkRef} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath, Columns} from './columns.js';

const PAGE = 2048;

export const chunkKey = ({oid, chunk}: {oid: number; chunk: number}): string => `${oid}.${chunk}`;

/** What one list of one data server holds. Rejects as the call does; what is listed may change meanwhile. */
export async function listAll(
  path: BytePath,
  group: number,
  server: number,
  kind: 'columns' | 'intents' | 'missed',
  slot = 0,
): Promise<ChunkRef[]> {
  const all: ChunkRef[] = [];
  for (let cursor = ''; ; ) {
    path.stats.dataCalls++;
    const request = {cursor, max: PAGE, kind, slot};
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

/** Of a server that came empty: the survivors have noted only what was written since, but it lacks whatever there is. */
class Everything extends Map<string, ChunkRef> {
  override has(): boolean {
    return true;
  }
}

/** What each recovering slot of a group lacks, as the others have noted it. */
export async function missedBySlot(
  path: BytePath,
  group: number,
): Promise<Map<number, Map<string, ChunkRef>>> {
  const {map} = path.columns;
  const slots = map.groups.find((candidate) => candidate.id === group)?.slots ?? [];
  const missed = new Map<number, Map<string, ChunkRef>>();
  for (const slot of liveSlots(map, group)) {
    if (slots[slot]!.state !== SLOT.recovering) continue;
    const request = {cursor: '', max: 1, kind: 'whole', slot};
    const {message} = await path.columns.call(group, slot, OPS.list, request);
    const chunks = message.end ? new Map<string, ChunkRef>() : new Everything();
    for (const server of liveSlots(map, group)) {
      if (server === slot) continue;
      for (const chunk of await listAll(path, group, server, 'missed', slot))
        chunks.set(chunkKey(chunk), chunk);
    }
    missed.set(slot, chunks);
  }
  return missed;
}

/**
 * The same path, but recovering slots of the group that do not lack the chunk are read like ready ones (docs, "Slots, epochs, redundancy").
 * `distrust` is never read. Lost, if the map has changed since `epoch`: what the slots lack must be asked again.
 */
export function trusting(
  path: BytePath,
  group: number,
  chunk: ChunkRef,
  missed: ReadonlyMap<number, ReadonlyMap<string, ChunkRef>>,
  distrust: number,
  epoch: number,
): BytePath {
  const inner = path.columns;
  const trusted = (slot: number): boolean =>
    slot !== distrust && missed.has(slot) && missed.get(slot)?.has(chunkKey(chunk)) === false;
  let seen: ClusterMap | null = null;
  let mine: ClusterMap | null = null;
  const columns: Columns = {
    get map() {
      if (inner.map.epoch !== epoch) throw new Lost('the map has changed during a repair');
      if (seen === inner.map && mine !== null) return mine;
      seen = inner.map;
      mine = {
        ...seen,
        groups: seen.groups.map((one) =>
          one.id !== group
            ? one
            : {
                ...one,
                slots: one.slots.map((info, slot) => {
                  if (slot === distrust && info.state === SLOT.ready)
                    return {...info, state: SLOT.recovering};
                  if (info.state === SLOT.recovering && trusted(slot))
                    return {...info, state: SLOT.ready};
                  return info;
                }),
              },
        ),
      };
      return mine;
    },
    call: (...a) => inner.call(...a),
    report: (...a) => inner.report(...a),
    newer: (...a) => inner.newer(...a),
  };
  return {...path, columns};
}
