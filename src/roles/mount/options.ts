import {hostname} from 'node:os';
import {INLINE_BYTES_LIMIT, INLINE_BYTES_MAX} from '../../core/base/inline-limits.js';
import {parseSize} from '../../core/base/units.js';
import {CliError, EXIT} from '../cli-error.js';
import {parseLocation} from '../location.js';

/** `-o` of `cpfs mount`. */
export interface MountOptions {
  readOnly: boolean;
  /** Bytes of written data that may wait in memory. */
  dirtyBytesMax: number;
  /** Read-ahead: the kernel's, and the client's own where the kernel has none. */
  readaheadBytes: number;
  /** Files up to this size are kept with their names by the meta server; 0: none. */
  inlineBytesMax: number;
  /** What is kept of what was read: all; names and attributes; nothing. */
  cache: 'full' | 'attr' | 'none';
  /** What others do is seen at once; or names and attributes within 3 s, and what a file is when it is opened. */
  coherence: 'strict' | 'close-to-open';
  /** When fsync returns: on the disks of all servers; in the memory of all of them. */
  durability: 'disk' | 'replicated';
  /** False: every change of a name or an attribute is asked for at once, and written bytes are with their servers before write(2) returns. */
  writeback: boolean;
  /** True: reads wait for a day where too many servers are lost, and are not EIO. */
  waitOnFailure: boolean;
  /** False: locks are seen by programs of this mount only. */
  locks: boolean;
  /** Are SELinux's labels (security.selinux) stored and told? */
  selinux: boolean;
  /** Where this machine is, outermost first: near copies are read. */
  location: string;
  /** Set-id programs, device nodes and programs on it mean nothing; as mount(8) has it. */
  noSuid: boolean;
  noDev: boolean;
  noExec: boolean;
  /** May other users than the one who mounts use it? Always so for root. */
  allowOther: boolean;
}

const NAMES = [
  'ro',
  'rw',
  'cache',
  'cache-size',
  'coherence',
  'readahead',
  'inline-max',
  'writeback',
  'durability',
  'locks',
  'on-failure',
  'selinux',
  'location',
  'allow_other',
  'nosuid',
  'nodev',
  'noexec',
];
/** What mount(8) and fstab add; they mean nothing to this file system. */
const IGNORED = new Set([
  '_netdev',
  'nofail',
  'noauto',
  'auto',
  'nouser',
  'defaults',
  'async',
  'atime',
  'noatime',
  'diratime',
  'nodiratime',
  'relatime',
  'norelatime',
  'strictatime',
  'lazytime',
  'nolazytime',
]);
/** With these anybody may mount it, so nothing on it gets rights: mount(8). */
const ANYBODY = new Set(['user', 'users', 'owner', 'group']);

/** Parses `opt=value,…`; a CliError names the option that is not known. */
export function parseMountOptions(text: string): MountOptions {
  const options: MountOptions = {
    readOnly: false,
    dirtyBytesMax: 64 * 1024 * 1024,
    readaheadBytes: 4 * 1024 * 1024,
    inlineBytesMax: INLINE_BYTES_MAX,
    cache: 'full',
    coherence: 'strict',
    durability: 'disk',
    writeback: true,
    locks: true,
    waitOnFailure: false,
    selinux: false,
    noSuid: false,
    noDev: false,
    noExec: false,
    location: hostname(),
    allowOther: process.getuid?.() === 0,
  };
  for (const part of text.split(',').filter((p) => p !== '')) {
    const [name, value] = part.split('=', 2) as [string, string | undefined];
    if (name === 'ro') options.readOnly = true;
    else if (name === 'rw') options.readOnly = false;
    else if (name === 'allow_other') options.allowOther = true;
    else if (name === 'suid' || name === 'nosuid') options.noSuid = name === 'nosuid';
    else if (name === 'dev' || name === 'nodev') options.noDev = name === 'nodev';
    else if (name === 'exec' || name === 'noexec') options.noExec = name === 'noexec';
    else if (ANYBODY.has(name)) options.noSuid = options.noDev = options.noExec = true;
    else if (name === 'cache-size') options.dirtyBytesMax = bytes(name, value, 4 << 20, 1 << 30);
    else if (name === 'readahead') options.readaheadBytes = bytes(name, value, 0, 64 << 20);
    else if (name === 'inline-max')
      options.inlineBytesMax = bytes(name, value, 0, INLINE_BYTES_LIMIT);
    else if (name === 'cache') options.cache = oneOf(name, value, ['full', 'attr', 'none']);
    else if (name === 'coherence')
      options.coherence = oneOf(name, value, ['strict', 'close-to-open']);
    else if (name === 'durability') options.durability = oneOf(name, value, ['disk', 'replicated']);
    else if (name === 'writeback') options.writeback = onOff(name, value);
    else if (name === 'selinux') options.selinux = onOff(name, value);
    else if (name === 'location')
      options.location = parseLocation(value ?? '', 'mount option location');
    else if (name === 'on-failure')
      options.waitOnFailure = oneOf(name, value, ['error', 'wait']) === 'wait';
    else if (name === 'locks')
      options.locks = oneOf(name, value, ['cluster', 'local']) === 'cluster';
    else if (!IGNORED.has(name) && !name.startsWith('x-')) {
      throw new CliError(
        `unknown mount option '${name}'; known are ${NAMES.join(', ')}`,
        EXIT.usage,
      );
    }
  }
  // Changes that are delayed are cached, too.
  if (options.cache === 'none') options.writeback = false;
  return options;
}

const onOff = (name: string, value: string | undefined): boolean =>
  oneOf(name, value, ['on', 'off']) === 'on';

function oneOf<T extends string>(name: string, value: string | undefined, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found === undefined) {
    const choice = known.join(' or ');
    throw new CliError(`mount option ${name} is ${choice}, not '${value ?? ''}'`, EXIT.usage);
  }
  return found;
}

function bytes(name: string, value: string | undefined, min: number, max: number): number {
  const parsed = value === undefined ? null : parseSize(value);
  if (parsed === null || parsed < min || parsed > max) {
    throw new CliError(
      `mount option ${name} is a size from ${min} to ${max} bytes, not '${value ?? ''}'`,
      EXIT.usage,
    );
  }
  return parsed;
}
