import {assert} from '../base/assert.js';

/** 53 bits, 7 in each byte. */
const VARINT_BYTES_MAX = 8;

/** Little-endian fields, one after the other, into a buffer that grows. For records of the store and the log. */
export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  #room(bytes: number): number {
    const at = this.#length;
    this.#length = at + bytes;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    return at;
  }

  u8(value: number): this {
    const at = this.#room(1);
    this.#buffer[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.#room(2);
    this.#buffer.writeUInt16LE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeUInt32LE(value, at);
    return this;
  }

  /** An integer of up to 53 bits with a sign: ids, sizes, seconds. */
  int(value: number): this {
    assert(Number.isSafeInteger(value), `${value} is not an integer below 2^53`);
    const at = this.#room(8);
    this.#buffer.writeUInt32LE(value >>> 0, at);
    this.#buffer.writeInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
    return this;
  }

  /** An integer from 0 to 2^53 - 1 in as few bytes as it needs, 7 bits each, lowest first (LEB128). */
  uint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, `${value} is no unsigned integer below 2^53`);
    let at = this.#room(VARINT_BYTES_MAX);
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#buffer[at++] = (rest & 0x7f) | 0x80;
    this.#buffer[at++] = rest;
    this.#length = at;
    return this;
  }

  /** The same with a sign, for magnitudes below 2^52: 0, -1, 1, -2, ... are 0, 1, 2, 3, ... */
  sint(value: number): this {
    return this.uint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  /** Bytes, preceded by their count. */
  blob(bytes: Uint8Array): this {
    return this.u32(bytes.length).bytes(bytes);
  }

  /** Bytes without their count. */
  bytes(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  /** Characters up to 255 as a byte each, without a count. */
  latin1(text: string): this {
    const at = this.#room(text.length);
    this.#buffer.write(text, at, 'latin1');
    return this;
  }

  text(text: string): this {
    return this.blob(Buffer.from(text, 'utf8'));
  }

  /** What was written, without a copy; the writer must not be used any more. */
  end(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** What was written, as a copy; the writer is empty again. */
  take(): Uint8Array {
    // Of the runtime's slabs: memory of its own for each record costs more than what is written in it.
    const bytes = Buffer.allocUnsafe(this.#length);
    this.#buffer.copy(bytes, 0, 0, this.#length);
    this.#length = 0;
    return bytes;
  }
}

/** Reads what ByteWriter wrote. Bytes that end too soon are a Bug: sums have been checked before. */
export class ByteReader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  #step(bytes: number): number {
    const at = this.#at;
    this.#at = at + bytes;
    assert(this.#at <= this.#bytes.length, 'a record is shorter than its fields');
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#step(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#step(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#step(4), true);
  }

  int(): number {
    const at = this.#step(8);
    return this.#view.getInt32(at + 4, true) * 0x1_0000_0000 + this.#view.getUint32(at, true);
  }

  uint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  sint(): number {
    const value = this.uint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A view, not a copy. */
  blob(): Uint8Array {
    const length = this.u32();
    const at = this.#step(length);
    return this.#bytes.subarray(at, at + length);
  }

  text(): string {
    return Buffer.from(this.blob()).toString('utf8');
  }

  /** Bytes that have not been read. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** A view of what is left. */
  rest(): Uint8Array {
    return this.#bytes.subarray(this.#step(this.#bytes.length - this.#at));
  }
}
