import type {DirectoryPart} from '../namespace/inode.js';
import type {Attr} from '../protocol/gen/wire.js';

/** What the name cache keeps (name-cache.ts). */
export interface Name {
  readonly name: Uint8Array;
  /** 0: there is no such name. */
  oid: number;
  /** S_IFMT >> 12. */
  type: number;
  cookie: number;
}

export interface Directory {
  /** What new names in it get: known while it is held for writing, and this client alone changes it. */
  part: DirectoryPart | null;
  /** Of the newest answer that is in here; older ones are not entered. */
  version: number;
  readonly names: Map<string, Name>;
  /** Every name is in `names`. */
  complete: boolean;
  /** Pages are being read in order: the next one begins here; -1: not. */
  filledTo: number;
  /** Lookups that had to be asked for. */
  misses: number;
  parent: number;
  /** The names that are there by cookie, as long as it is right. */
  order: Name[] | null;
}

export interface Cached {
  /** Null: not known. */
  attr: Attr | null;
  parent: number;
  /** Of the newest attributes that were here: older ones come too late. */
  version: number;
}

/** Changes of one directory that this client has under way. */
export interface Pending {
  count: number;
  /** More than one at a time: in which order they were carried out is not known. */
  overlap: boolean;
}
