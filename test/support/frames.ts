import {crc32c} from '../../src/core/base/crc32c.js';
import {BufferPool, type PoolShape, poolBytes, type Segment} from '../../src/core/base/pool.js';
import {encodeHead, FLAG, HEADER_BYTES} from '../../src/core/protocol/frame.js';

/** A frame as a test writes it down. */
export interface PlainFrame {
  type: number;
  flags: number;
  id: number;
  status: number;
  message: Uint8Array;
  payload: Uint8Array;
}

/** The bytes of a frame on the wire. */
export function frameBytes(frame: PlainFrame): Uint8Array {
  const {type, flags, id, status, message, payload} = frame;
  const bytes = new Uint8Array(HEADER_BYTES + message.length + payload.length);
  const payloadSum = (flags & FLAG.payloadSum) !== 0 ? crc32c(payload) : 0;
  const messageBytes = message.length;
  const header = {type, flags, id, status, messageBytes, payloadBytes: payload.length, payloadSum};
  encodeHead(new DataView(bytes.buffer), bytes, 0, header, message, true);
  bytes.set(payload, HEADER_BYTES + message.length);
  return bytes;
}

/** What tells two frames apart, on one line: comparing and printing megabytes takes a test too long. */
export function digest(frame: PlainFrame): string {
  const {type, flags, id, status, message, payload} = frame;
  const bytes = [message, payload].map((part) => `${part.length}:${crc32c(part).toString(16)}`);
  return [type, flags, id, status, ...bytes].join(' ');
}

export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export const SMALL_POOL: PoolShape = {small: 16, medium: 4, large: 2};

export function makePool(shape: PoolShape = SMALL_POOL): BufferPool {
  return new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
}

/** `bytes` in a slot of their own, which is the caller's. */
export function segmentOf(pool: BufferPool, bytes: Uint8Array): Segment {
  const slot = pool.alloc(bytes.length);
  const offset = pool.payload(slot);
  pool.bytes.set(bytes, offset);
  return {slot, offset, length: bytes.length};
}

/** Numbers below `bound` that look random; the same for the same seed (mulberry32). */
export function seeded(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

/** Bytes that differ from one position and seed to the next (xorshift32: tests fill many megabytes with it). */
export function pattern(bytes: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = (seed + 1) * 0x9e3779b1;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, bytes);
}
