import {ERRNO} from '../../base/errno.js';
import {errnoOf, FsError, messageOf} from '../../base/errors.js';
import type {Ms} from '../../base/ids.js';
import type {BufferPool} from '../../base/pool.js';
import type {Traffic} from '../../base/traffic.js';
import type {CacheOwner, Client} from '../../client/api.js';
import type {Clock} from '../../env/clock.js';
import type {FuseChannel, FuseHandler, Ticket} from '../../env/fuse-channel.js';
import {REQUEST_OFFSET} from '../../env/fuse-channel.js';
import type {Log} from '../../env/log.js';
import type {Ranges} from '../../lease/ranges.js';
import {INIT, INIT_IN, INIT_OUT, INIT2, NOTIFY, OPCODE, ROOT_NODE} from './abi.js';
import {attributeHandlers} from './attributes.js';
import {directoryHandlers} from './directories.js';
import {fileHandlers} from './files.js';
import {answerInit} from './init.js';
import {KernelNames} from './kernel-names.js';
import {KernelSizes, type Ran} from './kernel-sizes.js';
import {LockOwners, lockHandlers} from './locks.js';
import {Lookups} from './lookups.js';
import {nameHandlers} from './names.js';
import {RecallGate} from './recall.js';
import {PLACES, Replies, type RequestId} from './replies.js';
import {RequestCursor} from './request.js';
import {invalInodeBody} from './structs.js';
import {xattrHandlers} from './xattrs.js';

/** What handlers work with. */
export interface DoorContext {
  readonly client: Client;
  readonly pool: BufferPool;
  readonly replies: Replies;
  readonly gate: RecallGate;
  readonly kernel: KernelNames;
  readonly owners: LockOwners;
  readonly sizes: KernelSizes;
  readonly lookups: Lookups;
  /** Requests that a signal ends before they are done. */
  readonly interruptible: Map<RequestId, () => void>;
  readonly log: Log;
  readonly readOnly: boolean;
  /** May the kernel keep pages? */
  readonly pages: boolean;
  /** Are SELinux's labels kept? */
  readonly labels: boolean;
  /** So long the kernel may keep names and attributes that no lease covers. */
  readonly looseMs: Ms;
  /** Is each close told, for the locks that end with it? */
  readonly locks: boolean;
  /** May the kernel keep listings, and open directories without asking? */
  listings: boolean;
  /** The pool's memory as words. */
  readonly words: Uint32Array;
}

/**
 * Answers the request under the cursor. What it needs of the request it reads before its first await. A thrown
 * error is the answer.
 */
export type FuseOp = (door: DoorContext, request: RequestCursor) => Promise<void> | void;
export type HandlerTable = Partial<Record<keyof typeof OPCODE, FuseOp>>;

export interface DoorOptions {
  readaheadBytes: number;
  readOnly: boolean;
  /** What the kernel may keep: names, attributes and pages; names and attributes; nothing. */
  cache: 'full' | 'attr' | 'none';
  /** Are locks seen by other clients, too? */
  locks: boolean;
  /** So long the kernel believes names and attributes that no lease covers; 0: not at all. */
  looseMs: Ms;
  /** Are SELinux's labels kept? Each `ls -l` asks for them. */
  labels: boolean;
  /** Is this thread being killed? */
  dying(tid: number): boolean;
  /** How long has this thread run? Null: unknown. */
  ran(tid: number): Ran | null;
  /** Slots lent to the channel for requests, and kept back for small ones when the others are all in use. */
  slots: number;
  reserveSlots: number;
}

/** What a symbolic link says never changes: another one is another object. */
const initFlags =
  INIT.EXPORT_SUPPORT + INIT.EXPLICIT_INVAL_DATA + INIT.CACHE_SYMLINKS + INIT.NO_OPENDIR_SUPPORT;
/** So often a request is looked at whose caller had a signal that did not kill it: a second signal is not told. */
const DYING_MS = 500;
const EMPTY = new Uint8Array(0);
/** The first minor of the protocol with NOTIFY.INC_EPOCH. */
const EPOCH_MINOR = 44;
const NOTICE_RETRY_MS = 5;

/**
 * The kernel's door: requests of /dev/fuse become calls of the client. Holds no state of files: a node id is an object id, for ever,
 * so nothing has to be forgotten, and a handle only says whether it was opened for writing.
 */
export class FuseDoor implements FuseHandler, CacheOwner {
  readonly #channel: FuseChannel;
  readonly #env: {clock: Clock; log: Log; pool: BufferPool};
  readonly #options: DoorOptions;
  readonly #cursor: RequestCursor;
  readonly #replies: Replies;
  readonly #gate: RecallGate;
  readonly #kernel: KernelNames;
  readonly #owners = new LockOwners();
  readonly #lookups = new Lookups();
  readonly #sizes: KernelSizes;
  readonly #interruptible = new Map<RequestId, () => void>();
  readonly #table: (FuseOp | undefined)[] = [];
  /** Thread that waits for the request of each ticket. */
  readonly #callers = new Uint32Array(PLACES);
  readonly #notices = new Map<number, (errno: number) => void>();
  /** By inode: the last notice about it. */
  readonly #noticed = new Map<number, Promise<number>>();
  #context: DoorContext | null = null;
  #ended: ((errno: number) => void)[] = [];
  #endErrno: number | null = null;
  #initialised: (() => void) | null = null;
  #waitingForSlot = false;

  constructor(
    channel: FuseChannel,
    env: {clock: Clock; log: Log; pool: BufferPool; traffic?: Traffic},
    options: DoorOptions,
  ) {
    this.#channel = channel;
    this.#env = env;
    this.#options = options;
    this.#cursor = new RequestCursor(new Uint32Array(env.pool.memory), env.pool.bytes);
    this.#replies = new Replies(channel, env.pool, env.clock, env.traffic?.kernel);
    this.#gate = new RecallGate(env.clock, {
      held: ({oid, offset, length, append}) => {
        const range = append === true ? undefined : {from: offset, to: offset + length};
        return this.#context?.client.held(oid, range) ?? 0;
      },
      invalidate: (oid, offset, length) => this.#dropPages(oid, offset, length),
    });
    this.#kernel = new KernelNames(env.clock, {
      voidNames: () => this.#notice(NOTIFY.INC_EPOCH, EMPTY).then(() => {}),
      voidAttributes: (oid) =>
        this.#inodeNotice(oid, -1, 0).then((errno) => errno !== ERRNO.ENOENT),
      dropListing: (oid) => this.#dropPages(oid, 0, 0),
    });
    this.#sizes = new KernelSizes(env.clock, {
      empty: () => this.#endErrno !== null || channel.empty,
      begun: () => channel.noticeBegun,
      ran: options.ran,
    });
    const handlers = {
      ...nameHandlers,
      ...attributeHandlers,
      ...directoryHandlers,
      ...fileHandlers,
      ...(options.locks ? lockHandlers : {}),
      ...xattrHandlers,
    };
    for (const [name, handler] of Object.entries(handlers)) {
      this.#table[OPCODE[name as keyof typeof OPCODE]] = handler;
    }
  }

  /** Serves requests with this client until `whenEnded`. Resolves when the kernel has been greeted. */
  serve(client: Client, root: number = ROOT_NODE): Promise<void> {
    const {pool, log} = this.#env;
    this.#cursor.root = root;
    this.#replies.root = root;
    this.#context = {
      client,
      pool,
      log,
      replies: this.#replies,
      gate: this.#gate,
      kernel: this.#kernel,
      owners: this.#owners,
      sizes: this.#sizes,
      lookups: this.#lookups,
      interruptible: this.#interruptible,
      readOnly: this.#options.readOnly,
      pages: this.#options.cache === 'full',
      labels: this.#options.labels,
      locks: this.#options.locks,
      looseMs: this.#options.looseMs,
      listings: false,
      words: this.#cursor.u32,
    };
    this.#channel.start(this);
    for (let i = 0; i < this.#options.reserveSlots; i++) this.#arm(true);
    this.#lendSlots();
    return new Promise((resolve) => {
      this.#initialised = resolve;
    });
  }

  /** 0 after an unmount, else the errno that ended it. */
  whenEnded(): Promise<number> {
    if (this.#endErrno !== null) return Promise.resolve(this.#endErrno);
    return new Promise((resolve) => this.#ended.push(resolve));
  }

  close(): void {
    this.#channel.close();
  }

  // -------------------------------------------------------------- FuseHandler

  request(ticket: Ticket, control: number, flags: number): void {
    const cursor = this.#cursor;
    cursor.control = control;
    cursor.slot = this.#env.pool.largeAt(control);
    cursor.at = (control + REQUEST_OFFSET) / 4;
    cursor.kept = false;
    cursor.arrived = this.#env.clock.now();
    cursor.id = this.#replies.begin(ticket, cursor.opcode, cursor.arrived);
    const {pid} = cursor;
    this.#callers[ticket % PLACES] = pid;
    this.#kernel.heard(pid);
    this.#sizes.heard(pid, cursor.opcode === OPCODE.READ ? cursor.nodeid : 0);
    const {slot} = cursor;
    this.#dispatch(ticket, cursor);
    // Slots of the reserve and others come from one pool: what counts is that the channel gets one back.
    if (!cursor.kept) this.#env.pool.release(slot);
    void flags;
  }

  interrupt(ticket: Ticket): void {
    const stop = this.#interruptible.get(ticket);
    if (stop === undefined) this.#release(ticket);
    else stop();
  }

  forget(nodeid: number, count: number): void {
    if (!this.#lookups.forget(nodeid, count)) return;
    this.#gate.forgotten(nodeid);
    this.#kernel.forgotten(nodeid);
    this.#sizes.forgotten(nodeid);
  }

  batchEnd(): void {
    this.#lendSlots();
    this.#replies.flush();
  }

  replyFailed(ticket: Ticket, errno: number): void {
    if (errno !== ERRNO.ENOENT) this.#env.log.error('fuse.reply_failed', {ticket, errno});
  }

  notified(id: number, errno: number): void {
    if (errno !== 0 && errno !== ERRNO.ENOENT)
      this.#env.log.warn('fuse.notify_failed', {id, errno});
    const done = this.#notices.get(id);
    this.#notices.delete(id);
    done?.(errno);
  }

  ended(errno: number): void {
    this.#endErrno = errno;
    for (const done of this.#notices.values()) done(0);
    this.#notices.clear();
    for (const wake of this.#ended) wake(errno);
    this.#ended = [];
  }

  // -------------------------------------------------------------- CacheOwner

  invalidate(oid: number, _keep: 0 | 1, gone: Ranges): Promise<void> {
    // Also when others will only read: pages written through a mapping are dirty in the kernel alone.
    return Promise.all([this.#gate.recall(oid, gone), this.#kernel.recall(oid)]).then(() => {});
  }

  fenced(): void {
    this.#env.log.warn('fuse.fenced');
    this.#owners.lost((oid, owner) => this.#context?.client.holdsLocks(oid, owner) ?? false);
    void this.#kernel.recallAll();
    this.#gate.dropAll();
  }

  voidNames(): Promise<void> {
    return this.#kernel.recallAll();
  }

  // --------------------------------------------------------------

  #dispatch(ticket: Ticket, cursor: RequestCursor): void {
    const {id, opcode} = cursor;
    if (opcode === OPCODE.INIT) {
      this.#init(ticket, cursor);
      return;
    }
    const handler = this.#table[opcode];
    if (handler === undefined) {
      this.#replies.error(id, opcode === OPCODE.DESTROY ? 0 : ERRNO.ENOSYS);
      return;
    }
    try {
      const result = handler(this.#context!, cursor);
      if (result !== undefined) void result.catch((error) => this.#fail(id, opcode, error));
    } catch (error) {
      this.#fail(id, opcode, error);
    }
  }

  /**
   * Lets a caller go that is being killed: it will not see the answer. Any other signal waits until the request is done, as
   * on a local disk: programs do not expect EINTR of stat(2).
   */
  #release(id: RequestId): void {
    if (!this.#replies.waits(id)) return;
    if (this.#options.dying(this.#callers[id % PLACES]!)) this.#replies.error(id, ERRNO.EINTR);
    else this.#env.clock.timer(DYING_MS, () => this.#release(id));
  }

  #fail(id: RequestId, opcode: number, error: unknown): void {
    if (!(error instanceof FsError)) {
      this.#env.log.error('fuse.request_failed', {opcode, error: messageOf(error)});
    }
    this.#replies.error(id, errnoOf(error));
  }

  #init(ticket: Ticket, cursor: RequestCursor): void {
    const head = this.#channel.head(INIT_OUT.words * 4);
    const agreed = answerInit(
      cursor.u32,
      cursor.argAt(INIT_IN.major),
      this.#channel.heads.u32,
      head / 4,
      {
        flags: initFlags + (this.#options.locks ? INIT.POSIX_LOCKS + INIT.FLOCK_LOCKS : 0),
        flags2: INIT2.DIRECT_IO_ALLOW_MMAP,
        maxReadaheadBytes: this.#options.readaheadBytes,
      },
    );
    if (typeof agreed === 'string') {
      this.#env.log.error('fuse.init_refused', {reason: agreed});
      this.#replies.error(cursor.id, ERRNO.EPROTO);
      return;
    }
    this.#kernel.epochs = agreed.minor >= EPOCH_MINOR;
    this.#context!.listings =
      this.#options.cache !== 'none' && (agreed.flags & INIT.NO_OPENDIR_SUPPORT) !== 0;
    this.#channel.replyHead(ticket, head, INIT_OUT.words * 4);
    this.#replies.answered(ticket);
    this.#env.log.info('fuse.init', {minor: agreed.minor, flags: agreed.flags});
    this.#initialised?.();
    this.#initialised = null;
  }

  /** Keeps the channel supplied; when the pool is empty, as soon as a slot is free. */
  #lendSlots(): void {
    let [ordinary, reserve] = this.#channel.armed;
    while (reserve < this.#options.reserveSlots && this.#arm(true)) reserve++;
    while (ordinary < this.#options.slots && this.#arm(false)) ordinary++;
    if (ordinary < this.#options.slots && !this.#waitingForSlot && this.#endErrno === null) {
      this.#waitingForSlot = true;
      this.#env.pool.onFree(() => {
        this.#waitingForSlot = false;
        this.#lendSlots();
      });
    }
  }

  #arm(reserve: boolean): boolean {
    const {pool} = this.#env;
    // Ordinary slots leave some of the pool to replies and to the client's own transfers.
    if (!reserve && pool.freeCount(1 << 20) <= this.#options.slots) return false;
    const slot = pool.alloc(1 << 20);
    if (slot < 0) return false;
    this.#channel.arm(pool.control(slot), reserve);
    return true;
  }

  async #dropPages(oid: number, offset: number, length: number): Promise<void> {
    await this.#inodeNotice(oid, offset, length);
  }

  /** One after the other for each inode, so that a read may come in between (KernelSizes). */
  #inodeNotice(oid: number, offset: number, length: number): Promise<number> {
    const before = this.#noticed.get(oid);
    const told = this.#tellInode(oid, offset, length, before).finally(() => {
      if (this.#noticed.get(oid) === told) this.#noticed.delete(oid);
    });
    this.#noticed.set(oid, told);
    return told;
  }

  async #tellInode(
    oid: number,
    offset: number,
    length: number,
    before?: Promise<number>,
  ): Promise<number> {
    if (before !== undefined) await before;
    const again = this.#sizes.readAgain(oid);
    if (again !== null) await again;
    const notice = this.#sizes.noticing(oid);
    const body = invalInodeBody(oid === this.#cursor.root ? ROOT_NODE : oid, offset, length);
    const errno = await this.#notice(NOTIFY.INVAL_INODE, body, (id) => {
      notice.id = id;
    });
    notice.done();
    return errno;
  }

  /** Resolves with the kernel's errno; 0 also when there is no kernel any more. */
  #notice(code: number, body: Uint8Array, queued?: (id: number) => void): Promise<number> {
    if (this.#endErrno !== null) return Promise.resolve(0);
    const id = this.#channel.notify(code, body);
    if (id > 0) {
      queued?.(id);
      return new Promise((resolve) => this.#notices.set(id, resolve));
    }
    // The queue of notices is full: it empties by itself.
    return new Promise((resolve) => {
      this.#env.clock.timer(NOTICE_RETRY_MS, () => {
        void this.#notice(code, body, queued).then(resolve);
      });
    });
  }
}
