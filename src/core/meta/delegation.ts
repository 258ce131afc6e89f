import {FsError} from '../base/errors.js';
import {WRITE} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS, SET} from '../protocol/ops.js';
import {isDirectoryAttr} from './grants.js';
import {requestOf} from './ops/changes.js';
import type {ClientConnection, Parts} from './parts.js';
import type {ReadTx} from './tx.js';

/**
 * A session that holds a directory for writing changes its names, and the attributes of what is in it, without saying so at once.
 * Whoever looks at them, or opens what is in it, waits until it has said so.
 *
 * Null: what is stored of the directory is what `c` may be told.
 */
export function settled(
  parts: Parts,
  c: ClientConnection,
  directory: number,
): Promise<void> | null {
  const {leases} = parts;
  const {table} = leases;
  if (table.grace) {
    // Who held it may have yet to say so.
    if (table.held(c.session.id, directory) > 0) return null;
    return leases.graceOver!.then(() => settled(parts, c, directory) ?? undefined);
  }
  const writer = table.writer(directory);
  if (writer <= 0 || writer === c.session.id) return null;
  return leases.look(c.session.id, directory).then(() => settled(parts, c, directory) ?? undefined);
}

/** The same for whatever covers the attributes of an object: itself if it is a directory, else the one that holds it. */
export function settledObject(
  parts: Parts,
  c: ClientConnection,
  oid: number,
): Promise<void> | null {
  const directory = parts.machine.read((tx) => {
    if (!tx.exists(oid)) return 0;
    return isDirectoryAttr(tx.attr(oid)) ? oid : tx.parentOf(oid);
  });
  const wait = directory === 0 ? null : settled(parts, c, directory);
  // It may be in another one by then.
  return wait === null ? null : wait.then(() => settledObject(parts, c, oid) ?? undefined);
}

/** Is the directory in somebody else's hands? */
export function delegated({leases}: Parts, c: ClientConnection, directory: number): boolean {
  const writer = leases.table.writer(directory);
  return writer > 0 && writer !== c.session.id;
}

/** Objects that changes make, and whose leases the session gets with them; and those that it is done with. */
export interface Made {
  leased: number[];
  ended: number[];
}

/**
 * Before the changes of a flush are carried out. EINVAL: one of them is no change that a client may make by itself. What the session
 * has no lease for is not done: it gets a code that means nothing.
 */
export function admit(parts: Parts, c: ClientConnection, changes: readonly wire.Change[]): Made {
  const made: Made = {leased: [], ended: []};
  if (changes.length === 0) return made;
  const {table} = parts.leases;
  const own = new Set<number>();
  const holds = (oid: number): boolean => own.has(oid) || table.held(c.session.id, oid) === WRITE;
  for (const change of changes) if (change.code !== REFUSED) requestOf(change);
  parts.machine.read((tx) => {
    for (const change of changes) {
      if (!directoriesOf(tx, change, own).every(holds)) change.code = REFUSED;
      else if (MADE_WITH_LEASE.has(change.code)) {
        own.add(change.oid);
        made.leased.push(change.oid);
      } else if (change.code === OPS.unlink.code) {
        const {idle, oid} = requestOf(change).request as wire.UnlinkRequest;
        if (idle) made.ended.push(oid);
      }
    }
  });
  return made;
}

/** No operation has it. */
const REFUSED = 0;
const MADE_WITH_LEASE: ReadonlySet<number> = new Set([OPS.create.code, OPS.mkdir.code]);

/** Which directories a change needs the lease of. `own`: what earlier changes of the same flush make. */
function directoriesOf(tx: ReadTx, change: wire.Change, own: ReadonlySet<number>): number[] {
  const {request} = requestOf(change);
  switch (change.code) {
    case OPS.setattr.code: {
      const {oid, mask} = request as wire.SetattrRequest;
      if ((mask & SET.size) !== 0) throw new FsError('EINVAL', 'a size among changes');
      if (own.has(oid) || !tx.exists(oid)) return [];
      return [isDirectoryAttr(tx.attr(oid)) ? oid : tx.parentOf(oid)];
    }
    case OPS.rename.code: {
      const {parent, newParent} = request as wire.RenameRequest;
      return [parent, newParent];
    }
    case OPS.unlink.code: {
      const {parent, directory, oid} = request as wire.UnlinkRequest;
      return directory ? [parent, oid] : [parent];
    }
    case OPS.create.code:
      if (!(request as wire.CreateRequest).exclusive)
        throw new FsError('EINVAL', 'an open among changes');
      return [(request as wire.CreateRequest).parent];
    default:
      return [(request as {parent: number}).parent];
  }
}

/** After `admit`, before the changes are carried out: nobody else can know of these objects yet. */
export function lendMade(parts: Parts, c: ClientConnection, made: Made): void {
  const {leases, env} = parts;
  const {id} = c.session;
  for (const oid of made.leased) {
    // In the grace period they are taken back as if they had been held before.
    if (leases.table.grace) leases.table.reclaim(id, oid, WRITE, env.clock.now());
    else leases.offer(id, oid, WRITE);
  }
}

/** After they were carried out. Resolves when clients may write to the files that were made. */
export async function settleMade(parts: Parts, c: ClientConnection, made: Made): Promise<void> {
  const {leases, machine, cluster} = parts;
  const {id} = c.session;
  for (const oid of made.ended) leases.yield(id, oid, 0);
  const waits: Promise<void>[] = [];
  const known = new Set<string>();
  machine.read((tx) => {
    for (const oid of made.leased) {
      if (!tx.exists(oid)) leases.yield(id, oid, 0);
      else {
        const layout = tx.layout(oid);
        if (layout === null) continue;
        // Most files of one message are striped over the same groups.
        const key = `${layout.k} ${layout.m} ${[...layout.groups].sort((a, b) => a - b)}`;
        if (known.has(key)) continue;
        known.add(key);
        const kept = cluster.used(layout);
        if (kept !== null) waits.push(kept);
      }
    }
  });
  await Promise.all(waits);
}
