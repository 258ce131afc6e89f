/** What the channel between two nodes adds, in the order of what it costs: proof of who is there; of each frame that it is as it was sent; secrecy. */
export const LEVELS = ['auth', 'integrity', 'encrypt'] as const;
export type Level = (typeof LEVELS)[number];

export const isLevel = (text: string): text is Level =>
  (LEVELS as readonly string[]).includes(text);

/** What the holder of a credential may do: everything; read and write files; read them. */
export const RIGHTS = ['admin', 'rw', 'ro'] as const;
export type Rights = (typeof RIGHTS)[number];

export const isRights = (text: string): text is Rights =>
  (RIGHTS as readonly string[]).includes(text);

/** Who is at the other end of a connection, as it has proved. */
export type Identity = {kind: 'server'} | ({kind: 'client'} & Claims);

/** What a credential says of who holds it. */
export interface Claims {
  name: string;
  rights: Rights;
  /** Of this very credential, so that it can be revoked. */
  serial: string;
  /** Seconds since 1970 from which it is of no use; 0: it does not expire. */
  until: number;
  /** Absent: none. */
  limits?: Limits;
}

/** What is taken from the rights of a credential. Who has any is no administrator. */
export interface Limits {
  /** The folder that is all that it sees, from the root on; '': everything. */
  path: string;
  /** Whom that belongs to which its root makes; null: to root. */
  squash: {uid: number; gid: number} | null;
  /** What statfs(2) says at most; 0: what there is. */
  bytes: number;
}

const PATH_BYTES_MAX = 128;

/** Why these are none; null: they are. */
export function invalidLimits({path, squash, bytes}: Limits): string | null {
  const names = path.split('/').slice(1);
  if (path !== '' && !path.startsWith('/')) return `the folder ${path} does not begin with /`;
  if (path !== '' && names.some((name) => name === '' || name === '.' || name === '..'))
    return `${path} is no path from the root on`;
  if (Buffer.byteLength(path) > PATH_BYTES_MAX || path.includes('\0'))
    return `a folder of more than ${PATH_BYTES_MAX} bytes`;
  const isId = (id: number): boolean => Number.isInteger(id) && id > 0 && id < 2 ** 32 - 1;
  if (squash !== null && !(isId(squash.uid) && isId(squash.gid)))
    return 'root becomes another user and group, with numbers above 0';
  return Number.isSafeInteger(bytes) && bytes >= 0 ? null : 'a size has no fractions';
}

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
