import {FsError} from '../base/errors.js';
import type {Attr, StatfsReply, Time} from '../protocol/gen/wire.js';

/** Numbers as fuse-native takes and gives them: words of 32 bits, times in milliseconds. */

const WORD = 2 ** 32;
const WORD_MAX = WORD - 1;
export const STAT_WORDS = 18;
/** st_blksize, as the kernel's door has it (C18). */
const BLOCK_SIZE_HINT = 128 * 1024;
const STATFS_BLOCK = 4096;
const NAME_MAX = 255;

function put(words: Uint32Array, at: number, value: number): void {
  words[at] = value % WORD;
  words[at + 1] = Math.floor(value / WORD);
}

/** Before 1970 there is nothing. */
const milliseconds = ({sec, nsec}: Time): number =>
  Math.max(0, sec * 1000 + Math.floor(nsec / 1e6));

/** struct stat. EOVERFLOW: the inode's number does not fit, and another file may have the rest of it. */
export function statWords(attr: Attr): Uint32Array {
  if (attr.oid > WORD_MAX) throw new FsError('EOVERFLOW', `inode ${attr.oid}`);
  const words = new Uint32Array(STAT_WORDS);
  words[0] = attr.mode;
  words[1] = attr.uid;
  words[2] = attr.gid;
  put(words, 3, attr.size);
  words[6] = attr.nlink;
  words[7] = attr.oid;
  words[8] = attr.rdev;
  words[9] = BLOCK_SIZE_HINT;
  put(words, 10, attr.blocks);
  put(words, 12, milliseconds(attr.atime));
  put(words, 14, milliseconds(attr.mtime));
  put(words, 16, milliseconds(attr.ctime));
  return words;
}

/** Of a listing: what kind it is, and its number. One that does not fit has the largest, which no file has. */
export function entryWords(oid: number, mode: number): Uint32Array {
  const words = new Uint32Array(STAT_WORDS);
  words[0] = mode;
  words[7] = Math.min(oid, WORD_MAX);
  return words;
}

/** struct statvfs: in blocks that are so large that their number fits. */
export function statfsWords({totalBytes, freeBytes, files, filesFree}: StatfsReply): Uint32Array {
  let block = STATFS_BLOCK;
  while (Math.max(totalBytes, freeBytes) / block > WORD_MAX) block *= 2;
  const total = Math.floor(totalBytes / block);
  const free = Math.floor(freeBytes / block);
  const nodes = Math.min(files + filesFree, WORD_MAX);
  const nodesFree = Math.min(filesFree, WORD_MAX);
  return Uint32Array.of(
    block,
    block,
    total,
    free,
    free,
    nodes,
    nodesFree,
    nodesFree,
    0,
    0,
    NAME_MAX,
  );
}

/** Signed, of two words. */
export function timeOf(low: number, high: number): Time {
  const ms = (high | 0) * WORD + low;
  const sec = Math.floor(ms / 1000);
  return {sec, nsec: (ms - sec * 1000) * 1e6};
}

/**
 * utimensat(2): the library gives the time of access twice, and the other one not at all; but both stand in its record of the request, one behind
 * the other. Null: they do not, so it is another library.
 */
const ATIME_AT = 104;
export function mtimeOf(record: Buffer, low: number, high: number): Time | null {
  if (record.length < ATIME_AT + 16) return null;
  if (record.readUInt32LE(ATIME_AT) !== low || record.readUInt32LE(ATIME_AT + 4) !== high)
    return null;
  return timeOf(record.readUInt32LE(ATIME_AT + 8), record.readUInt32LE(ATIME_AT + 12));
}
