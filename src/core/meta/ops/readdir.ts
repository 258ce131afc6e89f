import {attrOf, type Inode} from '../../namespace/inode.js';
import type {ReaddirReply, ReaddirRequest} from '../../protocol/gen/wire.js';
import type {Entry, Tx} from '../tx.js';

/** 255 bytes of name and about 70 of attributes each: a reply stays below 512 KiB. */
export const READDIR_ENTRIES_MAX = 1024;

/** Names after `cookie`, without `.` and `..`. See keys.ts for what a cookie promises. */
export function readdir(tx: Tx, q: ReaddirRequest): ReaddirReply {
  const limit = Math.min(Math.max(q.maxEntries, 1), READDIR_ENTRIES_MAX);
  const directory = tx.directory(q.oid);
  const found = tx.entries(q.oid, q.cookie, limit + 1);
  const end = found.length <= limit;
  return pageOf(tx, directory, end ? found : found.slice(0, limit), end, q.attributes);
}

/** All of a directory, with attributes, or how many names were looked at before it was found to have more than `max`. */
export function readShort(tx: Tx, oid: number, max: number): ReaddirReply | number {
  const directory = tx.directory(oid);
  const found = tx.entries(oid, 0, max + 1);
  return found.length > max ? found.length : pageOf(tx, directory, found, true, true);
}

function pageOf(
  tx: Tx,
  directory: Inode,
  found: readonly Entry[],
  end: boolean,
  attributes: boolean,
): ReaddirReply {
  const entries = found.map(({name, oid, type, cookie}) => ({
    name,
    oid,
    type,
    cookie,
    attr: attributes ? attrOf(tx.inode(oid)) : null,
    lease: 0,
    cacheable: false,
  }));
  const {parent} = directory.directory!;
  return {entries, end, parent, directory: attrOf(directory), directoryLease: 0};
}
