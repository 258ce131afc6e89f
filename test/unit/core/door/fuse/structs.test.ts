import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {
  DIRENT,
  FUSE_MAJOR,
  INIT,
  INIT_IN,
  INIT_OUT,
  INIT2,
} from '../../../../../src/core/door/fuse/abi.js';
import {answerInit} from '../../../../../src/core/door/fuse/init.js';
import {
  deleteBody,
  direntBytes,
  get64,
  getKey64,
  getSigned64,
  invalEntryBody,
  nameLength,
  put64,
  putDirent,
  storeBody,
} from '../../../../../src/core/door/fuse/structs.js';

// Goal: what is written is what the kernel reads. Method: DataView and BigInt as the dumb twin.

const bigOf = (u32: Uint32Array, at: number): bigint =>
  new DataView(u32.buffer).getBigUint64(at * 4, true);

describe('64-bit fields', () => {
  test('any safe integer goes in and out', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (n) => {
        const u32 = new Uint32Array(4);
        put64(u32, 1, n);
        expect(new DataView(u32.buffer).getBigInt64(4, true)).toBe(BigInt(n));
        expect(getSigned64(u32, 1)).toBe(n);
        if (n >= 0) expect(get64(u32, 1)).toBe(n);
        expect([u32[0], u32[3]]).toEqual([0, 0]);
      }),
    );
  });

  test('OFFSET_MAX is written as such, and read as what is written so again', () => {
    const u32 = new Uint32Array(2);
    for (const n of [2 ** 63, Number.POSITIVE_INFINITY]) {
      put64(u32, 0, n);
      expect(bigOf(u32, 0)).toBe(0x7fff_ffff_ffff_ffffn);
    }
    expect(get64(u32, 0)).toBe(2 ** 63);
  });

  test('keys of lock owners differ where any bit does', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat({max: 63}), (owner, bit) => {
        const u32 = new Uint32Array(4);
        const view = new DataView(u32.buffer);
        view.setBigUint64(0, owner, true);
        view.setBigUint64(8, owner ^ (1n << BigInt(bit)), true);
        expect(getKey64(u32, 0)).not.toBe(getKey64(u32, 2));
      }),
    );
  });
});

describe('names', () => {
  const name = fc.uint8Array({minLength: 1, maxLength: 255}).map((b) => b.map((x) => x || 1));

  test('directory entries lie end to end, padded to 8, with their bytes as they are', () => {
    fc.assert(
      fc.property(fc.array(name, {minLength: 1, maxLength: 8}), (names) => {
        const u32 = new Uint32Array(8192).fill(0xffffffff);
        const u8 = new Uint8Array(u32.buffer);
        let at = 64;
        names.forEach((n, i) => {
          const next = putDirent(u32, u8, at, {ino: 2 ** 40 + i, mode: 0o100644, off: i, name: n});
          expect(next).toBe(at + direntBytes(n.length));
          expect(next % 8).toBe(0);
          expect(get64(u32, at / 4)).toBe(2 ** 40 + i);
          expect(u32[at / 4 + DIRENT.type]).toBe(8); // DT_REG
          const start = at + DIRENT.words * 4;
          expect(u8.slice(start, start + n.length)).toEqual(n);
          expect(u8.slice(start + n.length, next).every((b) => b === 0)).toBe(true);
          at = next;
        });
        expect(u8[at]).toBe(255);
      }),
    );
  });

  test('a name without its NUL is refused', () => {
    const u8 = Buffer.from('ab\0cd');
    expect(nameLength(u8, 0, 5)).toBe(2);
    expect(nameLength(u8, 2, 5)).toBe(0);
    expect(nameLength(u8, 3, 5)).toBe(-1);
  });

  test('notifications carry the name with a NUL that is not counted', () => {
    const entry = invalEntryBody(2 ** 33, Buffer.from('abc'), 1);
    expect(Buffer.from(entry).toString('hex')).toBe(
      '0000000002000000' + '03000000' + '01000000' + '61626300',
    );
    const gone = deleteBody(1, 2, Buffer.from('x'));
    expect(Buffer.from(gone).toString('hex')).toBe(
      '0100000000000000' + '0200000000000000' + '01000000' + '00000000' + '7800',
    );
    const stored = storeBody(1, 4096, Buffer.from('hi'));
    expect(Buffer.from(stored).toString('hex')).toBe(
      '0100000000000000' + '0010000000000000' + '02000000' + '00000000' + '6869',
    );
  });
});

describe('INIT', () => {
  const options = {flags: INIT.FLOCK_LOCKS, flags2: INIT2.HAS_RESEND, maxReadaheadBytes: 1 << 20};
  const ask = (major: number, minor: number, flags: number, flags2: number) => {
    const request = new Uint32Array(32);
    request[INIT_IN.major] = major;
    request[INIT_IN.minor] = minor;
    request[INIT_IN.maxReadahead] = 131072;
    request[INIT_IN.flags] = flags;
    request[INIT_IN.flags2] = flags2;
    const reply = new Uint32Array(32).fill(7);
    return {reply, agreed: answerInit(request, 0, reply, 8, options)};
  };

  test('gives only what was offered and asked for (7.45)', () => {
    const {agreed, reply} = ask(FUSE_MAJOR, 45, 0xffffffff, 0xffffffff);
    if (typeof agreed === 'string') throw new Error(agreed);
    expect(agreed.flags & INIT.WRITEBACK_CACHE).toBe(0);
    expect(agreed.flags & INIT.FLOCK_LOCKS).not.toBe(0);
    expect(agreed.flags & INIT.INIT_EXT).not.toBe(0);
    expect(agreed.flags2).toBe(INIT2.HAS_RESEND);
    expect(agreed.maxReadaheadBytes).toBe(131072);
    expect(reply[8 + INIT_OUT.maxWrite]).toBe(1 << 20);
    expect(reply[8 + INIT_OUT.maxPages]).toBe(256);
    expect(reply[8 + INIT_OUT.maxBackground]).toBe(64 + 48 * 65536);
    expect(reply[8 + INIT_OUT.words]).toBe(7); // Not a word more.
    const less = ask(FUSE_MAJOR, 38, INIT.BIG_WRITES, 0xffffffff).agreed;
    expect(less).toEqual({minor: 38, flags: INIT.BIG_WRITES, flags2: 0, maxReadaheadBytes: 131072});
  });

  test('refuses a kernel that is too old with a sentence', () => {
    for (const [major, minor] of [
      [7, 30],
      [6, 45],
      [8, 0],
    ] as const) {
      expect(ask(major, minor, 0, 0).agreed).toMatch(/^the kernel speaks FUSE/);
    }
  });
});
