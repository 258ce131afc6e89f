declare const brand: unique symbol;
type Branded<T, Name> = T & {readonly [brand]: Name};

/** Object id, given by the meta server, never reused, 1 <= oid < 2^53. A file's inode number. */
export type Oid = Branded<number, 'Oid'>;
/** Version of the cluster map; grows at every change. */
export type Epoch = Branded<number, 'Epoch'>;
/** A client's registration with the meta server; never reused. */
export type SessionId = Branded<number, 'SessionId'>;
/** Number of a group, from 1, as in `cpfs data start --group 2`. */
export type GroupId = Branded<number, 'GroupId'>;
/** Index of a slot inside its group, from 0. */
export type SlotIndex = Branded<number, 'SlotIndex'>;

export const OID_MAX = Number.MAX_SAFE_INTEGER;
export const ROOT_OID = 1 as Oid;

/** Milliseconds. */
export type Ms = number;
