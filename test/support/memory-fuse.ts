import {
  CREATE_IN,
  CREATE_OUT,
  ENTRY_OUT,
  FATTR,
  IN_HEADER,
  INIT,
  INIT_OUT,
  INIT2,
  MKDIR_IN,
  OPCODE,
  READ_IN,
  RENAME_IN,
  RENAME2_IN,
  SETATTR_IN,
  STATFS_OUT,
  WRITE_IN,
  WRITE_OUT,
} from '../../src/core/door/fuse/abi.js';
import {answerInit, type Negotiated} from '../../src/core/door/fuse/init.js';
import {
  direntBytes,
  get64,
  getSigned64,
  nameLength,
  putAttrOut,
  putDirent,
  putEntryOut,
  putOpenOut,
  putStatfs,
  type Validity,
} from '../../src/core/door/fuse/structs.js';
import {
  type FuseChannel,
  type FuseHandler,
  REQUEST,
  REQUEST_OFFSET,
  type Ticket,
} from '../../src/core/env/fuse-channel.js';
import {Node, STATFS} from './memory-node.js';

const SLOT_BYTES = 4096 + (1 << 20) + 4096;
export const ORDINARY_SLOTS = 24;
export const RESERVE_SLOTS = 8;
export const MEMORY_BYTES = (ORDINARY_SLOTS + RESERVE_SLOTS) * SLOT_BYTES;
const ENOENT = 2;
const EINTR = 4;
const EEXIST = 17;
const ENOTEMPTY = 39;
const ENOSYS = 38;
const S_IFDIR = 0o040000;

export interface MemoryFuseOptions {
  valid?: Validity;
  openFlags?: number;
  /** Keeps no data: READ sends what lies in its slot. For measuring the channel alone. */
  nullData?: boolean;
  /** Arms so many ordinary slots; the rest stay unused. */
  slots?: number;
}

/** A file system in memory, just enough of one to try a channel with. Names are kept as latin1 text of their bytes. */
export class MemoryFuse implements FuseHandler {
  readonly nodes = new Map<number, Node>();
  readonly root: Node;
  negotiated: Negotiated | null = null;
  /** READs of a file of this name wait until they are interrupted or `release` is called. */
  blockedName = 'blocked';
  readonly blocked: Ticket[] = [];
  /** Called in a CREATE before its reply. */
  onCreate: (parent: number, name: Uint8Array) => void = () => {};
  onNotified: (id: number, errno: number) => void = () => {};
  onBlocked: () => void = () => {};
  readonly failures: [Ticket, number][] = [];
  interrupted = 0;
  forgotten = 0;
  fromReserve = 0;
  readonly finished: Promise<number>;
  #end: (errno: number) => void = () => {};
  readonly #u32: Uint32Array;
  readonly #u8: Uint8Array;
  #nextIno = 2;
  readonly #valid: Validity;

  constructor(
    readonly channel: FuseChannel,
    memory: ArrayBuffer,
    readonly options: MemoryFuseOptions = {},
  ) {
    this.#u32 = new Uint32Array(memory);
    this.#u8 = new Uint8Array(memory);
    this.#valid = options.valid ?? {entryMs: 0, attrMs: 0};
    this.root = new Node(1, S_IFDIR | 0o777, 0, 0);
    this.root.nlink = 2;
    this.nodes.set(1, this.root);
    this.finished = new Promise((end) => {
      this.#end = end;
    });
    channel.start(this);
    const ordinary = options.slots ?? ORDINARY_SLOTS;
    for (let i = 0; i < ordinary; i++) channel.arm(i * SLOT_BYTES, false);
    for (let i = ORDINARY_SLOTS; i < ORDINARY_SLOTS + RESERVE_SLOTS; i++) {
      channel.arm(i * SLOT_BYTES, true);
    }
  }

  ended(errno: number): void {
    this.#end(errno);
  }

  interrupt(ticket: Ticket): void {
    const i = this.blocked.indexOf(ticket);
    if (i < 0) return;
    this.interrupted++;
    this.blocked.splice(i, 1);
    this.channel.replyError(ticket, EINTR);
  }

  forget(nodeid: number, count: number): void {
    const node = this.nodes.get(nodeid);
    if (node === undefined) return;
    this.forgotten += count;
    node.lookups -= count;
  }

  batchEnd(): void {}
  replyFailed(ticket: Ticket, errno: number): void {
    this.failures.push([ticket, errno]);
  }

  notified(id: number, errno: number): void {
    this.onNotified(id, errno);
  }

  request(ticket: Ticket, slot: number, flags: number): void {
    const header = (slot + REQUEST_OFFSET) / 4;
    const at = header + IN_HEADER.words;
    const end = slot + REQUEST_OFFSET + this.#u32[header + IN_HEADER.len]!;
    const node = this.nodes.get(get64(this.#u32, header + IN_HEADER.nodeid)) ?? this.root;
    const opcode = this.#u32[header + IN_HEADER.opcode]!;
    if ((flags & REQUEST.fromReserve) !== 0) this.fromReserve++;
    this.#dispatch(opcode, ticket, node, at, end, slot, header);
    // A reply may name this slot's bytes: they leave before anything is read into it, at the end of the batch.
    this.channel.arm(slot, (flags & REQUEST.fromReserve) !== 0);
  }

  #dispatch(
    opcode: number,
    ticket: Ticket,
    node: Node,
    at: number,
    end: number,
    slot: number,
    header: number,
  ): void {
    switch (opcode) {
      case OPCODE.INIT:
        this.#init(ticket, at);
        break;
      case OPCODE.LOOKUP:
        this.#entry(ticket, node.names.get(this.#name(at * 4, end)));
        break;
      case OPCODE.GETATTR:
        this.#attr(ticket, node);
        break;
      case OPCODE.SETATTR:
        this.#setattr(ticket, node, at);
        break;
      case OPCODE.MKDIR:
        this.#make(ticket, node, at + MKDIR_IN.words, end, header, S_IFDIR, false);
        break;
      case OPCODE.CREATE:
        this.#make(ticket, node, at + CREATE_IN.words, end, header, 0, true);
        break;
      case OPCODE.OPEN:
        this.#open(ticket, this.options.openFlags ?? 0);
        break;
      case OPCODE.OPENDIR:
        this.#open(ticket, 0);
        break;
      case OPCODE.READ:
        this.#read(ticket, node, at, slot);
        break;
      case OPCODE.WRITE:
        this.#write(ticket, node, at, slot);
        break;
      case OPCODE.READDIR:
        this.#readdir(ticket, node, at, slot);
        break;
      case OPCODE.UNLINK:
      case OPCODE.RMDIR:
        this.#remove(ticket, node, this.#name(at * 4, end));
        break;
      case OPCODE.RENAME:
        this.#rename(ticket, node, at, at + RENAME_IN.words, end);
        break;
      case OPCODE.RENAME2:
        this.#rename(ticket, node, at, at + RENAME2_IN.words, end);
        break;
      case OPCODE.STATFS:
        this.#statfs(ticket);
        break;
      case OPCODE.FLUSH:
      case OPCODE.RELEASE:
      case OPCODE.RELEASEDIR:
      case OPCODE.FSYNC:
      case OPCODE.DESTROY:
        this.channel.replyError(ticket, 0);
        break;
      default:
        this.channel.replyError(ticket, ENOSYS);
        break;
    }
  }

  #name(start: number, end: number): string {
    const length = nameLength(this.#u8, start, end);
    return Buffer.from(this.#u8.buffer, start, length).toString('latin1');
  }

  #init(ticket: Ticket, at: number): void {
    const head = this.channel.head(INIT_OUT.words * 4);
    const agreed = answerInit(this.#u32, at, this.channel.heads.u32, head / 4, {
      flags: INIT.EXPLICIT_INVAL_DATA,
      flags2: INIT2.HAS_EXPIRE_ONLY + INIT2.HAS_RESEND,
      maxReadaheadBytes: 1 << 20,
    });
    if (typeof agreed === 'string') throw new Error(agreed);
    this.negotiated = agreed;
    this.channel.replyHead(ticket, head, INIT_OUT.words * 4);
  }

  #entry(ticket: Ticket, node: Node | undefined): void {
    if (node === undefined) {
      this.channel.replyError(ticket, ENOENT);
      return;
    }
    node.lookups++;
    const head = this.channel.head(ENTRY_OUT.words * 4);
    putEntryOut(this.channel.heads.u32, head / 4, node, 0, this.#valid);
    this.channel.replyHead(ticket, head, ENTRY_OUT.words * 4);
  }

  #attr(ticket: Ticket, node: Node): void {
    const head = this.channel.head(104);
    putAttrOut(this.channel.heads.u32, head / 4, node, this.#valid.attrMs);
    this.channel.replyHead(ticket, head, 104);
  }

  #setattr(ticket: Ticket, node: Node, at: number): void {
    const valid = this.#u32[at + SETATTR_IN.valid]!;
    if ((valid & FATTR.MODE) !== 0) node.mode = this.#u32[at + SETATTR_IN.mode]!;
    if ((valid & FATTR.UID) !== 0) node.uid = this.#u32[at + SETATTR_IN.uid]!;
    if ((valid & FATTR.GID) !== 0) node.gid = this.#u32[at + SETATTR_IN.gid]!;
    if ((valid & FATTR.SIZE) !== 0) this.#resize(node, get64(this.#u32, at + SETATTR_IN.size));
    if ((valid & FATTR.MTIME) !== 0) {
      node.mtimeSec = getSigned64(this.#u32, at + SETATTR_IN.mtime);
      node.mtimeNsec = this.#u32[at + SETATTR_IN.mtimensec]!;
    }
    this.#attr(ticket, node);
  }

  #resize(node: Node, size: number): void {
    if (this.options.nullData === true) node.setSize(size);
    else node.resize(size);
  }

  addFile(parent: Node, name: string, content: string): Node {
    const node = new Node(this.#nextIno++, 0o100666, 0, 0);
    this.nodes.set(node.ino, node);
    parent.names.set(name, node);
    this.setContent(node, content);
    return node;
  }

  setContent(node: Node, content: string): void {
    const bytes = Buffer.from(content);
    this.#resize(node, bytes.length);
    node.data.set(bytes);
  }

  #make(
    ticket: Ticket,
    parent: Node,
    nameAt: number,
    end: number,
    header: number,
    type: number,
    open: boolean,
  ): void {
    const name = this.#name(nameAt * 4, end);
    if (parent.names.has(name)) {
      this.channel.replyError(ticket, EEXIST);
      return;
    }
    const mode = this.#u32[header + IN_HEADER.words + (open ? CREATE_IN.mode : MKDIR_IN.mode)]!;
    const node = new Node(
      this.#nextIno++,
      (mode & 0o7777) | (type || 0o100000),
      this.#u32[header + IN_HEADER.uid]!,
      this.#u32[header + IN_HEADER.gid]!,
    );
    this.nodes.set(node.ino, node);
    parent.names.set(name, node);
    if (!open) {
      this.#entry(ticket, node);
      return;
    }
    this.onCreate(parent.ino, Buffer.from(name, 'latin1'));
    node.lookups++;
    const head = this.channel.head(CREATE_OUT.words * 4);
    const {u32} = this.channel.heads;
    putEntryOut(u32, head / 4 + CREATE_OUT.entry, node, 0, this.#valid);
    putOpenOut(u32, head / 4 + CREATE_OUT.open, 0, this.options.openFlags ?? 0);
    this.channel.replyHead(ticket, head, CREATE_OUT.words * 4);
  }

  #open(ticket: Ticket, flags: number): void {
    const head = this.channel.head(16);
    putOpenOut(this.channel.heads.u32, head / 4, 0, flags);
    this.channel.replyHead(ticket, head, 16);
  }

  #read(ticket: Ticket, node: Node, at: number, slot: number): void {
    if (this.root.names.get(this.blockedName) === node) {
      this.blocked.push(ticket);
      this.onBlocked();
      return;
    }
    const offset = get64(this.#u32, at + READ_IN.offset);
    const bytes = Math.max(0, Math.min(this.#u32[at + READ_IN.size]!, node.size - offset));
    const from = slot + 4096;
    if (this.options.nullData !== true) {
      this.#u8.set(node.data.subarray(offset, offset + bytes), from);
    }
    this.channel.replyData(ticket, [from, bytes], 1);
  }

  #write(ticket: Ticket, node: Node, at: number, slot: number): void {
    const offset = get64(this.#u32, at + WRITE_IN.offset);
    const bytes = this.#u32[at + WRITE_IN.size]!;
    if (offset + bytes > node.size) this.#resize(node, offset + bytes);
    const from = slot + 4096;
    if (this.options.nullData !== true) {
      node.data.set(this.#u8.subarray(from, from + bytes), offset);
    }
    const head = this.channel.head(WRITE_OUT.words * 4);
    this.channel.heads.u32[head / 4] = bytes;
    this.channel.heads.u32[head / 4 + 1] = 0;
    this.channel.replyHead(ticket, head, WRITE_OUT.words * 4);
  }

  #readdir(ticket: Ticket, node: Node, at: number, slot: number): void {
    const limit = this.#u32[at + READ_IN.size]!;
    let cookie = get64(this.#u32, at + READ_IN.offset);
    const start = slot + 4096;
    let to = start;
    for (const [name, child] of [...node.names].slice(cookie)) {
      const bytes = Buffer.from(name, 'latin1');
      if (to + direntBytes(bytes.length) > start + limit) break;
      const entry = {ino: child.ino, mode: child.mode, off: ++cookie, name: bytes};
      to = putDirent(this.#u32, this.#u8, to, entry);
    }
    this.channel.replyData(ticket, [start, to - start], 1);
  }

  #remove(ticket: Ticket, parent: Node, name: string): void {
    const node = parent.names.get(name);
    if (node === undefined) {
      this.channel.replyError(ticket, ENOENT);
      return;
    }
    if (node.names.size > 0) {
      this.channel.replyError(ticket, ENOTEMPTY);
      return;
    }
    parent.names.delete(name);
    this.channel.replyError(ticket, 0);
  }

  #rename(ticket: Ticket, from: Node, at: number, nameAt: number, end: number): void {
    const to = this.nodes.get(get64(this.#u32, at + RENAME_IN.newdir))!;
    const oldName = this.#name(nameAt * 4, end);
    const newName = this.#name(nameAt * 4 + oldName.length + 1, end);
    const node = from.names.get(oldName);
    if (node === undefined) {
      this.channel.replyError(ticket, ENOENT);
      return;
    }
    from.names.delete(oldName);
    to.names.set(newName, node);
    this.channel.replyError(ticket, 0);
  }

  #statfs(ticket: Ticket): void {
    const head = this.channel.head(STATFS_OUT.words * 4);
    putStatfs(this.channel.heads.u32, head / 4, STATFS);
    this.channel.replyHead(ticket, head, STATFS_OUT.words * 4);
  }
}
