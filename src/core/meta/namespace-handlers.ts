import {FsError} from '../base/errors.js';
import {WRITE} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS, type Op, SET} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import type {Answer} from '../transport/peer-api.js';
import {openHandlers} from './open-handlers.js';
import {type ClientConnection, heard, type Parts, submit} from './parts.js';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

export const isRegular = (attr: wire.Attr): boolean => (attr.mode & S_IFMT) === S_IFREG;

/** Requests about names and attributes. Those that only look answer without a promise unless a holder must be asked. */
export function namespaceHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  lookHandlers(on, parts);
  changeHandlers(on, parts);
  openHandlers(on, parts);
}

/** Null: the attributes may be told as they are stored. */
function holderAsked(parts: Parts, attr: wire.Attr, c: ClientConnection): Promise<void> | null {
  return isRegular(attr) ? parts.asks.fresh(attr.oid, c.session.id) : null;
}

function lookHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, machine} = parts;
  const withAttr = <Q, R extends {attr: wire.Attr}>(op: Op<Q, R>): void => {
    on.on(op, (q, c): Answer<R> | Promise<Answer<R>> => {
      heard(c, env);
      const message = machine.query(op, q);
      const wait = holderAsked(parts, message.attr, c);
      return wait === null ? {message} : wait.then(() => ({message: machine.query(op, q)}));
    });
  };
  withAttr(OPS.lookup);
  withAttr(OPS.getattr);
  const plain = <Q, R>(op: Op<Q, R>): void => {
    on.on(op, (q, c) => {
      heard(c, env);
      return {message: machine.query(op, q)};
    });
  };
  plain(OPS.readlink);
  plain(OPS.getxattr);
  plain(OPS.listxattr);
  plain(OPS.layoutGet);
  on.on(OPS.readdir, (q, c) => {
    heard(c, env);
    const message = machine.query(OPS.readdir, q);
    const waits: Promise<void>[] = [];
    for (const {attr} of message.entries) {
      const wait = attr === null ? null : holderAsked(parts, attr, c);
      if (wait !== null) waits.push(wait);
    }
    if (waits.length === 0) return {message};
    return Promise.all(waits).then(() => ({message: machine.query(OPS.readdir, q)}));
  });
}

function changeHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env} = parts;
  const plain = <Q, R>(op: Op<Q, R>): void => {
    on.on(op, async (request, c, _payload, id) => {
      heard(c, env);
      return {message: (await submit(parts, op, request, {c, id})).reply};
    });
  };
  plain(OPS.mkdir);
  plain(OPS.symlink);
  plain(OPS.unlink);
  plain(OPS.rename);
  plain(OPS.setxattr);
  plain(OPS.removexattr);
  plain(OPS.layoutSet);
  on.on(OPS.link, async (request, c, _payload, id) => {
    heard(c, env);
    const {reply} = await submit(parts, OPS.link, request, {c, id});
    const wait = holderAsked(parts, reply.attr, c);
    if (wait === null) return {message: reply};
    await wait;
    const {oid} = reply.attr;
    return {
      message: parts.machine.read((tx) => (tx.exists(oid) ? {attr: tx.attr(oid)} : reply)),
    };
  });
  on.on(OPS.mknod, async (request, c, _payload, id) => {
    heard(c, env);
    const groups = (request.mode & S_IFMT) === S_IFREG ? parts.space.draw() : [];
    return {message: (await submit(parts, OPS.mknod, request, {c, id, groups})).reply};
  });
  on.on(OPS.setattr, async (request, c, _payload, id) => {
    heard(c, env);
    return {message: await setattr(parts, request, c, id)};
  });
  on.on(OPS.flush, async (request, c, _payload, id) => {
    heard(c, env);
    for (const item of request.items) {
      parts.asks.overtake(item.oid);
      ownOnly(parts, item, c);
    }
    const {reply} = await submit(parts, OPS.flush, request, {c, id});
    if (request.durable) await parts.machine.sync();
    return {message: reply};
  });
  on.on(OPS.syncMeta, async (_request, c) => {
    heard(c, env);
    await parts.machine.sync();
    return {message: {}};
  });
}

/**
 * Size and mtime belong to the write holder: what another one sends is from a lease that it has lost. Who was giving the
 * lease back when the meta server restarted counts as its holder until then, unless somebody holds it: then the yield had
 * been carried out, and if a power cut of this machine took it again, that holder knows better.
 */
export function ownOnly({leases}: Parts, item: wire.FlushItem, {session}: ClientConnection): void {
  const {table} = leases;
  if (table.held(session.id, item.oid) === WRITE) return;
  if (session.owed.has(item.oid) && table.writer(item.oid) === 0) return;
  item.hasSize = false;
  item.hasMtime = false;
}

const HOLDERS = SET.size | SET.mtime | SET.mtimeNow;

/**
 * Size and mtime under somebody's write lease would be overwritten by his next flush; so they are changed while nobody
 * else holds the object. The client's own write lease is enough, and is what the client library takes first.
 */
async function setattr(
  parts: Parts,
  request: wire.SetattrRequest,
  c: ClientConnection,
  id: number,
): Promise<wire.AttrReply> {
  const {leases, machine, asks} = parts;
  const {oid, mask} = request;
  const {id: session} = c.session;
  const {table} = leases;
  const attr = machine.read((tx) => (tx.exists(oid) ? tx.attr(oid) : null));
  const change = async (): Promise<wire.AttrReply> => {
    asks.overtake(oid);
    return (await submit(parts, OPS.setattr, request, {c, id})).reply;
  };
  if (attr === null || !isRegular(attr) || table.held(session, oid) === WRITE) return change();
  const alone = (mask & SET.size) !== 0 || table.grace || table.writer(oid) !== 0;
  if ((mask & HOLDERS) !== 0 && alone) return leases.exclusive(oid, change);
  const reply = await change();
  const wait = holderAsked(parts, reply.attr, c);
  if (wait === null) return reply;
  await wait;
  return machine.read((tx) => (tx.exists(oid) ? {attr: tx.attr(oid)} : reply));
}

/** ENOENT for objects that are gone. */
export function mustExist(parts: Parts, oid: number): wire.Attr {
  return parts.machine.read((tx) => {
    if (!tx.exists(oid)) throw new FsError('ENOENT', `object ${oid}`);
    return tx.attr(oid);
  });
}
