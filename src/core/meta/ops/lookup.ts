import {attrOf} from '../../namespace/inode.js';
import {validName} from '../../namespace/names.js';
import {entryReply} from '../../namespace/new-inode.js';
import type {EntryReply, LookupRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

/** Without `attr` when there is no such name: that, too, can be cached. ENOENT, ENOTDIR are the directory's. */
export function lookup(tx: Tx, q: LookupRequest): EntryReply {
  const name = validName(q.name);
  const directory = attrOf(tx.directory(q.parent));
  const found = tx.name(q.parent, name);
  if (found === null) {
    return {attr: null, directory, directoryLease: 0, lease: 0, cacheable: false, cookie: 0};
  }
  return {...entryReply(tx.inode(found.oid)), directory, cookie: found.cookie};
}
