import {FsError} from '../base/errors.js';
import {shuffled} from '../layout/placement.js';
import {GROUPS_PER_OBJECT_MAX, invalidLayout} from '../layout/scheme.js';
import {WRITE} from '../lease/lease-object.js';
import {isWhole} from '../lease/ranges.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import {type ClientConnection, type Parts, submit} from './parts.js';

/**
 * `OPS.relocate`: a move is begun, and the object is moved, by who holds all of it, so nobody writes it or reads it meanwhile. Who has begun it may give it up without; nobody else may
 * while that one lives, who copies while others hold the object.
 */
export async function relocate(
  parts: Parts,
  request: wire.RelocateRequest,
  c: ClientConnection,
  id: number,
): Promise<wire.RelocateReply> {
  const {leases, cluster, machine, moves} = parts;
  const {oid, layout, begin, moved} = request;
  const {table} = leases;
  const mover = moves.mover(oid);
  const own = mover === c.session.id;
  if (mover !== 0 && !own)
    throw new FsError(begin ? 'EBUSY' : 'EAGAIN', `object ${oid} is being moved`);
  const givesUp = own && !begin && !moved;
  const whole = (): boolean =>
    table.held(c.session.id, oid) === WRITE && isWhole(table.ranges(c.session.id, oid));
  if (!givesUp && !whole()) throw new FsError('EAGAIN', `object ${oid} is not held for writing`);
  if (begin) {
    if (layout === null) throw new FsError('EINVAL', 'no layout');
    layout.groups = groupsFor(parts, request, layout);
    await cluster.used(layout);
  }
  if (begin) moves.movedBy(oid, c.session.id);
  const {reply} = await submit(parts, OPS.relocate, request, {c, id});
  if (!begin) moves.movedBy(oid, 0);
  // Columns of a generation are written, or removed, when no power cut takes back what says so.
  await machine.sync();
  return reply;
}

/** EINVAL: it cannot be; ENOSPC: no group has space. */
function groupsFor(parts: Parts, q: wire.RelocateRequest, layout: wire.Layout): number[] {
  const wrong = invalidLayout(layout);
  if (wrong !== null) throw new FsError('EINVAL', wrong);
  const {groups} = layout;
  if (groups.length > GROUPS_PER_OBJECT_MAX) throw new FsError('EINVAL', `${groups.length} groups`);
  if (layout.k + layout.m > parts.machine.superblock.groupSize)
    throw new FsError('EINVAL', `${layout.k}+${layout.m} is wider than a group`);
  const known = new Set(parts.cluster.durableMap.groups.map(({id}) => id));
  const unknown = groups.find((group) => !known.has(group));
  if (unknown !== undefined) throw new FsError('EINVAL', `there is no group ${unknown}`);
  if (groups.length > 0) return groups;
  const drawn = parts.space.draw().slice(0, Math.max(1, q.groupCount));
  if (drawn.length === 0) throw new FsError('ENOSPC', 'no group has space');
  return shuffled(drawn, q.oid);
}
