import {FsError} from '../../base/errors.js';
import {bytesOf} from '../../base/latin1.js';
import type {XattrReply, XattrRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';
import {layoutValue, layoutWord} from './layout-attributes.js';
import {validXattrName} from './xattr-names.js';

/** ENODATA when there is none. Layout attributes answer also where they were not set. */
export function getxattr(tx: Tx, q: XattrRequest): XattrReply {
  const name = validXattrName(q.name);
  const inode = tx.inode(q.oid);
  const word = layoutWord(name);
  if (word !== null) return {value: bytesOf(layoutValue(inode, word))};
  const value = inode.xattrNameBytes === 0 ? null : tx.xattr(q.oid, name);
  if (value === null) throw new FsError('ENODATA', name);
  return {value};
}
