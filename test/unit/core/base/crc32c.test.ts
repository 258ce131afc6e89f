import {describe, expect, test} from '@jest/globals';
import {crc32c} from '../../../../src/core/base/crc32c.js';
import {pattern} from '../../../support/frames.js';

/** Bit by bit, from the polynomial. */
function plain(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

describe('crc32c', () => {
  test('gives the sums of RFC 3720, B.4', () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({length: 32}, (_, at) => at))).toBe(0x46dd794e);
  });

  test('equals the bitwise sum for every length up to 70, whole or continued', () => {
    const bytes = pattern(70, 1);
    for (let length = 0; length <= 70; length++) {
      const whole = plain(bytes.subarray(0, length));
      expect(crc32c(bytes, 0, length)).toBe(whole);
      const cut = length >> 1;
      expect(crc32c(bytes, cut, length, crc32c(bytes, 0, cut))).toBe(whole);
    }
  });
});
