import {FsError} from '../base/errors.js';
import type {Segment} from '../base/pool.js';
import {type Mode, NONE, READ, WRITE} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import {settledObject} from './delegation.js';
import {type Affected, changing, offer, touched, touchedName} from './grants.js';
import {putIn} from './inline.js';
import {overlong} from './overlong.js';
import {type ClientConnection, current, heard, type Parts, submit} from './parts.js';
import {ofAnother} from './replies.js';
import type {ReadTx} from './tx.js';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;

/** Opening and creating: the reply brings the lease along when it is free. */
export function openHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env} = parts;
  on.on(OPS.create, async (request, c, _payload, id) => {
    heard(c, env);
    const affects = (tx: ReadTx, a: Affected): void =>
      touchedName(tx, request.parent, request.name, a);
    return changing(parts, c, affects, async () => {
      const groups = parts.space.draw();
      const {reply, repeated} = await submit(parts, OPS.create, request, {c, id, groups});
      if (reply.attr === null) throw ofAnother(id);
      const fresh = reply.created && !repeated;
      const how = {mode: WRITE, fresh, inline: false} as const;
      const message = request.open ? (await opened(parts, c, reply, how)).message : reply;
      if (!repeated) grantDirectory(parts, c, message, request);
      return {message};
    });
  });
  on.on(OPS.open, async (request, c, _payload, id) => {
    heard(c, env);
    await settledObject(parts, c, request.oid);
    const mode = request.write || request.truncate ? WRITE : READ;
    const changes = request.truncate || request.killSuidgid;
    const reply = changes ? await change(parts, request, c, id) : look(parts, request);
    return opened(parts, c, reply, {mode, fresh: false, inline: request.inline});
  });
  on.on(OPS.release, (request, c) => {
    heard(c, env);
    for (const oid of request.oids) {
      if (parts.sessions.released(c.session, oid)) parts.removals.unused(oid);
    }
    return {message: {}};
  });
}

/** An open that changes nothing needs no record in the log. */
function look({machine}: Parts, q: wire.OpenRequest): wire.OpenReply {
  return machine.read((tx) => {
    const attr = tx.attr(q.oid);
    if (q.write && (attr.mode & S_IFMT) === S_IFDIR) throw new FsError('EISDIR');
    return openReplyOf(attr, tx.layout(q.oid), tx.inline(q.oid).length);
  });
}

async function change(
  parts: Parts,
  request: wire.OpenRequest,
  c: ClientConnection,
  id: number,
): Promise<wire.OpenReply> {
  const {oid} = request;
  const affects = (tx: ReadTx, a: Affected): void => touched(tx, oid, a);
  return changing(parts, c, affects, async () => {
    parts.asks.overtake(oid, c.session.id);
    const {reply} = await submit(parts, OPS.open, request, {c, id});
    if (reply.attr === null) throw ofAnother(id);
    return reply;
  });
}

function openReplyOf(
  attr: wire.Attr,
  layout: wire.Layout | null,
  inlineBytes: number,
): wire.OpenReply {
  const directory = {directory: null, directoryLease: NONE, cookie: 0};
  return {
    attr,
    layout,
    lease: NONE,
    created: false,
    ...directory,
    inlineBytes,
    copies: [],
    overlong: false,
  };
}

function grantDirectory(
  {machine, ...rest}: Parts,
  c: ClientConnection,
  reply: wire.OpenReply,
  {parent, name}: wire.CreateRequest,
): void {
  machine.read((tx) => {
    if (!tx.exists(parent)) return;
    reply.directory = tx.attr(parent);
    reply.cookie = tx.cookie(parent, name);
  });
  reply.directoryLease = offer({machine, ...rest}, c, parent);
}

/** Counts the open, offers the lease, and answers with attributes of now. */
async function opened(
  parts: Parts,
  c: ClientConnection,
  reply: wire.OpenReply,
  {mode, fresh, inline}: {mode: Mode; fresh: boolean; inline: boolean},
): Promise<{message: wire.OpenReply; payload: [Segment] | null}> {
  const {oid} = reply.attr;
  // Counted before anything waits: an unlink at the same time must find it open.
  if (current(c)) parts.sessions.opened(c.session, oid);
  if (reply.layout !== null) {
    const kept = parts.cluster.used(reply.layout);
    if (kept !== null) await kept;
  }
  const regular = (reply.attr.mode & S_IFMT) === S_IFREG;
  if (!fresh && regular) {
    const wait = parts.asks.fresh(oid, c.session.id);
    if (wait !== null) await wait;
  }
  // From here to the reply nothing waits: the lease must not be recalled before it has been told.
  if (!current(c)) return {message: reply, payload: null};
  if (!fresh) {
    const attr = parts.machine.read((tx) => (tx.exists(oid) ? tx.attr(oid) : null));
    if (attr === null) {
      parts.sessions.released(c.session, oid);
      throw new FsError('ENOENT', `object ${oid}`);
    }
    reply.attr = attr;
  }
  if (!regular) return {message: {...reply, lease: NONE}, payload: null};
  // Who must cut what is beyond the size is told so with the lease that the first write asks for.
  reply.overlong = !fresh && overlong(parts, reply.layout);
  reply.lease = offerFile(parts, c, oid, reply.overlong ? READ : mode);
  if (reply.lease === READ) reply.copies = parts.readCopies.of(oid);
  const bytes = parts.machine.read((tx) => tx.inline(oid));
  reply.inlineBytes = bytes.length;
  const wanted = inline && reply.lease !== NONE;
  return {message: reply, payload: wanted ? putIn(parts.env.pool, bytes) : null};
}

/**
 * Who writes changes size and times, which others may have cached with the directory: then nothing is offered, and the
 * first write asks for the lease and waits.
 */
function offerFile(parts: Parts, c: ClientConnection, oid: number, mode: Mode): Mode {
  const {leases, machine} = parts;
  const {id} = c.session;
  if (mode !== WRITE || leases.table.held(id, oid) === WRITE)
    return leases.offer(id, oid, mode === WRITE ? WRITE : READ);
  const parent = machine.read((tx) => tx.parentOf(oid));
  const ticket = parent === 0 ? 0 : leases.tryChange(id, parent);
  if (ticket === null) return leases.offer(id, oid, READ);
  const held = leases.offer(id, oid, WRITE);
  if (ticket !== 0) leases.changed(parent, ticket);
  return held;
}
