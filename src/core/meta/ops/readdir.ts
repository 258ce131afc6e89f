import {attrOf} from '../../namespace/inode.js';
import type {ReaddirReply, ReaddirRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

/** 255 bytes of name and about 70 of attributes each: a reply stays below 512 KiB. */
export const READDIR_ENTRIES_MAX = 1024;

/** Names after `cookie`, without `.` and `..`. See keys.ts for what a cookie promises. */
export function readdir(tx: Tx, q: ReaddirRequest): ReaddirReply {
  const directory = tx.directory(q.oid);
  const limit = Math.min(Math.max(q.maxEntries, 1), READDIR_ENTRIES_MAX);
  const found = tx.entries(q.oid, q.cookie, limit + 1);
  const entries = found.slice(0, limit).map(({name, oid, type, cookie}) => ({
    name,
    oid,
    type,
    cookie,
    attr: q.attributes ? attrOf(tx.inode(oid)) : null,
    lease: 0,
    cacheable: false,
  }));
  const {parent} = directory.directory!;
  const end = found.length <= limit;
  return {entries, end, parent, directory: attrOf(directory), directoryLease: 0};
}
