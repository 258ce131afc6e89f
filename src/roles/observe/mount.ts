import type {Traffic} from '../../core/base/traffic.js';
import type {OpenedClient} from '../../core/client/index.js';
import {OPCODE} from '../../core/door/fuse/abi.js';
import type {Check} from './http.js';
import type {Samples} from './metrics.js';

const NAMES = new Map(
  Object.entries(OPCODE).map(([name, code]) => [code as number, name.toLowerCase()]),
);
/** `lookup`, `read` …: a request of the kernel. */
export const kernelOperation = (opcode: number): string => NAMES.get(opcode) ?? `fuse-${opcode}`;

export function mountChecks(client: OpenedClient, mounted: boolean): Check[] {
  const valid = client.parts.session.valid;
  return [
    {name: 'session', ok: valid, why: valid ? 'valid' : 'no meta server is heard'},
    {name: 'mounted', ok: mounted, why: mounted ? 'the kernel asks' : 'it is not mounted'},
  ];
}

export function mountSamples(
  samples: Samples,
  client: OpenedClient,
  traffic: Traffic,
  now: number,
): void {
  const {stats, parts} = client;
  samples.requests(traffic.kernel, kernelOperation, now, {
    durations: 'cpfs_mount_operation_duration_seconds',
    failed: 'cpfs_mount_operations_failed_total',
    waiting: 'cpfs_mount_operations_waiting',
    oldest: 'cpfs_mount_operations_oldest_seconds',
  });
  samples.set('cpfs_mount_connected', parts.session.valid);
  samples.set('cpfs_mount_dirty_bytes', parts.cache.heldBytes);
  samples.set('cpfs_mount_dirty_limit_bytes', parts.cache.bytesMax);
  samples.set('cpfs_mount_payload_bytes_total', stats.dataBytesIn, {direction: 'in'});
  samples.set('cpfs_mount_payload_bytes_total', stats.dataBytesOut, {direction: 'out'});
  samples.set('cpfs_mount_read_ahead_bytes_total', stats.aheadBytes);
  const stripes = {
    whole: stats.wholeStripes,
    part: stats.partialStripes,
    changed: stats.deltaPieces,
  };
  for (const [how, count] of Object.entries(stripes))
    samples.set('cpfs_mount_stripes_written_total', count, {how});
  const {badBlocks: bad, reconstructedBlocks: reconstructed, healedBlocks: healed} = stats;
  for (const [what, count] of Object.entries({bad, reconstructed, healed}))
    samples.set('cpfs_mount_blocks_total', count, {what});
  samples.set('cpfs_mount_leases_total', stats.leases);
  samples.set('cpfs_mount_recalls_total', stats.recalls);
  samples.set('cpfs_mount_read_copy_reads_total', stats.copyReads);
}
