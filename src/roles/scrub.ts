import {SCRUB_STATE, scrubStateName} from '../core/cluster/scrub.js';
import {sleep} from '../core/env/clock.js';
import {systemClock} from '../core/os/clock.js';
import type {ScrubReply, ScrubRequest} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import type {PeerLike} from '../core/transport/peer-api.js';
import {withMeta} from './admin.js';

/** What `cpfs scrub status -o json` prints. Stable: fields are added, never changed. */
export interface ScrubStatus {
  version: 1;
  paused: boolean;
  /** Bytes a second that one server reads at most. */
  rate: number;
  /** A pass begins by itself so long after the last one; 0: never. */
  intervalSeconds: number;
  /** Number of the newest `scrub start`; 0: there was none. */
  order: number;
  servers: {
    uuid: string;
    address: string;
    group: number;
    slot: number;
    connected: boolean;
    /** idle, running, paused, waiting (its slot is not ready), or unknown (it has said nothing yet). */
    state: string;
    /** Of the pass that is under way, from 0 to 1; 0 if there is none. */
    progress: number;
    deep: boolean;
    /** Bytes a second, of late. */
    rate: number;
    /** When the last complete pass ended, ISO 8601; null: there was none. */
    lastPass: string | null;
    /** The newest order whose pass has begun. */
    order: number;
    /** Of the pass that is under way, or else of the last one. */
    blocks: number;
    bad: number;
    repaired: number;
    lost: number;
    skipped: number;
  }[];
  /** The first ones. `path` is null when it has none or would be dear to find. */
  lostRanges: {inode: number; path: string | null; offset: number; length: number}[];
}

const POLL_MS = 500;

const text = new TextDecoder();

function toStatus({order, servers}: ScrubReply): ScrubStatus {
  return {
    version: 1,
    paused: order.paused,
    rate: order.rate,
    intervalSeconds: order.intervalS,
    order: order.order,
    servers: servers.map(({uuid, address, group, slot, connected, figures: f}) => ({
      uuid,
      address,
      group,
      slot,
      connected,
      state: f ? scrubStateName(f.state) : 'unknown',
      progress: (f?.progress ?? 0) / 1000,
      deep: f?.deep ?? false,
      rate: f?.rate ?? 0,
      lastPass: f && f.lastS > 0 ? new Date(f.lastS * 1000).toISOString() : null,
      order: f?.order ?? 0,
      blocks: f?.blocks ?? 0,
      bad: f?.bad ?? 0,
      repaired: f?.repaired ?? 0,
      lost: f?.lost ?? 0,
      skipped: f?.skipped ?? 0,
    })),
    lostRanges: servers.flatMap(({figures, paths}) =>
      (figures?.lostRanges ?? []).map(({oid, offset, length}, index) => {
        const path = paths[index];
        const named = path !== undefined && path.length > 0;
        return {inode: oid, path: named ? text.decode(path) : null, offset, length};
      }),
    ),
  };
}

async function ask(
  peer: PeerLike,
  timeoutMs: number,
  request: Partial<ScrubRequest>,
): Promise<ScrubStatus> {
  const {message} = await peer.call(OPS.scrub, request, {deadlineMs: timeoutMs});
  return toStatus(message);
}

/** Asks how scrubbing goes, after it was changed as the request says. */
export function scrub(
  address: string,
  timeoutMs: number,
  request: Partial<ScrubRequest> = {},
): Promise<ScrubStatus> {
  return withMeta(address, timeoutMs, (peer) => ask(peer, timeoutMs, request));
}

/** Begins a pass and waits until every connected server has ended it, or another one was begun. */
export function scrubAll(address: string, timeoutMs: number, deep: boolean): Promise<ScrubStatus> {
  return withMeta(address, timeoutMs, async (peer) => {
    let status = await ask(peer, timeoutMs, {start: true, deep});
    const {order} = status;
    while (status.order === order && !ended(status)) {
      await sleep(systemClock, POLL_MS);
      status = await ask(peer, timeoutMs, {});
    }
    return status;
  });
}

const IDLE = scrubStateName(SCRUB_STATE.idle);

const ended = ({order, servers}: ScrubStatus): boolean =>
  servers
    .filter(({connected}) => connected)
    .every((server) => server.order === order && server.state === IDLE);
