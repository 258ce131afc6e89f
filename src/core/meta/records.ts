import {assert} from '../base/assert.js';
import {FsError} from '../base/errors.js';
import type {DirectoryLayout, Inode, NameRecord} from '../namespace/inode.js';
import type {Layout, Time} from '../protocol/gen/wire.js';
import {ByteReader, ByteWriter} from './byte-writer.js';
import type {Superblock} from './command.js';

/** Which layout attributes of a directory were set (there or above), and so are listed. */
export const LAYOUT_SET = {scheme: 1, groups: 2, unit: 4, chunk: 8} as const;

/** Raised when fields change; older records stay readable. */
const RECORD_VERSION = 4;
const SUPERBLOCK_WITHOUT_FEATURES = 4;
const SUPERBLOCK_VERSION = 5;
const PART_NONE = 0;
const PART_DIRECTORY = 1;
const PART_FILE = 2;

const writer = (): ByteWriter => new ByteWriter(128);

const putTime = (w: ByteWriter, time: Time): ByteWriter => w.sint(time.sec).uint(time.nsec);
function getTime(r: ByteReader): Time {
  const sec = r.sint();
  return {sec, nsec: r.uint()};
}

function putDirectoryLayout(w: ByteWriter, l: DirectoryLayout): ByteWriter {
  return w.u8(l.k).u8(l.m).u8(Math.log2(l.unitBytes)).uint(l.chunkBytes).uint(l.groupCount);
}
function getDirectoryLayout(r: ByteReader): DirectoryLayout {
  const k = r.u8();
  const m = r.u8();
  const unitBytes = 2 ** r.u8();
  const chunkBytes = r.uint();
  return {k, m, unitBytes, chunkBytes, groupCount: r.uint()};
}

function putLayout(w: ByteWriter, l: Layout): ByteWriter {
  w.u8(l.k).u8(l.m).u8(Math.log2(l.unitBytes)).uint(l.chunkBytes).u8(l.groups.length);
  for (const group of l.groups) w.uint(group);
  return w.uint(l.generation);
}
function getLayout(r: ByteReader, version: number): Layout {
  const k = r.u8();
  const m = r.u8();
  const unitBytes = 2 ** r.u8();
  const chunkBytes = r.uint();
  const groups = Array.from({length: r.u8()}, () => r.uint());
  return {k, m, unitBytes, chunkBytes, groups, generation: version >= 4 ? r.uint() : 0};
}

/** About 50 bytes for a file of one group. */
export function encodeInode(inode: Inode): Uint8Array {
  const w = writer().u8(RECORD_VERSION).u16(inode.mode).uint(inode.nlink);
  w.uint(inode.uid).uint(inode.gid).uint(inode.rdev).uint(inode.size).uint(inode.blocks);
  putTime(putTime(putTime(w, inode.atime), inode.mtime), inode.ctime);
  w.uint(inode.version).uint(inode.xattrNameBytes).uint(inode.parent);
  if (inode.directory !== null) {
    const {parent, nextCookie, layout, layoutSet} = inode.directory;
    putDirectoryLayout(w.u8(PART_DIRECTORY).uint(parent).uint(nextCookie), layout).u8(layoutSet);
  } else if (inode.layout !== null) {
    putLayout(w.u8(PART_FILE), inode.layout).uint(inode.inlineBytes).uint(inode.generations);
    if (inode.next === null) w.u8(0);
    else putLayout(w.u8(1), inode.next);
  } else w.u8(PART_NONE);
  return w.take();
}

export function decodeInode(oid: number, bytes: Uint8Array): Inode {
  const r = new ByteReader(bytes);
  const version = r.u8();
  assert(version >= 1 && version <= RECORD_VERSION, `inode record of version ${version}`);
  const inode: Inode = {
    oid,
    mode: r.u16(),
    nlink: r.uint(),
    uid: r.uint(),
    gid: r.uint(),
    rdev: r.uint(),
    size: r.uint(),
    blocks: r.uint(),
    atime: getTime(r),
    mtime: getTime(r),
    ctime: getTime(r),
    version: r.uint(),
    xattrNameBytes: r.uint(),
    parent: version === 1 ? 0 : r.uint(),
    directory: null,
    layout: null,
    inlineBytes: 0,
    generations: 0,
    next: null,
  };
  const part = r.u8();
  if (part === PART_FILE) {
    inode.layout = getLayout(r, version);
    if (version >= 3) inode.inlineBytes = r.uint();
    if (version >= 4) {
      inode.generations = r.uint();
      if (r.u8() === 1) inode.next = getLayout(r, version);
    }
  }
  if (part === PART_DIRECTORY) {
    inode.directory = {
      parent: r.uint(),
      nextCookie: r.uint(),
      layout: getDirectoryLayout(r),
      layoutSet: r.u8(),
    };
  }
  return inode;
}

/** A name in a directory, by name. */
export const encodeName = (d: NameRecord): Uint8Array =>
  writer().u8(d.type).uint(d.oid).uint(d.cookie).take();
export function decodeName(bytes: Uint8Array): NameRecord {
  const r = new ByteReader(bytes);
  return {type: r.u8(), oid: r.uint(), cookie: r.uint()};
}

/** The same by cookie. */
export interface EntryRecord {
  type: number;
  oid: number;
  name: Uint8Array;
}
export const encodeEntry = (type: number, oid: number, name: string): Uint8Array =>
  writer().u8(type).uint(oid).latin1(name).take();
export function decodeEntry(bytes: Uint8Array): EntryRecord {
  const r = new ByteReader(bytes);
  return {type: r.u8(), oid: r.uint(), name: r.rest()};
}

export const encodeRemoval = (layout: Layout): Uint8Array =>
  putLayout(writer().u8(RECORD_VERSION), layout).take();
export function decodeRemoval(bytes: Uint8Array): Layout {
  return getLayout(new ByteReader(bytes, 1), bytes[0]!);
}

/** A kept reply: status 0 and the encoded message, or an errno and its detail in UTF-8. */
export interface ReplyRecord {
  requestId: number;
  status: number;
  body: Uint8Array;
}
export const encodeReply = (r: ReplyRecord): Uint8Array =>
  writer().int(r.requestId).u16(r.status).bytes(r.body).take();
export function decodeReply(bytes: Uint8Array): ReplyRecord {
  const r = new ByteReader(bytes);
  return {requestId: r.int(), status: r.u16(), body: r.rest()};
}

/** What an older release can read as long as nothing that came later is made use of. */
export function encodeSuperblock(s: Superblock): Uint8Array {
  const {features} = s;
  const version = features.length === 0 ? SUPERBLOCK_WITHOUT_FEATURES : SUPERBLOCK_VERSION;
  const w = putDirectoryLayout(writer().u8(version).text(s.cluster).u8(s.groupSize), s.rootLayout);
  return (features.length === 0 ? w : w.text(features.join(' '))).take();
}

/** FsError EINVAL: it is of a newer release. */
export function decodeSuperblock(bytes: Uint8Array): Superblock {
  const r = new ByteReader(bytes);
  const version = r.u8();
  if (version > SUPERBLOCK_VERSION)
    throw new FsError('EINVAL', 'the state is of a newer release: install that one');
  const cluster = r.text();
  const groupSize = r.u8();
  const rootLayout = getDirectoryLayout(r);
  const features = version < SUPERBLOCK_VERSION ? [] : r.text().split(' ');
  return {cluster, groupSize, rootLayout, features};
}

export const encodeInt = (value: number): Uint8Array => writer().int(value).take();
export const decodeInt = (bytes: Uint8Array): number => new ByteReader(bytes).int();
