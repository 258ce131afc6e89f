import {FsError} from '../../base/errors.js';
import {latin1} from '../../base/latin1.js';
import type {Inode} from '../../namespace/inode.js';
import type {Given} from '../../namespace/tx.js';
import type {Empty, XattrRequest} from '../../protocol/gen/wire.js';
import {xattrKey} from '../keys.js';
import {LAYOUT_SET} from '../records.js';
import type {Tx} from '../tx.js';
import {type LayoutWord, layoutWord, withAttribute} from './layout-attributes.js';
import {
  checkXattrFlags,
  validXattrName,
  XATTR_LIST_BYTES_MAX,
  XATTR_VALUE_BYTES_MAX,
} from './xattr-names.js';

/** E2BIG: value; ENOSPC: too many names; EEXIST, ENODATA by flags; EINVAL: a layout attribute that cannot be. */
export function setxattr(tx: Tx, q: XattrRequest, given: Given): Empty {
  const name = validXattrName(q.name);
  if (q.value.length > XATTR_VALUE_BYTES_MAX) throw new FsError('E2BIG', name);
  const inode = tx.inode(q.oid);
  const word = layoutWord(name);
  if (word !== null) return setLayoutAttribute(tx, inode, word, q, given);
  const there = inode.xattrNameBytes > 0 && tx.xattr(q.oid, name) !== null;
  checkXattrFlags(q.flags, there);
  const names = inode.xattrNameBytes + (there ? 0 : name.length + 1);
  if (names > XATTR_LIST_BYTES_MAX) throw new FsError('ENOSPC', 'too many attributes');
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  inode.xattrNameBytes = names;
  inode.ctime = given.now;
  tx.put(xattrKey(q.oid, name), new Uint8Array(q.value));
  return {};
}

function setLayoutAttribute(
  tx: Tx,
  inode: Inode,
  word: LayoutWord,
  q: XattrRequest,
  given: Given,
): Empty {
  const part = inode.directory;
  if (part === null) throw new FsError('ENOTDIR', 'the layout of a file is fixed at its creation');
  checkXattrFlags(q.flags, (part.layoutSet & LAYOUT_SET[word]) !== 0);
  const layout = withAttribute(part.layout, word, latin1(q.value), tx.superblock.groupSize);
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  inode.ctime = given.now;
  part.layout = layout;
  part.layoutSet |= LAYOUT_SET[word];
  return {};
}
