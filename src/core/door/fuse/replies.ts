import type {Ms} from '../../base/ids.js';
import type {BufferPool, Segment} from '../../base/pool.js';
import type {Meter, Requests, WaitingRequest} from '../../base/traffic.js';
import type {Clock} from '../../env/clock.js';
import type {FuseChannel, Ticket} from '../../env/fuse-channel.js';
import type {Attr} from '../../protocol/gen/wire.js';
import {ATTR_OUT, CREATE_OUT, ENTRY_OUT, LK_OUT, OPEN_OUT, ROOT_NODE, STATFS_OUT} from './abi.js';
import {
  type FuseAttr,
  type FuseStatfs,
  put64,
  putAttrOut,
  putEntryOut,
  putEntryValid,
  putOpenOut,
  putStatfs,
  type Validity,
} from './structs.js';

/** st_blksize: what programs use as their buffer (C18). */
const BLOCK_SIZE_HINT = 128 * 1024;
/** Object ids are never reused, so one generation serves for ever. */
const GENERATION = 1;
const SEGMENTS_MAX = 512;
const NOT_VALID: Validity = {entryMs: 0, attrMs: 0};

/** One request: its ticket, whose upper half is a generation (native/fuse), so it does not come again soon. */
export type RequestId = Ticket;

/** The lower half of a ticket is below this. */
export const PLACES = 65_536;
const NONE = -1;

/** Builds replies and sends them at the end of the tick; then gives back the slots that they named. */
export class Replies {
  /** See RequestCursor.root. */
  root = ROOT_NODE;
  readonly #channel: FuseChannel;
  readonly #pool: BufferPool;
  readonly #pairs = new Float64Array(SEGMENTS_MAX * 2);
  #held: number[] = [];
  #flushing = false;
  /** The request that waits at each place. */
  readonly #current = new Float64Array(PLACES).fill(NONE);
  /** What it asks, and since when. */
  readonly #opcodes = new Uint8Array(PLACES);
  readonly #since = new Float64Array(PLACES);
  readonly #clock: Clock;
  readonly #meter: Meter | null;
  readonly #attr: FuseAttr = {
    ino: 0,
    size: 0,
    blocks: 0,
    atimeSec: 0,
    atimeNsec: 0,
    mtimeSec: 0,
    mtimeNsec: 0,
    ctimeSec: 0,
    ctimeNsec: 0,
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: BLOCK_SIZE_HINT,
  };

  constructor(channel: FuseChannel, pool: BufferPool, clock: Clock, requests?: Requests) {
    this.#channel = channel;
    this.#pool = pool;
    this.#clock = clock;
    this.#meter = requests?.meter ?? null;
    requests?.watch(() => this.#waiting());
  }

  *#waiting(): Iterable<WaitingRequest> {
    for (const [place, ticket] of this.#current.entries())
      if (ticket !== NONE)
        yield {kind: this.#opcodes[place]!, peer: 'kernel', since: this.#since[place]!};
  }

  /** The request waits from now on. One whose caller dies is answered at once, and what its handler answers later goes nowhere. */
  begin(ticket: Ticket, opcode: number, now: Ms): RequestId {
    const place = ticket % PLACES;
    this.#current[place] = ticket;
    this.#opcodes[place] = opcode;
    this.#since[place] = now;
    return ticket;
  }

  /** It was answered past this one. */
  answered(id: RequestId): void {
    this.#take(id, 0);
  }

  waits(id: RequestId): boolean {
    return this.#current[id % PLACES] === id;
  }

  error(id: RequestId, errno: number): void {
    const ticket = this.#take(id, errno);
    if (ticket === NONE) return;
    this.#channel.replyError(ticket, errno);
    this.#soon();
  }

  /** The kernel may keep what `valid` says. */
  entry(id: RequestId, attr: Attr, valid = NOT_VALID): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(ENTRY_OUT.words * 4);
    const {u32} = this.#channel.heads;
    putEntryOut(u32, head / 4, this.#fill(attr), GENERATION, valid);
    if (attr.oid === this.root) put64(u32, head / 4 + ENTRY_OUT.nodeid, ROOT_NODE);
    this.#send(ticket, head, ENTRY_OUT.words);
  }

  /** There is no such name, and the kernel may remember that for `entryMs`. */
  noEntry(id: RequestId, entryMs: number): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(ENTRY_OUT.words * 4);
    const {u32} = this.#channel.heads;
    u32.fill(0, head / 4, head / 4 + ENTRY_OUT.words);
    putEntryValid(u32, head / 4, entryMs);
    this.#send(ticket, head, ENTRY_OUT.words);
  }

  attr(id: RequestId, attr: Attr, attrMs = 0): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(ATTR_OUT.words * 4);
    putAttrOut(this.#channel.heads.u32, head / 4, this.#fill(attr), attrMs);
    this.#send(ticket, head, ATTR_OUT.words);
  }

  open(id: RequestId, fh: number, flags: number): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(OPEN_OUT.words * 4);
    putOpenOut(this.#channel.heads.u32, head / 4, fh, flags);
    this.#send(ticket, head, OPEN_OUT.words);
  }

  create(id: RequestId, attr: Attr, fh: number, flags: number, valid: Validity): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(CREATE_OUT.words * 4);
    const {u32} = this.#channel.heads;
    putEntryOut(u32, head / 4 + CREATE_OUT.entry, this.#fill(attr), GENERATION, valid);
    putOpenOut(u32, head / 4 + CREATE_OUT.open, fh, flags);
    this.#send(ticket, head, CREATE_OUT.words);
  }

  /** write_out and getxattr_out: one number in two words. */
  size(id: RequestId, size: number): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(8);
    this.#channel.heads.u32[head / 4] = size;
    this.#channel.heads.u32[head / 4 + 1] = 0;
    this.#send(ticket, head, 2);
  }

  /** fuse_lk_out; `fill` writes what is not 0, from a word index on. */
  lock(id: RequestId, fill: (u32: Uint32Array, at: number) => void): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(LK_OUT.words * 4);
    const {u32} = this.#channel.heads;
    u32.fill(0, head / 4, head / 4 + LK_OUT.words);
    fill(u32, head / 4);
    this.#send(ticket, head, LK_OUT.words);
  }

  statfs(id: RequestId, statfs: FuseStatfs): void {
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(STATFS_OUT.words * 4);
    putStatfs(this.#channel.heads.u32, head / 4, statfs);
    this.#send(ticket, head, STATFS_OUT.words);
  }

  /** Link targets and attribute values of any length. */
  bytes(id: RequestId, bytes: Uint8Array): void {
    if (bytes.length > 4096) {
      this.#large(id, bytes);
      return;
    }
    const ticket = this.#take(id);
    if (ticket === NONE) return;
    const head = this.#channel.head(Math.max(8, bytes.length));
    this.#channel.heads.u8.set(bytes, head);
    this.#channel.replyHead(ticket, head, bytes.length);
    this.#soon();
  }

  #large(id: RequestId, bytes: Uint8Array): void {
    const slot = this.#pool.alloc(bytes.length);
    if (slot < 0) {
      this.#pool.onFree(() => this.#large(id, bytes));
      return;
    }
    const offset = this.#pool.payload(slot);
    this.#pool.bytes.set(bytes, offset);
    this.data(id, [{slot, offset, length: bytes.length}]);
  }

  /** Pool memory; takes over one reference of each slot. At most SEGMENTS_MAX pieces: 1 MiB of 4 KiB units is 256. */
  data(id: RequestId, segments: readonly Segment[]): void {
    const ticket = this.#take(id);
    if (ticket === NONE) {
      for (const {slot} of segments) this.#pool.release(slot);
      return;
    }
    let count = 0;
    for (const segment of segments) {
      this.#pairs[2 * count] = segment.offset;
      this.#pairs[2 * count + 1] = segment.length;
      this.#held.push(segment.slot);
      count++;
    }
    this.#channel.replyData(ticket, this.#pairs, count);
    this.#soon();
  }

  flush(): void {
    this.#flushing = false;
    this.#channel.flush();
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = [];
    for (const slot of held) this.#pool.release(slot);
  }

  /** The ticket of a request that still waits, which is answered now; else NONE. */
  #take(id: RequestId, errno = 0): Ticket {
    if (!this.waits(id)) return NONE;
    const place = id % PLACES;
    this.#current[place] = NONE;
    if (this.#meter !== null) {
      const ms = this.#clock.now() - this.#since[place]!;
      this.#meter.record(this.#opcodes[place]!, ms, errno !== 0);
    }
    return id;
  }

  #send(ticket: Ticket, head: number, words: number): void {
    this.#channel.replyHead(ticket, head, words * 4);
    this.#soon();
  }

  #soon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => this.flush());
  }

  #fill(a: Attr): FuseAttr {
    const to = this.#attr;
    to.ino = a.oid;
    to.size = a.size;
    to.blocks = a.blocks;
    to.atimeSec = a.atime.sec;
    to.atimeNsec = a.atime.nsec;
    to.mtimeSec = a.mtime.sec;
    to.mtimeNsec = a.mtime.nsec;
    to.ctimeSec = a.ctime.sec;
    to.ctimeNsec = a.ctime.nsec;
    to.mode = a.mode;
    to.nlink = a.nlink;
    to.uid = a.uid;
    to.gid = a.gid;
    to.rdev = a.rdev;
    return to;
  }
}
