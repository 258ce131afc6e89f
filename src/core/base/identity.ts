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
}

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
