import type {Ms} from '../../base/ids.js';
import {type Clock, sleep} from '../../env/clock.js';
import type {Attr} from '../../protocol/gen/wire.js';
import {AttrRaces} from './attr-races.js';
import {KernelListings, type KernelListingsHost} from './kernel-listings.js';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;

export interface KernelNamesHost extends KernelListingsHost {
  /** Every name that the kernel keeps must be asked for again. */
  voidNames(): Promise<void>;
  /** So must these attributes. False: the kernel has no such inode. */
  voidAttributes(oid: number): Promise<boolean>;
}

/**
 * An inode that an answer makes, and that a notice does not find, is about to be made by whoever waits for the answer; or the kernel has
 * dropped it, and will say so. After each pause it is looked for again.
 */
const UNBORN_PAUSES_MS: readonly Ms[] = [1, 2, 5, 10, 20, 50, 100, 200, 300, 300];

/** Attributes that the kernel may keep. */
interface Given {
  /** The directory under whose lease that is so. */
  under: number;
  until: Ms;
  /** With set-user-id or set-group-id bits. */
  setId: boolean;
  /** The kernel may have been told with the answer that makes the inode. */
  unborn: boolean;
  forgotten: boolean;
}

/**
 * What the kernel was allowed to keep under leases on directories, so that it can be taken back.
 *
 * Names are voided all at once by a new epoch of the connection: notices about single names take the lock of their
 * directory, which may be held by a request that waits for the very lease that is being given up. An answer that is on
 * its way has the epoch in which its request began. Of an inode that it has the kernel notes whether its attributes were voided while
 * a request was under way; an answer that makes the inode may come to be one that a notice did not find, so then the notice is sent again.
 */
export class KernelNames {
  /** The kernel knows epochs. Else it keeps no names: they could not be taken back without a lock. */
  epochs = false;
  readonly #clock: Clock;
  readonly #host: KernelNamesHost;
  /** Directories with names that may be kept, and until when. */
  readonly #names = new Map<number, Ms>();
  readonly #given = new Map<number, Given>();
  /** Being taken back, inodes that were not found. */
  readonly #unborn = new Map<number, Given>();
  readonly #under = new Map<number, Set<number>>();
  readonly races: AttrRaces;
  readonly listings: KernelListings;

  constructor(clock: Clock, host: KernelNamesHost) {
    this.#clock = clock;
    this.races = new AttrRaces(clock);
    this.#host = host;
    this.listings = new KernelListings(clock, host);
  }

  /** A name in `directory` was answered that may be kept for `ms`; for how long the kernel is told to keep it. */
  keepName(directory: number, ms: Ms): Ms {
    if (ms <= 0 || !this.epochs) return 0;
    this.#names.set(directory, this.#clock.now() + ms);
    return ms;
  }

  /**
   * The kernel, in the thread `pid`, is about to be told that it may keep these for `ms`, in answer to a request of the moment `begun`
   * (`races`); for how long it is told to. `unborn`: the answer may make the inode.
   */
  keepAttributes(
    {oid, mode}: Attr,
    under: number,
    {ms, unborn, pid, begun}: {ms: Ms; unborn: boolean; pid: number; begun: number},
  ): Ms {
    if (ms <= 0) return 0;
    if ((mode & S_IFMT) === S_IFDIR) {
      if (this.races.changedSince(oid, begun)) return 0;
      this.races.given(oid, pid);
    }
    const until = this.#clock.now() + ms;
    const setId = (mode & (S_ISUID + S_ISGID)) !== 0;
    const given = this.#given.get(oid);
    if (given?.under === under) {
      given.until = until;
      given.setId = setId;
      given.unborn = unborn;
      return ms;
    }
    if (given !== undefined) this.#drop(oid, given);
    this.#given.set(oid, {under, until, setId, unborn, forgotten: false});
    const set = this.#under.get(under);
    if (set === undefined) this.#under.set(under, new Set([oid]));
    else set.add(oid);
    return ms;
  }

  /**
   * Something in these directories was changed for a thread, whose answer must not leave before this; null: at once.
   */
  changed(pid: number, directory: number, other = directory): Promise<unknown> | null {
    const voided = [...new Set([directory, other])].filter((oid) => this.races.changed(oid, pid));
    if (voided.length === 0) return null;
    return Promise.all(voided.map((oid) => this.#host.voidAttributes(oid)));
  }

  /** These directories have changed, or may have, without the kernel's being told. */
  async overlooked(directories: readonly number[]): Promise<void> {
    const each = [...new Set(directories)];
    await Promise.all([
      this.#host.voidNames(),
      ...each.map((oid) => this.listings.recall(oid)),
      ...each.map((oid) => this.#host.voidAttributes(oid)),
    ]);
  }

  /** A write or truncation took set-id bits away, which the kernel leaves to us: null: it knows of none. */
  killed(oid: number): Promise<unknown> | null {
    const given = this.#given.get(oid);
    if (given?.setId !== true) return null;
    given.setId = false;
    return this.#host.voidAttributes(oid);
  }

  /** Attributes that the kernel may have are old. */
  async outdated(oid: number): Promise<void> {
    const given = this.#given.get(oid);
    if (given === undefined || given.until <= this.#clock.now()) return;
    given.until = Number.NEGATIVE_INFINITY;
    await this.#host.voidAttributes(oid);
  }

  /** The thread has asked for something. */
  heard(pid: number): void {
    this.races.heard(pid);
    this.listings.heard(pid);
  }

  /** The kernel has dropped the inode. */
  forgotten(oid: number): void {
    this.listings.forgotten(oid);
    const unborn = this.#unborn.get(oid);
    if (unborn !== undefined) unborn.forgotten = true;
    const given = this.#given.get(oid);
    if (given !== undefined) this.#drop(oid, given);
  }

  #drop(oid: number, {under}: Given): void {
    this.#given.delete(oid);
    const set = this.#under.get(under);
    set?.delete(oid);
    if (set?.size === 0) this.#under.delete(under);
  }

  async #void(oid: number, given: Given): Promise<void> {
    if ((await this.#host.voidAttributes(oid)) || !given.unborn) return;
    this.#unborn.set(oid, given);
    for (const ms of UNBORN_PAUSES_MS) {
      await sleep(this.#clock, ms);
      if (given.forgotten || (await this.#host.voidAttributes(oid))) break;
    }
    if (this.#unborn.get(oid) === given) this.#unborn.delete(oid);
  }

  /** The lease of a directory is about to be given up; nothing is given under it any more. */
  async recall(directory: number): Promise<void> {
    const now = this.#clock.now();
    const waits: Promise<void>[] = [this.listings.recall(directory)];
    const until = this.#names.get(directory);
    this.#names.delete(directory);
    if (until !== undefined && until > now) waits.push(this.#host.voidNames());
    for (const oid of this.#under.get(directory) ?? []) {
      const given = this.#given.get(oid)!;
      if (given.until > now) waits.push(this.#void(oid, given));
      this.#given.delete(oid);
    }
    this.#under.delete(directory);
    await Promise.all(waits);
  }

  /** All leases are gone. */
  async recallAll(): Promise<void> {
    const now = this.#clock.now();
    const waits: Promise<void>[] = [this.listings.recallAll()];
    for (const [oid, given] of this.#given) {
      if (given.until > now) waits.push(this.#void(oid, given));
    }
    if (this.#names.size > 0) waits.push(this.#host.voidNames());
    this.#names.clear();
    this.#given.clear();
    this.#under.clear();
    await Promise.all(waits);
  }
}
