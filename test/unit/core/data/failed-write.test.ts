// Goal: a write that fails half-way leaves old blocks or blocks that fail their sums, never new ones, and no mixture that
// looks good. Method: every step of the disk is made to fail in turn, and in the worst case so is everything after it.
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {read} from '../../../../src/core/data/ops/read.js';
import {write} from '../../../../src/core/data/ops/write.js';
import {DataBench, noSpace} from '../../../support/data.js';

const BLOCK = 4096;
/** Of the column's blocks: written before, a hole inside, beyond the old end. */
const OLD = [1, 1, 0, 0, 1, 0, 1];
const RANGES = [
  {offset: BLOCK, length: 2 * BLOCK},
  {offset: 4 * BLOCK, length: 5 * BLOCK},
];

let bench: DataBench;
beforeEach(async () => {
  bench = await DataBench.open();
});
afterEach(() => bench.close());

const block = (byte: number): Buffer => Buffer.alloc(BLOCK, byte);

async function prepare(column: number): Promise<void> {
  for (const [at, byte] of OLD.entries()) {
    if (byte === 0) continue;
    const q = bench.writing(
      bench.ref(5, 0, column),
      [{offset: at * BLOCK, length: BLOCK}],
      block(byte),
    );
    await write(q, bench.context, bench.payload(block(byte)));
  }
}

function overwrite(column: number): Promise<unknown> {
  const bytes = Buffer.alloc(7 * BLOCK, 9);
  return write(
    bench.writing(bench.ref(5, 0, column), RANGES, bytes),
    bench.context,
    bench.payload(bytes),
  );
}

/** Each block as a reader has it: its byte, or 'bad'; 'EIO' if nothing can be read. */
async function blocks(column: number): Promise<(number | 'bad')[] | 'EIO'> {
  const ref = bench.ref(5, 0, column);
  const found: (number | 'bad')[] = [];
  for (let at = 0; at < 9; at++) {
    const ranges = [{offset: at * BLOCK, length: BLOCK}];
    try {
      const {message, payload} = await read(
        {ref, ranges, covered: false, verify: false, copy: 0},
        bench.context,
      );
      if (payload === undefined || payload === null) {
        found.push(0);
        continue;
      }
      const bytes = Buffer.from(bench.pool.view(payload[0]!.offset, BLOCK));
      bench.pool.release(payload[0]!.slot);
      const good = Buffer.compare(bench.sums(bytes), message.sums!) === 0;
      found.push(good ? bytes[0]! : 'bad');
    } catch {
      return 'EIO';
    }
  }
  return found;
}

describe.each([
  ['data', 0],
  ['redundancy', 4],
])('a %s column', (_, column) => {
  test.each([1, 2, 3, 4])('ENOSPC at step %i of the write', async (step) => {
    await prepare(column);
    let left = step;
    bench.disk.before = (what) => {
      if (what === 'write' && --left === 0) noSpace();
    };
    await expect(overwrite(column)).rejects.toMatchObject({errno: 'ENOSPC'});
    bench.disk.before = () => {};
    const found = (await blocks(column)) as (number | 'bad')[];
    const old = [...OLD, 0, 0];
    for (const [at, byte] of old.entries()) expect([byte, 'bad']).toContain(found[at]);
    // Zeros can always be had back, and what was not begun was not lost.
    for (const [at, byte] of old.entries()) if (byte === 0) expect(found[at]).toBe(0);
    expect(found.slice(0, 1)).toEqual([1]);
    if (step === 1) expect(found).toEqual(old);
    // The same in a later life, and the write can be done again.
    await bench.end();
    await bench.start();
    expect(await blocks(column)).toEqual(found);
    await overwrite(column);
    expect(await blocks(column)).toEqual([1, 9, 9, 0, 9, 9, 9, 9, 9]);
  });

  test.each([1, 2, 3, 4])(
    'the disk fails for good at step %i, until it works again',
    async (step) => {
      await prepare(column);
      let left = step;
      const broken = (what: string): void => {
        if (/write|punch|truncate/.test(what) && --left <= 0) noSpace();
      };
      bench.disk.before = broken;
      await expect(overwrite(column)).rejects.toMatchObject({errno: 'ENOSPC'});
      expect(await blocks(column)).toBe('EIO');
      bench.disk.before = () => {};
      const found = (await blocks(column)) as (number | 'bad')[];
      for (const [at, byte] of [...OLD, 0, 0].entries()) expect([byte, 'bad']).toContain(found[at]);
    },
  );
});

test('a first write that fails leaves a hole', async () => {
  let left = 3;
  bench.disk.before = (what) => {
    if (what === 'write' && --left === 0) noSpace();
  };
  await expect(overwrite(0)).rejects.toMatchObject({errno: 'ENOSPC'});
  bench.disk.before = () => {};
  expect(await blocks(0)).toEqual(Array(9).fill(0));
});
