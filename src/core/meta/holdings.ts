import {KIB} from '../base/units.js';
import {isWhole} from '../lease/ranges.js';
import {lockToWire} from '../lock/wire.js';
import type * as wire from '../protocol/gen/wire.js';
import type {Parts} from './parts.js';
import {Paths} from './paths.js';

/** Rows in one message, and bytes of their paths: less than half of what a message takes. */
const ROWS_MAX = 1000;
const PATHS_BYTES_MAX = 64 * KIB;

interface Row {
  oid: number;
  session: number;
}

/** The rows that were asked for, in the order of sessions and objects. */
function chosen<T extends Row>(
  all: Iterable<T>,
  q: wire.HoldingsRequest,
): {rows: T[]; total: number} {
  const rows = [...all].filter(
    (row) =>
      row.session > 0 &&
      (q.session === 0 || row.session === q.session) &&
      (q.oid === 0 || row.oid === q.oid),
  );
  rows.sort((a, b) => a.session - b.session || a.oid - b.oid);
  return {rows: rows.slice(q.skip, q.skip + Math.min(q.max, ROWS_MAX)), total: rows.length};
}

/** The rows with their paths, as many as one message takes; at least one. */
function named<T extends Row>(parts: Parts, rows: readonly T[]): (T & {path: Uint8Array})[] {
  const paths = new Paths(parts.machine);
  const found: (T & {path: Uint8Array})[] = [];
  let bytes = 0;
  for (const row of rows) {
    const path = paths.of(row.oid);
    bytes += path.length;
    if (bytes > PATHS_BYTES_MAX && found.length > 0) break;
    found.push({...row, path});
  }
  return found;
}

/** What clients hold, for an administrator. */
export function leasesOf(parts: Parts, q: wire.HoldingsRequest): wire.LeasesReply {
  const held = [...parts.leases.table.all()].map(({object, session, mode, recalledTo, ranges}) => ({
    oid: object.oid,
    session: session.id,
    mode,
    recalled: recalledTo >= 0,
    ranges: isWhole(ranges) ? 0 : ranges.length,
  }));
  const {rows, total} = chosen(held, q);
  const leases = named(parts, rows).map((row) => ({
    ...row,
    directory: parts.machine.read((tx) => tx.exists(row.oid) && tx.part(row.oid) !== null),
  }));
  return {leases, total};
}

export async function locksOf(parts: Parts, q: wire.HoldingsRequest): Promise<wire.LocksReply> {
  const all = (await parts.locks.list()).map((row) => ({...row, session: row.lock.session}));
  const {rows, total} = chosen(all, q);
  const locks = named(parts, rows).map(({oid, lock, waiting, path}) => ({
    oid,
    lock: lockToWire(lock),
    waiting,
    path,
  }));
  return {locks, total};
}
