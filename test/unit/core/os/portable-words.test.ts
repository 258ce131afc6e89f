import {expect, test} from '@jest/globals';
import {FsError} from '../../../../src/core/base/errors.js';
import {
  entryWords,
  mtimeOf,
  statfsWords,
  statWords,
  timeOf,
} from '../../../../src/core/os/portable-words.js';
import type {Attr} from '../../../../src/core/protocol/gen/wire.js';

const time = (sec: number, nsec = 0) => ({sec, nsec});
const ATTR: Attr = {
  oid: 9,
  mode: 0o100640,
  nlink: 2,
  uid: 3,
  gid: 4,
  rdev: 5,
  size: 5 * 2 ** 32 + 6,
  blocks: 7,
  atime: time(1),
  mtime: time(1_700_000_000, 123_456_789),
  ctime: time(-5),
  version: 1,
  xattrs: false,
};

test('struct stat: sizes and times of two words, times in milliseconds, none before 1970', () => {
  const words = [...statWords(ATTR)];
  expect(words.slice(0, 12)).toEqual([0o100640, 3, 4, 6, 5, 0, 2, 9, 5, 131_072, 7, 0]);
  expect(words[14]! + words[15]! * 2 ** 32).toBe(1_700_000_000_123);
  expect(words.slice(16)).toEqual([0, 0]);
});

test('an inode number of more than 32 bits is EOVERFLOW, and not that of another file', () => {
  expect(statWords({...ATTR, oid: 2 ** 32 - 1})[7]).toBe(2 ** 32 - 1);
  expect(() => statWords({...ATTR, oid: 2 ** 32 + 9})).toThrow(FsError);
  expect(entryWords(2 ** 32 + 9, 0o040000)[7]).toBe(2 ** 32 - 1);
});

test('statfs: blocks are as large as it takes for their number to fit', () => {
  const small = statfsWords({totalBytes: 8192, freeBytes: 4096, files: 3, filesFree: 5});
  expect([...small].slice(0, 7)).toEqual([4096, 4096, 2, 1, 1, 8, 5]);
  const bytes = 2 ** 50;
  const [, block, total, free] = statfsWords({
    totalBytes: bytes,
    freeBytes: bytes / 2,
    files: 2 ** 40,
    filesFree: 2 ** 41,
  });
  expect([block! * total!, block! * free!]).toEqual([bytes, bytes / 2]);
});

test('times that a program sets: of two words, also before 1970; the second one out of the record', () => {
  expect(timeOf(1_500, 0)).toEqual(time(1, 500_000_000));
  expect(timeOf(0xffffffff, 0xffffffff)).toEqual(time(-1, 999_000_000));
  const record = Buffer.alloc(200);
  record.writeBigInt64LE(1_700_000_000_123n, 104);
  record.writeBigInt64LE(-5_000n, 112);
  const [low, high] = [record.readUInt32LE(104), record.readUInt32LE(108)];
  expect(mtimeOf(record, low, high)).toEqual(time(-5));
  // Another build of the library has it elsewhere: it is not guessed.
  expect(mtimeOf(record, low + 1, high)).toBeNull();
  expect(mtimeOf(Buffer.alloc(100), 0, 0)).toBeNull();
});
