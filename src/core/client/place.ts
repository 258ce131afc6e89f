import {FsError} from '../base/errors.js';
import {type ClusterMap, enough, readable, SLOT, type SlotInfo} from '../cluster/map.js';
import type {Layout} from '../layout/scheme.js';
import {columnSlot, groupOf} from '../layout/stripe.js';
import type * as wire from '../protocol/gen/wire.js';
import type {ColumnRef} from '../protocol/gen/wire.js';

/** Where the columns of one chunk lie under one epoch. */
export interface ChunkPlace {
  oid: number;
  chunk: number;
  generation: number;
  layout: Layout;
  group: number;
  epoch: number;
  /** Slot index of each column, 0 <= column < k + m. */
  slots: readonly number[];
  infos: readonly SlotInfo[];
}

const NOBODY: SlotInfo = {state: SLOT.empty, server: null, stale: false};

/**
 * Where the columns lie. A group that the map does not know has no server yet: whoever writes or reads waits for a newer map, as when too few
 * are there. Throws EIO if the group has fewer slots than the layout has columns.
 */
export function locate(map: ClusterMap, layout: Layout, oid: number, chunk: number): ChunkPlace {
  const id = groupOf(layout, chunk);
  const group = map.groups.find((candidate) => candidate.id === id);
  const slots: number[] = [];
  const infos: SlotInfo[] = [];
  for (let column = 0; column < layout.k + layout.m; column++) {
    const slot = group === undefined ? column : columnSlot(oid, chunk, column, group.slots.length);
    const info = group === undefined ? NOBODY : group.slots[slot];
    if (info === undefined) throw new FsError('EIO', `group ${id} has no slot ${slot}`);
    slots.push(slot);
    infos.push(info);
  }
  const {generation} = layout;
  return {oid, chunk, generation, layout, group: id, epoch: map.epoch, slots, infos};
}

export const columnReadable = (place: ChunkPlace, column: number): boolean =>
  readable(place.infos[column]!);

export const canWrite = (place: ChunkPlace): boolean => enough(place.layout, place.infos);

/** `repair`: of a change that is nobody's write. */
export function columnRef(place: ChunkPlace, column: number, repair = false): ColumnRef {
  const {k, m, unitBytes} = place.layout;
  return {
    oid: place.oid,
    chunk: place.chunk,
    generation: place.generation,
    column,
    k,
    m,
    unitBytes,
    epoch: place.epoch,
    repair,
  };
}

/** A map as it came from the meta server. Numbers that this release does not know are seen as they are: not ready. */
export const mapFromWire = (map: wire.ClusterMap): ClusterMap => map as unknown as ClusterMap;
