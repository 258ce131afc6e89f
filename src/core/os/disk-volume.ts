import {errnoName} from '../base/errno.js';
import {FsError} from '../base/errors.js';
import {loadNative} from './native.js';

/** native/disk/addon.cpp. Both answer 0 or an errno. */
interface Addon {
  space(path: string, out: Float64Array): number;
  lockFile(fd: number): number;
}

export interface VolumeSpace {
  /** The unit in which the file system allots space. */
  blockBytes: number;
  totalBytes: number;
  /** Free for root. */
  freeBytes: number;
  /** Free for everybody else; what a server should count on. */
  availableBytes: number;
  /** Inodes; 0 where the file system has no limit. */
  files: number;
  filesFree: number;
}

/** statvfs of the file system that holds `path` (of the local disk: it blocks). FsError with the errno of the call. */
export function volumeSpace(path: string): VolumeSpace {
  const out = new Float64Array(6);
  const errno = loadNative<Addon>('disk').space(path, out);
  if (errno !== 0) throw new FsError(errnoName(errno), `statvfs of ${path}`);
  const [blockBytes, totalBytes, freeBytes, availableBytes, files, filesFree] = out as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {blockBytes, totalBytes, freeBytes, availableBytes, files, filesFree};
}

/**
 * Locks the open file for this descriptor alone (flock); the lock goes with the descriptor, also when the process
 * is killed. FsError EBUSY if another one holds it.
 */
export function lockFile(fd: number): void {
  const errno = loadNative<Addon>('disk').lockFile(fd);
  if (errno === 0) return;
  // EWOULDBLOCK is EAGAIN: the lock is somebody's.
  throw new FsError(errnoName(errno) === 'EAGAIN' ? 'EBUSY' : errnoName(errno), 'flock');
}
