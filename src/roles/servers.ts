import {setTimeout as delay} from 'node:timers/promises';
import {FsError} from '../core/base/errors.js';
import {MOVE, NO_TASK} from '../core/cluster/moves.js';
import {OPS} from '../core/protocol/ops.js';
import type {PeerLike} from '../core/transport/peer-api.js';
import {fetchStatus, type Status, toStatus, withMeta} from './admin.js';
import {CliError, EXIT} from './cli-error.js';

/** What administrators do with data servers and groups. */

export interface SlotAddress {
  group: number;
  slot: number;
}

/** A server as people name it: GROUP.SLOT, its address, or the beginning of its id. */
export function findServer({servers}: Status, text: string): SlotAddress {
  const place = /^(\d+)\.(\d+)$/.exec(text);
  const found = servers.filter(({uuid, address, group, slot}) =>
    place === null
      ? address === text || (text.length >= 4 && uuid.startsWith(text))
      : group === Number(place[1]) && slot === Number(place[2]),
  );
  const [server] = found;
  if (server === undefined || found.length > 1) {
    throw new CliError(
      `${found.length > 1 ? 'several servers are' : 'no server is'} '${text}'; name one as GROUP.SLOT, by its address or its id, as 'cpfs data list' shows them`,
      found.length > 1 ? EXIT.usage : EXIT.notFound,
    );
  }
  return {group: server.group, slot: server.slot};
}

/** Id of a server without a slot; '' for `text` undefined. */
export function findWaiting({waiting}: Status, text: string | undefined): string {
  if (text === undefined) return '';
  const found = waiting.filter(
    ({uuid, address}) => address === text || (text.length >= 4 && uuid.startsWith(text)),
  );
  if (found.length === 1) return found[0]!.uuid;
  throw new CliError(
    `no server without a slot is '${text}'; start one with 'cpfs data start --spare', and see 'cpfs data list'`,
    EXIT.notFound,
  );
}

const EXITS: Readonly<Record<string, number>> = {
  ENOENT: EXIT.notFound,
  EEXIST: EXIT.conflict,
  EBUSY: EXIT.conflict,
  ENOTEMPTY: EXIT.refused,
  EPERM: EXIT.refused,
  EINVAL: EXIT.usage,
  ENODEV: EXIT.failed,
  EAGAIN: EXIT.unavailable,
  ENOSPC: EXIT.failed,
};

/** Calls `use`; what the meta server refuses becomes one sentence with the next step from `next`, by errno. */
export async function administer<T>(
  address: string,
  timeoutMs: number,
  next: Readonly<Record<string, string>>,
  use: (peer: PeerLike, status: Status) => Promise<T>,
): Promise<T> {
  return withMeta(address, timeoutMs, async (peer) => {
    const {message} = await peer.call(OPS.status, {}, {deadlineMs: timeoutMs});
    try {
      return await use(peer, toStatus(message));
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      const step = next[error.errno];
      throw new CliError(
        step === undefined ? error.detail : `${error.detail}; ${step}`,
        EXITS[error.errno] ?? EXIT.failed,
      );
    }
  });
}

export function replaceServer(
  address: string,
  timeoutMs: number,
  what: {server: string; by: string | undefined; sure: boolean},
): Promise<void> {
  const next = {
    EBUSY: "stop it first, or use 'cpfs data drain' to move everything off it before",
    ENODEV: "start one with 'cpfs data start --spare' and try again",
    EPERM: 'bring that server back, or say --yes to give it up',
    EAGAIN: 'try again in a few seconds',
  };
  return administer(address, timeoutMs, next, async (peer, status) => {
    const {group, slot} = findServer(status, what.server);
    const server = findWaiting(status, what.by);
    await peer.call(OPS.replace, {group, slot, server, sure: what.sure}, {deadlineMs: timeoutMs});
  });
}

/** A server that waits copies this one, and takes its slot then. */
export function drainServer(
  address: string,
  timeoutMs: number,
  what: {server: string; to: string | undefined},
): Promise<SlotAddress> {
  const next = {
    EBUSY:
      "'cpfs data list' shows its state; a server that is away is replaced with 'cpfs data replace'",
    ENODEV: "start one with 'cpfs data start --spare' and try again",
  };
  return administer(address, timeoutMs, next, async (peer, status) => {
    const {group, slot} = findServer(status, what.server);
    const server = findWaiting(status, what.to);
    await peer.call(OPS.drain, {group, slot, server, stop: false}, {deadlineMs: timeoutMs});
    return {group, slot};
  });
}

export function undrainServer(address: string, timeoutMs: number, server: string): Promise<void> {
  const next = {ENOENT: "'cpfs data list' shows those that are"};
  return administer(address, timeoutMs, next, async (peer, status) => {
    const {group, slot} = findServer(status, server);
    await peer.call(OPS.drain, {group, slot, stop: true}, {deadlineMs: timeoutMs});
  });
}

const POLL_MS = 500;
const TELL_MS = 10_000;

/** Until another server than `before` has the slot and is ready. `tell` hears now and then how far it is. */
export async function untilDrained(
  address: string,
  timeoutMs: number,
  {group, slot}: SlotAddress,
  tell: (line: string) => void,
): Promise<void> {
  let toldAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const status = await fetchStatus(address, timeoutMs);
    const now = status.groups.find(({id}) => id === group)?.slots[slot];
    if (now === undefined || (now.state === 'ready' && now.successor === null)) return;
    if (performance.now() - toldAt >= TELL_MS) {
      toldAt = performance.now();
      const copier = status.waiting.find(({uuid}) => uuid === now.successor);
      tell(
        copier === undefined
          ? `slot ${group}.${slot}: ${now.state}, ${status.recoveryLeft} chunks left`
          : `slot ${group}.${slot}: ${copier.left} chunks left to copy to ${copier.address}`,
      );
    }
    await delay(POLL_MS);
  }
}

/** Resolves with the number of the new group. */
export function createGroup(
  address: string,
  timeoutMs: number,
  what: {id: number; slots: number},
): Promise<number> {
  const next = {
    EEXIST: "'cpfs group list' shows those that are there; leave the number out to get a free one",
  };
  return administer(address, timeoutMs, next, async (peer) => {
    const {message} = await peer.call(OPS.groupCreate, what, {deadlineMs: timeoutMs});
    return message.id;
  });
}

/** At once if nothing was ever stored in it; else resolves with the number of the task that drains it, 0: it is gone. */
export function removeGroup(address: string, timeoutMs: number, id: number): Promise<number> {
  const next = {
    ENOENT: "'cpfs group list' shows those that are there",
    EBUSY: "'cpfs rebalance status' and 'cpfs group list' show why",
  };
  return administer(address, timeoutMs, next, async (peer) => {
    try {
      await peer.call(OPS.groupRemove, {id}, {deadlineMs: timeoutMs});
      return 0;
    } catch (error) {
      if (!(error instanceof FsError && error.errno === 'ENOTEMPTY')) throw error;
    }
    const add = {kind: MOVE.drain, group: id};
    const {message} = await peer.call(
      OPS.moves,
      {add: {...NO_TASK, ...add}},
      {deadlineMs: timeoutMs},
    );
    return message.added;
  });
}

/** `paused` undefined, `rate` 0: as it is. Bytes a second of one server. */
export function changeRecovery(
  address: string,
  timeoutMs: number,
  change: {paused?: boolean; rate?: number},
): Promise<void> {
  const paused = change.paused === undefined ? 0 : change.paused ? 2 : 1;
  return withMeta(address, timeoutMs, async (peer) => {
    await peer.call(OPS.recovery, {paused, rate: change.rate ?? 0}, {deadlineMs: timeoutMs});
  });
}
