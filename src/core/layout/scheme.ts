import {BLOCK_BYTES, KIB, MIB} from '../base/units.js';

/** k data columns and m redundancy columns (DESIGN.md section 3). */
export interface Scheme {
  k: number;
  m: number;
}

/** How the bytes of an object lie. `groups` are group ids, in order. */
export interface Layout extends Scheme {
  unitBytes: number;
  chunkBytes: number;
  groups: readonly number[];
  /** Of the names of its chunks; grows when the object is moved to another layout. */
  generation: number;
}

export const COLUMNS_MAX = 32;
export const UNIT_BYTES_MAX = MIB;
export const UNIT_BYTES_DEFAULT = 64 * KIB;
export const CHUNK_BYTES_DEFAULT = 64 * MIB;
/** A column file keeps its sums at a fixed offset above its data; so a chunk has a limit. */
export const CHUNK_BYTES_MAX = 1024 * MIB;
export const GROUPS_PER_OBJECT_MAX = 64;

/** `4+1` as a scheme, or null. */
export function parseScheme(text: string): Scheme | null {
  const match = /^(\d{1,2})\+(\d{1,2})$/.exec(text);
  if (match === null) return null;
  const scheme = {k: Number(match[1]), m: Number(match[2])};
  return invalidScheme(scheme) === null ? scheme : null;
}

export const formatScheme = (scheme: Scheme): string => `${scheme.k}+${scheme.m}`;

/** Why a scheme is none, or null. */
export function invalidScheme({k, m}: Scheme): string | null {
  if (!Number.isInteger(k) || k < 1) return `a scheme needs at least one data column, not ${k}`;
  if (!Number.isInteger(m) || m < 0) return `${m} redundancy columns`;
  if (k + m > COLUMNS_MAX) return `${k}+${m} is more than ${COLUMNS_MAX} columns`;
  return null;
}

/** Why a layout cannot be, or null. Checked when an attribute is set and when a peer sends one. */
export function invalidLayout(layout: Omit<Layout, 'groups' | 'generation'>): string | null {
  const scheme = invalidScheme(layout);
  if (scheme !== null) return scheme;
  const {unitBytes, chunkBytes, k} = layout;
  if (
    !Number.isInteger(Math.log2(unitBytes)) ||
    unitBytes < BLOCK_BYTES ||
    unitBytes > UNIT_BYTES_MAX
  ) {
    return `unit ${unitBytes} is not a power of two from ${BLOCK_BYTES} to ${UNIT_BYTES_MAX}`;
  }
  if (
    !Number.isSafeInteger(chunkBytes) ||
    chunkBytes < k * unitBytes ||
    chunkBytes > CHUNK_BYTES_MAX
  ) {
    return `chunk ${chunkBytes} is not from one stripe (${k * unitBytes}) to ${CHUNK_BYTES_MAX}`;
  }
  return null;
}
