// Reads of one column that are asked for in one turn: how many requests, and that nobody is answered, or suffers, for another.
import {beforeEach, expect, test} from '@jest/globals';
import {BLOCK_BYTES, KIB, MIB} from '../../../../src/core/base/units.js';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {OID, rig} from '../../../support/byte-rig.js';

const UNIT = 64 * KIB;
const STRIPE = 4 * UNIT;
const SIZE = 16 * STRIPE;
let made: ReturnType<typeof rig>;

beforeEach(async () => {
  made = rig(4, 1, 5, UNIT, {stripes: 16});
  made.write(0, SIZE);
  await made.flush();
  made.columns.reads = 0;
});

const part = (from: number, to: number): Promise<Buffer> => made.read(from, to);
const right = (from: number, to: number): Buffer => made.bytes.subarray(from, to);
const column = (index: number) =>
  made.columns.column(columnSlot(OID, 0, index, 5), {oid: OID, chunk: 0, k: 4});

test('four requests of the kernel in one turn are one of each column', async () => {
  const parts = await Promise.all([0, 1, 2, 3].map((i) => part(i * MIB, (i + 1) * MIB)));
  for (const [i, bytes] of parts.entries())
    expect(bytes.equals(right(i * MIB, (i + 1) * MIB))).toBe(true);
  expect(made.columns.reads).toBe(4);
  made.end();
});

test('as many as one payload holds are in one', async () => {
  // 2 MiB of each column but 64 KiB, in whole stripes of 64 KiB each.
  const wants = Array.from({length: 15}, (_, i) => part(i * STRIPE, (i + 1) * STRIPE));
  const again = Array.from({length: 15}, (_, i) => part(i * STRIPE, (i + 1) * STRIPE));
  for (const [i, bytes] of (await Promise.all([...wants, ...again])).entries())
    expect(bytes.equals(right((i % 15) * STRIPE, ((i % 15) + 1) * STRIPE))).toBe(true);
  expect(made.columns.reads).toBe(4 * 2);
  made.end();
});

test('single blocks do not wait for one another', async () => {
  await Promise.all([part(0, BLOCK_BYTES), part(STRIPE, STRIPE + BLOCK_BYTES)]);
  expect(made.columns.reads).toBe(2);
  made.end();
});

test('a block that fails its sum is mended for whom it is', async () => {
  const at = UNIT + 3 * BLOCK_BYTES; // In the second stripe's unit of column 0.
  column(0).data[at + 17]! ^= 4;
  const parts = await Promise.all([part(0, STRIPE), part(STRIPE, 2 * STRIPE)]);
  expect(parts[0]!.equals(right(0, STRIPE))).toBe(true);
  expect(parts[1]!.equals(right(STRIPE, 2 * STRIPE))).toBe(true);
  expect(made.path.stats.badBlocks).toBe(1);
  made.end();
});

test('a column that fails all is reconstructed for each', async () => {
  const slot = columnSlot(OID, 0, 2, 5);
  made.columns.silent.add(slot);
  const parts = await Promise.all([part(0, STRIPE), part(STRIPE, 2 * STRIPE)]);
  expect(parts[0]!.equals(right(0, STRIPE))).toBe(true);
  expect(parts[1]!.equals(right(STRIPE, 2 * STRIPE))).toBe(true);
  made.end();
});

test('what was never written is zeros for each', async () => {
  made.columns.columns.clear();
  const parts = await Promise.all([part(0, STRIPE), part(STRIPE, 2 * STRIPE)]);
  for (const bytes of parts) expect(bytes.equals(Buffer.alloc(STRIPE))).toBe(true);
  expect(made.columns.reads).toBe(4);
  made.end();
});
