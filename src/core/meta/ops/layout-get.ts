import {FsError} from '../../base/errors.js';
import type {LayoutReply, OidRequest} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';

/** Of a file: its layout. Of a directory: what new files in it get; no groups are chosen yet. ENODATA: neither. */
export function layoutGet(tx: Tx, q: OidRequest): LayoutReply {
  const inode = tx.inode(q.oid);
  if (inode.directory !== null) {
    const {groupCount, ...striping} = inode.directory.layout;
    return {layout: {...striping, groups: [], generation: 0}, groupCount};
  }
  if (inode.layout === null) throw new FsError('ENODATA', 'neither a file nor a directory');
  const groups = [...inode.layout.groups];
  return {layout: {...inode.layout, groups}, groupCount: groups.length};
}
