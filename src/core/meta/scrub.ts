import type {ServerInfo} from '../cluster/map.js';
import {SCRUB_STATE} from '../cluster/scrub.js';
import type * as wire from '../protocol/gen/wire.js';
import type {Parts} from './parts.js';
import {Paths} from './paths.js';

/** More of one server than it tells is not believed. */
const RANGES_MAX = 64;

interface Filled {
  group: number;
  slot: number;
  server: ServerInfo;
}

function* filled(parts: Parts): Generator<Filled> {
  for (const {id, slots} of parts.cluster.control.liveMap().groups) {
    for (const [slot, {server}] of slots.entries())
      if (server !== null) yield {group: id, slot, server};
  }
}

/** Changes the order if that is asked for, and answers how it is and how far every server has come. */
export async function scrub(parts: Parts, q: wire.ScrubRequest): Promise<wire.ScrubReply> {
  const {cluster} = parts;
  const {paused = 0, rate = 0, interval = 0} = q.settings ?? {};
  if (q.start || paused > 0 || rate > 0 || interval > 0)
    await cluster.changeScrub({start: q.start, deep: q.deep, paused, rate, interval});
  const paths = new Paths(parts.machine);
  const servers = [...filled(parts)].map(({group, slot, server}) => {
    const {uuid, address, connected} = server;
    const figures = cluster.scrubOf(uuid);
    const ranges = figures?.lostRanges.slice(0, RANGES_MAX) ?? [];
    const named = ranges.map(({oid}) => paths.of(oid));
    return {uuid, address, group, slot, connected, figures, paths: named};
  });
  return {order: cluster.scrub, servers};
}

/** For the status of the cluster. */
export function scrubSummary(parts: Parts): wire.ScrubSummary {
  const sum = {running: 0, paused: parts.cluster.scrub.paused, bad: 0, repaired: 0, lost: 0};
  for (const {server} of filled(parts)) {
    const figures = parts.cluster.scrubOf(server.uuid);
    if (figures === null) continue;
    if (server.connected && figures.state === SCRUB_STATE.running) sum.running++;
    sum.bad += figures.bad;
    sum.repaired += figures.repaired;
    sum.lost += figures.lost;
  }
  return sum;
}
