import {lockToWire} from '../lock/wire.js';
import type * as wire from '../protocol/gen/wire.js';
import type {Parts} from './parts.js';
import {Paths} from './paths.js';

/** Rows in one listing. */
const ROWS_MAX = 10_000;

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
  return {rows: rows.slice(0, Math.min(q.max, ROWS_MAX)), total: rows.length};
}

/** What clients hold, for an administrator. */
export function leasesOf(parts: Parts, q: wire.HoldingsRequest): wire.LeasesReply {
  const paths = new Paths(parts.machine);
  const held = [...parts.leases.table.all()].map(({object, session, mode, recalledTo}) => ({
    oid: object.oid,
    session: session.id,
    mode,
    recalled: recalledTo >= 0,
  }));
  const {rows, total} = chosen(held, q);
  const leases = rows.map((row) => ({
    ...row,
    directory: parts.machine.read((tx) => tx.exists(row.oid) && tx.part(row.oid) !== null),
    path: paths.of(row.oid),
  }));
  return {leases, total};
}

export async function locksOf(parts: Parts, q: wire.HoldingsRequest): Promise<wire.LocksReply> {
  const all = (await parts.locks.list()).map((row) => ({...row, session: row.lock.session}));
  const paths = new Paths(parts.machine);
  const {rows, total} = chosen(all, q);
  const locks = rows.map(({oid, lock, waiting}) => ({
    oid,
    lock: lockToWire(lock),
    waiting,
    path: paths.of(oid),
  }));
  return {locks, total};
}
