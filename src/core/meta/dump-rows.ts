import * as keys from './keys.js';
import {
  decodeEntry,
  decodeInode,
  decodeInt,
  decodeName,
  decodeRemoval,
  decodeReply,
  decodeSuperblock,
  encodeEntry,
  encodeInode,
  encodeInt,
  encodeName,
  encodeRemoval,
  encodeReply,
  encodeSuperblock,
} from './records.js';
import type {Entry} from './store.js';

/** Bytes for people: as text where they are UTF-8, else in base64. */
export type Readable = string | {base64: string};

/** One entry of the state, as a line of a dump says it; `row` tells which kind of key it is. */
export type DumpRow = {row: string} & Record<string, unknown>;

export function readable(bytes: Uint8Array): Readable {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString('utf8');
  return Buffer.from(text, 'utf8').equals(buffer) ? text : {base64: buffer.toString('base64')};
}

export function bytesOfReadable(text: Readable): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text, 'utf8') : Buffer.from(text.base64, 'base64');
}

const name = (latin1: string): Readable => readable(Buffer.from(latin1, 'latin1'));
const latin1Of = (text: Readable): string => Buffer.from(bytesOfReadable(text)).toString('latin1');
const octal = (mode: number): string => mode.toString(8).padStart(6, '0');

interface Kind {
  /** What a line calls it. */
  row: string;
  /** The whole key, or its letter. */
  key: string;
  show(key: string, value: Uint8Array): Record<string, unknown>;
  // What show gave; a line that was written by hand may be anything.
  make(row: never): Entry;
}

/** So that the fields of `show` and `make` are the same ones. */
const kind = <T extends Record<string, unknown>>(
  row: string,
  key: string,
  show: (key: string, value: Uint8Array) => T,
  make: (row: T) => Entry,
): Kind => ({row, key, show, make});

const count = (row: string, key: string): Kind =>
  kind(
    row,
    key,
    (_key, value) => ({value: decodeInt(value)}),
    ({value}) => [key, encodeInt(value)],
  );

const part = (key: string): string => key.slice(keys.ID_KEY_LENGTH);

/** Every kind of key that keys.ts has. What is not here is dumped as it is, and nobody can read it. */
const KINDS: readonly Kind[] = [
  kind(
    'small-file',
    'b',
    (key, value) => ({oid: keys.keyId(key, 1), bytes: readable(value)}),
    ({oid, bytes}) => [keys.inlineKey(oid), bytesOfReadable(bytes)],
  ),
  kind(
    'name',
    'd',
    (key, value) => ({parent: keys.keyId(key, 1), name: name(part(key)), ...decodeName(value)}),
    ({parent, name, type, oid, cookie}) => [
      keys.nameKey(parent, latin1Of(name)),
      encodeName({type, oid, cookie}),
    ],
  ),
  kind(
    'listing',
    'e',
    (key, value) => {
      const {type, oid, name} = decodeEntry(value);
      const cookie = keys.keyId(key, keys.ID_KEY_LENGTH);
      return {parent: keys.keyId(key, 1), cookie, name: readable(name), type, oid};
    },
    ({parent, cookie, name, type, oid}) => [
      keys.entryKey(parent, cookie),
      encodeEntry(type, oid, latin1Of(name)),
    ],
  ),
  kind(
    'inode',
    'i',
    (key, value) => {
      const inode = decodeInode(keys.keyId(key, 1), value);
      return {...inode, mode: octal(inode.mode)};
    },
    (row) => [keys.inodeKey(row.oid), encodeInode({...row, mode: Number.parseInt(row.mode, 8)})],
  ),
  kind(
    'superblock',
    keys.SUPERBLOCK_KEY,
    (_key, value) => ({...decodeSuperblock(value)}),
    // Dumps of the first release say nothing of features.
    (row) => [keys.SUPERBLOCK_KEY, encodeSuperblock({...row, features: row.features ?? []})],
  ),
  kind(
    'cluster',
    keys.MAP_KEY,
    (_key, value) => ({map: JSON.parse(Buffer.from(value).toString('utf8')) as unknown}),
    ({map}) => [keys.MAP_KEY, Buffer.from(JSON.stringify(map), 'utf8')],
  ),
  count('ids-below', keys.IDS_KEY),
  count('line', keys.LINE_KEY),
  count('files', keys.FILES_KEY),
  count('term', keys.TERM_KEY),
  kind(
    'deeds',
    keys.DEEDS_KEY,
    (_key, value) => ({count: readable(value)}),
    ({count}) => [keys.DEEDS_KEY, bytesOfReadable(count)],
  ),
  kind(
    'orphan',
    'o',
    (key) => ({oid: keys.keyId(key, 1)}),
    ({oid}) => [keys.orphanKey(oid), new Uint8Array(0)],
  ),
  kind(
    'removal',
    'q',
    (key, value) => ({
      oid: keys.keyId(key, 1),
      /** Null: all of the object. */
      generation: part(key) === '' ? null : keys.keyId(key, keys.ID_KEY_LENGTH),
      layout: decodeRemoval(value),
    }),
    ({oid, generation, layout}) => [keys.removalKey(oid, generation ?? -1), encodeRemoval(layout)],
  ),
  kind(
    'reply',
    'r',
    (key, value) => {
      const {requestId, status, body} = decodeReply(value);
      return {session: keys.keyId(key, 1), requestId, status, body: readable(body)};
    },
    ({session, requestId, status, body}) => [
      keys.replyKey(session, requestId),
      encodeReply({requestId, status, body: bytesOfReadable(body)}),
    ],
  ),
  kind(
    'deed',
    'a',
    (key, value) => ({number: keys.keyId(key, 1), is: readable(value)}),
    ({number, is}) => [keys.deedKey(number), bytesOfReadable(is)],
  ),
  kind(
    'token',
    'k',
    (key, value) => ({id: key.slice(1), is: readable(value)}),
    ({id, is}) => [keys.tokenKey(id), bytesOfReadable(is)],
  ),
  kind(
    'session',
    's',
    (key, value) => ({session: keys.keyId(key, 1), is: readable(value)}),
    ({session, is}) => [keys.sessionKey(session), bytesOfReadable(is)],
  ),
  kind(
    'symlink',
    't',
    (key, value) => ({oid: keys.keyId(key, 1), target: readable(value)}),
    ({oid, target}) => [keys.targetKey(oid), bytesOfReadable(target)],
  ),
  kind(
    'xattr',
    'x',
    (key, value) => ({
      oid: keys.keyId(key, 1),
      name: name(part(key)),
      value: readable(value),
    }),
    ({oid, name, value}) => [keys.xattrKey(oid, latin1Of(name)), bytesOfReadable(value)],
  ),
];

const RAW = kind(
  'raw',
  '',
  (key, value) => ({key: name(key), base64: Buffer.from(value).toString('base64')}),
  ({key, base64}) => [latin1Of(key), Buffer.from(base64, 'base64')],
);
const byRow = new Map([...KINDS, RAW].map((one) => [one.row, one]));
const byKey = new Map(KINDS.map((one) => [one.key, one]));

/** What a key is called in a dump; null: no kind that this release knows. */
export const rowKind = (key: string): string | null => kindOf(key)?.row ?? null;

const kindOf = (key: string): Kind | undefined => byKey.get(key) ?? byKey.get(key[0] ?? '');

const same = ([key, value]: Entry, [other, bytes]: Entry): boolean =>
  key === other && Buffer.compare(value, bytes) === 0;

/** What it says gives the very same bytes back. Entries that cannot be said so (of an earlier release) come as they are. */
export function rowOf(entry: Entry): DumpRow {
  const [key, value] = entry;
  const its = kindOf(key);
  try {
    if (its !== undefined) {
      const row = {row: its.row, ...its.show(key, value)};
      if (same(entryOfRow(row), entry)) return row;
    }
  } catch {
    // It is damaged, or of another release: it is kept as it is.
  }
  return {row: RAW.row, ...RAW.show(key, value)};
}

/** Throws what is wrong with it: anything may be. */
export function entryOfRow(row: DumpRow): Entry {
  const its = byRow.get(row.row);
  if (its === undefined) throw new Error(`no row is called '${String(row.row)}'`);
  const [key, value] = its.make(row as never);
  return [key, Uint8Array.from(value)];
}
