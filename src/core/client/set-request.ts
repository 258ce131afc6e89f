import type {SetattrRequest, Time} from '../protocol/gen/wire.js';
import {SET} from '../protocol/ops.js';
import type {SetAttributes} from './api.js';

/** What a request says that sets nothing. */
export const NO_ATTRIBUTES = {
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  atime: null,
  mtime: null,
  ctime: null,
  mask: 0,
};

/** What is to be set, as the meta server is told; without the size's bytes (`Files.truncate`). */
export function setRequest(oid: number, set: SetAttributes): Partial<SetattrRequest> {
  const request: Partial<SetattrRequest> = {oid};
  let mask = 0;
  if (set.mode !== undefined) {
    mask |= SET.mode;
    request.mode = set.mode;
  }
  if (set.uid !== undefined) {
    mask |= SET.uid;
    request.uid = set.uid;
  }
  if (set.gid !== undefined) {
    mask |= SET.gid;
    request.gid = set.gid;
  }
  const time = (value: Time | 'now', given: number, now: number): Time | null => {
    mask |= value === 'now' ? now : given;
    return value === 'now' ? null : value;
  };
  if (set.atime !== undefined) request.atime = time(set.atime, SET.atime, SET.atimeNow);
  if (set.mtime !== undefined) request.mtime = time(set.mtime, SET.mtime, SET.mtimeNow);
  if (set.ctime !== undefined) {
    mask |= SET.ctime;
    request.ctime = set.ctime;
  }
  if (set.killSuidgid === true) mask |= SET.killSuidgid;
  request.mask = mask;
  return request;
}
