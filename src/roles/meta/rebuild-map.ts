import {SLOT} from '../../core/cluster/map.js';
import {type ClusterState, countSlots, decodeState, encodeState} from '../../core/cluster/state.js';
import type {DataInfoReply} from '../../core/protocol/gen/wire.js';

/** The map is one of the last seconds before the loss, and epochs that nobody has kept may have been told. */
const EPOCHS = 1_000;

export interface Missing {
  group: number;
  slot: number;
  uuid: string;
  address: string;
}

/** Servers of the recorded map that did not answer. */
export function missingServers(bytes: Uint8Array, answered: ReadonlySet<string>): Missing[] {
  return decodeState(bytes, 0).groups.flatMap(({id, slots}) =>
    slots.flatMap(({member}, slot) =>
      member === null || answered.has(member.uuid)
        ? []
        : [{group: id, slot, uuid: member.uuid, address: member.address}],
    ),
  );
}

/** Groups that have lost more servers than their objects can do without. */
export function shortGroups(bytes: Uint8Array, missing: readonly Missing[]): number[] {
  return decodeState(bytes, 0)
    .groups.filter(({id, mMin}) => missing.filter(({group}) => group === id).length > mMin)
    .map(({id}) => id);
}

/**
 * The recorded map, under an epoch above all that any server obeys. A slot of which another server has noted that it lacks something is away: it was lost after
 * the map was recorded, and would be read as if it lacked nothing. Its server comes back, and recovers what it lacks.
 */
export function continuedMap(
  bytes: Uint8Array,
  servers: readonly DataInfoReply[],
  epochs = EPOCHS,
): Uint8Array {
  const state: ClusterState = decodeState(bytes, 0);
  state.epoch = Math.max(state.epoch, ...servers.map(({epoch}) => epoch)) + epochs;
  state.fenced = [...new Set([...state.fenced, ...servers.flatMap(({fenced}) => fenced)])];
  for (const group of state.groups) {
    const lacking = servers.filter((server) => server.group === group.id);
    for (const index of new Set(lacking.flatMap(({missed}) => missed))) {
      const slot = group.slots[index];
      if (slot?.state !== SLOT.ready || countSlots(group, SLOT.ready) <= group.kMin) continue;
      slot.state = SLOT.away;
      slot.stale = true;
      slot.staleSince = 0;
      slot.since = state.epoch;
      slot.lostAt = state.epoch;
    }
  }
  return encodeState(state);
}
