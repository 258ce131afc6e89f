import {FsError} from '../../base/errors.js';
import type {SetAttributes} from '../../client/api.js';
import {FATTR, SETATTR_IN} from './abi.js';
import type {HandlerTable} from './door.js';
import {quiet} from './names.js';
import type {RequestCursor} from './request.js';
import {getSigned64} from './structs.js';

const STATFS_BLOCK = 4096;
const NAME_MAX = 255;

function time(r: RequestCursor, seconds: number, nanoseconds: number) {
  return {sec: getSigned64(r.u32, r.argAt(seconds)), nsec: r.arg(nanoseconds)};
}

function wanted(r: RequestCursor): SetAttributes {
  const valid = r.arg(SETATTR_IN.valid);
  const set: SetAttributes = {};
  if (valid & FATTR.MODE) set.mode = r.arg(SETATTR_IN.mode) & 0o7777;
  if (valid & FATTR.UID) set.uid = r.arg(SETATTR_IN.uid);
  if (valid & FATTR.GID) set.gid = r.arg(SETATTR_IN.gid);
  if (valid & FATTR.SIZE) set.size = r.arg64(SETATTR_IN.size);
  if (valid & FATTR.ATIME_NOW) set.atime = 'now';
  else if (valid & FATTR.ATIME) set.atime = time(r, SETATTR_IN.atime, SETATTR_IN.atimensec);
  if (valid & FATTR.MTIME_NOW) set.mtime = 'now';
  else if (valid & FATTR.MTIME) set.mtime = time(r, SETATTR_IN.mtime, SETATTR_IN.mtimensec);
  if (valid & FATTR.CTIME) set.ctime = time(r, SETATTR_IN.ctime, SETATTR_IN.ctimensec);
  if (valid & FATTR.KILL_SUIDGID) set.killSuidgid = true;
  return set;
}

/** Requests about an inode's attributes, and the file system's. */
export const attributeHandlers: HandlerTable = {
  async GETATTR(door, r) {
    const {id, nodeid, pid, arrived} = r;
    const begun = door.kernel.races.moment;
    const attr = await quiet(door, () => door.client.getattr(nodeid));
    const {ms, under} = door.client.attrValid(nodeid);
    door.sizes.told(attr, {pid, arrived, kept: ms > 0});
    const keep = {ms: ms || door.looseMs, unborn: false, pid, begun};
    door.replies.attr(id, attr, door.kernel.keepAttributes(attr, under, keep));
  },

  async SETATTR(door, r) {
    if (door.readOnly) throw new FsError('EROFS');
    const {id, nodeid, pid, arrived} = r;
    const set = wanted(r);
    const answered = set.size === undefined ? null : door.sizes.cutting(nodeid, pid);
    let size: number | undefined;
    try {
      const attr = await door.client.setattr(nodeid, set);
      door.sizes.told(attr, {pid, arrived, kept: false});
      door.replies.attr(id, attr);
      ({size} = attr);
    } finally {
      answered?.(size);
    }
  },

  async STATFS(door, r) {
    const {id} = r;
    const {totalBytes, freeBytes, files, filesFree} = await door.client.statfs();
    const free = Math.floor(freeBytes / STATFS_BLOCK);
    door.replies.statfs(id, {
      blocks: Math.floor(totalBytes / STATFS_BLOCK),
      free,
      available: free,
      files: files + filesFree,
      filesFree,
      bsize: STATFS_BLOCK,
      namelen: NAME_MAX,
    });
  },

  // Asked only without default_permissions, or by access(2) on some kernels: the kernel has checked.
  ACCESS(door, r) {
    door.replies.error(r.id, 0);
  },
};
