import {FsError} from '../base/errors.js';

const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 64 * 1024;
const LIST_BYTES_MAX = 64 * 1024;
const TRUSTED = 'trusted.';
const SELINUX = 'security.selinux';
const SYSTEM = 'system.';

/**
 * EOPNOTSUPP for what a mount has for no file at all (access control lists; SELinux's labels, unless they were asked for): programs
 * like ls take that as an answer for every other file, where ENODATA makes them ask for each.
 */
export function xattrSupported(name: Uint8Array, labels: boolean): void {
  const text = Buffer.from(name).toString('latin1');
  if (text.startsWith(SYSTEM) || (text === SELINUX && !labels)) throw new FsError('EOPNOTSUPP');
}

/** May this be set? */
export function xattrSettable(name: Uint8Array, valueBytes: number, labels: boolean): void {
  xattrSupported(name, labels);
  if (name.length > NAME_BYTES_MAX) throw new FsError('ERANGE');
  if (valueBytes > VALUE_BYTES_MAX) throw new FsError('E2BIG');
}

/** What listxattr(2) tells somebody. The kernel does not hide trusted.* of a FUSE file system from those who may not read it (FUSE.md 10.1). */
export function xattrList(names: readonly Uint8Array[], uid: number, labels: boolean): Buffer {
  const shown = names
    .map((name) => Buffer.from(name).toString('latin1'))
    .filter((name) => uid === 0 || !name.startsWith(TRUSTED))
    .filter((name) => name !== SELINUX || labels);
  const list = Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1');
  if (list.length > LIST_BYTES_MAX) throw new FsError('E2BIG');
  return list;
}
