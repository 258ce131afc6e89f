import {FsError} from '../../base/errors.js';
import type {LockWanted} from '../../client/api.js';
import {
  EXCLUSIVE,
  LAST_BYTE,
  type LockType,
  RANGE,
  SHARED,
  UNLOCKED,
  WHOLE,
} from '../../lock/range-locks.js';
import {offset} from '../../lock/wire.js';
import {FLUSH_IN, LK_FLOCK, LK_IN, LK_OUT} from './abi.js';
import type {DoorContext, HandlerTable} from './door.js';
import type {RequestCursor} from './request.js';

/** l_type of fcntl(2) (asm-generic/fcntl.h). */
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

/** An open file through which locks were taken; its number is in all requests about it. */
interface Handle {
  readonly oid: number;
  /** Numbers of owners. */
  readonly owners: Set<number>;
}

interface Owner {
  readonly key: string;
  /** Objects of which it may hold locks. */
  readonly oids: Set<number>;
  /** Requests for locks that are under way. */
  asking: number;
}

/**
 * Whose locks the kernel means. It names an owner by 64 bits: a process for fcntl(2), an open file for OFD locks and flock(2). When a process
 * closes a file, FLUSH says whose locks go; when an open file goes, RELEASE says so only for flock(2): so it is kept here
 * which owners have locked something through which open file.
 */
export class LockOwners {
  readonly #numbers = new Map<string, number>();
  readonly #owners = new Map<number, Owner>();
  readonly #handles = new Map<number, Handle>();
  /** Open files whose owner has lost locks with the session: he must not go on as if he held them. */
  readonly #lost = new Set<number>();
  #last = 0;
  #lastHandle = 0;

  /** A number for a new open file: odd if it may write. */
  handle(write: boolean): number {
    this.#lastHandle += 2;
    return this.#lastHandle + (write ? 1 : 0);
  }

  /** The owner's number; he asks for a lock, and keeps the number until `asked`, whatever is closed meanwhile. */
  asks(high: number, low: number): number {
    const key = `${high}.${low}`;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = ++this.#last;
      this.#numbers.set(key, number);
      this.#owners.set(number, {key, oids: new Set(), asking: 0});
    }
    this.#owners.get(number)!.asking++;
    return number;
  }

  /** He has, or has not, got it, through this open file. */
  asked(number: number, got: boolean, fh: number, oid: number): void {
    const owner = this.#owners.get(number)!;
    owner.asking--;
    if (!got) {
      this.#drop(number, owner);
      return;
    }
    owner.oids.add(oid);
    const handle = this.#handles.get(fh);
    if (handle === undefined) this.#handles.set(fh, {oid, owners: new Set([number])});
    else handle.owners.add(number);
  }

  /** 0: he has never locked anything. */
  known(high: number, low: number): number {
    return this.#numbers.get(`${high}.${low}`) ?? 0;
  }

  /** He has closed a descriptor of this open file, and has nothing of its object any more. */
  done(number: number, oid: number, fh: number): void {
    this.#handles.get(fh)?.owners.delete(number);
    const owner = this.#owners.get(number);
    if (owner === undefined) return;
    owner.oids.delete(oid);
    this.#drop(number, owner);
  }

  #drop(number: number, {key, oids, asking}: Owner): void {
    if (oids.size > 0 || asking > 0) return;
    this.#owners.delete(number);
    this.#numbers.delete(key);
  }

  /** The open file is closed; owners that have locked something through it, null: none. */
  closed(fh: number): Iterable<number> | null {
    if (this.#handles.size === 0) return null;
    const handle = this.#handles.get(fh);
    this.#handles.delete(fh);
    this.#lost.delete(fh);
    return handle?.owners ?? null;
  }

  /** All locks are gone; `held`: who had some. */
  lost(held: (oid: number, owner: number) => boolean): void {
    for (const [fh, {oid, owners}] of this.#handles)
      if ([...owners].some((owner) => held(oid, owner))) this.#lost.add(fh);
  }

  /** FsError EIO for an open file whose locks were lost. */
  check(fh: number): void {
    if (this.#lost.size > 0 && this.#lost.has(fh)) throw new FsError('EIO', 'locks were lost');
  }
}

/** Locking: fcntl(2) with its OFD locks, and flock(2). */
export const lockHandlers: HandlerTable = {
  async GETLK(door, r) {
    const {id, nodeid} = r;
    // Who has never locked anything has a number that nobody else has.
    const found = await door.client.testLock(nodeid, {...rangeOf(r), owner: known(door, r)});
    door.replies.lock(id, (u32, at) => {
      if (found === null) {
        u32[at + LK_OUT.type] = F_UNLCK;
        return;
      }
      put(u32, at + LK_OUT.start, found.start);
      put(u32, at + LK_OUT.end, found.end);
      u32[at + LK_OUT.type] = found.type === EXCLUSIVE ? F_WRLCK : F_RDLCK;
      // A process of another machine has no number here.
      u32[at + LK_OUT.pid] = found.own ? found.pid : 0;
    });
  },

  async SETLK(door, r) {
    const {id} = r;
    await setLock(door, r, null);
    door.replies.error(id, 0);
  },

  async SETLKW(door, r) {
    const {id} = r;
    const stop = new AbortController();
    // Any signal ends the wait, as on a local disk.
    door.interruptible.set(id, () => stop.abort());
    try {
      await setLock(door, r, stop.signal);
    } finally {
      door.interruptible.delete(id);
    }
    door.replies.error(id, 0);
  },
};

/** Reads all of the request before it waits. */
async function setLock(
  door: DoorContext,
  r: RequestCursor,
  wait: AbortSignal | null,
): Promise<void> {
  const {id, nodeid} = r;
  const range = rangeOf(r);
  if (range.type === UNLOCKED) {
    const owner = known(door, r);
    if (owner !== 0) await door.client.lock(nodeid, {...range, owner}, null);
    return;
  }
  const fh = r.arg64(LK_IN.fh);
  door.owners.check(fh);
  const owner = door.owners.asks(r.arg(LK_IN.owner + 1), r.arg(LK_IN.owner));
  let got = false;
  try {
    await door.client.lock(nodeid, {...range, owner}, wait);
    // Who was killed meanwhile has closed all his files by now.
    got = door.replies.waits(id);
  } finally {
    door.owners.asked(owner, got, fh, nodeid);
  }
}

const known = (door: DoorContext, r: RequestCursor): number =>
  door.owners.known(r.arg(LK_IN.owner + 1), r.arg(LK_IN.owner));

function rangeOf(r: RequestCursor): Omit<LockWanted, 'owner'> {
  const whole = (r.arg(LK_IN.lkFlags) & LK_FLOCK) !== 0;
  const lk = LK_IN.lk;
  const start = offset(r.arg(lk + LK_OUT.start + 1), r.arg(lk + LK_OUT.start));
  const end = offset(r.arg(lk + LK_OUT.end + 1), r.arg(lk + LK_OUT.end));
  if (start > end || end > LAST_BYTE) throw new FsError('EINVAL', 'lock');
  return {
    kind: whole ? WHOLE : RANGE,
    type: typeOf(r.arg(lk + LK_OUT.type)),
    start,
    end,
    pid: r.arg(lk + LK_OUT.pid),
  };
}

function typeOf(type: number): LockType {
  if (type === F_RDLCK) return SHARED;
  if (type === F_WRLCK) return EXCLUSIVE;
  if (type === F_UNLCK) return UNLOCKED;
  throw new FsError('EINVAL', 'lock');
}

function put(u32: Uint32Array, at: number, value: bigint): void {
  u32[at] = Number(value & 0xffff_ffffn);
  u32[at + 1] = Number(value >> 32n);
}

/** A process has closed the file: what it locked by fcntl(2) is free (POSIX.1-2017, close). Null: it has nothing. */
export function unlockProcess(door: DoorContext, r: RequestCursor): Promise<void> | null {
  const {nodeid: oid} = r;
  const fh = r.arg64(FLUSH_IN.fh);
  const owner = door.owners.known(r.arg(FLUSH_IN.lockOwner + 1), r.arg(FLUSH_IN.lockOwner));
  if (owner === 0) return null;
  door.owners.done(owner, oid, fh);
  return door.client.unlockAll(oid, owner, RANGE);
}

/** The last descriptor of an open file is closed: what was locked through it is free. Null: nothing was. */
export function unlockHandle(door: DoorContext, oid: number, fh: number): Promise<void> | null {
  const owners = door.owners.closed(fh);
  if (owners === null) return null;
  const all = [...owners].map(async (owner) => {
    door.owners.done(owner, oid, fh);
    await door.client.unlockAll(oid, owner, WHOLE);
    await door.client.unlockAll(oid, owner, RANGE);
  });
  return Promise.all(all).then(() => {});
}
