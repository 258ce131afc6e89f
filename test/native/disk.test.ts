import {spawnSync} from 'node:child_process';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {open as openFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {afterAll, afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {IsalCodec} from '../../src/core/os/codec-isal.js';
import {DiskBatch} from '../../src/core/os/disk-batch.js';
import {lockFile, volumeSpace} from '../../src/core/os/disk-volume.js';
import {loadNative} from '../../src/core/os/native.js';

// By name: an addon's errors are those of the process, not of jest's context.
const RANGE = expect.objectContaining({name: 'RangeError'});
const BYTES = 64 * 1024;
const codec = new IsalCodec();
const memory = codec.createMemory(BYTES);
const bytes = Buffer.from(memory);
const folder = mkdtempSync(join(tmpdir(), 'cpfs-disk-'));
let disk: DiskBatch;
let fd: number;
let path: string;
let opened: number[];
let name = 0;

const open = (path: string, flags = 'w+'): number => {
  const descriptor = openSync(path, flags);
  opened.push(descriptor);
  return descriptor;
};

beforeEach(() => {
  opened = [];
  disk = new DiskBatch(memory, {inFlightMax: 2, opsMax: 4});
  path = join(folder, `file-${name++}`);
  fd = open(path);
  bytes.fill(0);
});
afterEach(async () => {
  await disk.close();
  for (const descriptor of opened) closeSync(descriptor);
});
afterAll(() => rmSync(folder, {recursive: true}));

const word = (offset: number, length: number, byte: number): void =>
  void bytes.fill(byte, offset, offset + length);

describe.each([
  ['workers', false],
  ['io_uring, where the kernel has it', true],
])('disk batch, %s', (_, ring) => {
  beforeEach(async () => {
    await disk.close();
    disk = new DiskBatch(memory, {inFlightMax: 2, opsMax: 4, ring});
  });

  test('writes and reads many ranges, more than fit in one batch', async () => {
    for (let i = 0; i < 10; i++) word(i * 4096, 4096, i + 1);
    const ranges = Array.from({length: 10}, (_, i) => ({
      fileOffset: (9 - i) * 4096,
      memoryOffset: i * 4096,
      length: 4096,
    }));
    await disk.write(fd, ranges, ring);
    const sums = new Uint32Array(20);
    codec.crc32cBlocks(memory, 0, 40960, 4096, sums, 0);
    bytes.fill(0);
    await disk.read(fd, ranges, ring);
    codec.crc32cBlocks(memory, 0, 40960, 4096, sums, 10);
    expect([...sums.subarray(10)]).toEqual([...sums.subarray(0, 10)]);
    expect(bytes[0]).toBe(1);
    expect(bytes[36864]).toBe(10);
    expect(fstatSync(fd).size).toBe(40960);
  });

  test.each(['async', 'sync'])(
    '%s: a hole, a short file and what lies beyond it read as zeros',
    async (how) => {
      word(0, 8192, 7);
      disk.writeSync(fd, 8192, 0, 100); // A hole of two blocks, then 100 bytes.
      word(0, 32768, 0xee);
      const ops = disk
        .ops()
        .read(fd, 0, 0, 4096)
        .read(fd, 8192, 4096, 4096)
        .read(fd, 1e9, 8192, 4096);
      if (how === 'sync') disk.runSync(ops);
      else await disk.run(ops, ring);
      expect(bytes.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
      expect(bytes.subarray(4096, 4196).every((byte) => byte === 7)).toBe(true);
      expect(bytes.subarray(4196, 12288).every((byte) => byte === 0)).toBe(true);
      expect(bytes[12288]).toBe(0xee);
    },
  );

  test('readCached: reads what is in the page cache; what is not there is left to read', async () => {
    word(0, 8192, 5);
    disk.writeSync(fd, 0, 0, 8192);
    await disk.dataSync(fd);
    bytes.fill(0);
    const ranges = [
      {fileOffset: 4096, memoryOffset: 0, length: 4096},
      {fileOffset: 8000, memoryOffset: 4096, length: 4096},
    ];
    // The kernel may have dropped the pages, and some file systems cannot tell: both answers are right ones.
    if (!disk.readCached(fd, ranges)) await disk.read(fd, ranges, ring);
    expect([bytes[0], bytes[4095], bytes[4096], bytes[4287], bytes[4288]]).toEqual([5, 5, 5, 5, 0]);
    expect(() => disk.readCached(999_999, ranges)).toThrow(/EBADF/);
    const dropped = spawnSync('dd', [
      `of=${path}`,
      'oflag=nocache',
      'conv=notrunc,fdatasync',
      'count=0',
    ]);
    if (dropped.status === 0 && !disk.readCached(fd, ranges)) await disk.read(fd, ranges, ring);
    expect([bytes[0], bytes[4287], bytes[4288]]).toEqual([5, 5, 0]);
  });

  test('punch frees the space and keeps the size', async () => {
    word(0, 32768, 9);
    disk.writeSync(fd, 0, 0, 32768);
    await disk.dataSync(fd);
    const before = fstatSync(fd);
    await disk.punch(fd, 4096, 16384);
    const after = fstatSync(fd);
    expect(after.size).toBe(32768);
    expect(before.blocks - after.blocks).toBeGreaterThanOrEqual(32);
    disk.readSync(fd, 0, 0, 32768);
    expect([bytes[4095], bytes[4096], bytes[20479], bytes[20480]]).toEqual([9, 0, 0, 9]);
  });

  test('truncate, both ways; syncs', async () => {
    await disk.truncate(fd, 10000);
    expect(fstatSync(fd).size).toBe(10000);
    await disk.truncate(fd, 3);
    expect(fstatSync(fd).size).toBe(3);
    await disk.dataSync(fd);
    await disk.syncFs(fd);
  });

  test('a full device: ENOSPC, and what comes after the failure is not begun', async () => {
    const full = open('/dev/full', 'r+');
    const ops = disk.ops().write(fd, 0, 0, 10).write(full, 0, 0, 4096).write(fd, 0, 0, 4096);
    await expect(disk.run(ops, ring)).rejects.toMatchObject({errno: 'ENOSPC'});
    expect(() => disk.runSync(ops)).toThrow(/ENOSPC: operation 2 of 3/);
    expect(fstatSync(fd).size).toBe(10);
  });

  test('runEach goes on after a failure and says what each did', async () => {
    const full = open('/dev/full', 'r+');
    const ops = disk.ops().write(full, 0, 0, 4096).write(fd, 0, 0, 4096).dataSync(999_999);
    expect([...(await disk.runEach(ops))]).toEqual([-28, 4096, -9]);
    expect(fstatSync(fd).size).toBe(4096);
  });

  test('errnos of the system: EBADF, a folder, read-only, a size beyond the limit', async () => {
    const only = open(join(folder, 'file-0'), 'r');
    const directory = open(folder, 'r');
    await expect(disk.dataSync(999_999)).rejects.toMatchObject({errno: 'EBADF'});
    expect(() => disk.readSync(directory, 0, 0, 10)).toThrow(/EISDIR/);
    expect(() => disk.writeSync(only, 0, 0, 10)).toThrow(/EBADF/);
    await expect(disk.punch(fd, 0, 0)).rejects.toMatchObject({errno: 'EINVAL'});
    await expect(disk.truncate(fd, 2 ** 53 - 1)).rejects.toMatchObject({errno: 'EFBIG'});
  });

  test('more batches than slots wait their turn, and each has its own operations', async () => {
    const ops = disk.ops();
    const done = Array.from({length: 50}, (_, i) => {
      word(i * 64, 64, i + 1);
      return disk.run(ops.clear().write(fd, i * 64, i * 64, 64), ring);
    });
    expect(disk.inFlight).toBe(50);
    await Promise.all(done);
    expect(disk.inFlight).toBe(0);
    const file = readFileSync(fd);
    expect(Array.from({length: 50}, (_, i) => file[i * 64])).toEqual(
      Array.from({length: 50}, (_, i) => i + 1),
    );
  });

  test('close lets batches in flight end, refuses new ones, and twice is nothing', async () => {
    const ops = disk.ops().write(fd, 0, 0, 4096);
    const running = [disk.run(ops, ring), disk.run(ops, ring), disk.run(ops, ring)];
    const closing = disk.close();
    await expect(disk.run(ops, ring)).rejects.toMatchObject({errno: 'EBADF'});
    expect(() => disk.runSync(ops)).toThrow(/EBADF/);
    await Promise.all([...running, closing]);
    await disk.close();
    expect(fstatSync(fd).size).toBe(4096);
  });
});

describe('io_uring, where the kernel has it', () => {
  beforeEach(async () => {
    await disk.close();
    disk = new DiskBatch(memory, {inFlightMax: 8, opsMax: 70, ring: true});
  });

  test('needs no worker: it goes on while all of them are held up', async () => {
    if (!disk.ring) return;
    const fifo = join(folder, 'fifo');
    spawnSync('mkfifo', [fifo]);
    // Each open waits for the other end of the pipe, and has a worker meanwhile.
    const held = Array.from({length: 8}, () => openFile(fifo, 'r'));
    word(0, 4096, 3);
    await disk.write(fd, [{fileOffset: 0, memoryOffset: 0, length: 4096}], true);
    await disk.read(fd, [{fileOffset: 0, memoryOffset: 8192, length: 4096}], true);
    expect(bytes[8192 + 4095]).toBe(3);
    const other = open(fifo, 'r+');
    for (const one of held) await (await one).close();
    expect(other).toBeGreaterThan(0);
  });

  test('a batch of more than it takes at once, of syncs, or of reads and writes goes to workers', async () => {
    word(0, 4480, 8);
    const many = disk.ops(70);
    for (let i = 0; i < 70; i++) many.write(fd, i * 64, i * 64, 64);
    await disk.run(many, true);
    await disk.run(disk.ops().dataSync(fd), true);
    await disk.run(disk.ops().write(fd, 4480, 0, 64).read(fd, 4400, 8192, 144), true);
    expect(bytes.subarray(8192, 8336).every((byte) => byte === 8)).toBe(true);
  });

  test('a short write is continued to its errno, and what comes after it is not begun', async () => {
    const small = mkdtempSync(join(tmpdir(), 'cpfs-small-'));
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'none', small]);
    try {
      const file = openSync(join(small, 'f'), 'w+');
      const ops = disk
        .ops()
        .write(file, 0, 0, 8192)
        .write(file, 8192, 0, 16_384)
        .write(fd, 0, 0, 10);
      await expect(disk.run(ops, true)).rejects.toMatchObject({errno: 'ENOSPC'});
      expect(fstatSync(file).size).toBe(16_384);
      expect(fstatSync(fd).size).toBe(0);
      closeSync(file);
    } finally {
      spawnSync('umount', [small]);
      rmSync(small, {recursive: true});
    }
  });

  test('whoever is told of a batch may begin the next, close, or fail', async () => {
    const read = [{fileOffset: 0, memoryOffset: 0, length: 4096}];
    let ended = 0;
    const chain = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) await disk.read(fd, read, true);
      ended++;
    };
    await Promise.all([chain(), chain(), chain()]);
    expect(ended).toBe(3);
    const last = disk.read(fd, read, true).then(() => disk.close());
    await last;
    await expect(disk.read(fd, read, true)).rejects.toMatchObject({errno: 'EBADF'});
  });
});

describe('disk batch: misuse throws and carries nothing out', () => {
  test.each([-1, 0.5, Number.NaN, BYTES - 4095, BYTES + 1, 2 ** 53])(
    'memory offset %p',
    async (offset) => {
      const ops = disk.ops().write(fd, 0, 0, 10).read(fd, 0, offset, 4096);
      await expect(disk.run(ops)).rejects.toThrow(RANGE);
      expect(() => disk.runSync(ops)).toThrow(RANGE);
      expect(fstatSync(fd).size).toBe(0);
      expect(disk.inFlight).toBe(0);
    },
  );

  test('descriptors, offsets, lengths', async () => {
    for (const bad of [-1, 0.5, Number.NaN, 2 ** 54]) {
      expect(() => disk.readSync(bad, 0, 0, 1)).toThrow(RANGE);
      expect(() => disk.readSync(fd, bad, 0, 1)).toThrow(RANGE);
      expect(() => disk.readSync(fd, 0, 0, bad)).toThrow(RANGE);
      await expect(disk.truncate(fd, bad)).rejects.toThrow(RANGE);
    }
    expect(() => disk.readSync(fd, 2 ** 53 - 1, 0, 1)).toThrow(RANGE);
    const ops = disk.ops().dataSync(fd).dataSync(fd).dataSync(fd).dataSync(fd);
    expect(() => ops.dataSync(fd)).toThrow(/no room/);
  });

  test('the addon itself: kinds, slots, busy, closed, detached', () => {
    type Batches = {
      submit(...args: unknown[]): void;
      runSync(...args: unknown[]): void;
      openRing(): number;
      close(): void;
    };
    const {Batches} = loadNative<{Batches: new (...args: unknown[]) => Batches}>('disk');
    const none = (): void => {};
    const results = new Float64Array(8);
    for (const args of [
      [],
      [{}, 1, 4, results, none],
      [memory, 0, 4, results, none],
      [memory, 2000, 4, results, none],
      [memory, 1, 0, results, none],
      [memory, 1, 5000, results, none],
      [memory, 2, 4, results, none],
      [memory, 1, 4, new Float32Array(8), none],
      [memory, 1, 4, results, {}],
    ]) {
      expect(() => new Batches(...args)).toThrow();
    }
    const batches = new Batches(memory, 1, 4, results, none);
    const ops = new Float64Array([3, fd, 0, 0, 0]);
    for (const args of [
      [0],
      [0, [], 1, false, false],
      [0, ops, 2, false, false],
      [0, ops, -1, false, false],
      [0, ops, 1, 0, false],
      [0, new Float64Array([0, fd, 0, 0, 0]), 1, false, false],
      [0, new Float64Array([8, fd, 0, 0, 0]), 1, false, false],
    ]) {
      expect(() => batches.submit(...args)).toThrow();
      expect(() => batches.runSync(...args.slice(1))).toThrow();
    }
    for (const slot of [undefined, 1, -1, 0.5]) {
      expect(() => batches.submit(slot, ops, 1, false, false)).toThrow(RANGE);
    }
    expect(() => batches.submit.call({}, 0, ops, 1, false, false)).toThrow();
    expect(() => batches.submit(0, ops, 1, false, 1)).toThrow();
    batches.submit(0, ops, 1, false, true);
    expect(() => batches.submit(0, ops, 1, false, false)).toThrow(/in flight/);
    batches.close();
    expect(batches.openRing()).toBe(9);
    expect(() => batches.submit(0, ops, 1, false, false)).toThrow(/closed/);
    expect(() => batches.runSync(ops, 1, false)).toThrow(/closed/);
    batches.close();
    const gone = new ArrayBuffer(4096);
    const detached = new Batches(gone, 1, 4, results, none);
    gone.transfer();
    expect(() => detached.runSync(new Float64Array([1, fd, 0, 0, 1]), 1, false)).toThrow(RANGE);
    detached.close();
  });
});

test('volume: space of a folder, and errnos', () => {
  const space = volumeSpace(folder);
  expect(space.totalBytes).toBeGreaterThan(space.freeBytes);
  expect(space.freeBytes).toBeGreaterThanOrEqual(space.availableBytes);
  expect(Number.isInteger(Math.log2(space.blockBytes))).toBe(true);
  expect(() => volumeSpace(join(folder, 'nothing'))).toThrow(/ENOENT/);
  expect(() => lockFile(999_999)).toThrow(/EBADF/);
  expect(() => lockFile(-1)).toThrow(RANGE);
});

test('lock: one descriptor has the folder, the next is told EBUSY until it is closed', () => {
  const path = join(folder, 'lock');
  writeFileSync(path, '');
  const first = openSync(path, 'r');
  const second = open(path, 'r');
  lockFile(first);
  lockFile(first);
  expect(() => lockFile(second)).toThrow(/EBUSY/);
  closeSync(first);
  lockFile(second);
});

test('a process and a worker thread may end with batches in flight', () => {
  const child = fileURLToPath(new URL('../support/disk-child.js', import.meta.url));
  const ended = spawnSync(process.execPath, [child, join(folder, 'ending')], {encoding: 'utf8'});
  expect({status: ended.status, signal: ended.signal, stderr: ended.stderr}).toEqual({
    status: 17,
    signal: null,
    stderr: '',
  });
});
