import {FsError} from '../base/errors.js';
import {OID_MAX, ROOT_OID} from '../base/ids.js';
import {bytesOf} from '../base/latin1.js';
import {invalidLayout} from '../layout/scheme.js';
import {type Inode, isDirectory, isRegular, S_IFLNK, S_IFMT} from '../namespace/inode.js';
import {validName} from '../namespace/names.js';
import type * as wire from '../protocol/gen/wire.js';
import * as keys from './keys.js';
import type {Machine} from './machine.js';
import {Paths} from './paths.js';
import {decodeEntry, decodeInode, decodeName} from './records.js';
import type {Tx} from './tx.js';

/** Rows of one page: some ms of the meta server's time, and less than a message takes. */
const ROWS_MAX = 500;
const PATHS_BYTES_MAX = 64 * 1024;
const NAMES_FROM = 'd';
const NAMES_TO = keys.letterEnd('e');

/** Inodes, each with what is wrong with it as far as it shows without counting names. */
export function inodesOf(machine: Machine, q: wire.InodesRequest): wire.InodesReply {
  if (q.oids.length > ROWS_MAX) throw new FsError('EINVAL', `${q.oids.length} objects`);
  const chosen = q.oids.length > 0;
  const max = Math.min(q.max || ROWS_MAX, ROWS_MAX);
  const {inodes, idsBelow} = machine.audit((tx) => {
    const below = tx.store.range(keys.inodeKey(q.after + 1), keys.letterEnd('i'), max);
    const oids = chosen ? q.oids : below.map(([key]) => keys.keyId(key, 1));
    const rooted = new Set<number>([ROOT_OID]);
    return {inodes: oids.map((oid) => inodeOf(tx, oid, rooted)), idsBelow: tx.idsBelow};
  });
  if (!chosen) return {inodes, end: inodes.length < max, idsBelow};
  const paths = new Paths(machine);
  let bytes = 0;
  for (const inode of inodes) {
    if (inode.missing || bytes > PATHS_BYTES_MAX || inode.oid > OID_MAX) continue;
    inode.path = paths.of(inode.oid);
    bytes += inode.path.length;
  }
  return {inodes, end: true, idsBelow};
}

function inodeOf(tx: Tx, oid: number, rooted: Set<number>): wire.InodeInfo {
  const info: wire.InodeInfo = {
    oid,
    missing: true,
    removing: tx.store.range(keys.removalKey(oid), keys.idEnd('q', oid), 1).length > 0,
    mode: 0,
    nlink: 0,
    size: 0,
    version: 0,
    inlineBytes: 0,
    layout: null,
    problem: '',
    next: null,
    path: new Uint8Array(0),
  };
  const bytes = tx.store.get(keys.inodeKey(oid));
  if (bytes === undefined) return info;
  info.missing = false;
  const inode = decoded(oid, bytes);
  if (inode === null) return {...info, problem: 'its record cannot be read'};
  const {mode, nlink, size, version, inlineBytes, layout, next} = inode;
  Object.assign(info, {mode, nlink, size, version, inlineBytes, layout, next});
  info.problem = problemOf(tx, inode, rooted) ?? '';
  return info;
}

/** A record that rotted is a finding, not a bug. */
function decoded(oid: number, bytes: Uint8Array): Inode | null {
  try {
    return decodeInode(oid, bytes);
  } catch {
    return null;
  }
}

function problemOf(tx: Tx, inode: Inode, rooted: Set<number>): string | null {
  const {oid, nlink, layout, size, inlineBytes} = inode;
  if (oid >= tx.idsBelow) return 'its number was never given';
  if (tx.store.get(keys.removalKey(oid)) !== undefined)
    return 'it is there, but its columns are being removed';
  const orphan = tx.store.get(keys.orphanKey(oid)) !== undefined;
  if (orphan && nlink > 0) return `it has ${nlink} links, but is listed as one without a name`;
  if (!orphan && nlink === 0) return 'it has no links, but is not listed as one without a name';
  if ((inode.mode & S_IFMT) === S_IFLNK && tx.store.get(keys.targetKey(oid)) === undefined)
    return 'the symbolic link has no target';
  const inline = tx.store.get(keys.inlineKey(oid))?.length ?? 0;
  if (inline !== inlineBytes || inline > size)
    return `${inline} bytes are kept with it, not ${inlineBytes} (size ${size})`;
  if (isRegular(inode)) {
    const wrong = layout === null ? 'it has none' : invalidLayout(layout);
    if (wrong !== null) return `its layout cannot be: ${wrong}`;
    if (layout!.groups.length === 0) return 'its layout has no group';
  }
  if (!isDirectory(inode)) return null;
  if (inode.directory === null) return 'the directory has no record of its own';
  return nlink === 0 || hangs(tx, oid, rooted) ? null : 'the directory is not below the root';
}

/** Does the way up from a directory end at the root? What was found to is added to `rooted`. */
function hangs(tx: Tx, oid: number, rooted: Set<number>): boolean {
  const way: number[] = [];
  const seen = new Set<number>();
  for (let at = oid; !rooted.has(at); ) {
    const bytes = tx.store.get(keys.inodeKey(at));
    const parent = (bytes === undefined ? null : decoded(at, bytes))?.directory?.parent;
    if (parent === undefined || seen.has(at)) return false;
    seen.add(at);
    way.push(at);
    at = parent;
  }
  for (const one of way) rooted.add(one);
  return true;
}

/** All names, by directory, and after them what listings have that is no name. */
export function namesOf(machine: Machine, q: wire.NamesRequest): wire.NamesReply {
  const max = Math.min(q.max || ROWS_MAX, ROWS_MAX);
  const cursor = Buffer.from(q.cursor).toString('latin1');
  if (cursor !== '' && (cursor < NAMES_FROM || cursor >= NAMES_TO))
    throw new FsError('EINVAL', 'cursor');
  return machine.audit((tx) => {
    const from = cursor === '' ? NAMES_FROM : `${cursor}\0`;
    const found = tx.store.range(from, NAMES_TO, max);
    const names = found.flatMap(([key, value]) => {
      const row = key.startsWith('d') ? nameRow(tx, key, value) : entryRow(tx, key, value);
      return row === null ? [] : [row];
    });
    const last = found.at(-1)?.[0] ?? cursor;
    return {names, cursor: bytesOf(last), end: found.length < max};
  });
}

function nameRow(tx: Tx, key: string, value: Uint8Array): wire.NameInfo {
  const parent = keys.keyId(key, 1);
  const name = key.slice(keys.ID_KEY_LENGTH);
  const row = {
    parent,
    name: bytesOf(name),
    oid: 0,
    directory: false,
    problem: '',
    dangling: false,
    unlisted: false,
  };
  let record: ReturnType<typeof decodeName>;
  try {
    record = decodeName(value);
  } catch {
    return {...row, problem: 'its record cannot be read'};
  }
  const {oid, type, cookie} = record;
  const child = found(tx, oid);
  row.oid = oid;
  row.dangling = child === null;
  row.directory = child !== null && isDirectory(child);
  const problem = nameProblem(tx, {parent, name, type, cookie}, child) ?? '';
  return {...row, problem, unlisted: problem === UNLISTED};
}

function nameProblem(
  tx: Tx,
  {parent, name, type, cookie}: {parent: number; name: string; type: number; cookie: number},
  child: Inode | null,
): string | null {
  if (child === null) return 'it is the name of nothing';
  const directory = found(tx, parent);
  if (directory === null) return 'its directory is not there';
  if (directory.directory === null) return 'it is in what is no directory';
  if (directory.nlink === 0) return 'it is in a directory that was removed';
  if (cookie >= directory.directory.nextCookie) return 'its place in the directory was never given';
  const entry = tx.store.get(keys.entryKey(parent, cookie));
  if (entry === undefined) return UNLISTED;
  const listed = decodeEntry(entry);
  if (listed.oid !== child.oid || Buffer.from(listed.name).toString('latin1') !== name)
    return 'listings show something else in its place';
  if (type !== (child.mode & S_IFMT) >> 12) return 'it says another type than its object';
  if (child.directory !== null && child.directory.parent !== parent)
    return `its directory says that it is in object ${child.directory.parent}`;
  const elsewhere = child.directory === null && child.parent !== 0 && child.parent !== parent;
  return elsewhere ? `its object says that it is in object ${child.parent}` : null;
}

/** Null: it belongs to a name. */
function entryRow(tx: Tx, key: string, value: Uint8Array): wire.NameInfo | null {
  const parent = keys.keyId(key, 1);
  const cookie = keys.keyId(key, keys.ID_KEY_LENGTH);
  const row = {
    parent,
    name: new Uint8Array(0),
    oid: 0,
    directory: false,
    dangling: false,
    unlisted: false,
  };
  try {
    const {oid, name} = decodeEntry(value);
    const text = Buffer.from(name).toString('latin1');
    const record = tx.name(parent, text);
    if (record !== null && record.cookie === cookie && record.oid === oid) return null;
    return {
      ...row,
      name: new Uint8Array(name),
      oid,
      problem: 'listings show it, but it is no name',
    };
  } catch {
    return {...row, problem: `place ${cookie} of the listing cannot be read`};
  }
}

function found(tx: Tx, oid: number): Inode | null {
  try {
    return tx.find(oid);
  } catch {
    return null;
  }
}

const UNLISTED = 'listings do not show it';
const EAGAIN = 'it is not as it was found';

/** OPS.mend. */
export function mend(tx: Tx, q: wire.MendRequest, {now}: {now: wire.Time}): wire.Empty {
  if (q.name.length > 0) {
    const name = validName(q.name);
    const directory = tx.directory(q.parent);
    const record = tx.name(q.parent, name);
    if (record === null) throw new FsError('EAGAIN', EAGAIN);
    const child = tx.find(record.oid);
    if (child === null) {
      tx.delName(directory, name, record.cookie, now);
      return {};
    }
    const entry = keys.entryKey(q.parent, record.cookie);
    if (tx.store.get(entry) !== undefined) throw new FsError('EAGAIN', EAGAIN);
    tx.modify(directory);
    tx.setName(directory, name, record.cookie, child);
    return {};
  }
  const inode = tx.inode(q.oid);
  if (inode.version !== q.version) throw new FsError('EAGAIN', EAGAIN);
  if (q.links > 0) {
    tx.modify(inode);
    inode.nlink = q.links;
    inode.ctime = now;
    tx.del(keys.orphanKey(q.oid));
    return {};
  }
  const root = tx.directory(ROOT_OID);
  const name = `lost+found-${q.oid}`;
  if (inode.nlink === 0 || tx.name(ROOT_OID, name) !== null) throw new FsError('EAGAIN', EAGAIN);
  tx.modify(inode);
  inode.nlink = isDirectory(inode) ? inode.nlink : 1;
  inode.ctime = now;
  if (inode.directory === null) inode.parent = ROOT_OID;
  else {
    inode.directory.parent = ROOT_OID;
    root.nlink++;
  }
  tx.putName(root, name, inode, now);
  return {};
}
