import {FsError} from '../base/errors.js';
import {NONE, WRITE} from '../lease/lease-object.js';
import {isWhole} from '../lease/ranges.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS, type Op, SET} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import type {Answer} from '../transport/peer-api.js';
import {admit, delegated, lendMade, settled, settledObject, settleMade} from './delegation.js';
import {
  type Affected,
  changing,
  grantAttr,
  grantEntry,
  grantFlush,
  grantPage,
  isDirectoryAttr,
  offer,
  touched,
  touchedName,
} from './grants.js';
import {checkFlush, takeOut} from './inline.js';
import {openHandlers} from './open-handlers.js';
import {type ClientConnection, heard, type Parts, submit} from './parts.js';
import type {ReadTx} from './tx.js';

type Affects = (tx: ReadTx, affected: Affected) => void;

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

export const isRegular = (attr: wire.Attr): boolean => (attr.mode & S_IFMT) === S_IFREG;

/** Requests about names and attributes. Those that only look answer without a promise unless a holder must be asked. */
export function namespaceHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  lookHandlers(on, parts);
  changeHandlers(on, parts);
  openHandlers(on, parts);
}

/** Null: nobody else knows the attributes better than they are stored. `asked`: who writes the file has been asked. */
function told(
  parts: Parts,
  attr: wire.Attr,
  c: ClientConnection,
  asked: boolean,
): Promise<void> | null {
  if (isDirectoryAttr(attr)) return settled(parts, c, attr.oid);
  return isRegular(attr) && !asked ? parts.asks.fresh(attr.oid, c.session.id) : null;
}

function lookHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, machine} = parts;
  on.on(OPS.lookup, (q, c): Answer<wire.EntryReply> | Promise<Answer<wire.EntryReply>> => {
    heard(c, env);
    const look = (asked: boolean): Answer<wire.EntryReply> | Promise<Answer<wire.EntryReply>> => {
      const covered = settled(parts, c, q.parent);
      if (covered !== null) return covered.then(() => look(asked));
      const message = machine.query(OPS.lookup, q);
      const wait = message.attr === null ? null : told(parts, message.attr, c, asked);
      return wait === null
        ? {message: grantEntry(parts, c, message, q)}
        : wait.then(() => look(true));
    };
    return look(false);
  });
  on.on(OPS.getattr, (q, c): Answer<wire.AttrReply> | Promise<Answer<wire.AttrReply>> => {
    heard(c, env);
    const look = (asked: boolean): Answer<wire.AttrReply> | Promise<Answer<wire.AttrReply>> => {
      const covered = settledObject(parts, c, q.oid);
      if (covered !== null) return covered.then(() => look(asked));
      const message = machine.query(OPS.getattr, q);
      const wait = told(parts, message.attr, c, asked);
      return wait === null ? {message: grantAttr(parts, c, message)} : wait.then(() => look(true));
    };
    return look(false);
  });
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
    const look = (
      asked: boolean,
    ): Answer<wire.ReaddirReply> | Promise<Answer<wire.ReaddirReply>> => {
      const covered = settled(parts, c, q.oid);
      if (covered !== null) return covered.then(() => look(asked));
      const message = machine.query(OPS.readdir, q);
      const waits: Promise<void>[] = [];
      for (const entry of message.entries) {
        const {attr} = entry;
        if (attr === null) continue;
        // Who wants them asks; the list does not wait for them.
        if (isDirectoryAttr(attr) && delegated(parts, c, attr.oid)) entry.attr = null;
        if (asked || !isRegular(attr)) continue;
        const wait = parts.asks.fresh(attr.oid, c.session.id);
        if (wait !== null) waits.push(wait);
      }
      if (waits.length === 0) return {message: grantPage(parts, c, message, q.oid)};
      return Promise.all(waits).then(() => look(true));
    };
    return look(false);
  });
}

type Entered = Op<wire.CreateRequest, wire.EntryReply>;

function changeHandlers(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, machine} = parts;
  const entered = (op: Entered, groups: (q: wire.CreateRequest) => readonly number[]): void => {
    on.on(op, async (q, c, _payload, id) => {
      heard(c, env);
      const affects: Affects = (tx, a) => touchedName(tx, q.parent, q.name, a);
      return changing(parts, c, affects, async () => {
        const {reply, repeated} = await submit(parts, op, q, {c, id, groups: groups(q)});
        return {message: repeated ? reply : grantEntry(parts, c, reply, q)};
      });
    });
  };
  entered(OPS.mkdir, () => []);
  entered(OPS.symlink, () => []);
  entered(OPS.mknod, (q) => ((q.mode & S_IFMT) === S_IFREG ? parts.space.draw() : []));
  on.on(OPS.unlink, async (q, c, _payload, id) => {
    heard(c, env);
    const affects: Affects = (tx, a) => touchedName(tx, q.parent, q.name, a);
    return changing(parts, c, affects, async () => {
      const {reply, repeated} = await submit(parts, OPS.unlink, q, {c, id});
      if (repeated) return {message: reply};
      reply.directory = machine.read((tx) => (tx.exists(q.parent) ? tx.attr(q.parent) : null));
      reply.directoryLease = offer(parts, c, q.parent);
      // It saves the session a question and a recall.
      reply.unused = q.oid === reply.oid && reply.nlink === 0 && !parts.sessions.isOpen(reply.oid);
      if (reply.unused && q.idle) parts.leases.yield(c.session.id, reply.oid, NONE);
      return {message: reply};
    });
  });
  on.on(OPS.rename, async (q, c, _payload, id) => {
    heard(c, env);
    const affects: Affects = (tx, a) => {
      touchedName(tx, q.parent, q.name, a);
      touchedName(tx, q.newParent, q.newName, a);
    };
    return changing(parts, c, affects, async () => {
      const {reply, repeated} = await submit(parts, OPS.rename, q, {c, id});
      if (repeated) return {message: reply};
      const seen = (oid: number) => machine.read((tx) => (tx.exists(oid) ? tx.attr(oid) : null));
      return {
        message: {
          directory: seen(q.parent),
          directoryLease: offer(parts, c, q.parent),
          newDirectory: seen(q.newParent),
          newDirectoryLease: offer(parts, c, q.newParent),
          cookie: machine.read((tx) =>
            tx.exists(q.newParent) ? tx.cookie(q.newParent, q.newName) : 0,
          ),
        },
      };
    });
  });
  const ofObject = <Q extends {oid: number}, R>(op: Op<Q, R>): void => {
    on.on(op, async (q, c, _payload, id) => {
      heard(c, env);
      const affects: Affects = (tx, a) => touched(tx, q.oid, a);
      const run = () => submit(parts, op, q, {c, id});
      return {message: (await changing(parts, c, affects, run)).reply};
    });
  };
  ofObject(OPS.setxattr);
  ofObject(OPS.removexattr);
  ofObject(OPS.layoutSet);
  on.on(OPS.link, async (q, c, _payload, id) => {
    heard(c, env);
    const affects: Affects = (tx, a) => {
      touchedName(tx, q.parent, q.name, a);
      touched(tx, q.oid, a);
    };
    return changing(parts, c, affects, async () => {
      parts.asks.overtake(q.oid, c.session.id);
      const {reply, repeated} = await submit(parts, OPS.link, q, {c, id});
      return {message: repeated ? reply : grantEntry(parts, c, reply, q)};
    });
  });
  on.on(OPS.setattr, async (q, c, _payload, id) => {
    heard(c, env);
    // Size and mtime under somebody's write lease would be overwritten by his next flush: nobody else holds it here.
    const affects: Affects = (tx, a) => {
      if (!underLease(parts, q, c)) touched(tx, q.oid, a);
    };
    return changing(parts, c, affects, async () => {
      parts.asks.overtake(q.oid, c.session.id);
      const {reply, repeated} = await submit(parts, OPS.setattr, q, {c, id});
      return {message: repeated ? reply : grantAttr(parts, c, reply)};
    });
  });
  on.on(OPS.flush, async (request, c, segment, id) => {
    const payload = takeOut(env.pool, segment);
    heard(c, env);
    checkFlush(request, payload);
    const made = admit(parts, c, request.changes);
    lendMade(parts, c, made);
    for (const item of request.items) {
      parts.asks.overtake(item.oid, c.session.id);
      ownOnly(parts, item, c);
    }
    const {reply, repeated} = await submit(parts, OPS.flush, request, {c, id, payload});
    if (request.changes.length > 0) await settleMade(parts, c, made);
    if (request.durable) await parts.durable();
    return {message: repeated ? reply : {...reply, attrs: grantFlush(parts, c, request.items)}};
  });
  on.on(OPS.syncMeta, async (_request, c) => {
    heard(c, env);
    await parts.durable();
    return {message: {}};
  });
}

/**
 * A part of what is being done under the session's write lease, which goes only after it: were the lease of the directory recalled for it, from
 * somebody who has died, say, this one's own recall time would pass meanwhile. While somebody writes, nobody else has the attributes cached (see
 * OPS.lease), so there is nothing to recall.
 */
function underLease(
  {leases: {table}}: Parts,
  {oid, mask}: wire.SetattrRequest,
  {session}: ClientConnection,
): boolean {
  if (table.held(session.id, oid) !== WRITE) return false;
  const cut = (mask & SET.size) !== 0 && isWhole(table.ranges(session.id, oid));
  return cut || mask === SET.killSuidgid;
}

/**
 * Size, mtime and inline bytes belong to the write holder: what another one sends is from a lease that it has lost. Who was giving the
 * lease back when the meta server restarted counts as its holder until then, unless somebody holds it: then the yield had
 * been carried out, and if a power cut of this machine took it again, that holder knows better.
 */
export function ownOnly({leases}: Parts, item: wire.FlushItem, {session}: ClientConnection): void {
  const {table} = leases;
  if (table.held(session.id, item.oid) === WRITE) {
    if (isWhole(table.ranges(session.id, item.oid))) return;
    // Others may write elsewhere: nobody's size is the object's.
    item.grow = true;
    item.hasInline = false;
    return;
  }
  if (session.owed.has(item.oid) && (item.grow || table.writer(item.oid) === 0)) return;
  item.hasSize = false;
  item.hasMtime = false;
  item.hasInline = false;
}

/** ENOENT for objects that are gone. */
export function mustExist(parts: Parts, oid: number): wire.Attr {
  return parts.machine.read((tx) => {
    if (!tx.exists(oid)) throw new FsError('ENOENT', `object ${oid}`);
    return tx.attr(oid);
  });
}
