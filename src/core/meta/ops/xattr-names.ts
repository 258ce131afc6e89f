import {FsError} from '../../base/errors.js';
import {latin1} from '../../base/latin1.js';

export const XATTR = {create: 1, replace: 2} as const;
export const XATTR_NAME_BYTES_MAX = 255;
export const XATTR_VALUE_BYTES_MAX = 65_536;
/** Of one object together, as listxattr(2) returns them. */
export const XATTR_LIST_BYTES_MAX = 65_536;

/**
 * The name of an extended attribute. ERANGE, EINVAL: what it is made of. EOPNOTSUPP: a namespace that is not
 * kept; of `system.` none is (POSIX ACLs do not exist). Who may see `trusted.` and `security.` is the kernel's business.
 */
export function validXattrName(bytes: Uint8Array): string {
  if (bytes.length === 0 || bytes.length > XATTR_NAME_BYTES_MAX)
    throw new FsError('ERANGE', 'name');
  const name = latin1(bytes);
  if (name.includes('\0')) throw new FsError('EINVAL', 'NUL in name');
  const space = ['user.', 'trusted.', 'security.'].find((prefix) => name.startsWith(prefix));
  if (space === undefined) throw new FsError('EOPNOTSUPP', name);
  if (name.length === space.length) throw new FsError('EINVAL', name);
  return name;
}

/** XATTR_CREATE and XATTR_REPLACE of setxattr(2). */
export function checkXattrFlags(flags: number, there: boolean): void {
  if (flags > 3) throw new FsError('EINVAL', 'flags');
  if ((flags & XATTR.create) !== 0 && there) throw new FsError('EEXIST');
  if ((flags & XATTR.replace) !== 0 && !there) throw new FsError('ENODATA');
}
