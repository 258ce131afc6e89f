import {describe, expect, test} from '@jest/globals';
import {crc32c} from '../../../../src/core/base/crc32c.js';
import {MIB} from '../../../../src/core/base/units.js';
import {
  FLAG,
  FrameReader,
  HEADER_BYTES,
  MESSAGE_BYTES_MAX,
} from '../../../../src/core/protocol/frame.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {feedReader} from '../../../support/feed-reader.js';
import {
  concat,
  digest,
  frameBytes,
  makePool,
  type PlainFrame,
  pattern,
} from '../../../support/frames.js';

const none = new Uint8Array(0);
const getattr: PlainFrame = {
  type: OPS.getattr.code,
  flags: 0,
  id: 7,
  status: 0,
  message: Uint8Array.of(8, 1),
  payload: none,
};
const write = (bytes: number, flags = 0): PlainFrame => ({
  type: OPS.write.code,
  flags,
  id: 8,
  status: 0,
  message: pattern(100, 2),
  payload: pattern(bytes, 3),
});

const shared = makePool();
function read(stream: Uint8Array, piece = Number.POSITIVE_INFINITY) {
  const reader = new FrameReader(shared);
  const result = feedReader(reader, shared, stream, (max) => Math.min(max, piece));
  reader.close();
  expect(shared.used).toBe(0);
  return {...result, frames: result.frames.map(digest)};
}

/** The frame with a header field changed and the sum made right. */
function altered(frame: PlainFrame, change: (view: DataView) => void): Uint8Array {
  const bytes = frameBytes(frame);
  const view = new DataView(bytes.buffer);
  change(view);
  const sum = crc32c(
    bytes,
    HEADER_BYTES,
    HEADER_BYTES + frame.message.length,
    crc32c(bytes, 0, 28),
  );
  view.setUint32(28, sum, true);
  return bytes;
}

describe('frames on the wire', () => {
  test('the layout is the one that docs and peers of other releases rely on', () => {
    expect(Buffer.from(frameBytes(getattr)).toString('hex')).toBe(
      '220000001102000007000000020000000000f5c90000000000000000f9ac8ce20801',
    );
  });

  test('frames of all kinds come out as they went in, one after the other', () => {
    const big = {...getattr, message: pattern(MESSAGE_BYTES_MAX, 4)};
    const refusal = {...getattr, flags: FLAG.reply, status: 1000};
    const frames = [getattr, write(4096), big, write(MIB), refusal, write(MIB, FLAG.payloadSum)];
    const stream = concat(frames.map(frameBytes));
    const expected = {frames: frames.map(digest), reason: null};
    expect(read(stream)).toEqual(expected);
    expect(read(stream, 1000)).toEqual(expected);
  });

  test('large payload is read straight into its slot: the transport is given that memory', () => {
    const pool = makePool();
    const reader = new FrameReader(pool);
    const bytes = frameBytes(write(MIB));
    const first = reader.space();
    first.set(bytes.subarray(0, 200));
    reader.filled(200);
    expect(reader.next()).toBeNull();
    const space = reader.space();
    expect(space.buffer).toBe(pool.memory);
    expect(space.length).toBe(bytes.length - 200);
    reader.close();
  });

  test('a reader without a slot is starved and goes on when one is free', () => {
    const pool = makePool({small: 1, medium: 0, large: 0});
    const slot = pool.alloc(1);
    const reader = new FrameReader(pool);
    const frame = write(4096);
    expect(feedReader(reader, pool, frameBytes(frame), (max) => max).frames).toEqual([]);
    expect(reader.starved).toBe(true);
    pool.release(slot);
    expect(feedReader(reader, pool, none, (max) => max).frames).toEqual([frame]);
    expect(pool.used).toBe(0);
  });

  test('close gives back the slot of a half frame', () => {
    const pool = makePool();
    const reader = new FrameReader(pool);
    feedReader(reader, pool, frameBytes(write(100_000)).subarray(0, 5000), (max) => max);
    expect(pool.used).toBe(1);
    expect(reader.idle).toBe(false);
    reader.close();
    reader.close();
    expect(pool.used).toBe(0);
    expect(reader.next()).toBe('closed');
  });
});

describe('refused frames (C100: bad length or type closes the connection)', () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ['another magic', altered(getattr, (v) => v.setUint16(18, 1, true)), /magic/],
    ['a size below the header', altered(getattr, (v) => v.setUint32(0, 31, true)), /size 31/],
    [
      'a long message',
      altered(getattr, (v) => v.setUint32(12, 1 << 19, true)),
      /message of 524288/,
    ],
    ['a long payload', altered(write(1), (v) => v.setUint32(0, 1 << 21, true)), /payload of/],
    ['an unknown type', altered(getattr, (v) => v.setUint16(4, 0x999, true)), /unknown type 0x999/],
    ['an unknown flag', altered(getattr, (v) => v.setUint16(6, 8, true)), /unknown flags 8/],
    ['a status in a request', altered(getattr, (v) => v.setUint16(16, 5, true)), /status 5/],
    ['reserved bytes', altered(getattr, (v) => v.setUint32(24, 1, true)), /reserved/],
    ['a payload sum without its flag', altered(write(1), (v) => v.setUint32(20, 1, true)), /flag/],
    [
      'payload where none belongs',
      frameBytes({...getattr, payload: Uint8Array.of(1)}),
      /payload in/,
    ],
    ['payload in the wrong direction', frameBytes(write(1, FLAG.reply)), /payload in a data.write/],
  ];
  test.each(cases)('%s', (_name, bytes, reason) => {
    const result = read(bytes);
    expect(result.frames).toEqual([]);
    expect(result.reason).toMatch(reason);
  });

  test('a flipped bit anywhere in header or message is noticed', () => {
    const whole = frameBytes(getattr);
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = whole.slice();
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
      // A longer size may also just wait for bytes that never come.
      expect(read(bytes).frames).toEqual([]);
    }
  });

  test('a flipped bit in a summed payload is noticed; nothing comes after a refusal', () => {
    const bytes = frameBytes(write(50_000, FLAG.payloadSum));
    bytes[30_000] = bytes[30_000]! ^ 1;
    const result = read(concat([bytes, frameBytes(getattr)]));
    expect(result).toEqual({frames: [], reason: 'payload fails its sum'});
  });
});
