import {FsError} from '../base/errors.js';
import {READ, WRITE} from '../lease/lease-object.js';
import type * as wire from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {Handlers} from '../transport/handlers.js';
import {delegated} from './delegation.js';
import {grantPage, isDirectoryAttr} from './grants.js';
import {READDIR_ENTRIES_MAX} from './ops/readdir.js';
import {type ClientConnection, current, heard, type Parts} from './parts.js';
import {partToWire} from './session-handlers.js';

const DIRECTORIES_MAX = 256;
/** S_IFMT >> 12. */
const DIRECTORY = 4;
const REGULAR = 8;
/** Of all listings of one reply: what READDIR_ENTRIES_MAX says of one. */
const ENTRIES_MAX = READDIR_ENTRIES_MAX;
/** A directory with more is left to whoever wants it. */
const ENTRIES_EACH_MAX = 256;
/** Names that are looked at for one reply, those of listings that are not sent among them. */
const LOOKED_MAX = 2 * ENTRIES_MAX;

/** Listings that a client is likely to want next. Nothing is waited for but, for writing, stable storage. */
export function readdirManyHandler(on: Handlers<ClientConnection>, parts: Parts): void {
  const {env, machine, leases} = parts;
  on.on(OPS.readdirMany, async ({oids, max, write}, c) => {
    heard(c, env);
    if (oids.length > DIRECTORIES_MAX || max > DIRECTORIES_MAX)
      throw new FsError('EINVAL', `${oids.length} directories`);
    const listings: wire.DirectoryListing[] = [];
    if (leases.table.grace) return {message: {listings}};
    const found = walk(parts, c, oids, max);
    if (write) {
      for (const oid of found.keys())
        if (current(c) && !leases.cool(oid)) leases.offer(c.session.id, oid, WRITE);
      // As with one: what is done on top of what is told must not outlive it.
      await machine.sync();
    }
    for (const [oid, before] of found) {
      const page = write ? listing(parts, c, oid) : before;
      if (typeof page === 'number' || !grant(parts, c, oid, page)) continue;
      const mine = write && leases.table.lasting(c.session.id, oid) === WRITE;
      const part = mine ? partToWire(machine.read((tx) => tx.part(oid))) : null;
      listings.push({oid, page, part});
    }
    return {message: {listings}};
  });
}

/** Depth first, as far as listings are short. */
function walk(
  parts: Parts,
  c: ClientConnection,
  oids: readonly number[],
  max: number,
): Map<number, wire.ReaddirReply> {
  const found = new Map<number, wire.ReaddirReply>();
  const left = [...oids].reverse();
  let entries = 0;
  let looked = 0;
  for (let oid = left.pop(); oid !== undefined && found.size < max; oid = left.pop()) {
    if (found.has(oid)) continue;
    const page = listing(parts, c, oid);
    looked += 1 + (typeof page === 'number' ? page : page.entries.length);
    if (looked > LOOKED_MAX) break;
    if (typeof page === 'number') continue;
    entries += page.entries.length + 1;
    if (entries > ENTRIES_MAX) break;
    found.set(oid, page);
    for (const {oid: child, type} of [...page.entries].reverse())
      if (type === DIRECTORY) left.push(child);
  }
  return found;
}

/** A number: it or what is in it is in somebody else's hands; it is gone, or long. So many names were looked at to find that out. */
function listing(parts: Parts, c: ClientConnection, oid: number): wire.ReaddirReply | number {
  const {machine} = parts;
  if (!current(c) || delegated(parts, c, oid)) return 0;
  if (!machine.read((tx) => tx.exists(oid) && isDirectoryAttr(tx.attr(oid)))) return 0;
  const page = machine.readShort(oid, ENTRIES_EACH_MAX);
  if (typeof page === 'number') return page;
  const {table} = parts.leases;
  // Whoever lists it has its files' writers asked, all at once.
  const written = page.entries.some(
    ({oid: file, type}) => type === REGULAR && table.otherWriters(file, c.session.id).length > 0,
  );
  return written ? page.entries.length : page;
}

/** Fills in what may be kept. False: nothing. */
function grant(parts: Parts, c: ClientConnection, oid: number, page: wire.ReaddirReply): boolean {
  for (const entry of page.entries) {
    // Others know their attributes better.
    if (entry.type === DIRECTORY && delegated(parts, c, entry.oid)) entry.attr = null;
  }
  return grantPage(parts, c, page, oid).directoryLease >= READ;
}
