import type {Inode} from '../../namespace/inode.js';
import {later, validTime} from '../../namespace/times.js';
import type {Given} from '../../namespace/tx.js';
import type {
  Empty,
  FlushItem,
  FlushReply,
  FlushRequest,
  YieldRequest,
} from '../../protocol/gen/wire.js';
import type {Tx} from '../tx.js';
import {applyChanges} from './changes.js';

/**
 * What holders of write leases have done and know better. Objects that are gone meanwhile are passed over. ctime follows mtime, so
 * that it does not change at a flush from what the holder showed; but not into the future, and not back.
 */
export function flush(tx: Tx, q: FlushRequest, given: Given): FlushReply {
  const refused = q.changes.length === 0 ? [] : applyChanges(tx, q.changes, given);
  let at = 0;
  for (const item of q.items) {
    flushItem(tx, item, given, given.payload.subarray(at, at + item.inlineBytes));
    at += item.inlineBytes;
  }
  return {attrs: [], refused};
}

/** A lease is given back; what it knew comes with it. The lease itself is the control part's. */
export function yieldLease(tx: Tx, q: YieldRequest, given: Given): Empty {
  if (q.attr !== null && q.attr !== undefined) flushItem(tx, q.attr, given, NO_BYTES);
  return {};
}

const NO_BYTES = new Uint8Array(0);

/** Several write, each in ranges of its own: the largest size and the latest times are the object's. */
function onlyGrow(item: FlushItem, {size, blocks, mtime, atime}: Inode): void {
  item.size = Math.max(item.size, size);
  item.blocks = Math.max(item.blocks, blocks);
  if (item.mtime !== null && !later(item.mtime, mtime)) item.hasMtime = false;
  if (item.atime !== null && !later(item.atime, atime)) item.hasAtime = false;
}

function flushItem(tx: Tx, item: FlushItem, {now}: Given, inline: Uint8Array): void {
  const inode = tx.find(item.oid);
  if (inode === null || inode.layout === null) return;
  tx.modify(inode);
  if (item.grow) onlyGrow(item, inode);
  const resized = item.hasSize && item.size !== inode.size;
  if (item.hasSize) {
    inode.size = item.size;
    inode.blocks = item.blocks;
    tx.cutInline(inode, item.size);
  }
  if (item.hasInline) tx.setInline(inode, inline.subarray(0, inode.size));
  if (item.hasAtime && validTime(item.atime)) inode.atime = item.atime;
  if (item.hasMtime && validTime(item.mtime)) {
    inode.mtime = item.mtime;
    const changed = later(item.mtime, now) ? now : item.mtime;
    if (later(changed, inode.ctime)) inode.ctime = changed;
  } else if (resized) inode.ctime = now;
}
