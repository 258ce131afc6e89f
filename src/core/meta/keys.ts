/**
 * Keys of the state: a letter, then ids as 7 big-endian bytes (so they sort by number), then names. As latin1 strings,
 * whose order is the order of their bytes.
 *
 *     a number                 -> JSON                   what an administrator did
 *     b oid                    -> the first bytes of a small file (docs, "Small files")
 *     d parent name            -> type, oid, cookie      a name
 *     e parent cookie          -> type, oid, name        the same name in the order of readdir
 *     i oid                    -> inode                  (records.ts)
 *     k id                     -> JSON                   a token
 *     m word                   -> superblock and counters
 *     o oid                    -> nothing                orphans: no name left, not yet reaped
 *     q oid                    -> layout                 removal queue: columns of reaped files
 *     q oid generation         -> layout                 the same of what a file was moved from
 *     r session slot           -> reply                  slot = request id mod 256, one byte
 *     s session                -> session
 *     t oid                    -> target of a symlink
 *     x oid name               -> extended attribute
 *
 * A cookie is a number from a counter of the directory: a name keeps its cookie as long as it is in the directory
 * (also when a rename puts another object under it) and no cookie is given twice. So a scan that goes on after cookie c
 * sees every name that was there all the time exactly once, whatever comes and goes meanwhile, and after any restart.
 */
import {REPLY_RING} from '../protocol/ops.js';
export const idKey = (id: number): string => {
  const high = Math.floor(id / 0x1_0000_0000);
  return String.fromCharCode(
    (high >>> 16) & 255,
    (high >>> 8) & 255,
    high & 255,
    (id >>> 24) & 255,
    (id >>> 16) & 255,
    (id >>> 8) & 255,
    id & 255,
  );
};

/** The id that starts at index `at` of a key. */
export function keyId(key: string, at: number): number {
  const high = (key.charCodeAt(at) << 16) | (key.charCodeAt(at + 1) << 8) | key.charCodeAt(at + 2);
  const low =
    (key.charCodeAt(at + 3) << 24) |
    (key.charCodeAt(at + 4) << 16) |
    (key.charCodeAt(at + 5) << 8) |
    key.charCodeAt(at + 6);
  return high * 0x1_0000_0000 + (low >>> 0);
}

/** Length of a letter and an id. */
export const ID_KEY_LENGTH = 8;

export const INLINE_LETTER = 'b';
export const inlineKey = (oid: number): string => `${INLINE_LETTER}${idKey(oid)}`;
export const inodeKey = (oid: number): string => `i${idKey(oid)}`;
export const nameKey = (parent: number, name: string): string => `d${idKey(parent)}${name}`;
export const entryKey = (parent: number, cookie: number): string =>
  `e${idKey(parent)}${idKey(cookie)}`;
export const orphanKey = (oid: number): string => `o${idKey(oid)}`;
/** `generation` -1: the whole object. */
export const removalKey = (oid: number, generation = -1): string =>
  `q${idKey(oid)}${generation === -1 ? '' : idKey(generation)}`;
export const replyKey = (session: number, requestId: number): string =>
  `r${idKey(session)}${String.fromCharCode(requestId % REPLIES_PER_SESSION)}`;
export const sessionKey = (session: number): string => `s${idKey(session)}`;
export const targetKey = (oid: number): string => `t${idKey(oid)}`;
export const xattrKey = (oid: number, name: string): string => `x${idKey(oid)}${name}`;

export const deedKey = (number: number): string => `a${idKey(number)}`;
export const tokenKey = (id: string): string => `k${id}`;

export const SUPERBLOCK_KEY = 'msuperblock';
export const MAP_KEY = 'mmap';
export const IDS_KEY = 'mids';
/** Which line of states this is; absent: the first one. A state that was rebuilt begins another. */
export const LINE_KEY = 'mline';
export const FILES_KEY = 'mfiles';
export const TERM_KEY = 'mterm';
/** How many deeds there were, in decimal. */
export const DEEDS_KEY = 'mdeeds';

/** Replies that are kept for each session (docs/architecture.md). */
export const REPLIES_PER_SESSION = REPLY_RING;

/** Everything that begins with the letter (and id). Ends are exclusive. */
export const letterEnd = (letter: string): string => String.fromCharCode(letter.charCodeAt(0) + 1);
export const idEnd = (letter: string, id: number): string => `${letter}${idKey(id + 1)}`;
