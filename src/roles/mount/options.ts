import {hostname} from 'node:os';
import {CliError, EXIT} from '../cli-error.js';
import {Resolved} from '../config/load.js';
import {KEYS, type Key, settingOf, type Value, type ValueOf} from '../config/schema.js';
import {formatValue, parseValue} from '../config/values.js';

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
  /** What somebody has asked for, here or in a file: not only by default. */
  asked: ReadonlySet<Key>;
}

/** The settings that are options of a mount. */
export const MOUNT_KEYS = KEYS.filter((key) => settingOf(key).option !== undefined);
const keyOfOption = new Map(MOUNT_KEYS.map((key) => [settingOf(key).option!, key]));
/** Options without a value. */
const WORDS = new Map<string, [Key, boolean]>([
  ['ro', ['mount.read-only', true]],
  ['rw', ['mount.read-only', false]],
  ['allow_other', ['mount.allow-other', true]],
]);
/** Of mount(8), and of one mount alone: no settings. */
const FORBID = new Map<string, 'noSuid' | 'noDev' | 'noExec'>([
  ['nosuid', 'noSuid'],
  ['nodev', 'noDev'],
  ['noexec', 'noExec'],
]);
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

/** For `cpfs mount --help`. */
export function mountOptionsHelp(): string {
  const one = (key: Key) => {
    const {option, options, type, default: byDefault, summary} = settingOf(key);
    if (WORDS.has(option!)) return `${option}, ${summary}`;
    const values = options?.join('|') ?? (type === 'boolean' ? 'on|off' : type.toUpperCase());
    const given = byDefault === null ? '' : ` (${formatValue(settingOf(key), byDefault)})`;
    return `${option}=${values}${given}, ${summary}`;
  };
  return [...MOUNT_KEYS.map(one), [...FORBID.keys()].join(', ')].join('; ');
}

/** Parses `opt=value,…`; what is not named is what `settings` say. A CliError names the option that is not known. */
export function parseMountOptions(text: string, settings = new Resolved([])): MountOptions {
  const given = new Map<Key, Value>();
  const forbidden = {noSuid: false, noDev: false, noExec: false};
  for (const part of text.split(',').filter((p) => p !== '')) {
    const at = part.indexOf('=');
    const [name, value] = at < 0 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)];
    const word = WORDS.get(name);
    const forbids = FORBID.get(name);
    const allows = FORBID.get(`no${name}`);
    const key = keyOfOption.get(name);
    if (word !== undefined) given.set(...word);
    else if (forbids !== undefined) forbidden[forbids] = true;
    else if (allows !== undefined) forbidden[allows] = false;
    else if (ANYBODY.has(name)) for (const one of FORBID.values()) forbidden[one] = true;
    else if (key !== undefined)
      given.set(key, parseValue(settingOf(key), value, `mount option ${name}`));
    else if (!IGNORED.has(name) && !name.startsWith('x-')) {
      const names = ['rw', ...keyOfOption.keys(), ...FORBID.keys()];
      throw new CliError(
        `unknown mount option '${name}'; known are ${names.join(', ')}`,
        EXIT.usage,
      );
    }
  }
  const of = <K extends Key>(key: K): ValueOf<K> =>
    (given.get(key) as ValueOf<K> | undefined) ?? settings.get(key);
  return {
    readOnly: of('mount.read-only'),
    dirtyBytesMax: of('mount.cache-size'),
    readaheadBytes: of('mount.readahead'),
    inlineBytesMax: of('mount.inline-max'),
    cache: of('mount.cache'),
    coherence: of('mount.coherence'),
    durability: of('mount.durability'),
    // Changes that are delayed are cached, too.
    writeback: of('mount.writeback') && of('mount.cache') !== 'none',
    locks: of('mount.locks') === 'cluster',
    waitOnFailure: of('mount.on-failure') === 'wait',
    selinux: of('mount.selinux'),
    location: of('mount.location') ?? hostname(),
    ...forbidden,
    allowOther: of('mount.allow-other') ?? process.getuid?.() === 0,
    asked: new Set(
      MOUNT_KEYS.filter((key) => given.has(key) || settings.of(key).level !== 'default'),
    ),
  };
}
