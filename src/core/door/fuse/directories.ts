import {ERRNO} from '../../base/errno.js';
import type {DirectoryPage} from '../../client/api.js';
import {FSYNC_IN, READ_IN} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import {DOTS} from './listing-offsets.js';
import type {RequestId} from './replies.js';
import {direntBytes, putDirent} from './structs.js';

const DIRECTORY = 0o040000;
/** More than one reply holds, so that a page is rarely asked for twice. */
const ENTRIES_PER_ASK = 1024;
const REPLY_BYTES_MAX = 128 * 1024;
/** A name of 20 bytes takes 48: how many entries are worth asking for. */
const ENTRY_BYTES_TYPICAL = 48;

interface Fill {
  start: number;
  at: number;
  end: number;
}

/** Reading directories. Attributes do not come along: the kernel would throw them away (timeout 0). */
export const directoryHandlers: HandlerTable = {
  OPENDIR(door, r) {
    // Asked once then: the kernel keeps listings, and checks permissions itself.
    if (door.listings) door.replies.error(r.id, ERRNO.ENOSYS);
    else door.replies.open(r.id, 0, 0);
  },

  async READDIR(door, r) {
    const {id, nodeid, pid} = r;
    const offset = r.arg64(READ_IN.offset);
    const size = Math.min(r.arg(READ_IN.size), REPLY_BYTES_MAX);
    const count = Math.min(ENTRIES_PER_ASK, Math.ceil(size / ENTRY_BYTES_TYPICAL));
    const cookie = Math.max(0, offset - DOTS);
    const page = await door.client.readdir(nodeid, cookie, count, false);
    // Before the answer waits for anything.
    if (door.listings) {
      const {listings} = door.kernel;
      if (offset < DOTS || page.entries.length > 0) listings.answered(nodeid, pid, page.leased);
      else await listings.ended(nodeid, pid, page.leased);
    }
    fillPage(door, id, nodeid, offset, size, page);
  },

  RELEASEDIR(door, r) {
    door.replies.error(r.id, 0);
  },

  async FSYNCDIR(door, r) {
    const {id, nodeid} = r;
    void FSYNC_IN;
    await door.client.fsync(nodeid);
    door.replies.error(id, 0);
  },
};

function fillPage(
  door: DoorContext,
  id: RequestId,
  oid: number,
  offset: number,
  size: number,
  page: DirectoryPage,
): void {
  const {pool} = door;
  const slot = pool.alloc(size);
  if (slot < 0) {
    pool.onFree(() => fillPage(door, id, oid, offset, size, page));
    return;
  }
  const start = pool.payload(slot);
  const fill = {start, at: start, end: start + size};
  const dots = [
    {ino: oid, mode: DIRECTORY, off: 1, name: Buffer.from('.')},
    {ino: page.parent, mode: DIRECTORY, off: DOTS, name: Buffer.from('..')},
  ];
  for (const dot of dots.slice(Math.min(offset, DOTS))) put(door, fill, dot);
  const {offsets} = door.kernel.listings;
  let reached = offset;
  for (const [index, {oid: ino, type, name}] of page.entries.entries()) {
    const off = offsets.behind(oid, page, index);
    if (!put(door, fill, {ino, mode: type << 12, off, name})) break;
    reached = off;
  }
  if (door.listings && reached > offset) offsets.answered(oid, offset, reached);
  if (fill.at === start) {
    pool.release(slot);
    door.replies.error(id, 0);
    return;
  }
  door.replies.data(id, [{slot, offset: start, length: fill.at - start}]);
}

/** False when it does not fit any more. */
function put(
  door: DoorContext,
  fill: Fill,
  entry: {ino: number; mode: number; off: number; name: Uint8Array},
): boolean {
  if (fill.at + direntBytes(entry.name.length) > fill.end) return false;
  fill.at = putDirent(door.words, door.pool.bytes, fill.at, entry);
  return true;
}
