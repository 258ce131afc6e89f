import {groupStateName, slotStateName} from '../../core/cluster/map.js';
import type {MetaNode} from '../../core/meta/node.js';
import {MetaServer} from '../../core/meta/server.js';
import type {NodeStatusReply, StatusReply} from '../../core/protocol/gen/wire.js';
import type {Check} from './http.js';
import type {Samples} from './metrics.js';

const GROUP_STATES = [0, 1, 2, 3, 4, 5].map(groupStateName);
const SLOT_STATES = [0, 1, 2, 3].map(slotStateName);

const nodeOf = (server: MetaServer | MetaNode): NodeStatusReply =>
  server instanceof MetaServer ? server.nodeStatus() : server.status();

/** Whose state it is, if it is the active one. */
const activeOf = (server: MetaServer | MetaNode): MetaServer | null =>
  server instanceof MetaServer ? server : server.server;

export function metaChecks(server: MetaServer | MetaNode | null): Check[] {
  if (server === null) return [{name: 'started', ok: false, why: 'it reads its folder'}];
  const {role, whole, connected, inSync, active, why, servesMs, how} = nodeOf(server);
  const state = {name: 'state', ok: whole, why: whole ? 'whole' : 'it has no state that is whole'};
  if (role === 'active') {
    const right = how === 'alone' || servesMs > 0;
    return [state, {name: 'active', ok: right, why: right ? how : 'its right to be it is over'}];
  }
  const follows = connected && inSync;
  const reason = follows ? `in sync with ${active}` : why || `catching up with ${active}`;
  return [state, {name: 'follows', ok: follows, why: reason}];
}

function counted(states: readonly string[], names: readonly string[]): [string, number][] {
  return names.map((name) => [name, states.filter((state) => state === name).length]);
}

function statusSamples(samples: Samples, status: StatusReply): void {
  const {map, sessions, files, recoveryLeft, recovery, scrub, waiting} = status;
  const groups = map?.groups ?? [];
  const slots = groups.flatMap(({slots}) => slots);
  samples.set('cpfs_meta_files', files);
  samples.set('cpfs_meta_sessions', sessions.length);
  samples.set(
    'cpfs_meta_leases',
    sessions.reduce((sum, {leases}) => sum + leases, 0),
  );
  samples.set(
    'cpfs_meta_opens',
    sessions.reduce((sum, {opens}) => sum + opens, 0),
  );
  samples.set('cpfs_meta_map_epoch', map?.epoch ?? 0);
  for (const [state, count] of counted(
    groups.map(({state}) => groupStateName(state)),
    GROUP_STATES,
  ))
    samples.set('cpfs_meta_groups', count, {state});
  for (const [state, count] of counted(
    slots.map(({state}) => slotStateName(state)),
    SLOT_STATES,
  ))
    samples.set('cpfs_meta_slots', count, {state});
  samples.set('cpfs_meta_spares', waiting.length);
  samples.set('cpfs_meta_recovery_left', recoveryLeft);
  samples.set('cpfs_meta_recovery_paused', recovery?.paused ?? false);
  for (const {id, slots} of groups) {
    for (const [slot, {server}] of slots.entries()) {
      if (server == null) continue;
      const labels = {group: id, slot, address: server.address};
      samples.set('cpfs_meta_server_total_bytes', server.totalBytes, labels);
      samples.set('cpfs_meta_server_free_bytes', server.freeBytes, labels);
      samples.set('cpfs_meta_server_connected', server.connected, labels);
    }
  }
  const {running = 0, paused = false, bad = 0, repaired = 0, lost = 0} = scrub ?? {};
  samples.set('cpfs_meta_scrub_running', running);
  samples.set('cpfs_meta_scrub_paused', paused);
  for (const [found, count] of Object.entries({bad, repaired, lost}))
    samples.set('cpfs_meta_scrub_blocks', count, {found});
}

export function metaSamples(samples: Samples, server: MetaServer | MetaNode | null): void {
  if (server === null) return;
  const node = nodeOf(server);
  const active = activeOf(server);
  samples.set('cpfs_meta_active', active !== null);
  samples.set('cpfs_meta_term', node.term);
  samples.set('cpfs_meta_log_sequence', node.sequence);
  samples.set('cpfs_meta_coordinator_away_seconds', node.coordinatorAwayMs / 1000);
  if (active === null) {
    samples.set('cpfs_meta_in_sync', node.inSync);
    samples.set('cpfs_meta_heard_seconds', node.heardMs / 1000);
    return;
  }
  const inSync = node.standbys.filter((standby) => standby.inSync).length;
  samples.set('cpfs_meta_standbys', inSync, {state: 'in-sync'});
  samples.set('cpfs_meta_standbys', node.standbys.length - inSync, {state: 'catching-up'});
  for (const {address, sequence} of node.standbys)
    samples.set('cpfs_meta_standby_lag_records', Math.max(0, node.sequence - sequence), {
      standby: address,
    });
  // It may be reading its folder yet.
  if (active.cluster !== '') statusSamples(samples, active.status());
}
