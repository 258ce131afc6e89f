import {LAST_BYTE} from '../core/lock/range-locks.js';
import {lockFromWire} from '../core/lock/wire.js';
import type {FileLock} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
import type {PeerLike} from '../core/transport/peer-api.js';
import {withMeta} from './admin.js';

/** What `cpfs client leases` and `locks` ask for; 0: of all. */
export interface Chosen {
  session: number;
  inode: number;
  limit: number;
}

/** `path` is null when it has none or would be dear to find. Stable: fields are added, never changed. */
export interface LeaseRow {
  session: number;
  inode: number;
  path: string | null;
  type: 'directory' | 'file';
  mode: 'read' | 'write';
  /** Of a file: how many ranges of it are held; 0: all of it. */
  ranges: number;
  /** It has been asked to give it back. */
  recalled: boolean;
}

export interface LockRow {
  session: number;
  inode: number;
  path: string | null;
  /** posix: fcntl(2), also OFD locks. */
  kind: 'posix' | 'flock';
  type: 'shared' | 'exclusive';
  /** First byte, and how many; length null: to the end of the file, wherever that is. */
  start: number;
  length: number | null;
  pid: number;
  state: 'held' | 'waiting';
}

const text = new TextDecoder();
const pathOf = (bytes: Uint8Array): string | null =>
  bytes.length === 0 ? null : text.decode(bytes);

/** Page after page, until there are `limit` or all. What changes meanwhile may be missed, or come twice. */
async function pages<T>(
  limit: number,
  page: (skip: number, max: number) => Promise<{rows: T[]; total: number}>,
): Promise<{rows: T[]; total: number}> {
  const all: T[] = [];
  for (;;) {
    const {rows, total} = await page(all.length, limit - all.length);
    all.push(...rows);
    if (rows.length === 0 || all.length >= Math.min(limit, total)) return {rows: all, total};
  }
}

export interface Leases {
  leases: LeaseRow[];
  total: number;
}

export interface Locks {
  locks: LockRow[];
  total: number;
}

/** `total` is how many there are, of which `limit` at most come. */
export async function leasesFrom(
  peer: PeerLike,
  timeoutMs: number,
  {session, inode, limit}: Chosen,
): Promise<Leases> {
  const {rows, total} = await pages(limit, async (skip, max) => {
    const request = {session, oid: inode, skip, max};
    const {message} = await peer.call(OPS.leases, request, {deadlineMs: timeoutMs});
    return {rows: message.leases, total: message.total};
  });
  const leases = rows.map((one) => ({
    session: one.session,
    inode: one.oid,
    path: pathOf(one.path),
    type: one.directory ? ('directory' as const) : ('file' as const),
    mode: one.mode === 2 ? ('write' as const) : ('read' as const),
    ranges: one.ranges,
    recalled: one.recalled,
  }));
  return {leases, total};
}

export async function locksFrom(
  peer: PeerLike,
  timeoutMs: number,
  {session, inode, limit}: Chosen,
): Promise<Locks> {
  const {rows, total} = await pages(limit, async (skip, max) => {
    const request = {session, oid: inode, skip, max};
    const {message} = await peer.call(OPS.locks, request, {deadlineMs: timeoutMs});
    return {rows: message.locks, total: message.total};
  });
  const locks = rows.map((one) => ({
    session: one.lock.session,
    inode: one.oid,
    path: pathOf(one.path),
    ...rangeOf(one.lock),
    pid: one.lock.pid,
    state: one.waiting ? ('waiting' as const) : ('held' as const),
  }));
  return {locks, total};
}

export const fetchLeases = (address: string, timeoutMs: number, chosen: Chosen): Promise<Leases> =>
  withMeta(address, timeoutMs, (peer) => leasesFrom(peer, timeoutMs, chosen));

export const fetchLocks = (address: string, timeoutMs: number, chosen: Chosen): Promise<Locks> =>
  withMeta(address, timeoutMs, (peer) => locksFrom(peer, timeoutMs, chosen));

function rangeOf(lock: FileLock): Pick<LockRow, 'kind' | 'type' | 'start' | 'length'> {
  const {start, end, type} = lockFromWire(lock, lock.session)!;
  return {
    kind: lock.whole ? 'flock' : 'posix',
    type: type === 2 ? 'exclusive' : 'shared',
    start: Number(start),
    length: end === LAST_BYTE ? null : Number(end - start + 1n),
  };
}
