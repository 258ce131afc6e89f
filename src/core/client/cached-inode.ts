import type {DirectoryPart, Inode} from '../namespace/inode.js';
import type {Attr} from '../protocol/gen/wire.js';

/** Cached attributes as an operation sees them; what only the meta server needs is left out. */
export function inodeOf(attr: Attr, parent: number, directory: DirectoryPart | null): Inode {
  const {xattrs, ...rest} = attr;
  const xattrNameBytes = xattrs && (directory?.layoutSet ?? 0) === 0 ? 1 : 0;
  return {
    ...rest,
    atime: attr.atime!,
    mtime: attr.mtime!,
    ctime: attr.ctime!,
    xattrNameBytes,
    parent,
    directory,
    layout: null,
    generations: 0,
    next: null,
    inlineBytes: 0,
  };
}
