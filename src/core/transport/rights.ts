import {FsError} from '../base/errors.js';
import type {Identity} from '../base/identity.js';
import type * as wire from '../protocol/gen/wire.js';
import {type AnyOp, OPS} from '../protocol/ops.js';

/** What roles a hello may name, by who has proved to be there. The others are servers' own. */
const ADMIN_ROLES = ['client', 'admin', 'node'];
const CLIENT_ROLES = ['client'];

/** Why this one may not have that role; null: it may. Without an identity nothing needs to be proved. */
export function refusalOfRole(identity: Identity | null, role: string): FsError | null {
  if (identity === null || identity.kind === 'server') return null;
  const {name, rights} = identity;
  const roles = rights === 'admin' ? ADMIN_ROLES : CLIENT_ROLES;
  if (roles.includes(role)) return null;
  const needed = ADMIN_ROLES.includes(role)
    ? 'the rights of an administrator'
    : 'a key of the cluster';
  return new FsError('EACCES', `${name} has the rights '${rights}', and this needs ${needed}`);
}

/** What only agents of data servers ask for, and commands of administrators. */
const AGENTS: ReadonlySet<number> = new Set(
  [
    ...[OPS.moveNext, OPS.relocate, OPS.readCopyMade, OPS.status],
    ...[OPS.remove, OPS.removeColumn, OPS.missedClear, OPS.watch],
  ].map(({code}) => code),
);

/** What leaves everything as it is, and what keeps a session going. */
const READS: ReadonlySet<number> = new Set(
  [
    ...[OPS.hello, OPS.heartbeat, OPS.goodbye, OPS.getMap, OPS.report, OPS.reclaim, OPS.syncMeta],
    ...[OPS.lookup, OPS.getattr, OPS.readlink, OPS.readdir, OPS.readdirMany, OPS.release],
    ...[OPS.statfs, OPS.getxattr, OPS.listxattr, OPS.layoutGet, OPS.readInline, OPS.leaseMany],
    ...[OPS.lock, OPS.lockCancel, OPS.lockReturn, OPS.lockReclaim, OPS.exists],
    ...[OPS.read, OPS.stat, OPS.sums, OPS.badBlock],
  ].map(({code}) => code),
);
const READ_LEASE = 1;

/** Why this one may not ask for that; null: it may. The request has been decoded. */
export function refusalOfRequest(
  identity: Identity | null,
  op: AnyOp,
  request: unknown,
): FsError | null {
  if (identity === null || identity.kind === 'server' || identity.rights === 'admin') return null;
  if (AGENTS.has(op.code))
    return new FsError('EACCES', `${op.name} needs the rights of an administrator`);
  if (identity.rights !== 'ro') return null;
  if (READS.has(op.code) || readsOnly(op, request)) return null;
  return new FsError('EROFS', `${identity.name} may only read`);
}

/** Of those that may do both. */
function readsOnly({code}: AnyOp, request: unknown): boolean {
  if (code === OPS.open.code) {
    const {write, truncate} = request as wire.OpenRequest;
    return !write && !truncate;
  }
  if (code === OPS.lease.code) return (request as wire.LeaseRequest).mode <= READ_LEASE;
  if (code === OPS.yieldLease.code) return (request as wire.YieldRequest).attr == null;
  return false;
}
