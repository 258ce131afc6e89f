import type {Ms} from '../../base/ids.js';
import type {Clock} from '../../env/clock.js';
import type {Attr} from '../../protocol/gen/wire.js';

const S_ISUID = 0o4000;
const S_ISGID = 0o2000;

export interface KernelNamesHost {
  /** Every name that the kernel keeps must be asked for again. */
  voidNames(): Promise<void>;
  /** So must these attributes. */
  voidAttributes(oid: number): Promise<void>;
}

/** Attributes that the kernel may keep. */
interface Given {
  /** The directory under whose lease that is so. */
  under: number;
  until: Ms;
  /** With set-user-id or set-group-id bits. */
  setId: boolean;
}

/**
 * What the kernel was allowed to keep under leases on directories, so that it can be taken back.
 *
 * Names are voided all at once by a new epoch of the connection: notices about single names take the lock of their
 * directory, which may be held by a request that waits for the very lease that is being given up. An answer that is on
 * its way has the epoch in which its request began. Attributes may be kept from answers to GETATTR only: there the kernel
 * notes whether they were voided in between; a LOOKUP may make an inode that a notice does not find yet.
 */
export class KernelNames {
  /** The kernel knows epochs. Else it keeps no names: they could not be taken back without a lock. */
  epochs = false;
  readonly #clock: Clock;
  readonly #host: KernelNamesHost;
  /** Directories with names that may be kept, and until when. */
  readonly #names = new Map<number, Ms>();
  readonly #given = new Map<number, Given>();
  readonly #under = new Map<number, Set<number>>();

  constructor(clock: Clock, host: KernelNamesHost) {
    this.#clock = clock;
    this.#host = host;
  }

  /** A name in `directory` was answered that may be kept for `ms`; for how long the kernel is told to keep it. */
  keepName(directory: number, ms: Ms): Ms {
    if (ms <= 0 || !this.epochs) return 0;
    this.#names.set(directory, this.#clock.now() + ms);
    return ms;
  }

  keepAttributes({oid, mode}: Attr, under: number, ms: Ms): void {
    if (ms <= 0) return;
    const until = this.#clock.now() + ms;
    const setId = (mode & (S_ISUID + S_ISGID)) !== 0;
    const given = this.#given.get(oid);
    if (given?.under === under) {
      given.until = until;
      given.setId = setId;
      return;
    }
    if (given !== undefined) this.forgotten(oid);
    this.#given.set(oid, {under, until, setId});
    const set = this.#under.get(under);
    if (set === undefined) this.#under.set(under, new Set([oid]));
    else set.add(oid);
  }

  /** A write or truncation took set-id bits away, which the kernel leaves to us: null: it knows of none. */
  killed(oid: number): Promise<void> | null {
    const given = this.#given.get(oid);
    if (given?.setId !== true) return null;
    given.setId = false;
    return this.#host.voidAttributes(oid);
  }

  /** The kernel has dropped the inode. */
  forgotten(oid: number): void {
    const given = this.#given.get(oid);
    if (given === undefined) return;
    this.#given.delete(oid);
    const set = this.#under.get(given.under);
    set?.delete(oid);
    if (set?.size === 0) this.#under.delete(given.under);
  }

  /** The lease of a directory is about to be given up; nothing is given under it any more. */
  async recall(directory: number): Promise<void> {
    const now = this.#clock.now();
    const waits: Promise<void>[] = [];
    const until = this.#names.get(directory);
    this.#names.delete(directory);
    if (until !== undefined && until > now) waits.push(this.#host.voidNames());
    for (const oid of this.#under.get(directory) ?? []) {
      if (this.#given.get(oid)!.until > now) waits.push(this.#host.voidAttributes(oid));
      this.#given.delete(oid);
    }
    this.#under.delete(directory);
    await Promise.all(waits);
  }

  /** All leases are gone. */
  async recallAll(): Promise<void> {
    const now = this.#clock.now();
    const waits: Promise<void>[] = [];
    for (const [oid, {until}] of this.#given) {
      if (until > now) waits.push(this.#host.voidAttributes(oid));
    }
    if (this.#names.size > 0) waits.push(this.#host.voidNames());
    this.#names.clear();
    this.#given.clear();
    this.#under.clear();
    await Promise.all(waits);
  }
}
