import {FsError} from '../../base/errors.js';
import type {Inode} from '../../namespace/inode.js';
import type {Given} from '../../namespace/tx.js';
import type {Empty, XattrRequest} from '../../protocol/gen/wire.js';
import {xattrKey} from '../keys.js';
import {LAYOUT_SET} from '../records.js';
import type {Tx} from '../tx.js';
import {checkDirectoryLayout, type LayoutWord, layoutWord} from './layout-attributes.js';
import {validXattrName} from './xattr-names.js';

export function removexattr(tx: Tx, q: XattrRequest, given: Given): Empty {
  const name = validXattrName(q.name);
  const inode = tx.inode(q.oid);
  const word = layoutWord(name);
  if (word !== null) return unsetLayoutAttribute(tx, inode, word, given);
  if (inode.xattrNameBytes === 0 || tx.xattr(q.oid, name) === null) {
    throw new FsError('ENODATA', name);
  }
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  inode.xattrNameBytes -= name.length + 1;
  inode.ctime = given.now;
  tx.del(xattrKey(q.oid, name));
  return {};
}

/** Back to the cluster's default. EINVAL if that does not go with the attributes that stay. */
function unsetLayoutAttribute(tx: Tx, inode: Inode, word: LayoutWord, given: Given): Empty {
  const part = inode.directory;
  if (part === null) throw new FsError('ENOTDIR', 'the layout of a file is fixed at its creation');
  if ((part.layoutSet & LAYOUT_SET[word]) === 0) throw new FsError('ENODATA');
  const {rootLayout, groupSize} = tx.superblock;
  const layout = {...part.layout};
  if (word === 'scheme') Object.assign(layout, {k: rootLayout.k, m: rootLayout.m});
  else if (word === 'groups') layout.groupCount = rootLayout.groupCount;
  else if (word === 'unit') layout.unitBytes = rootLayout.unitBytes;
  else layout.chunkBytes = rootLayout.chunkBytes;
  checkDirectoryLayout(layout, groupSize);
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  inode.ctime = given.now;
  part.layout = layout;
  part.layoutSet &= ~LAYOUT_SET[word];
  return {};
}
