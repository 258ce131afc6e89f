import {ROOT_OID} from '../base/ids.js';
import {S_IFDIR} from '../namespace/inode.js';
import {FIRST_COOKIE} from '../namespace/new-inode.js';
import type {Given} from '../namespace/tx.js';
import type {Codec, Empty} from '../protocol/gen/wire.js';
import type {Op} from '../protocol/ops.js';
import {ByteReader, ByteWriter} from './byte-writer.js';
import type {Superblock} from './command.js';
import * as keys from './keys.js';
import {decodeSuperblock, encodeInt, encodeSuperblock} from './records.js';
import type {Tx} from './tx.js';

/** What only the server itself submits. The codes are in the log, so they are never reused; no peer can send them. */
const internal = <Q, R = Empty>(
  code: number,
  name: string,
  encode: (q: Q) => Uint8Array,
  decode: (bytes: Uint8Array) => Q,
): Op<Q, R> => ({
  code,
  name,
  request: {name, encode: (q) => encode(q as Q), decode, check: () => null},
  reply: NOTHING as unknown as Codec<R>,
  mutates: true,
  payload: 'none',
  since: null,
});

/** Replies of session 0 are not kept, so they are never encoded. */
const NOTHING = {
  name: 'Empty',
  encode: () => new Uint8Array(0),
  decode: () => ({}),
  check: () => null,
};

const encodeIds = (ids: readonly number[]): Uint8Array => {
  const w = new ByteWriter(8 * ids.length);
  for (const id of ids) w.int(id);
  return w.take();
};
const decodeIds = (bytes: Uint8Array): number[] => {
  const r = new ByteReader(bytes);
  return Array.from({length: bytes.length / 8}, () => r.int());
};
const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const same = (bytes: Uint8Array): Uint8Array => bytes;

export const INTERNAL = {
  /** First of all batches: the empty file system. */
  format: internal<Superblock>(0x0f01, 'format', encodeSuperblock, decodeSuperblock),
  /** Ids below this one may be given. */
  idRange: internal<number>(0x0f02, 'id-range', encodeInt, (b) => new ByteReader(b).int()),
  /** The session is the id given to the command. */
  sessionCreate: internal<Uint8Array, {session: number}>(0x0f03, 'session-create', same, same),
  sessionForget: internal<number>(0x0f04, 'session-forget', encodeInt, (b) =>
    new ByteReader(b).int(),
  ),
  mapPut: internal<Uint8Array>(0x0f05, 'map-put', same, same),
  reap: internal<readonly number[]>(0x0f06, 'reap', encodeIds, decodeIds),
  removalDone: internal<readonly number[]>(0x0f07, 'removal-done', encodeIds, decodeIds),
  /** A term has begun. */
  reign: internal<number>(0x0f09, 'reign', encodeInt, (b) => new ByteReader(b).int()),
  /** The state makes use of these from now on, too. Names with blanks between. */
  features: internal<string>(0x0f0a, 'features', latin1, (b) => Buffer.from(b).toString('latin1')),
  /** JSON: see tokens.ts and deeds.ts. */
  tokenPut: internal<Uint8Array>(0x0f0b, 'token-put', same, same),
  tokenUse: internal<Uint8Array>(0x0f0c, 'token-use', same, same),
  deed: internal<Uint8Array>(0x0f0d, 'deed', same, same),
  /** Objects and generations in turn. */
  partsRemoved: internal<readonly number[]>(0x0f08, 'parts-removed', encodeIds, decodeIds),
};

export function format(tx: Tx, q: Superblock, {now}: Given): Empty {
  tx.put(keys.SUPERBLOCK_KEY, encodeSuperblock(q));
  tx.put(keys.FILES_KEY, encodeInt(0));
  tx.put(keys.IDS_KEY, encodeInt(ROOT_OID + 1));
  tx.add({
    oid: ROOT_OID,
    mode: S_IFDIR | 0o755,
    nlink: 2,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 0,
    blocks: 0,
    atime: now,
    mtime: now,
    ctime: now,
    version: 1,
    xattrNameBytes: 0,
    parent: 0,
    directory: {parent: ROOT_OID, nextCookie: FIRST_COOKIE, layout: q.rootLayout, layoutSet: 0},
    layout: null,
    generations: 0,
    next: null,
    inlineBytes: 0,
  });
  return {};
}

export function idRange(tx: Tx, q: number): Empty {
  tx.put(keys.IDS_KEY, encodeInt(q));
  return {};
}

export function reign(tx: Tx, q: number): Empty {
  tx.put(keys.TERM_KEY, encodeInt(q));
  return {};
}

export function features(tx: Tx, q: string): Empty {
  const {superblock} = tx;
  const all = new Set([...superblock.features, ...q.split(' ')]);
  tx.put(keys.SUPERBLOCK_KEY, encodeSuperblock({...superblock, features: [...all]}));
  return {};
}

export function sessionCreate(tx: Tx, q: Uint8Array, {oid}: Given): {session: number} {
  tx.put(keys.sessionKey(oid), new Uint8Array(q));
  return {session: oid};
}

export function sessionForget(tx: Tx, q: number): Empty {
  const from = keys.replyKey(q, 0);
  const replies = tx.store.range(from, keys.idEnd('r', q), keys.REPLIES_PER_SESSION);
  for (const [key] of replies) tx.del(key);
  tx.del(keys.sessionKey(q));
  return {};
}

export function mapPut(tx: Tx, q: Uint8Array): Empty {
  tx.put(keys.MAP_KEY, new Uint8Array(q));
  return {};
}

export function reap(tx: Tx, q: readonly number[]): Empty {
  for (const oid of q) {
    const inode = tx.find(oid);
    if (inode !== null && inode.nlink === 0) tx.destroy(inode);
  }
  return {};
}

export function removalDone(tx: Tx, q: readonly number[]): Empty {
  for (const oid of q) tx.del(keys.removalKey(oid));
  return {};
}

export function partsRemoved(tx: Tx, q: readonly number[]): Empty {
  for (let at = 0; at + 1 < q.length; at += 2) tx.del(keys.removalKey(q[at]!, q[at + 1]!));
  return {};
}
