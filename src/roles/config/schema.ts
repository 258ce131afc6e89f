import {DURABILITIES} from '../../core/base/durability.js';
import {INLINE_BYTES_LIMIT, INLINE_BYTES_MAX} from '../../core/base/inline-limits.js';
import {GIB, MIB} from '../../core/base/units.js';
import {CHUNK_BYTES_DEFAULT, UNIT_BYTES_DEFAULT} from '../../core/layout/scheme.js';

/** How a value is written: see values.ts. */
export type SettingType =
  | 'text'
  | 'path'
  | 'address'
  | 'admin'
  | 'metas'
  | 'coordinator'
  | 'scheme'
  | 'location'
  | 'levels'
  | 'size'
  | 'time'
  | 'integer'
  | 'boolean'
  | 'choice';

export interface Setting {
  readonly type: SettingType;
  /** null: none; `unset` says what is done then. */
  readonly default: string | number | boolean | null;
  readonly unset?: string;
  /** Of `metas`: a token is one, too. */
  readonly token?: boolean;
  readonly summary: string;
  /** Environment variable; else CPFS_ and the key in capitals. */
  readonly env?: string;
  /** Name of the flag; else the last part of the key. */
  readonly flag?: string;
  /** Name of the option of `cpfs mount -o`; such a setting has no flag. */
  readonly option?: string;
  /** Of a choice. */
  readonly options?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  /** A flag with a value, on or off, in place of --x and --no-x. */
  readonly onOff?: boolean;
  /** Keys of which only one can be: where one is set at a higher level, the others of lower levels do not count. */
  readonly excludes?: readonly string[];
  /** Taken over at SIGHUP; the others when the process starts. */
  readonly live?: boolean;
}

const DAY = 86_400;
const ADMIN =
  'where to listen for HTTP requests of those who watch it, HOST:PORT; on: 127.0.0.1:7402 (docs/metrics.md)';

/** Every setting there is: flags, environment variables, files, `cpfs config` and the documents come from here. */
export const SETTINGS = {
  'client.meta': {
    type: 'metas',
    default: null,
    unset: 'it must be given',
    env: 'CPFS_META',
    summary:
      'where the meta servers are: HOST:PORT, or srv:DOMAIN (the service _cpfs-meta._tcp of a domain in DNS), several with commas between; or etcd://HOST:PORT[,HOST:PORT...][/PREFIX], as --coordinator of meta servers. Data servers, mounts and commands use it',
  },
  'client.timeout': {
    type: 'time',
    default: 5,
    unset: 'each command has its own',
    min: 1,
    max: 600,
    summary: 'time to wait for the meta server',
  },
  'client.output': {
    type: 'choice',
    options: ['table', 'json'],
    default: 'table',
    env: 'CPFS_OUTPUT',
    summary: 'how to print',
  },

  'log.level': {
    type: 'levels',
    default: 'info',
    env: 'CPFS_LOG',
    flag: 'log-level',
    live: true,
    summary:
      'what servers and mounts log: debug, info, warn or error; with CATEGORY=LEVEL after commas for events whose names begin so (info,peer=debug)',
  },
  'log.dir': {
    type: 'path',
    default: null,
    unset: '/var/log/cpfs',
    env: 'CPFS_LOG_DIR',
    flag: 'log-dir',
    summary: 'folder for the log of a mount in the background',
  },

  'security.keys': {
    type: 'path',
    default: null,
    unset: '/etc/cpfs/keys, where it is there',
    env: 'CPFS_KEYS',
    flag: 'keys',
    live: true,
    summary:
      'file of keys: what this node proves of itself, and whom servers let in (docs/security.md)',
  },
  'security.level': {
    type: 'choice',
    options: ['auth', 'integrity', 'encrypt'],
    default: 'auth',
    env: 'CPFS_SECURITY',
    flag: 'security',
    summary: 'the lowest level that this node bears, where there are keys',
  },

  'server.io': {
    type: 'choice',
    options: ['io_uring', 'threads'],
    default: 'io_uring',
    env: 'CPFS_IO',
    flag: 'io',
    summary: 'how servers use their disks; io_uring is threads where the kernel has none',
  },

  'meta.state': {
    type: 'path',
    default: '/var/lib/cpfs/meta',
    env: 'CPFS_STATE',
    summary: 'folder of its store and log',
  },
  'meta.listen': {
    type: 'address',
    default: '127.0.0.1:7400',
    summary: 'address to listen on, HOST:PORT',
  },
  'meta.advertise': {
    type: 'address',
    default: null,
    unset: 'where it listens',
    summary: 'where others reach it, HOST:PORT, if that is not the address that it listens on',
  },
  'meta.coordinator': {
    type: 'coordinator',
    default: null,
    unset: 'nobody',
    env: 'CPFS_COORDINATOR',
    summary:
      'who decides which meta server is active: etcd://HOST:PORT[,HOST:PORT...][/PREFIX], or etcds://...?ca=FILE&cert=FILE&key=FILE; ?user=NAME&password-file=FILE',
  },
  'meta.join': {
    type: 'metas',
    default: null,
    unset: 'it may be the first',
    token: true,
    summary:
      "be a standby of the active meta server: copy what it has, and follow it; named as with --meta of the other commands, or a token of 'cpfs token create'",
  },
  'meta.failover': {
    type: 'time',
    default: 3,
    min: 2,
    max: 60,
    summary: 'time without a sign of life after which another one takes over',
  },
  'meta.inline-backup': {
    type: 'boolean',
    default: true,
    onOff: true,
    summary:
      "do data servers keep copies of files that are so short that they lie in the metadata, for 'cpfs meta rebuild'? The same with all meta servers",
  },
  'meta.durability': {
    type: 'choice',
    options: DURABILITIES,
    default: 'both',
    summary:
      "what an fsync waits for: the disk of the active meta server, the memory of all standbys in sync, or both; with 'disk' none of them takes over by itself",
  },
  'meta.scheme': {
    type: 'scheme',
    default: '4+1',
    summary: 'how files are protected unless their folder says otherwise; read at the first start',
  },
  'meta.group-size': {
    type: 'integer',
    default: 5,
    min: 1,
    max: 255,
    summary: 'data servers in a group; read at the first start',
  },
  'meta.any-domain': {
    type: 'boolean',
    default: false,
    summary: 'let servers of one group share a failure domain (a host): for trying things out',
  },
  'meta.out-after': {
    type: 'time',
    default: 600,
    min: 0,
    max: 30 * DAY,
    summary: 'time after which a spare takes the slot of a server that is away; 0: never',
  },
  'meta.unit': {
    type: 'size',
    default: UNIT_BYTES_DEFAULT,
    min: 1,
    max: GIB,
    summary: 'bytes of one column in one stripe; read at the first start',
  },
  'meta.chunk': {
    type: 'size',
    default: CHUNK_BYTES_DEFAULT,
    min: 1,
    max: GIB,
    summary: 'bytes of a chunk; read at the first start',
  },

  'meta.admin': {type: 'admin', default: 'off', summary: ADMIN},

  'data.group': {
    type: 'integer',
    default: null,
    unset: 'it needs spare or auto',
    min: 1,
    max: 65535,
    excludes: ['data.spare', 'data.auto'],
    summary: 'number of the group that it joins',
  },
  'data.spare': {
    type: 'boolean',
    default: false,
    excludes: ['data.group', 'data.auto'],
    summary: 'without a group: take the slot of a server that stays away, or that is drained',
  },
  'data.auto': {
    type: 'boolean',
    default: false,
    excludes: ['data.group', 'data.spare'],
    summary: 'without a group: be a spare, or one of a new group when there are enough',
  },
  'data.domain': {
    type: 'text',
    default: null,
    unset: 'the name of the host',
    max: 100,
    env: 'CPFS_DOMAIN',
    summary: 'what is lost together with this server: a rack, say; default: the name of the host',
  },
  'data.location': {
    type: 'location',
    default: null,
    unset: 'the name of the host',
    env: 'CPFS_LOCATION',
    summary:
      'where it is, the largest place first (room1/rack3/host7): of copies, clients read near ones; default: the name of the host',
  },
  'data.state': {
    type: 'path',
    default: '/var/lib/cpfs/data',
    env: 'CPFS_STATE',
    summary: 'folder for its columns',
  },
  'data.listen': {
    type: 'address',
    default: '127.0.0.1:7401',
    summary: 'address to listen on, HOST:PORT; clients must reach it',
  },
  'data.direct': {
    type: 'boolean',
    default: false,
    summary: 'move large pieces past the page cache (O_DIRECT)',
  },
  'data.leak-grace': {
    type: 'time',
    default: 3600,
    min: 1,
    max: 365 * DAY,
    env: 'CPFS_LEAK_GRACE',
    summary: 'time for which a file must be gone before columns that were left of it are removed',
  },

  'data.admin': {type: 'admin', default: 'off', summary: ADMIN},

  'mount.admin': {type: 'admin', default: 'off', summary: ADMIN},
  'mount.engine': {
    type: 'choice',
    options: ['auto', 'kernel', 'fuse-native'],
    default: 'auto',
    summary:
      'how it talks to the kernel: by its own channel; by the package fuse-native, which can less (docs/mount.md) and is slower; auto: by the channel where that can run',
  },
  'mount.read-only': {
    type: 'boolean',
    default: false,
    option: 'ro',
    summary: 'nothing can be changed through this mount; ro and rw as options',
  },
  'mount.cache': {
    type: 'choice',
    options: ['full', 'attr', 'none'],
    default: 'full',
    option: 'cache',
    summary: 'what is kept of what was read: all; names and attributes; nothing',
  },
  'mount.cache-size': {
    type: 'size',
    default: 64 * MIB,
    min: 4 * MIB,
    max: GIB,
    option: 'cache-size',
    summary: 'written bytes that may wait in memory',
  },
  'mount.coherence': {
    type: 'choice',
    options: ['strict', 'close-to-open'],
    default: 'strict',
    option: 'coherence',
    summary:
      'what others do is seen at once; or names and attributes are believed for 3 s that others may be changing',
  },
  'mount.readahead': {
    type: 'size',
    default: 4 * MIB,
    min: 0,
    max: 64 * MIB,
    option: 'readahead',
    summary: 'bytes that are read ahead',
  },
  'mount.inline-max': {
    type: 'size',
    default: INLINE_BYTES_MAX,
    min: 0,
    max: INLINE_BYTES_LIMIT,
    option: 'inline-max',
    summary: 'up to which size files are kept with their names by the meta server; 0: none',
  },
  'mount.writeback': {
    type: 'boolean',
    default: true,
    onOff: true,
    option: 'writeback',
    summary:
      'off: every change of a name is asked for at once, and bytes are with their servers when write(2) returns (the death of this machine loses nothing; small files are slower)',
  },
  'mount.durability': {
    type: 'choice',
    options: ['disk', 'replicated'],
    default: 'disk',
    option: 'durability',
    summary: 'what fsync waits for: the disks of all servers, or their memory',
  },
  'mount.locks': {
    type: 'choice',
    options: ['cluster', 'local'],
    default: 'cluster',
    option: 'locks',
    summary: 'local: locks are shown to programs of this mount only',
  },
  'mount.on-failure': {
    type: 'choice',
    options: ['error', 'wait'],
    default: 'error',
    option: 'on-failure',
    summary: 'where too many servers are lost, reads fail with EIO, or wait for a day',
  },
  'mount.selinux': {
    type: 'boolean',
    default: false,
    onOff: true,
    option: 'selinux',
    summary: "are SELinux's labels kept?",
  },
  'mount.location': {
    type: 'location',
    default: null,
    unset: 'the name of the host',
    option: 'location',
    summary: 'where this machine is, as data.location: of copies, near ones are read',
  },
  'mount.allow-other': {
    type: 'boolean',
    default: null,
    unset: 'on for root',
    option: 'allow_other',
    summary: 'may others than the user who mounts it use it? An option without a value',
  },
} as const satisfies Record<string, Setting>;

export type Key = keyof typeof SETTINGS;
export const KEYS = Object.keys(SETTINGS) as Key[];
export const settingOf = (key: Key): Setting => SETTINGS[key];

type Raw<K extends Key> = (typeof SETTINGS)[K]['type'] extends 'size' | 'time' | 'integer'
  ? number
  : (typeof SETTINGS)[K]['type'] extends 'boolean'
    ? boolean
    : (typeof SETTINGS)[K] extends {options: readonly (infer O)[]}
      ? O
      : string;
/** What the value of a setting is: sizes in bytes, times in seconds. */
export type ValueOf<K extends Key> = (typeof SETTINGS)[K]['default'] extends null
  ? Raw<K> | undefined
  : Raw<K>;
export type Value = string | number | boolean;

export const envOf = (key: Key): string =>
  settingOf(key).env ?? `CPFS_${key.replace(/[.-]/g, '_').toUpperCase()}`;
/** Name of its flag; null: it is an option of a mount. */
export const flagOf = (key: Key): string | null => {
  const {flag, option} = settingOf(key);
  return option === undefined ? (flag ?? key.slice(key.indexOf('.') + 1)) : null;
};
