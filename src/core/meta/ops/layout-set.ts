import {FsError} from '../../base/errors.js';
import type {Given} from '../../namespace/tx.js';
import type {Empty, LayoutSetRequest} from '../../protocol/gen/wire.js';
import {LAYOUT_SET} from '../records.js';
import type {Tx} from '../tx.js';
import {checkDirectoryLayout} from './layout-attributes.js';

/** Several layout attributes of a directory at once; a scheme is given when `k` is. EINVAL with the reason. */
export function layoutSet(tx: Tx, q: LayoutSetRequest, given: Given): Empty {
  const inode = tx.inode(q.oid);
  const part = inode.directory;
  if (part === null) throw new FsError('ENOTDIR', 'the layout of a file is fixed at its creation');
  const layout = {
    k: q.k > 0 ? q.k : part.layout.k,
    m: q.k > 0 ? q.m : part.layout.m,
    unitBytes: q.unitBytes > 0 ? q.unitBytes : part.layout.unitBytes,
    chunkBytes: q.chunkBytes > 0 ? q.chunkBytes : part.layout.chunkBytes,
    groupCount: q.groupCount > 0 ? q.groupCount : part.layout.groupCount,
  };
  checkDirectoryLayout(layout, tx.superblock.groupSize);
  // Everything above reads. Everything below writes and cannot fail.
  tx.modify(inode);
  inode.ctime = given.now;
  part.layout = layout;
  if (q.k > 0) part.layoutSet |= LAYOUT_SET.scheme;
  if (q.unitBytes > 0) part.layoutSet |= LAYOUT_SET.unit;
  if (q.chunkBytes > 0) part.layoutSet |= LAYOUT_SET.chunk;
  if (q.groupCount > 0) part.layoutSet |= LAYOUT_SET.groups;
  return {};
}
