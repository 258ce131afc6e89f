import {SLOT, slotStateName} from '../../core/cluster/map.js';
import type {DataServer} from '../../core/data/server.js';
import type {Check} from './http.js';
import type {Samples} from './metrics.js';

/** State of its slot; null: it has none. */
function slotState(server: DataServer): number | null {
  const group = server.map?.groups.find(({id}) => id === server.group);
  return group?.slots[server.slot]?.state ?? null;
}

/** `started`: the server has joined, or waits for a slot. */
export function dataChecks(server: DataServer, started: boolean): Check[] {
  const up = server.connected;
  const meta = {name: 'meta', ok: up, why: up ? 'connected' : 'no meta server is reached'};
  if (!started) return [meta, {name: 'slot', ok: false, why: 'it has not joined yet'}];
  const state = slotState(server);
  const waits = server.group === 0;
  const ok = waits || state === SLOT.ready;
  const place = `${server.group}.${server.slot}`;
  const why = waits
    ? 'a spare'
    : state === null
      ? `group ${server.group} has no slot for it`
      : `${place} is ${slotStateName(state)}`;
  return [meta, {name: 'slot', ok, why}];
}

export function dataSamples(samples: Samples, server: DataServer, started: boolean): void {
  const {bytesIn, bytesOut, syncs, sumErrors, badBlocks, copyReads} = server.stats;
  samples.set('cpfs_data_meta_connected', server.connected);
  samples.set('cpfs_data_ready', slotState(server) === SLOT.ready);
  samples.set('cpfs_data_map_epoch', server.map?.epoch ?? 0);
  samples.set('cpfs_data_payload_bytes_total', bytesIn, {direction: 'in'});
  samples.set('cpfs_data_payload_bytes_total', bytesOut, {direction: 'out'});
  samples.set('cpfs_data_syncs_total', syncs);
  samples.set('cpfs_data_sum_errors_total', sumErrors);
  samples.set('cpfs_data_bad_blocks_total', badBlocks);
  samples.set('cpfs_data_read_copy_reads_total', copyReads);
  if (!started) return;
  const {recoveryLeft = 0, recoveryRate = 0, doubts = 0, scrub} = server.figures();
  samples.set('cpfs_data_recovery_left', recoveryLeft);
  samples.set('cpfs_data_recovery_bytes_per_second', recoveryRate);
  samples.set('cpfs_data_doubts', doubts);
  const {progress = 0, bad = 0, repaired = 0, lost = 0, lastS = 0} = scrub ?? {};
  samples.set('cpfs_data_scrub_progress_ratio', progress / 1000);
  samples.set('cpfs_data_scrub_last_pass_seconds', lastS);
  for (const [found, count] of Object.entries({bad, repaired, lost}))
    samples.set('cpfs_data_scrub_blocks', count, {found});
}
