import {FsError} from '../base/errors.js';
import {latin1} from '../base/latin1.js';

export const NAME_BYTES_MAX = 255;

/** A name as keys have it. EINVAL: none, a dot name, or with `/` or NUL; ENAMETOOLONG. */
export function validName(bytes: Uint8Array): string {
  if (bytes.length > NAME_BYTES_MAX) throw new FsError('ENAMETOOLONG');
  const name = latin1(bytes);
  if (name === '' || name === '.' || name === '..') throw new FsError('EINVAL', `name '${name}'`);
  if (name.includes('/') || name.includes('\0')) throw new FsError('EINVAL', 'name with / or NUL');
  return name;
}
