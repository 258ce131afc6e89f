import {ERRNO} from '../../base/errno.js';
import {FsError} from '../../base/errors.js';
import {xattrList, xattrSettable, xattrSupported} from '../xattr-rules.js';
import {GETXATTR_IN, SETXATTR_IN} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import type {RequestId} from './replies.js';

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
    xattrSupported(name, door.labels);
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
    xattrSettable(name, size, door.labels);
    if (from + size > r.end) throw new FsError('EINVAL');
    const value = Buffer.from(r.bytes.subarray(from, from + size));
    await door.client.setxattr(nodeid, name, value, flags);
    door.replies.error(id, 0);
  },

  async LISTXATTR(door, r) {
    const {id, nodeid, caller} = r;
    const size = r.arg(GETXATTR_IN.size);
    const names = await door.client.listxattr(nodeid);
    const list = xattrList(names, caller.uid, door.labels);
    answer(door, id, size, list);
  },

  async REMOVEXATTR(door, r) {
    if (door.readOnly) throw new FsError('EROFS');
    const {id, nodeid} = r;
    const name = r.text(r.tail(0));
    xattrSupported(name, door.labels);
    await door.client.removexattr(nodeid, name);
    door.replies.error(id, 0);
  },
};
