import type {Ms} from '../base/ids.js';
import type {GroupHealth, LifeReply, StatusReply} from '../protocol/gen/wire.js';
import {mapToWire} from './map-wire.js';
import type {Parts} from './parts.js';
import {Paths} from './paths.js';
import {scrubSummary} from './scrub.js';

/** Everything that a meta server says of its cluster. */
export function statusOf(
  parts: Parts,
  {boot, startedAt, life}: {boot: number; startedAt: Ms; life: LifeReply},
): StatusReply {
  const {env, machine, cluster, sessions, leases, figures} = parts;
  const now = env.clock.now();
  const {k, m, unitBytes, chunkBytes} = machine.superblock.rootLayout;
  const servers = new Set<string>();
  for (const {slots} of cluster.control.state.groups)
    for (const {member} of slots) if (member !== null) servers.add(member.uuid);
  for (const {uuid} of cluster.waiting) servers.add(uuid);
  return {
    map: mapToWire(cluster.control.liveMap()),
    sessions: sessions.describe((id) => leases.table.count(id), now),
    files: machine.files,
    boot,
    release: env.release?.name ?? '',
    uptimeMs: Math.round(now - startedAt),
    logSequence: machine.sequence,
    recoveryLeft: cluster.control.recoveryLeft,
    scrub: scrubSummary(parts),
    rootLayout: {k, m, unitBytes, chunkBytes, groups: [], generation: 0},
    waiting: cluster.waiting,
    recovery: cluster.recovery,
    counters: figures.counters(servers, new Set([...sessions.all].map(({id}) => id))),
    health: cluster.control.state.groups.map(
      ({id, kMin, mMin, slots}): GroupHealth => ({
        id,
        kMin,
        mMin,
        awayMs: slots.map(({awaySince}) =>
          awaySince === null ? 0 : Math.max(1, Math.round(now - awaySince)),
        ),
      }),
    ),
    hot: figures.hot(now, () => new Paths(machine)),
    outAfterMs: cluster.outAfterMs,
    life,
    wallMs: Math.max(0, Math.round(env.clock.wall())),
  };
}
