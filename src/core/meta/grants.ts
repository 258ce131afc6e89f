import {type Mode, NONE, READ} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import type {ClientConnection, Parts} from './parts.js';
import {current} from './parts.js';
import type {ReadTx} from './tx.js';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

export const isDirectoryAttr = (attr: wire.Attr): boolean => (attr.mode & S_IFMT) === S_IFDIR;

/**
 * What a change makes others' caches wrong about, in the order in which it is locked: directories, ascending, then
 * what is none. The lease on a directory covers its attributes, its names, and the attributes of every file in it that has no
 * name elsewhere; a directory's own attributes are covered by its own lease only.
 */
export interface Affected {
  directories: number[];
  files: number[];
}

/** An object whose attributes change: with a file, the directory that holds its only name. */
export function touched(tx: ReadTx, oid: number, affected: Affected): void {
  if (!tx.exists(oid)) return;
  if (isDirectoryAttr(tx.attr(oid))) affected.directories.push(oid);
  else {
    affected.files.push(oid);
    const parent = tx.parentOf(oid);
    if (parent !== 0) affected.directories.push(parent);
  }
}

/** What is under a name, if anything. */
export function touchedName(tx: ReadTx, parent: number, name: Uint8Array, a: Affected): void {
  if (!tx.exists(parent)) return;
  const attr = tx.attr(parent);
  if (!isDirectoryAttr(attr)) return;
  a.directories.push(parent);
  const oid = tx.child(parent, name);
  if (oid !== null) touched(tx, oid, a);
}

/**
 * Runs a change while no other session holds a lease of anything that it affects. What a name stands for may change
 * while that is waited for; then it waits for the new one, too.
 */
export async function changing<T>(
  parts: Parts,
  c: ClientConnection,
  affects: (tx: ReadTx, affected: Affected) => void,
  run: () => Promise<T>,
): Promise<T> {
  const {leases, machine} = parts;
  const {id} = c.session;
  const tickets = new Map<number, number>();
  try {
    for (;;) {
      const affected: Affected = {directories: [], files: []};
      machine.read((tx) => affects(tx, affected));
      affected.directories.sort((a, b) => a - b);
      const missing = [...affected.directories, ...affected.files].filter((o) => !tickets.has(o));
      if (missing.length === 0) return await run();
      for (const oid of missing) {
        if (tickets.has(oid)) continue;
        const begun = leases.change(id, oid);
        tickets.set(oid, typeof begun === 'number' ? begun : await begun);
      }
    }
  } finally {
    for (const [oid, ticket] of tickets) leases.changed(oid, ticket);
  }
}

/** The lease for reading of a directory, if it is free; what the session holds then. Nothing may wait until the reply. */
export function offer(parts: Parts, c: ClientConnection, oid: number): Mode {
  if (!current(c)) return NONE;
  const {leases} = parts;
  const {id, unleased} = c.session;
  return unleased ? leases.table.lasting(id, oid) : leases.offerDirectory(id, oid);
}

/** May this session cache these attributes under the lease that it holds on `directory`? */
export function cacheable(
  parts: Parts,
  c: ClientConnection,
  tx: ReadTx,
  {attr, directory}: {attr: wire.Attr; directory: number},
): boolean {
  if (attr.nlink === 0 || isDirectoryAttr(attr)) return false;
  if (directory === 0 || tx.parentOf(attr.oid) !== directory) return false;
  const {table} = parts.leases;
  if (table.lasting(c.session.id, directory) < READ) return false;
  return table.otherWriters(attr.oid, c.session.id).length === 0;
}

/** Fills in what may be cached of an entry; the last step before its reply. */
export function grantEntry(
  parts: Parts,
  c: ClientConnection,
  reply: wire.EntryReply,
  {parent, name}: {parent: number; name: Uint8Array},
): wire.EntryReply {
  parts.machine.read((tx) => {
    if (!tx.exists(parent)) return;
    reply.directory = tx.attr(parent);
    reply.cookie = tx.cookie(parent, name);
    reply.directoryLease = offer(parts, c, parent);
    const {attr} = reply;
    if (attr === null) return;
    if (isDirectoryAttr(attr)) reply.lease = offer(parts, c, attr.oid);
    else reply.cacheable = cacheable(parts, c, tx, {attr, directory: parent});
  });
  return reply;
}

export function grantAttr(
  parts: Parts,
  c: ClientConnection,
  reply: wire.AttrReply,
): wire.AttrReply {
  const {attr} = reply;
  if (isDirectoryAttr(attr)) reply.lease = offer(parts, c, attr.oid);
  else {
    reply.under = parts.machine.read((tx) => {
      const directory = tx.parentOf(attr.oid);
      return cacheable(parts, c, tx, {attr, directory}) ? directory : 0;
    });
  }
  return reply;
}

/** After a flush: what the holders of write leases told is part of what they see from now on. */
export function grantFlush(
  parts: Parts,
  c: ClientConnection,
  items: readonly wire.FlushItem[],
): wire.AttrReply[] {
  return parts.machine.read((tx) =>
    items
      .filter(({oid}) => tx.exists(oid))
      .map(({oid}) => {
        const attr = tx.attr(oid);
        const directory = tx.parentOf(oid);
        const under = cacheable(parts, c, tx, {attr, directory}) ? directory : 0;
        return {attr, lease: NONE, under};
      }),
  );
}

export function grantPage(
  parts: Parts,
  c: ClientConnection,
  page: wire.ReaddirReply,
  oid: number,
): wire.ReaddirReply {
  page.directoryLease = offer(parts, c, oid);
  if (page.directoryLease < READ) return page;
  parts.machine.read((tx) => {
    for (const entry of page.entries) {
      const {attr} = entry;
      if (attr === null) continue;
      if (isDirectoryAttr(attr)) entry.lease = offer(parts, c, attr.oid);
      else entry.cacheable = cacheable(parts, c, tx, {attr, directory: oid});
    }
  });
  return page;
}
