import {FsError, Refusal} from '../base/errors.js';
import type {Ms} from '../base/ids.js';
import {CHUNKS_END} from '../layout/generations.js';
import {type Mode, NONE, READ, WRITE} from '../lease/lease-object.js';
import type {Claim} from '../lease/lease-table.js';
import {
  type ByteRange,
  END,
  EVERYTHING,
  NOTHING,
  plus,
  type Ranges,
  WHOLE,
} from '../lease/ranges.js';
import type {DirectoryPart, Inode} from '../namespace/inode.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import type {Answer} from '../transport/peer-api.js';
import {exported, sees} from './confine.js';
import {settledObject} from './delegation.js';
import {type Affected, changing, isDirectoryAttr} from './grants.js';
import {putIn} from './inline.js';
import type {Granted} from './leases.js';
import {isRegular, mustExist, ownOnly} from './namespace-handlers.js';
import {overlong} from './overlong.js';
import {type ClientConnection, current, heard, type Parts, submit} from './parts.js';
import {relocate} from './relocation.js';
import {reclaiming} from './sessions.js';
import type {ReadTx} from './tx.js';

/** Ids for a client at once, and how often groups are drawn with them: files take turns. */
const RESERVE_MAX = 8192;
const DRAWS = 16;
/**
 * Who asks for a directory does without it after so long. Changes queue behind the request, and it waits for changes that are under way: of which one
 * may wait for a file whose holder is in that queue.
 */
const DIRECTORY_MS: Ms = 200;
/** Ranges of one object in one message. */
const RANGES_MAX = 2048;
/** Objects in one reclaim. */
export const RECLAIM_MAX = 16_384;
/** Of each the answer has up to 50 bytes. */
const EXISTS_MAX = 4096;
/** There is no limit but memory and disk; statfs(2) wants a number. */
const FILES_FREE = 1_000_000_000;

/** Enums of the wire are any 32-bit numbers. */
const isMode = (mode: number): mode is Mode => mode === NONE || mode === READ || mode === WRITE;

/** EINVAL for what is no range of an object. */
function checkRange(range: ByteRange): ByteRange {
  const {from, to} = range;
  if (from >= to || to > END) throw new FsError('EINVAL', `range ${from} to ${to}`);
  return range;
}

/** In any order, with or without overlap. */
function rangesOf(ranges: readonly ByteRange[]): Ranges {
  if (ranges.length > RANGES_MAX) throw new FsError('EINVAL', `${ranges.length} ranges`);
  return ranges.reduce((all, range) => plus(all, checkRange(range)), NOTHING);
}

/** Requests about the session itself, its leases and the cluster. */
export function sessionHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  leaseHandlers(on, parts);
  clusterHandlers(on, parts);
}

function leaseHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, leases, asks} = parts;
  on.on(OPS.lease, async ({oid, mode, inline, directory, range, ahead}, c) => {
    heard(c, env);
    const wanted = range === null ? EVERYTHING : checkRange(range);
    const next = rangesOf(ahead);
    // It waits only then: an answer must not be overtaken by what is asked after it.
    if (!parts.machine.read((tx) => tx.exists(oid))) await gone(parts, [oid]);
    if (!isMode(mode) || mode === NONE) throw new FsError('EINVAL', 'lease');
    if (directory && isDirectoryAttr(mustExist(parts, oid)))
      return directoryLease(parts, oid, mode, c);
    await settledObject(parts, c, oid);
    if (directory || !isRegular(mustExist(parts, oid))) throw new FsError('EINVAL', 'lease');
    const layout = parts.machine.read((tx) => tx.layout(oid));
    const kept = layout === null ? null : parts.cluster.used(layout);
    if (kept !== null) await kept;
    if (!current(c)) throw new Refusal('Busy', 'the connection was replaced');
    // From the grant to the reply nothing waits: the lease must not be recalled before it has been told.
    const acquire = async (): Promise<Answer<wire.LeaseReply>> => {
      const {mode: whole, part} = await acquireUndivided(parts, c, oid, mode, wanted);
      const more = part === null ? NOTHING : leases.table.extend(c.session.id, oid, next);
      const held = part === null ? [] : [part, ...more];
      const message = {...leaseReply(parts, oid, whole, c), parts: held};
      const bytes =
        inline && message.inlineBytes > 0 ? parts.machine.read((tx) => tx.inline(oid)) : null;
      return {message, payload: bytes === null ? null : putIn(env.pool, bytes)};
    };
    // While somebody writes, nobody else has the attributes cached.
    if (mode === READ || leases.table.held(c.session.id, oid) === WRITE) return acquire();
    // Whoever has the attributes cached with the directory must forget them before they change.
    const affects = (tx: ReadTx, a: Affected): void => {
      const parent = tx.parentOf(oid);
      if (parent !== 0) a.directories.push(parent);
    };
    return changing(parts, c, affects, acquire);
  });
  on.on(OPS.yieldLease, async (request, c, _payload, id) => {
    heard(c, env);
    if (!isMode(request.keep)) throw new FsError('EINVAL', 'lease');
    if (request.more.length !== request.keeps.length || !request.keeps.every(isMode))
      throw new FsError('EINVAL', 'lease');
    const gone = request.gone.length === 0 ? WHOLE : rangesOf(request.gone);
    if (request.keep !== NONE && request.gone.length > 0) throw new FsError('EINVAL', 'lease');
    const {session} = c;
    if (request.attr !== null) {
      if (request.attr.hasInline || request.attr.inlineBytes > 0)
        throw new FsError('EINVAL', 'inline bytes in a yield');
      asks.overtake(request.attr.oid, c.session.id);
      ownOnly(parts, request.attr, c);
      const {repeated} = await submit(parts, OPS.yieldLease, request, {c, id});
      session.owed.delete(request.oid);
      // The lease went then; one that the session has got since is another.
      if (repeated) return {message: {}};
    }
    session.owed.delete(request.oid);
    leases.yield(session.id, request.oid, request.keep, gone);
    for (const [index, oid] of request.more.entries()) {
      session.owed.delete(oid);
      leases.yield(session.id, oid, request.keeps[index] as Mode);
    }
    return {message: {}};
  });
  on.on(OPS.readCopyMade, (request, c) => {
    heard(c, env);
    parts.readCopies.made(c.session, request);
    return {message: {}};
  });
  on.on(OPS.relocate, async (request, c, _payload, id) => {
    heard(c, env);
    return {message: await relocate(parts, request, c, id)};
  });
  on.on(OPS.readInline, ({oid}, c) => {
    heard(c, env);
    // Without a lease they might be older than what their reader has seen.
    if (leases.table.held(c.session.id, oid) === NONE) throw new FsError('EINVAL', 'no lease');
    const bytes = parts.machine.read((tx) => tx.inline(oid));
    const payload = putIn(env.pool, bytes);
    if (payload === null && bytes.length > 0) throw new Refusal('Busy', 'no room for a reply');
    return {message: {inlineBytes: bytes.length}, payload};
  });
  on.on(OPS.reclaim, (request, c) => {
    heard(c, env);
    const {machine} = parts;
    const outside = (oid: number): boolean => !sees(machine, c.session, oid);
    const missing = [...machine.missing(request.oids), ...request.oids.filter(outside)];
    reclaim(parts, request, new Set(missing), c);
    return {message: {gone: missing}};
  });
}

/**
 * What is kept with its inode is in one hand: whoever had a part of it would move all of it to columns, over what others write in theirs. Its holder
 * gives it up as a whole, but who waits for different parts of it then would each get his.
 */
async function acquireUndivided(
  {leases, machine}: Parts,
  {session}: ClientConnection,
  oid: number,
  mode: 1 | 2,
  wanted: ByteRange,
): Promise<Granted> {
  const inline = (): boolean => machine.read((tx) => tx.exists(oid) && tx.inline(oid).length > 0);
  const granted = await leases.acquire(session.id, oid, mode, inline() ? EVERYTHING : wanted);
  const {part} = granted;
  // It was cut and written anew meanwhile.
  if (part === null || !inline()) return granted;
  leases.yield(session.id, oid, NONE, [part]);
  return leases.acquire(session.id, oid, mode, EVERYTHING);
}

/** For writing; at once, with whatever is held, if others have wanted the directory a moment ago. */
async function directoryLease(
  parts: Parts,
  oid: number,
  mode: Mode,
  c: ClientConnection,
): Promise<Answer<wire.LeaseReply>> {
  if (mode !== WRITE) throw new FsError('EINVAL', 'lease');
  const {leases} = parts;
  const {id} = c.session;
  const may = c.session.confined === null && !leases.cool(oid);
  if (may) await leases.acquireWithin(id, oid, WRITE, DIRECTORY_MS);
  // What is done on top of it must not outlive it. If it is recalled meanwhile, the client does not believe the reply.
  await parts.machine.sync();
  return {message: leaseReply(parts, oid, leases.table.lasting(id, oid), c)};
}

function leaseReply(parts: Parts, oid: number, mode: Mode, c: ClientConnection): wire.LeaseReply {
  const reply = parts.machine.read((tx) =>
    tx.exists(oid)
      ? {
          mode,
          parts: [],
          attr: tx.attr(oid),
          layout: tx.layout(oid),
          inlineBytes: tx.inline(oid).length,
          directory: mode === WRITE ? partToWire(tx.part(oid)) : null,
          overlong: overlong(parts, tx.layout(oid)),
          copies: mode === READ ? parts.readCopies.of(oid) : [],
        }
      : null,
  );
  if (reply !== null) return reply;
  if (current(c)) parts.leases.yield(c.session.id, oid, NONE);
  throw new FsError('ENOENT', `object ${oid}`);
}

/** What a session says that it holds: after a restart it is taken back, else compared with what is known here. */
function reclaim(
  parts: Parts,
  q: wire.ReclaimRequest,
  missing: ReadonlySet<number>,
  c: ClientConnection,
): void {
  const {leases, sessions} = parts;
  const {session} = c;
  const count = q.oids.length;
  if (q.modes.length !== count || q.opens.length !== count || count > RECLAIM_MAX) {
    throw new FsError('EINVAL', 'reclaim');
  }
  if (q.yielding.length !== 0 && q.yielding.length !== count)
    throw new FsError('EINVAL', 'reclaim');
  const {claims, opens, owed, locks} = reclaiming(session);
  const ranges = new Map(q.ranges.map((one) => [one.oid, rangesOf(one.ranges)]));
  const now = parts.env.clock.now();
  for (let i = 0; i < count; i++) {
    const oid = q.oids[i]!;
    const mode = q.modes[i]!;
    if (!isMode(mode)) throw new FsError('EINVAL', 'reclaim');
    if (missing.has(oid)) continue;
    // What is being given back stays held until the yield comes with the size: else it would be granted without.
    const claim: Claim = {mode, ranges: (mode === WRITE ? ranges.get(oid) : undefined) ?? WHOLE};
    claims.set(oid, q.yielding[i] === true ? {mode: WRITE, ranges: WHOLE} : claim);
    if (q.yielding[i] === true) owed.add(oid);
    if (q.opens[i]! > 0) opens.set(oid, q.opens[i]!);
    if (mode === NONE || !leases.table.grace) continue;
    if (!leases.table.reclaim(session.id, oid, mode, now, claim.ranges)) {
      parts.endSession(session, `object ${oid} is held by another session`, true);
      throw new Refusal('Fenced', `session ${session.id}`);
    }
  }
  // Its holder says with an empty one that this was all.
  if (count > 0) return;
  session.reclaiming = null;
  if (!parts.locks.restate(session, locks)) {
    parts.endSession(session, 'it claims locks that others hold', true);
    throw new Refusal('Fenced', `session ${session.id}`);
  }
  // After a restart the table knows nothing of it, and must not: whom the lease was given on to may have it by now.
  session.owed = leases.table.grace ? owed : new Set();
  for (const oid of sessions.setOpens(session, opens)) parts.removals.unused(oid);
  leases.run(leases.table.reconcile(session.id, claims, now));
  parts.sessionReturned(session);
}

export function partToWire(part: Readonly<DirectoryPart> | null): wire.DirectoryPart | null {
  if (part === null) return null;
  const {parent, nextCookie, layoutSet, layout} = part;
  return {parent, nextCookie, layoutSet, ...layout};
}

function clusterHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, cluster, machine} = parts;
  on.on(OPS.heartbeat, (request, c) => {
    heard(c, env);
    parts.figures.session(c.session.id, request);
    return {message: {epoch: cluster.control.publishedEpoch}};
  });
  on.on(OPS.getMap, async (_request, c) => {
    heard(c, env);
    return {message: {map: await cluster.publishedMap(), ...fixed(parts)}};
  });
  on.on(OPS.report, (request, c) => {
    heard(c, env);
    cluster.report(request);
    return {message: {}};
  });
  on.on(OPS.exists, async (request, c) => {
    heard(c, env);
    return {message: await existence(parts, request.oids)};
  });
  on.on(OPS.reserve, async ({count}, c) => {
    heard(c, env);
    if (count < 1 || count > RESERVE_MAX) throw new FsError('EINVAL', `${count} ids`);
    const draws = Array.from({length: DRAWS}, () => ({groups: parts.space.draw()}));
    return {message: {first: await machine.reserveIds(count), count, draws}};
  });
  on.on(OPS.moveNext, async (request, c) => {
    heard(c, env);
    return {message: await parts.moves.next(request, c.session.id)};
  });
  on.on(OPS.statfs, (_request, c) => {
    heard(c, env);
    const bytes = exported(c.session.confined, parts.space.bytes(machine.superblock.rootLayout));
    return {message: {...bytes, files: machine.files + FILES_FREE, filesFree: FILES_FREE}};
  });
  on.on(OPS.status, (_request, c) => {
    heard(c, env);
    return {message: parts.status()};
  });
  on.on(OPS.goodbye, (_request, c) => {
    heard(c, env);
    parts.endSession(c.session, 'goodbye', false);
    return {message: {}};
  });
}

/**
 * Those that do not exist, and will not if this machine loses power now: whoever asks removes their columns, which a name
 * that comes back would miss.
 */
export async function gone({machine}: Parts, oids: readonly number[]): Promise<number[]> {
  const missing = machine.missing(oids);
  if (missing.length > 0) await machine.sync();
  return missing;
}

/** Which of them are gone, as above; below which number all were given; and what there is of those that were moved. */
export async function existence(parts: Parts, oids: readonly number[]): Promise<wire.ExistsReply> {
  const {machine} = parts;
  if (oids.length > EXISTS_MAX) throw new FsError('EINVAL', `${oids.length} objects`);
  const missing = await gone(parts, oids);
  const moved = machine.audit((tx) => oids.flatMap((oid) => partsOf(tx.find(oid))));
  // What has been left must not come back with a power cut: whoever asks removes it.
  if (moved.length > 0) await machine.sync();
  return {missing, idsBelow: machine.audit((tx) => tx.idsBelow), parts: moved};
}

/** Empty of an object that was never moved. */
function partsOf(inode: Readonly<Inode> | null): wire.ObjectPart[] {
  if (inode === null || inode.generations === 0) return [];
  const {oid, layout, next, generations} = inode;
  const all = [layout, next].flatMap((one) =>
    one === null ? [] : [{oid, generation: one.generation, from: 0, to: CHUNKS_END}],
  );
  return [...all, {oid, generation: generations, from: 0, to: 0}];
}

/** What never changes in a cluster. */
export function fixed({machine}: Parts): {rootLayout: wire.Layout; groupSize: number} {
  const {k, m, unitBytes, chunkBytes} = machine.superblock.rootLayout;
  return {
    rootLayout: {k, m, unitBytes, chunkBytes, groups: [], generation: 0},
    groupSize: machine.superblock.groupSize,
  };
}
