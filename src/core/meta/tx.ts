import type {Attr, Layout} from '../protocol/gen/wire.js';

/** The state, to look at. */
export interface ReadTx {
  exists(oid: number): boolean;
  /** ENOENT when there is no such object. */
  attr(oid: number): Attr;
  /** Of a regular file, else null. ENOENT when there is no such object. */
  layout(oid: number): Layout | null;
  /** The object of a name, or null. ENOENT, ENOTDIR for the directory. */
  child(parent: number, name: Uint8Array): number | null;
}
