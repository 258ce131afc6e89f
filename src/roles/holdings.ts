import {LAST_BYTE} from '../core/lock/range-locks.js';
import {lockFromWire} from '../core/lock/wire.js';
import type {FileLock} from '../core/protocol/gen/wire.js';
import {OPS} from '../core/protocol/ops.js';
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

/** `total` is how many there are, of which `limit` at most come. */
export async function fetchLeases(
  address: string,
  timeoutMs: number,
  {session, inode, limit}: Chosen,
): Promise<{leases: LeaseRow[]; total: number}> {
  return withMeta(address, timeoutMs, async (peer) => {
    const request = {session, oid: inode, max: limit};
    const {message} = await peer.call(OPS.leases, request, {deadlineMs: timeoutMs});
    const leases = message.leases.map((one) => ({
      session: one.session,
      inode: one.oid,
      path: pathOf(one.path),
      type: one.directory ? ('directory' as const) : ('file' as const),
      mode: one.mode === 2 ? ('write' as const) : ('read' as const),
      recalled: one.recalled,
    }));
    return {leases, total: message.total};
  });
}

export async function fetchLocks(
  address: string,
  timeoutMs: number,
  {session, inode, limit}: Chosen,
): Promise<{locks: LockRow[]; total: number}> {
  return withMeta(address, timeoutMs, async (peer) => {
    const request = {session, oid: inode, max: limit};
    const {message} = await peer.call(OPS.locks, request, {deadlineMs: timeoutMs});
    const locks = message.locks.map((one) => ({
      session: one.lock.session,
      inode: one.oid,
      path: pathOf(one.path),
      ...rangeOf(one.lock),
      pid: one.lock.pid,
      state: one.waiting ? ('waiting' as const) : ('held' as const),
    }));
    return {locks, total: message.total};
  });
}

function rangeOf(lock: FileLock): Pick<LockRow, 'kind' | 'type' | 'start' | 'length'> {
  const {start, end, type} = lockFromWire(lock, lock.session)!;
  return {
    kind: lock.whole ? 'flock' : 'posix',
    type: type === 2 ? 'exclusive' : 'shared',
    start: Number(start),
    length: end === LAST_BYTE ? null : Number(end - start + 1n),
  };
}
