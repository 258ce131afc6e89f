import {FsError} from '../../base/errors.js';
import type {EntryReply, LookupRequest} from '../../protocol/gen/wire.js';
import {attrOf} from '../records.js';
import type {Tx} from '../tx.js';
import {validName} from './names.js';

export function lookup(tx: Tx, q: LookupRequest): EntryReply {
  const name = validName(q.name);
  tx.directory(q.parent);
  const found = tx.name(q.parent, name);
  if (found === null) throw new FsError('ENOENT', name);
  return {attr: attrOf(tx.inode(found.oid))};
}
