// Serves image files as disks that lose what was not flushed when their power is cut. usage: volatile-disks-main.js DIR IMAGE...
// They are the files 0, 1, … in DIR, for loop devices, whose flushes arrive here as FSYNC. Prints "ready", and then answers each line:
//   cut SEED AFTER DISK...   when AFTER more of their requests were served, or 300 ms later: "cut SERVED UNFLUSHED LOST", in requests and pages
//   on DISK...               "on"
import {statSync} from 'node:fs';
import {createInterface} from 'node:readline';
import {
  FOPEN,
  IN_HEADER,
  INIT_OUT,
  OPCODE,
  READ_IN,
  WRITE_IN,
  WRITE_OUT,
} from '../../src/core/door/fuse/abi.js';
import {answerInit} from '../../src/core/door/fuse/init.js';
import {
  get64,
  nameLength,
  putAttrOut,
  putEntryOut,
  putOpenOut,
} from '../../src/core/door/fuse/structs.js';
import {
  type FuseHandler,
  REQUEST,
  REQUEST_OFFSET,
  type Ticket,
} from '../../src/core/env/fuse-channel.js';
import {DeviceFuseChannel} from '../../src/core/os/fuse-channel.js';
import {mountFuse} from '../../src/core/os/mount-point.js';
import {Node} from './memory-node.js';
import {VolatileDisk} from './volatile-disk.js';

const PAYLOAD_OFFSET = 4096;
const SLOT_BYTES = PAYLOAD_OFFSET + (1 << 20) + 4096;
const SLOTS = 24;
const RESERVE_SLOTS = 8;
const ENOENT = 2;
const EIO = 5;
const ENOSYS = 38;
/** A disk that is asked for nothing more loses its power all the same. */
const CUT_MS_MAX = 300;
const VALID = {entryMs: 0, attrMs: 0};

const [dir, ...images] = process.argv.slice(2);
const disks = images.map((path) => new VolatileDisk(path));
/** The folder, then its files; a node's id is one more than its place. */
const nodes = [
  new Node(1, 0o040700, 0, 0),
  ...images.map((path, i) => {
    const node = new Node(2 + i, 0o100600, 0, 0);
    node.setSize(statSync(path).size);
    return node;
  }),
];
const {device} = await mountFuse({
  dir: dir!,
  source: 'cpfs-test-disks',
  allowOther: false,
  defaultPermissions: true,
  maxReadBytes: 1 << 20,
  noSuid: true,
  noDev: true,
  noExec: false,
});
const memory = new ArrayBuffer((SLOTS + RESERVE_SLOTS) * SLOT_BYTES);
const u32 = new Uint32Array(memory);
const u8 = new Uint8Array(memory);
const channel = new DeviceFuseChannel(device, memory);

/** A cut that has been ordered and is yet to come. */
class Cut {
  readonly #seed: number;
  readonly #disks: ReadonlySet<VolatileDisk>;
  readonly #timer: NodeJS.Timeout;
  readonly #after: number;
  #served = 0;

  constructor(seed: number, after: number, chosen: ReadonlySet<VolatileDisk>) {
    this.#seed = seed;
    this.#after = after;
    this.#disks = chosen;
    this.#timer = setTimeout(() => this.#now(), after === 0 ? 0 : CUT_MS_MAX);
  }

  /** Before a request that changes anything. */
  request(disk: VolatileDisk): void {
    if (!this.#disks.has(disk)) return;
    if (this.#served === this.#after) this.#now();
    else this.#served++;
  }

  #now(): void {
    clearTimeout(this.#timer);
    cut = null;
    let [unflushed, lost] = [0, 0];
    for (const disk of this.#disks) {
      const counts = disk.cut(this.#seed + disks.indexOf(disk));
      unflushed += counts.unflushed;
      lost += counts.lost;
    }
    process.stdout.write(`cut ${this.#served} ${unflushed} ${lost}\n`);
  }
}

let cut: Cut | null = null;

class Door implements FuseHandler {
  request(ticket: Ticket, slot: number, flags: number): void {
    const header = (slot + REQUEST_OFFSET) / 4;
    const at = header + IN_HEADER.words;
    const end = slot + REQUEST_OFFSET + u32[header + IN_HEADER.len]!;
    const place = get64(u32, header + IN_HEADER.nodeid) - 1;
    const opcode = u32[header + IN_HEADER.opcode]!;
    const disk = disks[place - 1];
    if (disk === undefined) this.#folder(opcode, ticket, at, end);
    else this.#disk(opcode, ticket, disk, place, at, slot);
    channel.arm(slot, (flags & REQUEST.fromReserve) !== 0);
  }

  #folder(opcode: number, ticket: Ticket, at: number, end: number): void {
    switch (opcode) {
      case OPCODE.INIT: {
        const head = channel.head(INIT_OUT.words * 4);
        const options = {flags: 0, flags2: 0, maxReadaheadBytes: 0};
        const agreed = answerInit(u32, at, channel.heads.u32, head / 4, options);
        if (typeof agreed === 'string') throw new Error(agreed);
        channel.replyHead(ticket, head, INIT_OUT.words * 4);
        return;
      }
      case OPCODE.LOOKUP: {
        const name = Buffer.from(memory, at * 4, nameLength(u8, at * 4, end)).toString();
        const node = nodes[Number(name) + 1];
        if (node === undefined) {
          channel.replyError(ticket, ENOENT);
          return;
        }
        const head = channel.head(128);
        putEntryOut(channel.heads.u32, head / 4, node, 0, VALID);
        channel.replyHead(ticket, head, 128);
        return;
      }
      default:
        this.#any(opcode, ticket, 0);
    }
  }

  #disk(
    opcode: number,
    ticket: Ticket,
    disk: VolatileDisk,
    place: number,
    at: number,
    slot: number,
  ): void {
    if (opcode === OPCODE.WRITE || opcode === OPCODE.FSYNC) cut?.request(disk);
    const moves = opcode === OPCODE.READ || opcode === OPCODE.WRITE || opcode === OPCODE.FSYNC;
    if (disk.dead && moves) {
      channel.replyError(ticket, EIO);
      return;
    }
    const from = slot + PAYLOAD_OFFSET;
    switch (opcode) {
      case OPCODE.READ: {
        const bytes = u32[at + READ_IN.size]!;
        disk.read(u8.subarray(from, from + bytes), get64(u32, at + READ_IN.offset));
        channel.replyData(ticket, [from, bytes], 1);
        return;
      }
      case OPCODE.WRITE: {
        const bytes = u32[at + WRITE_IN.size]!;
        disk.write(u8.subarray(from, from + bytes), get64(u32, at + WRITE_IN.offset));
        const head = channel.head(WRITE_OUT.words * 4);
        channel.heads.u32[head / 4] = bytes;
        channel.heads.u32[head / 4 + 1] = 0;
        channel.replyHead(ticket, head, WRITE_OUT.words * 4);
        return;
      }
      case OPCODE.FSYNC:
        disk.flush();
        channel.replyError(ticket, 0);
        return;
      default:
        this.#any(opcode, ticket, place);
    }
  }

  #any(opcode: number, ticket: Ticket, place: number): void {
    switch (opcode) {
      case OPCODE.GETATTR: {
        const head = channel.head(104);
        putAttrOut(channel.heads.u32, head / 4, nodes[place]!, 0);
        channel.replyHead(ticket, head, 104);
        return;
      }
      case OPCODE.OPEN: {
        // Past the kernel's pages: what the loop device has written is here, not there.
        const head = channel.head(16);
        putOpenOut(channel.heads.u32, head / 4, 0, FOPEN.DIRECT_IO);
        channel.replyHead(ticket, head, 16);
        return;
      }
      case OPCODE.FLUSH:
      case OPCODE.RELEASE:
        channel.replyError(ticket, 0);
        return;
      default:
        channel.replyError(ticket, ENOSYS);
    }
  }

  interrupt(): void {}
  forget(): void {}
  batchEnd(): void {}
  replyFailed(): void {}
  notified(): void {}
  ended(): void {
    process.exit(0);
  }
}

channel.start(new Door());
for (let i = 0; i < SLOTS + RESERVE_SLOTS; i++) channel.arm(i * SLOT_BYTES, i >= SLOTS);
process.stdout.write('ready\n');
for await (const line of createInterface(process.stdin)) {
  const [verb, ...rest] = line.split(' ');
  const numbers = rest.map(Number);
  if (verb === 'cut') {
    const [seed, after, ...chosen] = numbers;
    cut = new Cut(seed!, after!, new Set(chosen.map((i) => disks[i]!)));
  } else {
    for (const i of numbers) disks[i]!.revive();
    process.stdout.write('on\n');
  }
}
