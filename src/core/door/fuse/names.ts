import {FsError} from '../../base/errors.js';
import type {Ms} from '../../base/ids.js';
import type {Attr} from '../../protocol/gen/wire.js';
import {LINK_IN, MKDIR_IN, MKNOD_IN, RENAME_IN, RENAME2_IN} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import type {RequestId} from './replies.js';
import type {RequestCursor} from './request.js';
import type {Validity} from './structs.js';

const TARGET_BYTES_MAX = 4095;
const DOT = 0x2e;
/** So often something is asked for anew because a thread is reading. */
const QUIET_TIMES_MAX = 4;

function writable(door: DoorContext): void {
  if (door.readOnly) throw new FsError('EROFS');
}

/** Where an entry is, and who asks for it. */
interface Place {
  parent: number;
  name: Uint8Array;
  pid: number;
  /** The moment of its request (AttrRaces). */
  begun: number;
  arrived: Ms;
}

/** The kernel may keep the name, and the attributes, while the leases last under which they are known. */
export function keepEntry(
  door: DoorContext,
  attr: Attr,
  {parent, name, pid, begun, arrived}: Place,
): Validity {
  const {kernel, client, looseMs} = door;
  const {ms, under} = client.attrValid(attr.oid);
  door.lookups.add(attr.oid);
  door.sizes.told(attr, {pid, arrived, kept: ms > 0});
  return {
    attrMs: kernel.keepAttributes(attr, under, {ms: ms || looseMs, unborn: true, pid, begun}),
    entryMs: kernel.keepName(parent, client.nameValid(parent, name, attr.oid) || looseMs),
  };
}

/** Waits for a change in these directories. One that failed in a way that says nothing may have happened. */
export async function carriedOut<T>(
  door: DoorContext,
  directories: readonly number[],
  change: Promise<T>,
): Promise<T> {
  try {
    return await change;
  } catch (error) {
    if (!(error instanceof FsError) || error.errno === 'EIO')
      await door.kernel.overlooked(directories);
    throw error;
  }
}

/** Resolves when a change in these directories may be answered; usually at once (null). */
export function changed(
  door: DoorContext,
  {id, pid}: {id: RequestId; pid: number},
  directory: number,
  other = directory,
): Promise<unknown> | null {
  // Whoever is killed has been answered before: the kernel does not know that there was a change.
  if (!door.replies.waits(id)) return door.kernel.overlooked([directory, other]);
  return door.kernel.changed(pid, directory, other);
}

/** The answer to a request that has made an entry. */
async function answerMade(
  door: DoorContext,
  id: RequestId,
  attr: Attr,
  place: Place,
): Promise<void> {
  await changed(door, {id, pid: place.pid}, place.parent);
  answerEntry(door, id, attr, place);
}

/** Attributes that may be told now: no thread is about to learn the size in another way. What is told later must be known later. */
export async function quiet(door: DoorContext, known: () => Promise<Attr>): Promise<Attr> {
  for (let times = 0; ; times++) {
    const attr = await known();
    const {oid} = attr;
    const reading = door.sizes.readAgain(oid);
    if (reading === null || times === QUIET_TIMES_MAX || door.client.attrValid(oid).ms > 0)
      return attr;
    await reading;
  }
}

function answerEntry(door: DoorContext, id: RequestId, attr: Attr, place: Place): void {
  door.replies.entry(id, attr, keepEntry(door, attr, place));
}

/** The kernel keeps nothing of it. */
function answerNode(
  door: DoorContext,
  id: RequestId,
  attr: Attr,
  {pid, arrived}: {pid: number; arrived: Ms},
): void {
  door.lookups.add(attr.oid);
  door.sizes.told(attr, {pid, arrived, kept: false});
  door.replies.entry(id, attr);
}

async function rename(
  door: DoorContext,
  r: RequestCursor,
  words: number,
  flags: number,
): Promise<void> {
  writable(door);
  const {id, nodeid, pid} = r;
  const newParent = r.argNode(RENAME_IN.newdir);
  const name = r.name(r.tail(words));
  const newName = r.name(r.tail(words) + name.length + 1);
  const change = door.client.rename(nodeid, name, newParent, newName, flags);
  await carriedOut(door, [nodeid, newParent], change);
  await changed(door, {id, pid}, nodeid, newParent);
  door.replies.error(id, 0);
}

/** Requests that name an entry of a directory. */
export const nameHandlers: HandlerTable = {
  async LOOKUP(door, r) {
    const {id, nodeid, pid, arrived} = r;
    const begun = door.kernel.races.moment;
    const name = r.name(r.tail(0));
    // Asked by knfsd and open_by_handle_at: the node itself, and its parent (FUSE.md 10.7).
    if (name[0] === DOT && name.length === 1) {
      return answerNode(door, id, await door.client.getattr(nodeid), {pid, arrived});
    }
    if (name[0] === DOT && name[1] === DOT && name.length === 2) {
      const {parent} = await door.client.readdir(nodeid, 0, 1, false);
      return answerNode(door, id, await door.client.getattr(parent), {pid, arrived});
    }
    let attr: Attr;
    try {
      attr = await quiet(door, () => door.client.lookup(nodeid, name));
    } catch (error) {
      if (!(error instanceof FsError) || error.errno !== 'ENOENT') throw error;
      const valid = door.client.nameValid(nodeid, name, 0) || door.looseMs;
      const ms = door.kernel.keepName(nodeid, valid);
      if (ms === 0) throw error;
      return door.replies.noEntry(id, ms);
    }
    answerEntry(door, id, attr, {parent: nodeid, name, pid, begun, arrived});
  },

  async MKDIR(door, r) {
    writable(door);
    const {id, nodeid, pid, caller, arrived} = r;
    const begun = door.kernel.races.moment;
    const mode = r.arg(MKDIR_IN.mode);
    const name = r.name(r.tail(MKDIR_IN.words));
    const attr = await carriedOut(
      door,
      [nodeid],
      door.client.mkdir(nodeid, name, mode & 0o7777, caller),
    );
    await answerMade(door, id, attr, {parent: nodeid, name, pid, begun, arrived});
  },

  async MKNOD(door, r) {
    writable(door);
    const {id, nodeid, pid, caller, arrived} = r;
    const begun = door.kernel.races.moment;
    const mode = r.arg(MKNOD_IN.mode);
    const rdev = r.arg(MKNOD_IN.rdev);
    const name = r.name(r.tail(MKNOD_IN.words));
    const attr = await carriedOut(
      door,
      [nodeid],
      door.client.mknod(nodeid, name, mode, rdev, caller),
    );
    await answerMade(door, id, attr, {parent: nodeid, name, pid, begun, arrived});
  },

  async SYMLINK(door, r) {
    writable(door);
    const {id, nodeid, pid, caller, arrived} = r;
    const begun = door.kernel.races.moment;
    const name = r.name(r.tail(0));
    const target = r.text(r.tail(0) + name.length + 1);
    if (target.length > TARGET_BYTES_MAX) throw new FsError('ENAMETOOLONG');
    const attr = await carriedOut(
      door,
      [nodeid],
      door.client.symlink(nodeid, name, target, caller),
    );
    await answerMade(door, id, attr, {parent: nodeid, name, pid, begun, arrived});
  },

  async READLINK(door, r) {
    const {id, nodeid} = r;
    door.replies.bytes(id, await door.client.readlink(nodeid));
  },

  async LINK(door, r) {
    writable(door);
    const {id, nodeid, pid, arrived} = r;
    const begun = door.kernel.races.moment;
    const old = r.arg64(LINK_IN.oldnodeid);
    const name = r.name(r.tail(LINK_IN.words));
    const attr = await carriedOut(door, [nodeid], door.client.link(old, nodeid, name));
    await answerMade(door, id, attr, {parent: nodeid, name, pid, begun, arrived});
  },

  async UNLINK(door, r) {
    writable(door);
    const {id, nodeid, pid} = r;
    await carriedOut(door, [nodeid], door.client.unlink(nodeid, r.name(r.tail(0))));
    await changed(door, {id, pid}, nodeid);
    door.replies.error(id, 0);
  },

  async RMDIR(door, r) {
    writable(door);
    const {id, nodeid, pid} = r;
    await carriedOut(door, [nodeid], door.client.rmdir(nodeid, r.name(r.tail(0))));
    await changed(door, {id, pid}, nodeid);
    door.replies.error(id, 0);
  },

  RENAME: (door, r) => rename(door, r, RENAME_IN.words, 0),
  RENAME2: (door, r) => rename(door, r, RENAME2_IN.words, r.arg(RENAME2_IN.flags)),
};
