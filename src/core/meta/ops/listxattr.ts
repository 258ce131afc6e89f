import {bytesOf} from '../../base/latin1.js';
import type {OidRequest, XattrListReply} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';
import {layoutNames} from './layout-attributes.js';

export function listxattr(tx: Tx, q: OidRequest): XattrListReply {
  const inode = tx.inode(q.oid);
  const stored = inode.xattrNameBytes === 0 ? [] : tx.xattrNames(q.oid);
  return {names: [...layoutNames(inode), ...stored].map(bytesOf)};
}
