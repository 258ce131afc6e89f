import type {FsError} from '../base/errors.js';
import {LazyMap, LazySet} from '../base/lazy.js';
import {alignDown, BLOCK_BYTES} from '../base/units.js';
import type {Layout} from '../layout/scheme.js';
import {type ByteRange, END, includes, NOTHING, type Ranges} from '../lease/ranges.js';
import type {Attr, FlushItem, Time} from '../protocol/gen/wire.js';
import {LEASE, type LeaseMode} from '../protocol/ops.js';
import {type DirtyCache, DirtyObject} from './dirty-cache.js';
import type {InlineCache, Inlined} from './inline-cache.js';
import type {HeldCopies} from './read-copies.js';
import {RecentUse, Stride} from './recent-use.js';
import type {PendingWrite} from './stripe-writer.js';
import {later, laterThan} from './times.js';
import type {Left, Unsynced} from './unsynced.js';

const DONE: Promise<void> = Promise.resolve();

/** One object as this client knows it: its lease, its attributes, what is not written or not synced yet. */
export class Held implements Inlined {
  readonly oid: number;
  mode: LeaseMode = LEASE.none;
  layout: Layout | null = null;
  attr: Attr | null = null;
  /** `attr` is what the meta server would say, as long as the lease is held. Kept for directories (name-cache.ts). */
  current = false;
  /**
   * What is held for writing while others hold other parts: where it is not empty, `mode` is none. Then nobody cuts the object, and its size
   * is at least `size`.
   */
  parts: Ranges = NOTHING;
  #recent: RecentUse | null = null;
  #stride: Stride | null = null;
  /** In bytes; true while a lease is held. */
  size = 0;
  /** Of 512 bytes, as st_blocks: up to where it was written. Never less than there is: what is said to have none is not read by tar. */
  blocks = 0;
  toldBlocks = 0;
  /** No byte at or after this one has been written to a column since it was last cut: it is zero there, unless `overlong`. */
  flushedSize = 0;
  /**
   * The object may have been longer before a crash, and columns may still have what was beyond: nothing may be written before it is cut
   * (overlong.ts), for that would be seen when the object grows over it.
   */
  overlong = false;
  /** Since this epoch no resync was to come that compares its columns; -1: one may be. */
  alike = -1;
  /** Set by writes, until the meta server has been told. */
  mtime: Time | null = null;
  /** The size that the meta server knows; -1: nobody can say. */
  toldSize = 0;
  readonly dirty: DirtyObject;
  /** What `inline` says has not reached the meta server, or may have been lost with it. */
  inlineNews = false;
  /** The meta server was told `inline`, and has not said since that everything is on stable storage. */
  inlineUnsynced = false;
  /**
   * The inline bytes are in `dirty` or in columns by now, where reads find them; the meta server still has them and gives
   * them to others. Ends when the columns have been synced and it has been told that there are none.
   */
  moving = false;
  #inline: Uint8Array | null = null;
  /** As they came with a lease; see copiesOf. */
  copies: HeldCopies | null = null;
  readonly #inlines: InlineCache;
  /** When the oldest byte in `dirty` came, by the clock's `now`. */
  dirtySince = 0;
  opens = 0;
  /**
   * Opens that the meta server counts for this client. Under a lease nobody else can end the object unnoticed, so an open need not be told: it is
   * when the lease goes.
   */
  toldOpens = 0;
  /** Of a directory: grows with each change of it that the meta server is asked for. */
  changes = 0;
  /** Of a directory: others want it, too; it is not asked for writing again before this time. */
  contendedUntil = Number.NEGATIVE_INFINITY;
  /** When something was last done under its lease for writing. */
  changedAt = Number.NEGATIVE_INFINITY;
  /** When it was given for writing, and for how long it is not asked for when it is taken back. */
  entrustedAt = Number.NEGATIVE_INFINITY;
  backoffMs = 0;
  /** Another one: the lease for writing was not held all the time in between. */
  tenure = 0;
  /** Operations that rely on the lease now. */
  users = 0;
  /** A failed write-back that nobody has been told about. */
  error: FsError | null = null;
  /** Chunks with columns that were written and not synced. */
  readonly unsynced = new LazyMap<number, Unsynced>();
  /** The same of chunks that the object has been moved from since. */
  left: Left[] = [];
  /** Grows when something that was written turns out to be gone before it was synced. */
  losses = 0;
  /** Synced chunks whose intents may go. */
  readonly settle = new LazySet<number>();
  /** Changes of redundancy that have to be sent again before anything else of their chunks. */
  readonly pending: PendingWrite[] = [];
  /** Chunks that some columns have a failed change of, which is still to be made. Not settled meanwhile. */
  readonly unfinished = new LazySet<number>();
  /**
   * Of those the ones that were written half way with redundancy of their own. What must be added to redundancy cannot be found from what their data
   * columns have by now.
   */
  readonly halves = new LazySet<number>();
  /** Such chunks whose change was given up: their columns differ, and no server has been told that they do. */
  readonly torn = new LazySet<number>();
  /** Synced chunks whose columns were compared under this lease. */
  readonly checked = new LazySet<number>();
  /** Chunks of which every column is known to be synced but for `unsynced`. */
  readonly known = new LazySet<number>();
  /** The object was new when its lease came: nobody else can have left anything unsynced, not even a cut. */
  fresh = false;
  /** Unlinked; it is being asked whether anybody still needs its bytes. Not flushed meanwhile. */
  doomed = false;
  /** No power cut of the meta server's machine can make it shorter than this, or take blocks before it; -1: it may take the object itself. */
  durableSize = -1;
  /** The object does not exist any more, though it may be open. */
  gone = false;
  /** A background flush failed; not again before this time. */
  retryAt = 0;
  /** Under way for `unsynced` entries that were taken out of it. */
  syncing: Promise<void> | null = null;
  /** Grows when bytes are about to be cut off: what a read has gathered meanwhile is of no one moment. */
  cuts = 0;
  /** Grows when columns are about to be written or cut, and when they have been. */
  written = 0;
  /** The size is being set: reads and writes wait; null: they need not. */
  writeGate: Promise<void> | null = null;
  /** Chunks of which all live columns know that others are away, with the epoch. */
  readonly noted = new LazyMap<number, number>();
  /** Its recall is overdue: what has not been sent to a column is not sent any more. */
  revoked = false;
  /** A write that was given up may reach its column while this epoch lasts: until then the lease may not be given on. 0: none. */
  doubtful = 0;
  /** Resolves when new operations may rely on the lease again; null: now. */
  gate: Promise<void> | null = null;
  #idle: (() => void)[] = [];
  #turn = DONE;
  readonly #onTold: (item: FlushItem) => void;

  constructor(oid: number, cache: DirtyCache, onTold: (item: FlushItem) => void) {
    this.oid = oid;
    this.#onTold = onTold;
    this.dirty = new DirtyObject(cache);
    this.#inlines = cache.inline;
  }

  /** The first bytes as the meta server has them or is being told; null: not known here. They hide what columns have. Never changed in place. */
  get inline(): Uint8Array | null {
    return this.#inline;
  }

  set inline(bytes: Uint8Array | null) {
    const before = this.inlineBytes;
    this.#inline = bytes;
    this.#inlines.used(this, this.inlineBytes - before);
  }

  get inlineBytes(): number {
    return this.#inline?.length ?? 0;
  }

  get inlineSafe(): boolean {
    return !this.inlineNews && !this.inlineUnsynced && this.users === 0;
  }

  forgetInline(): void {
    this.inline = null;
  }

  /** They were looked at: others go first. */
  useInline(): void {
    this.#inlines.used(this, 0);
  }

  /** What programs have read and written a moment ago. */
  get recent(): RecentUse {
    this.#recent ??= new RecentUse();
    return this.#recent;
  }

  /** Parts that were asked for. */
  get stride(): Stride {
    this.#stride ??= new Stride();
    return this.#stride;
  }

  get split(): boolean {
    return this.parts.length > 0;
  }

  /** Is something of it held for writing? */
  get writes(): boolean {
    return this.mode === LEASE.write || this.split;
  }

  /** May an operation that needs `mode` of these bytes rely on what is held? */
  covers(mode: LeaseMode, range: ByteRange): boolean {
    return this.mode >= mode || (this.split && includes(this.parts, range));
  }

  /** Nobody else can have made the object longer than this client knows, or not so that it matters before byte `to`. */
  sizeKnown(to: number): boolean {
    if (!this.split || to <= this.size) return true;
    const last = this.parts.at(-1)!;
    return last.to === END && last.from <= this.size;
  }

  /**
   * Must what columns have beyond the size go before these bytes are written? Who holds a part has it from somebody who has cut it, or knew
   * the size; but another one of them may have died since, so none of them lets the object grow as it is.
   */
  cutFirst({to}: ByteRange): boolean {
    return this.overlong && (!this.split || to > alignDown(this.size, BLOCK_BYTES));
  }

  /** Can it go on writing elsewhere without a range that others want? */
  get divisible(): boolean {
    if (this.split) return true;
    if (this.overlong) return false;
    // What goes with the inode goes as a whole.
    if (this.mode !== LEASE.write || this.layout === null || this.flushedSize === 0) return false;
    return this.inline !== null && this.inlineBytes === 0 && !this.moving && !this.inlineNews;
  }

  /** Something of the range is still to be written back. */
  unwrittenIn({from, to}: ByteRange): boolean {
    const {dirty, flushing} = this.dirty;
    if (this.moving || this.inlineNews || this.pending.length > 0) return true;
    return dirty.covered(from, to) > 0 || flushing.covered(from, to) > 0;
  }

  /** Something of it is still to be written back. */
  get unwritten(): boolean {
    return this.dirty.bytes > 0 || this.inlineNews || this.moving || this.pending.length > 0;
  }

  /** What is dirty goes without having been written. */
  giveUp(): void {
    this.dirty.truncate(0);
    // What is written from now on has not failed.
    this.retryAt = 0;
    // What the meta server has is asked for again.
    if (this.moving || this.inlineNews) this.inline = null;
    this.moving = false;
    this.inlineNews = false;
    for (const chunk of this.unfinished) this.torn.add(chunk);
    this.finished();
    this.dropPending();
  }

  /** The same of these bytes; what else is dirty stays. */
  giveUpRange(from: number, to: number): void {
    this.dirty.drop(from, to);
    for (const chunk of this.unfinished) this.torn.add(chunk);
    this.dropPending();
    if (this.dirty.bytes > 0) return;
    this.finished();
    this.retryAt = 0;
  }

  /** Nothing that failed is left to be sent again. */
  finished(): void {
    this.unfinished.clear();
    this.halves.clear();
  }

  /** They are not sent again: the redundancy of their chunks may not fit. */
  dropPending(): void {
    for (const one of this.pending.splice(0)) {
      this.torn.add(one.batch.chunk);
      one.release();
    }
  }

  /** These chunks are not cut again: some of their columns may be shorter than others. */
  giveUpCut(first: number, last: number): void {
    for (const chunk of this.unfinished) if (chunk >= first && chunk <= last) this.torn.add(chunk);
  }

  /** Columns of these chunks may differ, and only this client knows. */
  get uneven(): boolean {
    return this.unfinished.size > 0 || this.torn.size > 0;
  }

  done(): void {
    if (--this.users > 0) return;
    if (this.#idle.length === 0) return;
    const waiting = this.#idle;
    this.#idle = [];
    for (const wake of waiting) wake();
  }

  /** No operation relies on the lease. */
  async idle(): Promise<void> {
    while (this.users > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** New operations wait until what is returned is called. */
  close(): () => void {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = () => {
        if (this.gate === gate) this.gate = null;
        resolve();
      };
    });
    this.gate = gate;
    return open;
  }

  /** The first lease of it, or a better one of the whole, has been granted. `inline`: as it was asked for. */
  begun(
    attr: Attr,
    given: {
      inlineBytes: number;
      inline: Uint8Array | null;
      created?: boolean;
      overlong?: boolean;
    },
  ) {
    const {inlineBytes, inline, created = false, overlong = false} = given;
    if (this.mode === LEASE.none || this.inline === null) this.inline = inline;
    this.size = this.toldSize = attr.size;
    this.blocks = this.toldBlocks = attr.blocks;
    this.durableSize = -1;
    // Where inline bytes go to the end, columns have nothing that anybody can have seen.
    this.flushedSize = inlineBytes > 0 && attr.size <= inlineBytes ? 0 : attr.size;
    this.overlong = overlong;
    this.known.clear();
    this.fresh = created;
  }

  /** One part more, or all of it, after parts: what this client has not told yet is still its own. */
  regrown(attr: Attr, overlong: boolean): void {
    this.grown(attr);
    this.overlong ||= overlong;
    this.toldSize = attr.size;
    this.toldBlocks = attr.blocks;
    this.durableSize = -1;
    this.flushedSize = Math.max(this.flushedSize, attr.size);
    this.known.clear();
  }

  /** One at a time: what writes columns of this object, or must not run beside it. */
  exclusive<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(run);
    this.#turn = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  /** What the meta server said; bytes, size and times that this client knows better stay. */
  learn(attr: Attr): Attr {
    if (this.attr === null || attr.version >= this.attr.version) {
      this.attr = attr;
      if (this.split) this.grown(attr);
    }
    return this.overlay(attr);
  }

  /** What others have done to the object beside this client. */
  grown({size, blocks, mtime}: Attr): void {
    this.size = Math.max(this.size, size);
    this.blocks = Math.max(this.blocks, blocks);
    if (this.toldSize >= 0) this.toldSize = Math.max(this.toldSize, size);
    this.toldBlocks = Math.max(this.toldBlocks, blocks);
    if (this.mtime !== null && later(mtime, this.mtime)) this.mtime = null;
  }

  /** The attributes of the object with the size and times of this client, if it is the one who writes it. */
  overlay(attr: Attr): Attr {
    if (!this.writes || this.layout === null) return attr;
    const others = this.split && attr.size > this.size;
    const mtime = this.split && !laterThan(this.mtime, attr.mtime) ? null : this.mtime;
    return {
      ...attr,
      size: others ? attr.size : this.size,
      blocks: this.split ? Math.max(this.blocks, attr.blocks) : this.blocks,
      mtime: mtime ?? attr.mtime,
      ctime: mtime !== null && later(mtime, attr.ctime) ? mtime : attr.ctime,
    };
  }

  /** What the meta server does not know yet, or null. */
  news(): FlushItem | null {
    const sized = this.size === this.toldSize && this.blocks === this.toldBlocks;
    if (sized && this.mtime === null && !this.tellsInline) return null;
    return this.report();
  }

  /** `news` are to be sent with the inline bytes. */
  get tellsInline(): boolean {
    return this.inlineNews && !this.moving && this.#inline !== null;
  }

  /** What the meta server had when it said that everything is on stable storage: the object, and this size. */
  madeDurable(size: number): void {
    this.durableSize = Math.max(this.durableSize, size);
  }

  /** No power cut takes the object, or its size or blocks of now; and its bytes are in columns. */
  get sizeDurable(): boolean {
    const columns = this.inlineBytes === 0 && !this.inlineNews && !this.moving;
    const told = this.size === this.toldSize && this.blocks === this.toldBlocks;
    return columns && told && this.size <= this.durableSize;
  }

  /** Bytes up to `end` were written. */
  wroteTo(end: number): void {
    this.size = Math.max(this.size, end);
    if (end <= 512 * this.blocks) return;
    this.durableSize = Math.min(this.durableSize, 512 * this.blocks);
    this.blocks = Math.ceil(end / 512);
  }

  /** The size was set. */
  sized(size: number): void {
    this.size = this.toldSize = size;
    this.blocks = Math.min(this.blocks, Math.ceil(size / 512));
    this.toldBlocks = Math.min(this.toldBlocks, this.blocks);
    this.durableSize = Math.min(this.durableSize, size);
  }

  report(): FlushItem {
    return {
      oid: this.oid,
      size: this.size,
      mtime: this.mtime,
      atime: null,
      hasSize: true,
      hasMtime: this.mtime !== null,
      hasAtime: false,
      blocks: this.blocks,
      hasInline: false,
      inlineBytes: 0,
      grow: this.split,
    };
  }

  /** The meta server has what `item` says. */
  told(item: FlushItem): void {
    this.#onTold(item);
    this.toldSize = item.size;
    this.toldBlocks = item.blocks;
    if (this.mtime === item.mtime) this.mtime = null;
    if (this.attr !== null && item.mtime !== null) {
      const ctime = later(item.mtime, this.attr.ctime) ? item.mtime : this.attr.ctime;
      const {size, blocks, mtime} = item;
      this.attr = {...this.attr, size, blocks, mtime, ctime};
    }
  }

  /** The meta server may have forgotten what it was told. */
  untold(): void {
    this.toldSize = -1;
    if (this.#inline !== null && !this.split) this.inlineNews = true;
  }

  /** Something that was written has not been synced. */
  get unsafe(): boolean {
    return this.unsynced.size > 0 || this.left.length > 0;
  }

  /** Everything that came from a lease of a session that is gone is void. */
  forget(): void {
    this.mode = LEASE.none;
    this.parts = NOTHING;
    this.tenure++;
    this.attr = null;
    this.current = false;
    this.mtime = null;
    this.unsynced.clear();
    this.left = [];
    this.settle.clear();
    this.finished();
    this.dropPending();
    this.torn.clear();
    this.checked.clear();
    this.known.clear();
    this.fresh = false;
    this.overlong = false;
    this.durableSize = -1;
    this.revoked = false;
    this.noted.clear();
    this.doubtful = 0;
    this.dirty.truncate(0);
    this.retryAt = 0;
    this.inline = null;
    this.inlineNews = false;
    this.inlineUnsynced = false;
    this.moving = false;
  }
}
