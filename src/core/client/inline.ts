import {FsError, messageOf} from '../base/errors.js';
import type {BufferPool, Segment} from '../base/pool.js';
import type {FlushItem} from '../protocol/gen/wire.js';
import {OPS} from '../protocol/ops.js';
import type {BytePath} from './columns.js';
import type {Held} from './held.js';
import type {Session} from './session.js';

const NO_BYTES = new Uint8Array(0);

/** What the meta server is told of one object. `inline` null: nothing about its inline bytes. */
export interface News {
  held: Held;
  item: FlushItem;
  inline: Uint8Array | null;
}

/** News of an object whose inline bytes become `inline`. */
export function inlineNews(held: Held, inline: Uint8Array): News {
  return {held, item: {...held.report(), hasInline: true, inlineBytes: inline.length}, inline};
}

/**
 * May what is dirty go with the inode? No column has anything, and everything together is small. `inline` must be known.
 */
export function fitsInline(held: Held, bytesMax: number): boolean {
  const end = Math.max(held.dirty.dirty.end, held.dirty.flushing.end, held.inlineBytes);
  return held.flushedSize === 0 && !held.moving && !held.split && end <= bytesMax;
}

/** The inline bytes with what is being flushed over them. */
export function compose(path: BytePath, held: Held): Uint8Array {
  const before = held.inline ?? NO_BYTES;
  const {flushing} = held.dirty;
  const bytes = new Uint8Array(Math.max(before.length, flushing.end));
  bytes.set(before);
  flushing.visit(0, bytes.length, (offset, length, memory) => {
    bytes.set(path.pool.view(memory, length), offset);
  });
  return bytes;
}

/**
 * The inline bytes become dirty, where nothing newer is: they are going to columns. From here on reads find them there, and
 * `moving` says that the meta server still has them.
 */
export async function beginMove(path: BytePath, held: Held): Promise<void> {
  const {inline, dirty} = held;
  if (inline === null || inline.length === 0) return;
  const slot = await path.slots.alloc(inline.length);
  const memory = path.pool.payload(slot);
  path.pool.view(memory, inline.length).set(inline);
  dirty.below(slot, memory, inline.length);
  held.inline = NO_BYTES;
  held.inlineNews = false;
  held.moving = true;
}

/** Of an object that is inline as a whole, and not being changed: what there is of these bytes; null: it is not that simple, or there is no slot. */
export function readInline(
  pool: BufferPool,
  held: Held,
  from: number,
  length: number,
): Segment[] | null {
  const {inline, size} = held;
  if (inline === null || size > inline.length || held.moving || held.dirty.bytes > 0) return null;
  if (held.writeGate !== null || held.split) return null;
  const end = Math.min(from + length, size);
  if (end <= from) return [];
  const slot = pool.alloc(end - from);
  if (slot === -1) return null;
  const offset = pool.payload(slot);
  pool.bytes.set(inline.subarray(from, end), offset);
  held.useInline();
  return [{slot, offset, length: end - from}];
}

/** Under a lease of the object: what the meta server has. EIO if it cannot be had. */
export async function loadInline(session: Session, path: BytePath, held: Held): Promise<void> {
  if (held.inline !== null) return held.useInline();
  const {generation} = session;
  const {message, payload} = await session.call(OPS.readInline, {oid: held.oid});
  const bytes = inlineOf(path.pool, message.inlineBytes, payload);
  // Another one may have been faster, and what came since is newer.
  if (held.inline !== null) return;
  if (generation !== session.generation || bytes === null)
    throw new FsError('EIO', 'the session was lost');
  held.inline = bytes;
}

/** What a reply says of inline bytes: there are none, here they are, or null: to be asked for. */
export function inlineOf(
  pool: BufferPool,
  inlineBytes: number,
  payload: Segment | null,
): Uint8Array | null {
  if (payload === null) return inlineBytes === 0 ? NO_BYTES : null;
  const bytes = new Uint8Array(pool.view(payload.offset, payload.length));
  pool.release(payload.slot);
  return bytes;
}

/** The payload of a flush: the inline bytes of all news, one after the other. Its slot is the caller's. */
export async function packInline(
  path: BytePath,
  news: readonly News[],
): Promise<{slot: number; offset: number; length: number} | null> {
  const length = news.reduce((sum, {inline}) => sum + (inline?.length ?? 0), 0);
  if (length === 0) return null;
  const slot = await path.slots.alloc(length);
  const offset = path.pool.payload(slot);
  let at = offset;
  for (const {inline} of news) {
    if (inline === null) continue;
    path.pool.view(at, inline.length).set(inline);
    at += inline.length;
  }
  return {slot, offset, length};
}

export const asFsError = (error: unknown): FsError =>
  error instanceof FsError ? error : new FsError('EIO', messageOf(error));
