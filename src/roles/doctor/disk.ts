import {formatSize, GIB, MIB} from '../../core/base/units.js';
import {type DiskFacts, error, type Finding, ok, warning} from './system.js';

/** Checks of a folder that a server stores in. */

const GOOD = new Set(['ext4', 'xfs']);
/** What does not outlive the machine, or is that of another one. */
const LOST: Readonly<Record<string, string>> = {
  tmpfs: 'memory, and gone after a reboot',
  ramfs: 'memory, and gone after a reboot',
  overlay: 'the layer of a container, and gone with it',
  nfs: 'on another machine',
  nfs4: 'on another machine',
  cifs: 'on another machine',
  '9p': 'on another machine',
};
const FREE_MIN = GIB;
/** Of a disk that is nearly full all servers of the group have no place. */
const FREE_SHARE = 0.1;
/** Nothing that is on a disk is faster; some that only say that they are: caches without a battery. */
const SYNC_MIN_MS = 0.05;
const SYNC_MAX_MS = 20;

const near = (bytes: number): string => formatSize(Math.floor(bytes / MIB) * MIB);

export function place({folder, there, writable}: DiskFacts, wanted: string): Finding {
  const check = 'disk.folder';
  if (writable)
    return ok(
      check,
      there ? `files can be made in ${folder}` : `${wanted} can be made in ${folder}`,
    );
  return error(
    check,
    there ? `this user may make no files in ${folder}` : `this user cannot make ${wanted}`,
    `install -d -o "$(id -un)" -m 700 ${wanted}, as root; in a service: ReadWritePaths=`,
  );
}

export function kind({folder, type, options}: DiskFacts): Finding {
  const check = 'disk.kind';
  const lost = LOST[type];
  const other = 'name a folder of a disk of its own with ext4 or XFS with --state';
  if (options.includes('ro'))
    return error(check, `${folder} is mounted for reading only`, `mount -o remount,rw ${folder}`);
  if (lost !== undefined) return error(check, `${folder} is ${type}: ${lost}`, other);
  if (type.startsWith('fuse')) return error(check, `${folder} is ${type}, behind a process`, other);
  if (options.includes('nobarrier') || options.includes('barrier=0'))
    return error(
      check,
      `${folder} is mounted without barriers: a power cut takes what was synced`,
      `mount -o remount,barrier ${folder}, and take nobarrier out of /etc/fstab`,
    );
  if (GOOD.has(type)) return ok(check, `${folder} is ${type}`);
  return warning(
    check,
    `${folder} is ${type || 'of a kind that is not known'}, which was not measured`,
    other,
  );
}

export function space({folder, totalBytes, freeBytes}: DiskFacts): Finding {
  const check = 'disk.space';
  const says = `${near(freeBytes)} of ${near(totalBytes)} are free in ${folder}`;
  const mend = `remove what is not needed: du -xh ${folder} | sort -h | tail`;
  if (freeBytes < FREE_MIN) return error(check, says, mend);
  if (freeBytes < totalBytes * FREE_SHARE) return warning(check, says, mend);
  return ok(check, says);
}

export function direct({folder, direct: can}: DiskFacts, wanted: boolean): Finding {
  const check = 'disk.direct';
  if (can === null) return ok(check, 'direct I/O was not tried');
  if (can) return ok(check, 'direct I/O is possible');
  const says = `direct I/O (O_DIRECT) is not possible in ${folder}`;
  const mend = 'leave --direct out, or name a folder on ext4 or XFS with --state';
  return wanted ? error(check, says, mend) : warning(check, says, mend);
}

/** Is what was synced on the disk, and how long does that take? */
export function sync({folder, syncMs, cache}: DiskFacts): Finding {
  const check = 'disk.sync';
  if (syncMs === null) return ok(check, 'fdatasync was not tried');
  const took = `fdatasync takes ${syncMs.toFixed(syncMs < 1 ? 3 : 1)} ms in ${folder}`;
  const with_ = cache === '' ? '' : `, the disk has a cache for writing: ${cache}`;
  if (syncMs < SYNC_MIN_MS)
    return warning(
      check,
      `${took}${with_}: it may not reach a disk, and a power cut would take what was synced`,
      'is it a virtual disk with cache=unsafe? a cache with a battery is as fast and fine',
    );
  if (syncMs > SYNC_MAX_MS)
    return warning(
      check,
      `${took}${with_}: each fsync of a program waits for it`,
      'put the folder on an SSD of its own; iostat -x 1 shows what else uses it',
    );
  return ok(check, `${took}${with_}`);
}

export const diskFindings = (
  facts: DiskFacts,
  wanted: string,
  directWanted: boolean,
): Finding[] => [
  place(facts, wanted),
  kind(facts),
  space(facts),
  direct(facts, directWanted),
  sync(facts),
];
