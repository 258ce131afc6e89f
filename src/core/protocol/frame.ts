import {assert} from '../base/assert.js';
import {crc32c} from '../base/crc32c.js';
import {type BufferPool, PAYLOAD_BYTES_MAX, type Segment} from '../base/pool.js';
import {KIB} from '../base/units.js';
import type {Frame} from '../env/net.js';
import {opByCode} from './ops.js';

/*
 * A frame, little-endian:
 *
 *    0 size u32      header + message + payload
 *    4 type u16      ops.ts
 *    6 flags u16     FLAG
 *    8 id u32
 *   12 message u32   bytes of the message
 *   16 status u16    0 in requests
 *   18 magic u16
 *   20 payload sum   CRC32C of the payload when FLAG.payloadSum is set, else 0
 *   24 reserved u32  0
 *   28 header sum    CRC32C of the 28 bytes before and the message
 *   32 message, then payload
 *
 * Payload is not summed here as a rule: data.write requests and data.read replies carry the sums of their blocks
 * in the message, and the receiver verifies those.
 */
export const HEADER_BYTES = 32;
export const MESSAGE_BYTES_MAX = 256 * KIB;
export const FRAME_BYTES_MAX = HEADER_BYTES + MESSAGE_BYTES_MAX + PAYLOAD_BYTES_MAX;
const SUMMED_BYTES = 28;
const MAGIC = 0xc9f5;

export const FLAG = {reply: 1, payloadSum: 2} as const;
const FLAGS_KNOWN = FLAG.reply | FLAG.payloadSum;

/** What a header says, and all that an encoder has to know of the payload. */
export interface Header {
  type: number;
  flags: number;
  id: number;
  status: number;
  messageBytes: number;
  payloadBytes: number;
  /** 0 without FLAG.payloadSum. */
  payloadSum: number;
}

const EMPTY = new Uint8Array(0);
const NO_HEADER: Header = {
  type: 0,
  flags: 0,
  id: 0,
  status: 0,
  messageBytes: 0,
  payloadBytes: 0,
  payloadSum: 0,
};

/**
 * Writes the header, and with `copy` the message after it, to the buffer of which `view` and `bytes` are the two
 * faces, at `at`. What is not copied, and the payload, is sent after it.
 */
export function encodeHead(
  view: DataView<ArrayBuffer>,
  bytes: Uint8Array,
  at: number,
  header: Header,
  message: Uint8Array,
  copy: boolean,
): void {
  assert(message.length <= MESSAGE_BYTES_MAX, 'the message is within the limit');
  assert(header.payloadBytes <= PAYLOAD_BYTES_MAX, 'the payload is within the limit');
  view.setUint32(at, HEADER_BYTES + message.length + header.payloadBytes, true);
  view.setUint16(at + 4, header.type, true);
  view.setUint16(at + 6, header.flags, true);
  view.setUint32(at + 8, header.id, true);
  view.setUint32(at + 12, message.length, true);
  view.setUint16(at + 16, header.status, true);
  view.setUint16(at + 18, MAGIC, true);
  view.setUint32(at + 20, header.payloadSum, true);
  view.setUint32(at + 24, 0, true);
  if (copy) bytes.set(message, at + HEADER_BYTES);
  const sum = crc32c(message, 0, message.length, crc32c(bytes, at, at + SUMMED_BYTES));
  view.setUint32(at + SUMMED_BYTES, sum, true);
}

/** Bytes that these segments hold together. */
export function payloadLength(payload: readonly Segment[] | null): number {
  if (payload === null) return 0;
  let bytes = 0;
  for (const segment of payload) bytes += segment.length;
  return bytes;
}

/** CRC32C over segments in order. */
export function payloadSumOf(pool: BufferPool, payload: readonly Segment[]): number {
  let sum = 0;
  for (const {offset, length} of payload) sum = crc32c(pool.bytes, offset, offset + length, sum);
  return sum;
}

/** Why a peer's header is refused, or null. The message's sum is not looked at yet. */
function invalid(header: Header, magic: number, size: number, reserved: number): string | null {
  if (magic !== MAGIC) return `magic ${magic.toString(16)} is not ours`;
  if (header.messageBytes > MESSAGE_BYTES_MAX)
    return `message of ${header.messageBytes} bytes > ${MESSAGE_BYTES_MAX}`;
  if (header.payloadBytes < 0) return `size ${size} is less than header and message`;
  if (header.payloadBytes > PAYLOAD_BYTES_MAX)
    return `payload of ${header.payloadBytes} bytes > ${PAYLOAD_BYTES_MAX}`;
  if ((header.flags & ~FLAGS_KNOWN) !== 0) return `unknown flags ${header.flags}`;
  const op = opByCode.get(header.type);
  if (op === undefined) return `unknown type 0x${header.type.toString(16)}`;
  const reply = (header.flags & FLAG.reply) !== 0;
  if (!reply && header.status !== 0) return `status ${header.status} in a request`;
  if (header.payloadBytes > 0 && op.payload !== (reply ? 'reply' : 'request'))
    return `payload in a ${op.name} ${reply ? 'reply' : 'request'}`;
  if (header.payloadSum !== 0 && (header.flags & FLAG.payloadSum) === 0)
    return 'payload sum without its flag';
  if (reserved !== 0) return 'reserved bytes are not 0';
  return null;
}

/** Smaller rests are read into the scratch buffer, together with the next header: a copy is cheaper than a system call. */
const DIRECT_BYTES_MIN = 8 * KIB;

/**
 * Cuts a byte stream into frames; the payload goes straight to pool memory. Does no I/O: put bytes where `space()`
 * says, tell `filled(n)`, then call `next()` until it gives null.
 *
 * Invariant: 0 <= taken <= filled <= scratch.length, and at <= end. A slot is held from the stage `payload` on until
 * its frame is given or `close`: somebody may still write to the last `space()`.
 * A frame's message is fresh memory; its payload's slot belongs to whom `next` gave the frame.
 */
export class FrameReader {
  readonly #pool: BufferPool;
  readonly #scratch: Buffer<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  #taken = 0;
  #filled = 0;
  /** `slot`: header and message are here, and the payload waits for a slot. */
  #stage: 'header' | 'message' | 'slot' | 'payload' | 'dead' = 'header';
  #header: Header = NO_HEADER;
  #expectedSum = 0;
  #sum = 0;
  #message: Uint8Array = EMPTY;
  #slot = -1;
  /** What is being filled in the stages `message` and `payload`: area[at, end). */
  #area: Uint8Array = EMPTY;
  #at = 0;
  #end = 0;
  /** Did the last `space()` give a part of `area`? */
  #direct = false;
  #reason = '';

  constructor(pool: BufferPool, scratchBytes = 16 * KIB) {
    assert(scratchBytes >= 2 * HEADER_BYTES, 'the scratch buffer holds a header');
    this.#pool = pool;
    this.#scratch = Buffer.from(new ArrayBuffer(scratchBytes));
    this.#view = new DataView(this.#scratch.buffer);
  }

  /** The payload of the next frame waits until the pool has a free slot; `next` tries again. */
  get starved(): boolean {
    return this.#stage === 'slot';
  }

  /** Between two frames: the stream may end here. */
  get idle(): boolean {
    return this.#stage === 'header' && this.#taken === this.#filled;
  }

  /** Where the next bytes of the stream belong. Empty only when `next` has not been called until it gave null. */
  space(): Uint8Array {
    this.#direct = this.#taken === this.#filled && this.#end - this.#at >= DIRECT_BYTES_MIN;
    if (this.#direct) return this.#area.subarray(this.#at, this.#end);
    this.#compact();
    return this.#scratch.subarray(this.#filled);
  }

  /** `count` bytes have been put at the start of the last `space()`. */
  filled(count: number): void {
    if (this.#direct) this.#at += count;
    else this.#filled += count;
    this.#direct = false;
    assert(this.#at <= this.#end && this.#filled <= this.#scratch.length, 'no more than the space');
  }

  /** Bytes that arrived elsewhere, after `next` gave null: at most half of the scratch buffer's size, so they fit. */
  feed(bytes: Uint8Array): void {
    this.#direct = false;
    this.#compact();
    assert(this.#filled + bytes.length <= this.#scratch.length, 'what was fed fits');
    this.#scratch.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  /** A whole frame; null: more bytes (or, `starved`, a slot) are needed; a string: close the connection for this reason. */
  next(): Frame | null | string {
    for (;;) {
      switch (this.#stage) {
        case 'header':
          if (this.#filled - this.#taken < HEADER_BYTES) return null;
          this.#takeHeader();
          break;
        case 'message':
          if (!this.#fillArea()) return null;
          if (crc32c(this.#message, 0, this.#message.length, this.#sum) !== this.#expectedSum)
            return this.#die('header or message fails its sum');
          if (this.#header.payloadBytes === 0) return this.#finish(null);
          this.#stage = 'slot';
          break;
        case 'slot':
          if (!this.#takeSlot()) return null;
          break;
        case 'payload':
          if (!this.#fillArea()) return null;
          return this.#takePayload();
        case 'dead':
          return this.#reason;
      }
    }
  }

  /** Gives back what a half frame holds. Call it once the connection is closed and nobody writes to `space()` any more. */
  close(): void {
    if (this.#slot >= 0) this.#pool.release(this.#slot);
    this.#slot = -1;
    this.#die('closed');
  }

  #compact(): void {
    if (this.#taken === 0) return;
    this.#scratch.copyWithin(0, this.#taken, this.#filled);
    this.#filled -= this.#taken;
    this.#taken = 0;
  }

  #takeHeader(): void {
    const view = this.#view;
    const at = this.#taken;
    const size = view.getUint32(at, true);
    const messageBytes = view.getUint32(at + 12, true);
    const header: Header = {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      id: view.getUint32(at + 8, true),
      status: view.getUint16(at + 16, true),
      messageBytes,
      payloadBytes: size - HEADER_BYTES - messageBytes,
      payloadSum: view.getUint32(at + 20, true),
    };
    const reason = invalid(
      header,
      view.getUint16(at + 18, true),
      size,
      view.getUint32(at + 24, true),
    );
    if (reason !== null) {
      this.#die(reason);
      return;
    }
    this.#header = header;
    this.#expectedSum = view.getUint32(at + SUMMED_BYTES, true);
    this.#sum = crc32c(this.#scratch, at, at + SUMMED_BYTES);
    this.#taken += HEADER_BYTES;
    this.#message = messageBytes === 0 ? EMPTY : Buffer.allocUnsafe(messageBytes);
    this.#fill('message', this.#message, 0, messageBytes);
  }

  #takeSlot(): boolean {
    const bytes = this.#header.payloadBytes;
    this.#slot = this.#pool.alloc(bytes);
    if (this.#slot < 0) return false;
    const offset = this.#pool.payload(this.#slot);
    this.#fill('payload', this.#pool.bytes, offset, offset + bytes);
    return true;
  }

  #takePayload(): Frame | string {
    const {payloadBytes, flags, payloadSum} = this.#header;
    const offset = this.#end - payloadBytes;
    if ((flags & FLAG.payloadSum) !== 0) {
      if (crc32c(this.#pool.bytes, offset, this.#end) !== payloadSum)
        return this.#die('payload fails its sum');
    }
    const slot = this.#slot;
    this.#slot = -1;
    return this.#finish({slot, offset, length: payloadBytes});
  }

  #finish(payload: Segment | null): Frame {
    const {type, flags, id, status} = this.#header;
    const message = this.#message;
    this.#message = EMPTY;
    this.#fill('header', EMPTY, 0, 0);
    return {type, flags, id, status, message, payload};
  }

  #fill(stage: 'header' | 'message' | 'payload', area: Uint8Array, at: number, end: number): void {
    this.#stage = stage;
    this.#area = area;
    this.#at = at;
    this.#end = end;
  }

  /** Moves from scratch to the area what belongs there; true when the area is full. */
  #fillArea(): boolean {
    const count = Math.min(this.#end - this.#at, this.#filled - this.#taken);
    if (count > 0) {
      this.#scratch.copy(this.#area, this.#at, this.#taken, this.#taken + count);
      this.#at += count;
      this.#taken += count;
    }
    return this.#at === this.#end;
  }

  #die(reason: string): string {
    if (this.#stage !== 'dead') this.#reason = reason;
    this.#stage = 'dead';
    this.#area = EMPTY;
    this.#at = this.#end = 0;
    this.#taken = this.#filled = 0;
    return this.#reason;
  }
}
