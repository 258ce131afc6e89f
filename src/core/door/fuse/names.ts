import {FsError} from '../../base/errors.js';
import type {Attr} from '../../protocol/gen/wire.js';
import {LINK_IN, MKDIR_IN, MKNOD_IN, RENAME_IN, RENAME2_IN} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import type {RequestId} from './replies.js';
import type {RequestCursor} from './request.js';
import type {Validity} from './structs.js';

const TARGET_BYTES_MAX = 4095;
const DOT = 0x2e;

function writable(door: DoorContext): void {
  if (door.readOnly) throw new FsError('EROFS');
}

interface Place {
  parent: number;
  name: Uint8Array;
}

/** The kernel may keep the name, and the attributes, while the leases last under which they are known. */
export function keepEntry(door: DoorContext, attr: Attr, {parent, name}: Place): Validity {
  const {kernel, client} = door;
  const {ms: attrMs, under} = client.attrValid(attr.oid);
  kernel.keepAttributes(attr, under, attrMs, true);
  return {entryMs: kernel.keepName(parent, client.nameValid(parent, name, attr.oid)), attrMs};
}

function answerEntry(door: DoorContext, id: RequestId, attr: Attr, place: Place): void {
  door.replies.entry(id, attr, keepEntry(door, attr, place));
}

async function rename(
  door: DoorContext,
  r: RequestCursor,
  words: number,
  flags: number,
): Promise<void> {
  writable(door);
  const {id, nodeid} = r;
  const newParent = r.arg64(RENAME_IN.newdir);
  const name = r.name(r.tail(words));
  const newName = r.name(r.tail(words) + name.length + 1);
  await door.client.rename(nodeid, name, newParent, newName, flags);
  door.replies.error(id, 0);
}

/** Requests that name an entry of a directory. */
export const nameHandlers: HandlerTable = {
  async LOOKUP(door, r) {
    const {id, nodeid} = r;
    const name = r.name(r.tail(0));
    // Asked by knfsd and open_by_handle_at: the node itself, and its parent (FUSE.md 10.7).
    if (name[0] === DOT && name.length === 1) {
      return door.replies.entry(id, await door.client.getattr(nodeid));
    }
    if (name[0] === DOT && name[1] === DOT && name.length === 2) {
      const {parent} = await door.client.readdir(nodeid, 0, 1, false);
      return door.replies.entry(id, await door.client.getattr(parent));
    }
    let attr: Attr;
    try {
      attr = await door.client.lookup(nodeid, name);
    } catch (error) {
      if (!(error instanceof FsError) || error.errno !== 'ENOENT') throw error;
      const ms = door.kernel.keepName(nodeid, door.client.nameValid(nodeid, name, 0));
      if (ms === 0) throw error;
      return door.replies.noEntry(id, ms);
    }
    answerEntry(door, id, attr, {parent: nodeid, name});
  },

  async MKDIR(door, r) {
    writable(door);
    const {id, nodeid, caller} = r;
    const mode = r.arg(MKDIR_IN.mode);
    const name = r.name(r.tail(MKDIR_IN.words));
    const attr = await door.client.mkdir(nodeid, name, mode & 0o7777, caller);
    answerEntry(door, id, attr, {parent: nodeid, name});
  },

  async MKNOD(door, r) {
    writable(door);
    const {id, nodeid, caller} = r;
    const mode = r.arg(MKNOD_IN.mode);
    const rdev = r.arg(MKNOD_IN.rdev);
    const name = r.name(r.tail(MKNOD_IN.words));
    const attr = await door.client.mknod(nodeid, name, mode, rdev, caller);
    answerEntry(door, id, attr, {parent: nodeid, name});
  },

  async SYMLINK(door, r) {
    writable(door);
    const {id, nodeid, caller} = r;
    const name = r.name(r.tail(0));
    const target = r.text(r.tail(0) + name.length + 1);
    if (target.length > TARGET_BYTES_MAX) throw new FsError('ENAMETOOLONG');
    const attr = await door.client.symlink(nodeid, name, target, caller);
    answerEntry(door, id, attr, {parent: nodeid, name});
  },

  async READLINK(door, r) {
    const {id, nodeid} = r;
    door.replies.bytes(id, await door.client.readlink(nodeid));
  },

  async LINK(door, r) {
    writable(door);
    const {id, nodeid} = r;
    const old = r.arg64(LINK_IN.oldnodeid);
    const name = r.name(r.tail(LINK_IN.words));
    const attr = await door.client.link(old, nodeid, name);
    answerEntry(door, id, attr, {parent: nodeid, name});
  },

  async UNLINK(door, r) {
    writable(door);
    const {id, nodeid} = r;
    await door.client.unlink(nodeid, r.name(r.tail(0)));
    door.replies.error(id, 0);
  },

  async RMDIR(door, r) {
    writable(door);
    const {id, nodeid} = r;
    await door.client.rmdir(nodeid, r.name(r.tail(0)));
    door.replies.error(id, 0);
  },

  RENAME: (door, r) => rename(door, r, RENAME_IN.words, 0),
  RENAME2: (door, r) => rename(door, r, RENAME2_IN.words, r.arg(RENAME2_IN.flags)),
};
