import type {Errno} from '../base/errno.js';

/** What a program asked of a client; `client` is the life of a client, so a restarted one is another. */
export type Call = {client: number} & (
  | {kind: 'lookup'; parent: number; name: string}
  | {kind: 'getattr'; oid: number}
  | {kind: 'create'; parent: number; name: string; exclusive: boolean; truncate: boolean}
  | {kind: 'mkdir'; parent: number; name: string}
  | {kind: 'symlink'; parent: number; name: string; target: string}
  | {kind: 'readlink'; oid: number}
  | {kind: 'link'; oid: number; parent: number; name: string}
  | {kind: 'unlink'; parent: number; name: string}
  | {kind: 'rmdir'; parent: number; name: string}
  | {
      kind: 'rename';
      parent: number;
      name: string;
      newParent: number;
      newName: string;
      flags: number;
    }
  | {kind: 'readdir'; oid: number}
  | {kind: 'open'; oid: number; truncate: boolean}
  | {kind: 'release'; oid: number}
  | {kind: 'read'; oid: number; offset: number; length: number}
  | {kind: 'write'; oid: number; offset: number; bytes: Uint8Array; append: boolean}
  | {kind: 'truncate'; oid: number; size: number}
  | {kind: 'chmod'; oid: number; mode: number}
  | {kind: 'fsync'; oid: number}
  | {kind: 'setxattr'; oid: number; name: string; value: string; flags: number}
  | {kind: 'getxattr'; oid: number; name: string}
  | {kind: 'removexattr'; oid: number; name: string}
  | {kind: 'listxattr'; oid: number}
  | {kind: 'crash'}
  /** What the client had not written of a file is given up: servers that it needed were away for longer than a recall waits, or `full`. */
  | {kind: 'loss'; oid: number; full: boolean}
  /** The meta server's machine lost power; with `after` it has been up for so long that all clients know. */
  | {kind: 'cut'}
  | {kind: 'cut-known'}
);

/** As a mode: which object it was is all that was seen. */
export const ONLY_OID = -1;

/** What a stat shows and the model knows. */
export interface Seen {
  oid: number;
  /** Type and permission bits, as st_mode. */
  mode: number;
  nlink: number;
  /** Regular files; 0 for others. */
  size: number;
}

/** What came back. */
export type Outcome =
  | {errno: Errno}
  | {attr: Seen; created?: boolean}
  | {bytes: Uint8Array}
  | {offset: number}
  | {target: string}
  | {value: string}
  | {names: string[]}
  | {entries: {name: string; oid: number; type: number}[]}
  | {done: true};

/** For people. */
export function showCall(call: Call): string {
  const rest = Object.entries(call)
    .filter(([key]) => key !== 'kind' && key !== 'client')
    .map(([key, value]) =>
      value instanceof Uint8Array ? `${key}=[${value.length} bytes]` : `${key}=${value}`,
    );
  return `client ${call.client}: ${call.kind} ${rest.join(' ')}`;
}

/** What changes names, and nothing else of what is there. */
export const NAMING: ReadonlySet<Call['kind']> = new Set([
  'create',
  'mkdir',
  'symlink',
  'link',
  'unlink',
  'rmdir',
  'rename',
] as const);

export function showOutcome(outcome: Outcome | null): string {
  if (outcome === null) return 'nothing (its client died)';
  if ('bytes' in outcome) return `${outcome.bytes.length} bytes`;
  return JSON.stringify(outcome);
}
