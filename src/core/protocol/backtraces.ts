import {assert} from '../base/assert.js';

/**
 * Backtraces are entries of the meta server's state (a key and a value, or that the key is gone), kept by data servers in shards. A
 * shard is what is kept together: everything of one object, and the names in it if it is a directory.
 *
 *     section     shard (u16), bytes of the entries (u32), entries
 *     entry       bytes of the key (u16), bytes of the value + 1 (u32; 0: the key is gone), key, value
 */
export const SHARDS = 256;
/** What belongs to no object (the superblock, the cluster map): every data server keeps it. */
export const COMMON_SHARD = SHARDS;
export const ALL_SHARDS = SHARDS + 1;

/** Entries of one message, but for the last one. With that it is within MESSAGE_BYTES_MAX. */
export const RECORDS_BYTES_MAX = 128 * 1024;
/** Of a key and a value together. */
export const ENTRY_BYTES_MAX = 120 * 1024;

const ENTRY_HEADER = 6;
export const SECTION_HEADER = 6;

/** Null: gone. */
export type BacktraceEntry = readonly [key: string, value: Uint8Array | null];

/** Keys of the state that are copied: of sessions and their replies nothing outlives the meta server. */
export const COPIED_LETTERS = 'bdeimoqtx';

/**
 * What a mark has as its line: which history it is of, and whether the bytes of inline files are in it. Another one than the meta server's means that
 * the server gets everything anew, and keeps nothing of what it had.
 */
export const markLine = (line: number, inline: boolean): number => 2 * line + (inline ? 0 : 1);
export const lineOfMark = (markLine: number): number => Math.floor(markLine / 2);

/** The shard of a key of the state; -1: it is not copied. */
export function shardOf(key: string): number {
  if (key.length === 0 || !COPIED_LETTERS.includes(key[0]!)) return -1;
  if (key[0] === 'm') return COMMON_SHARD;
  // The id's low 32 bits, and some of the higher ones.
  const low =
    (key.charCodeAt(4) << 24) |
    (key.charCodeAt(5) << 16) |
    (key.charCodeAt(6) << 8) |
    key.charCodeAt(7);
  const mixed = Math.imul(low ^ (key.charCodeAt(3) << 5), 0x9e3779b1);
  return mixed >>> 24;
}

export const entryBytes = ([key, value]: BacktraceEntry): number =>
  ENTRY_HEADER + key.length + (value?.length ?? 0);

/** Returns where the entry ends. */
export function putEntry(into: Buffer, at: number, [key, value]: BacktraceEntry): number {
  into.writeUInt16LE(key.length, at);
  into.writeUInt32LE(value === null ? 0 : value.length + 1, at + 2);
  into.write(key, at + ENTRY_HEADER, 'latin1');
  const end = at + ENTRY_HEADER + key.length;
  if (value === null) return end;
  into.set(value, end);
  return end + value.length;
}

export function encodeEntries(entries: readonly BacktraceEntry[]): Buffer {
  const bytes = Buffer.allocUnsafe(entries.reduce((sum, entry) => sum + entryBytes(entry), 0));
  let at = 0;
  for (const entry of entries) at = putEntry(bytes, at, entry);
  return bytes;
}

/** A Buffer over the same bytes. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The entries of `bytes`, in order; values are views. Null instead of the rest if they are not whole. */
export function* entriesOf(bytes: Uint8Array): Generator<BacktraceEntry | null> {
  const all = asBuffer(bytes);
  for (let at = 0; at < all.length; ) {
    if (at + ENTRY_HEADER > all.length) return yield null;
    const keyEnd = at + ENTRY_HEADER + all.readUInt16LE(at);
    const length = all.readUInt32LE(at + 2);
    const end = keyEnd + Math.max(0, length - 1);
    if (end > all.length) return yield null;
    const key = all.toString('latin1', at + ENTRY_HEADER, keyEnd);
    yield [key, length === 0 ? null : all.subarray(keyEnd, end)];
    at = end;
  }
}

export interface Section {
  shard: number;
  entries: Uint8Array;
}

/** Null: the bytes are no sections. */
export function sectionsOf(bytes: Uint8Array): Section[] | null {
  const all = asBuffer(bytes);
  const found: Section[] = [];
  for (let at = 0; at < all.length; ) {
    if (at + SECTION_HEADER > all.length) return null;
    const shard = all.readUInt16LE(at);
    const end = at + SECTION_HEADER + all.readUInt32LE(at + 2);
    if (end > all.length || shard >= ALL_SHARDS) return null;
    found.push({shard, entries: all.subarray(at + SECTION_HEADER, end)});
    at = end;
  }
  return found;
}

export function encodeSections(sections: readonly Section[]): Buffer {
  const parts = sections.flatMap(({shard, entries}) => {
    const header = Buffer.allocUnsafe(SECTION_HEADER);
    header.writeUInt16LE(shard, 0);
    header.writeUInt32LE(entries.length, 2);
    return [header, entries];
  });
  return Buffer.concat(parts);
}

export function encodeShards(shards: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(2 * shards.length);
  shards.forEach((shard, index) => {
    assert(shard >= 0 && shard < ALL_SHARDS, `shard ${shard}`);
    bytes.writeUInt16LE(shard, 2 * index);
  });
  return bytes;
}

/** Null: the bytes are none. */
export function decodeShards(bytes: Uint8Array): number[] | null {
  const all = asBuffer(bytes);
  if (all.length % 2 !== 0) return null;
  const shards = Array.from({length: all.length / 2}, (_, index) => all.readUInt16LE(2 * index));
  return shards.every((shard) => shard < ALL_SHARDS) ? shards : null;
}
