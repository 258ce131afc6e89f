import {formatSize, GIB, KIB, MIB} from '../../core/base/units.js';
import {channelRefusal, portableRefusal} from '../mount/engine.js';
import {type DoctorRole, type DoctorSystem, error, type Finding, ok, warning} from './system.js';

/** Checks of the machine itself. Each is a function of what the system says. */

const FILES_MIN = 65_536;
const LOCKED_MIN = 8 * MIB;
/** What a role may need at most with its usual settings. */
const MEMORY: Readonly<Record<DoctorRole, number>> = {
  meta: GIB,
  data: 512 * MIB,
  mount: 768 * MIB,
};

/** [major, minor] of `6.1.0-18-amd64`. */
function version(release: string): [number, number] {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return [major, minor];
}

const olderThan = (release: string, major: number, minor: number): boolean => {
  const [own, below] = version(release);
  return own < major || (own === major && below < minor);
};

/** By which engine can it mount? */
export function mountEngine(system: DoctorSystem): Finding {
  const check = 'mount.engine';
  const channel = channelRefusal(system);
  if (channel === null)
    return ok(check, `the kernel ${system.release} can be mounted on by the own channel`);
  const portable = portableRefusal(system);
  if (portable === null)
    return warning(
      check,
      `only the engine fuse-native can mount here: ${channel}`,
      'docs/mount.md says what it cannot do',
    );
  return error(
    check,
    `nothing can mount here: ${channel}; fuse-native neither: ${portable}`,
    channel,
  );
}

export function fuseDevice(system: DoctorSystem): Finding {
  const check = 'mount.device';
  const known = /^(nodev\t|\t)fuse$/m.test(system.text('/proc/filesystems') ?? '');
  if (system.opens('/dev/fuse')) return ok(check, '/dev/fuse can be opened');
  if (!known) return error(check, 'the kernel has no FUSE', 'modprobe fuse');
  return error(
    check,
    '/dev/fuse is missing, or may not be opened',
    'chmod 666 /dev/fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN',
  );
}

/** Without root others may use a mount only if the administrator has said so. */
export function allowOther(system: DoctorSystem): Finding {
  const check = 'mount.allow-other';
  if (system.root) return ok(check, 'root mounts for all users');
  if (/^\s*user_allow_other\s*$/m.test(system.text('/etc/fuse.conf') ?? ''))
    return ok(check, '-o allow_other is allowed in /etc/fuse.conf');
  return warning(
    check,
    'only the user who mounts can use the mount: /etc/fuse.conf has no user_allow_other',
    'echo user_allow_other >>/etc/fuse.conf',
  );
}

/** A row of /proc/self/limits: [soft, hard]. */
function limit(system: DoctorSystem, row: string): [number, number] | null {
  const line = (system.text('/proc/self/limits') ?? '').split('\n').find((l) => l.startsWith(row));
  const words = line?.slice(row.length).trim().split(/\s+/);
  if (words === undefined || words.length < 2) return null;
  const of = (word: string) => (word === 'unlimited' ? Infinity : Number(word));
  return [of(words[0]!), of(words[1]!)];
}

export function openFiles(system: DoctorSystem): Finding {
  const check = 'limits.nofile';
  const found = limit(system, 'Max open files');
  if (found === null) return ok(check, 'the limit of open files is not known');
  // Node raises its own to the hard one.
  if (found[1] >= FILES_MIN) return ok(check, `${found[1]} files may be open`);
  return warning(
    check,
    `only ${found[1]} files may be open; servers with many connections and columns want ${FILES_MIN}`,
    `LimitNOFILE=${FILES_MIN} in the unit, or: ulimit -Hn ${FILES_MIN}`,
  );
}

/** Newer kernels count what io_uring pins among the memory of a group. */
export function lockedMemory(system: DoctorSystem): Finding {
  const check = 'limits.memlock';
  const found = limit(system, 'Max locked memory');
  const enough = found === null || found[0] >= LOCKED_MIN || system.root;
  if (enough || !olderThan(system.release, 5, 12))
    return ok(check, 'the limit of locked memory is no obstacle');
  return warning(
    check,
    `only ${formatSize(found[0])} may be locked, which the io_uring of kernels before 5.12 counts`,
    'LimitMEMLOCK=infinity in the unit, or: ulimit -l unlimited',
  );
}

/** Of this process: what its group may have, for the group and all above it. */
function groupLimit(system: DoctorSystem): number {
  const own = /^0::(\/.*)$/m.exec(system.text('/proc/self/cgroup') ?? '')?.[1];
  let least = Infinity;
  if (own === undefined) return least;
  const parts = own.split('/').filter((part) => part !== '');
  for (let depth = parts.length; depth >= 0; depth--) {
    const folder = ['/sys/fs/cgroup', ...parts.slice(0, depth)].join('/');
    const text = system.text(`${folder}/memory.max`)?.trim();
    if (text !== undefined && text !== 'max') least = Math.min(least, Number(text));
  }
  return least;
}

export function memory(system: DoctorSystem, roles: readonly DoctorRole[]): Finding {
  const check = 'limits.memory';
  const wanted = roles.reduce((sum, role) => sum + MEMORY[role], 0);
  const group = groupLimit(system);
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(system.text('/proc/meminfo') ?? '')?.[1];
  const available = kib === undefined ? Infinity : Number(kib) * KIB;
  const whom = roles.join(' and ');
  if (group < wanted)
    return error(
      check,
      `the group of this process may have ${formatSize(group)} of memory, and ${whom} may need ${formatSize(wanted)}`,
      `MemoryMax=${Math.ceil(wanted / MIB)}M in the unit, or --memory of the container`,
    );
  if (available < wanted)
    return warning(
      check,
      `${formatSize(alignedDown(available))} of memory are available, and ${whom} may need ${formatSize(wanted)}`,
      'end what is not needed, or give the machine more',
    );
  return ok(check, `there is memory enough for ${whom}`);
}

/** Whole MiB, for people. */
const alignedDown = (bytes: number): number => Math.floor(bytes / MIB) * MIB;

export function ioUring(system: DoctorSystem): Finding {
  const check = 'io_uring';
  if (system.ring()) return ok(check, 'disks are used through io_uring');
  const disabled = system.text('/proc/sys/kernel/io_uring_disabled')?.trim();
  const why =
    disabled !== undefined && disabled !== '0'
      ? `kernel.io_uring_disabled is ${disabled}`
      : 'the kernel, or the container, does not allow it';
  return warning(
    check,
    `there is no io_uring, so disks are used by threads, which costs more: ${why}`,
    'sysctl kernel.io_uring_disabled=0; in a container: a seccomp profile that allows it',
  );
}
