import {ERRNO} from '../../base/errno.js';
import {FsError} from '../../base/errors.js';
import {GETXATTR_IN, SETXATTR_IN} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import type {RequestId} from './replies.js';

const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 64 * 1024;
const LIST_BYTES_MAX = 64 * 1024;
const TRUSTED = 'trusted.';
const SELINUX = 'security.selinux';
const SYSTEM = 'system.';

/**
 * EOPNOTSUPP for what this mount has for no file at all (access control lists; SELinux's labels, unless they were asked for): programs
 * like ls take that as an answer for every other file, where ENODATA makes them ask for each.
 */
function supported(door: DoorContext, name: Uint8Array): void {
  const text = Buffer.from(name).toString('latin1');
  if (text.startsWith(SYSTEM) || (text === SELINUX && !door.labels))
    throw new FsError('EOPNOTSUPP');
}

/** getxattr(2) and listxattr(2): size 0 asks how much there is; too small a buffer is ERANGE. */
function answer(door: DoorContext, id: RequestId, size: number, value: Uint8Array): void {
  if (size === 0) door.replies.size(id, value.length);
  else if (value.length > size) door.replies.error(id, ERRNO.ERANGE);
  else if (value.length === 0) door.replies.error(id, 0);
  else door.replies.bytes(id, value);
}

/** Extended attributes (C47). */
export const xattrHandlers: HandlerTable = {
  async GETXATTR(door, r) {
    const {id, nodeid} = r;
    const size = r.arg(GETXATTR_IN.size);
    const name = r.text(r.tail(GETXATTR_IN.words));
    supported(door, name);
    answer(door, id, size, await door.client.getxattr(nodeid, name));
  },

  async SETXATTR(door, r) {
    if (door.readOnly) throw new FsError('EROFS');
    const {id, nodeid} = r;
    const size = r.arg(SETXATTR_IN.size);
    const flags = r.arg(SETXATTR_IN.flags);
    const tail = r.tail(SETXATTR_IN.wordsShort);
    const name = r.text(tail);
    const from = tail + name.length + 1;
    supported(door, name);
    if (name.length > NAME_BYTES_MAX) throw new FsError('ERANGE');
    if (size > VALUE_BYTES_MAX) throw new FsError('E2BIG');
    if (from + size > r.end) throw new FsError('EINVAL');
    const value = Buffer.from(r.bytes.subarray(from, from + size));
    await door.client.setxattr(nodeid, name, value, flags);
    door.replies.error(id, 0);
  },

  async LISTXATTR(door, r) {
    const {id, nodeid, caller} = r;
    const size = r.arg(GETXATTR_IN.size);
    const names = await door.client.listxattr(nodeid);
    // The kernel does not hide trusted.* of a FUSE file system from those who may not read it (FUSE.md 10.1).
    const shown = names
      .map((name) => Buffer.from(name).toString('latin1'))
      .filter((name) => caller.uid === 0 || !name.startsWith(TRUSTED))
      .filter((name) => name !== SELINUX || door.labels);
    const list = Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1');
    if (list.length > LIST_BYTES_MAX) throw new FsError('E2BIG');
    answer(door, id, size, list);
  },

  async REMOVEXATTR(door, r) {
    if (door.readOnly) throw new FsError('EROFS');
    const {id, nodeid} = r;
    const name = r.text(r.tail(0));
    supported(door, name);
    await door.client.removexattr(nodeid, name);
    door.replies.error(id, 0);
  },
};
