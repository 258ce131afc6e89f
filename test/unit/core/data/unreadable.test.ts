import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {FsError} from '../../../../src/core/base/errors.js';
import {read} from '../../../../src/core/data/ops/read.js';
import {write} from '../../../../src/core/data/ops/write.js';
import {DataBench} from '../../../support/data.js';

const BLOCK = 4096;
const BLOCKS = 64;
const RANGES = [{offset: 0, length: BLOCKS * BLOCK}];

let bench: DataBench;
let reads = 0;
beforeEach(async () => {
  bench = await DataBench.open();
  reads = 0;
});
afterEach(() => bench.close());

/** Writes a redundancy column; from then on the disk cannot read these of its blocks. */
async function spoil(...blocks: number[]): Promise<void> {
  const bytes = Buffer.alloc(BLOCKS * BLOCK, 7);
  const q = bench.writing(bench.ref(5, 0, 4), RANGES, bytes);
  await write(q, bench.context, bench.payload(bytes));
  bench.disk.before = (step, range) => {
    if (step !== 'read' || range === undefined || range.fileOffset >= 2 ** 40) return;
    reads++;
    const first = range.fileOffset / BLOCK;
    const last = first + range.length / BLOCK - 1;
    if (blocks.some((block) => block >= first && block <= last)) throw new FsError('EIO');
  };
}

/** Numbers of the blocks that have the sum of lost ones; the others must have their bytes. */
async function lost(): Promise<number[]> {
  const ref = bench.ref(5, 0, 4);
  const q = {ref, ranges: RANGES, covered: true, verify: false, copy: 0};
  const {message, payload} = await read(q, bench.context);
  const {slot, offset} = payload![0]!;
  const bytes = Buffer.from(bench.pool.view(offset, BLOCKS * BLOCK));
  bench.pool.release(slot);
  const found: number[] = [];
  const covered = message.covered!.length / BLOCKS;
  for (let block = 0; block < BLOCKS; block++) {
    const sum = Buffer.from(message.sums!.subarray(block * 4, block * 4 + 4));
    const mine = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
    if (sum.equals(Buffer.alloc(4, 0xff))) {
      found.push(block);
      expect(mine.equals(Buffer.alloc(BLOCK))).toBe(true);
      const sums = Buffer.from(message.covered!.subarray(block * covered, (block + 1) * covered));
      expect(sums.equals(Buffer.alloc(covered, 0xff))).toBe(true);
    } else expect(mine.equals(Buffer.alloc(BLOCK, 7))).toBe(true);
  }
  return found;
}

test('blocks that the disk cannot read are told as lost ones, with their neighbours as they are', async () => {
  await spoil(0, 3, 63);
  expect(await lost()).toEqual([0, 3, 63]);
  expect(bench.context.stats.badBlocks).toBe(3);
});

test('a disk that can read nothing is not asked for every block', async () => {
  await spoil(...Array.from({length: BLOCKS}, (_, block) => block));
  expect(await lost()).toHaveLength(BLOCKS);
  expect(reads).toBe(17);
});

test('another failure is no damage', async () => {
  await spoil();
  bench.disk.before = (step) => {
    if (step === 'read') throw new FsError('ENOMEM');
  };
  await expect(lost()).rejects.toMatchObject({errno: 'ENOMEM'});
});
