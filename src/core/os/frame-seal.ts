import {createHmac, timingSafeEqual} from 'node:crypto';
import type {BufferPool, Segment} from '../base/pool.js';
import type {Frame} from '../env/net.js';

/** Bytes that a message is longer by. */
export const SEAL_BYTES = 16;
const COUNTED_BYTES = 26;

/**
 * Of each frame of a connection that it is as it was sent, the next after the one before, and from who has the key: HMAC-SHA256, cut to 128 bits (RFC 2104, 4868), of
 * its number, its header, its message and its payload; at the end of the message.
 */
export class FrameSeal {
  readonly #pool: Pick<BufferPool, 'view'>;
  readonly #sendKey: Uint8Array;
  readonly #receiveKey: Uint8Array;
  #sent = 0n;
  #received = 0n;

  constructor(pool: Pick<BufferPool, 'view'>, sendKey: Uint8Array, receiveKey: Uint8Array) {
    this.#pool = pool;
    this.#sendKey = sendKey;
    this.#receiveKey = receiveKey;
  }

  /** The message with its seal. Once for each frame, in the order in which they are sent. */
  close(
    type: number,
    flags: number,
    id: number,
    status: number,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): Uint8Array {
    const sum = this.#sum(this.#sendKey, this.#sent++, {type, flags, id, status}, message, payload);
    return Buffer.concat([message, sum]);
  }

  /** The frame with its message as it was; null: it is not what was sent. Once for each frame, in their order. */
  open(frame: Frame): Frame | null {
    const end = frame.message.length - SEAL_BYTES;
    if (end < 0) return null;
    const message = frame.message.subarray(0, end);
    const payload = frame.payload === null ? null : [frame.payload];
    const sum = this.#sum(this.#receiveKey, this.#received++, frame, message, payload);
    return timingSafeEqual(sum, frame.message.subarray(end)) ? {...frame, message} : null;
  }

  #sum(
    key: Uint8Array,
    number: bigint,
    {type, flags, id, status}: Pick<Frame, 'type' | 'flags' | 'id' | 'status'>,
    message: Uint8Array,
    payload: readonly Segment[] | null,
  ): Uint8Array {
    const head = Buffer.alloc(COUNTED_BYTES);
    head.writeBigUInt64LE(number, 0);
    head.writeUInt16LE(type, 8);
    head.writeUInt16LE(flags, 10);
    head.writeUInt32LE(id, 12);
    head.writeUInt16LE(status, 16);
    head.writeUInt32LE(message.length, 18);
    head.writeUInt32LE(payload?.reduce((bytes, {length}) => bytes + length, 0) ?? 0, 22);
    const hmac = createHmac('sha256', key).update(head).update(message);
    for (const {offset, length} of payload ?? []) hmac.update(this.#pool.view(offset, length));
    return hmac.digest().subarray(0, SEAL_BYTES);
  }
}
