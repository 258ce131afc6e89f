import {existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {KIB, MIB} from '../../../../src/core/base/units.js';
import {IsalCodec} from '../../../../src/core/os/codec-isal.js';
import {openBufferedDisk} from '../../../../src/core/os/disk-buffered.js';
import {openDirectDisk} from '../../../../src/core/os/disk-direct.js';
import {shell} from '../../../support/dev-cluster.js';
import {diskContract} from '../env/disk-contract.js';

const SHAPE = {small: 8, medium: 4, large: 4};
const pool = new BufferPool(new IsalCodec().createMemory(poolBytes(SHAPE)), SHAPE);
const O_DIRECT = 0o40000;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cpfs-direct-'));
});
afterEach(() => rmSync(folder, {recursive: true}));

/** How this process has a file open. */
const flagsOf = (path: string): number[] =>
  readdirSync('/proc/self/fd')
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === path;
      } catch {
        return false; // The descriptor of the listing itself.
      }
    })
    .map((fd) => {
      const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      return Number.parseInt(/flags:\s+(\d+)/.exec(info)![1]!, 8);
    });

const isDirect = (path: string): boolean => flagsOf(path).some((flags) => (flags & O_DIRECT) !== 0);

describe('a folder as a disk, large pieces past the page cache', () => {
  diskContract(async () => {
    const disk = openDirectDisk(folder, pool);
    return {
      disk,
      pool,
      again: async () => openDirectDisk(folder, pool),
      run: (story) => story(),
      close: () => disk.close(),
    };
  });

  test('large and small, aligned and not, are one file', async () => {
    const direct = openDirectDisk(folder, pool);
    const buffered = openBufferedDisk(folder, pool);
    const path = join(folder, 'f');
    const file = await direct.open('f', true);
    const slot = pool.alloc(MIB);
    const at = pool.payload(slot);
    for (let i = 0; i < MIB; i++) pool.bytes[at + i] = (i * 7) % 251;
    const sent = Buffer.from(pool.view(at, MIB));
    await file.write([{fileOffset: 8192, memoryOffset: at, length: 4096}]);
    expect(isDirect(path)).toBe(false);
    await file.write([
      {fileOffset: 0, memoryOffset: at, length: 512 * KIB},
      {fileOffset: 2 ** 40 + 12, memoryOffset: at + 5, length: 100},
      {fileOffset: 4096 * 300, memoryOffset: at + 512 * KIB, length: 64 * KIB},
      {fileOffset: 4096 * 400 + 1, memoryOffset: at + 576 * KIB, length: 64 * KIB},
    ]);
    expect(isDirect(path)).toBe(true);
    // Over what went past the page cache, and is in nobody's cache.
    await file.write([{fileOffset: 4096, memoryOffset: at + 700 * KIB, length: 4096}]);
    const expected: [number, Buffer][] = [
      [0, sent.subarray(0, 4096)],
      [4096, sent.subarray(700 * KIB, 700 * KIB + 4096)],
      [8192, sent.subarray(8192, 512 * KIB)],
      [2 ** 40 + 12, sent.subarray(5, 105)],
      [4096 * 300, sent.subarray(512 * KIB, 576 * KIB)],
      [4096 * 400 + 1, sent.subarray(576 * KIB, 640 * KIB)],
      [4096 * 500, Buffer.alloc(128 * KIB)],
    ];
    const other = await buffered.open('f', false);
    for (const one of [file, other]) {
      for (const [fileOffset, bytes] of expected) {
        pool.view(at, MIB).fill(0xee);
        await one.read([{fileOffset, memoryOffset: at, length: bytes.length}]);
        expect(pool.view(at, bytes.length).equals(bytes)).toBe(true);
      }
    }
    pool.release(slot);
    await file.close();
    await other.close();
    expect(flagsOf(path)).toEqual([]);
    await direct.close();
    await buffered.close();
  });

  test('a file that has lost its name is still read past the page cache', async () => {
    const disk = openDirectDisk(folder, pool);
    const file = await disk.open('f', true);
    const slot = pool.alloc(MIB);
    const at = pool.payload(slot);
    await file.truncate(MIB);
    await disk.remove('f');
    pool.view(at, MIB).fill(0xee);
    await file.read([{fileOffset: 0, memoryOffset: at, length: MIB}]);
    expect(pool.view(at, MIB).equals(Buffer.alloc(MIB))).toBe(true);
    pool.release(slot);
    await file.close();
    await disk.close();
  });

  test('a file system that cannot do it is refused, and nothing is left on it', async () => {
    await shell(`mount -t ramfs none ${folder}`);
    try {
      expect(() => openDirectDisk(folder, pool)).toThrow(
        expect.objectContaining({errno: 'EINVAL', message: expect.stringContaining(folder)}),
      );
      expect(existsSync(join(folder, 'direct.probe'))).toBe(false);
    } finally {
      await shell(`umount ${folder}`);
    }
  });
});
