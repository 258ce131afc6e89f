import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {FsError} from '../../../../src/core/base/errors.js';
import {storedSums} from '../../../../src/core/client/blocks.js';
import {SLOT} from '../../../../src/core/cluster/map.js';
import {columnSlot} from '../../../../src/core/layout/stripe.js';
import {PlainCodec} from '../../../../src/core/sim/codec.js';
import {OID, rig} from '../../../support/byte-rig.js';

// The paths of bytes against a plain array: random writes are flushed into columns in memory and read back, with any m columns
// lost, any one more, and with bits flipped. Columns must be consistent after every flush, and the pool empty at the end.
const codec = new PlainCodec();

/** All sets of at most `count` out of `n`. */
function subsets(n: number, count: number): number[][] {
  let all: number[][] = [[]];
  for (let item = 0; item < n; item++)
    all = [...all, ...all.filter((set) => set.length < count).map((set) => [...set, item])];
  return all;
}

const schemes = [
  [4, 1, 5],
  [4, 2, 7],
  [1, 1, 3],
  [1, 2, 3],
  [2, 1, 5],
  [4, 0, 5],
] as const;

test('the sum of a block of zeros is stored as 0', () => {
  const memory = new ArrayBuffer(4096);
  expect([...storedSums(codec, memory, 0, 4096)]).toEqual([0, 0, 0, 0]);
});

describe.each(schemes)('%i+%i on %i slots', (k, m, slots) => {
  test('random writes are what is read, and redundancy is that of the data', async () => {
    const total = 16_384 * k * 12;
    const at = fc.oneof(
      fc.integer({min: 0, max: total - 1}),
      fc.integer({min: 0, max: total / 4096 - 1}).map((block) => block * 4096),
    );
    const write = fc.record({
      at,
      length: fc.oneof(fc.integer({min: 1, max: 9000}), fc.integer({min: 1, max: k * 40_000})),
      flush: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(write, {minLength: 1, maxLength: 10}), async (writes) => {
        const r = rig(k, m, slots);
        for (const w of writes) {
          r.write(w.at, Math.min(w.length, total - w.at));
          if (!w.flush) continue;
          await r.flush();
          r.audit();
        }
        await r.flush();
        r.audit();
        await r.check();
        r.end();
      }),
      {numRuns: 8},
    );
  });

  test('any m columns may be lost, for reads and for writes; one more is EIO', async () => {
    for (const lost of subsets(k + m, m)) {
      const r = rig(k, m, slots);
      r.write(0, 16_384 * k * 5 + 12_345);
      await r.flush();
      for (const column of lost) r.columns.set(columnSlot(OID, 0, column, slots), SLOT.away);
      await r.check();
      // Small and large writes with the columns missing, then everything again.
      r.write(5000, 100);
      r.write(16_384 * 2 - 4096, 4096 * 3);
      r.write(16_384 * k * 2, 16_384 * k * 2);
      await r.flush();
      r.audit();
      await r.check();
      if (lost.length === m) {
        const next = [...Array(k + m).keys()].filter((column) => !lost.includes(column));
        for (const column of next) {
          const slot = columnSlot(OID, 0, column, slots);
          r.columns.set(slot, SLOT.away);
          await expect(r.read(0, 16_384 * k)).rejects.toThrow(FsError);
          r.columns.set(slot, SLOT.ready);
          if (k > 1) break;
        }
      }
      r.end();
    }
  });

  test('a server that falls silent in the middle of a flush or a read is left out', async () => {
    if (m === 0) return;
    for (const op of ['data.write', 'data.read']) {
      const r = rig(k, m, slots);
      r.write(0, 16_384 * k * 2 + 777);
      await r.flush();
      const slot = columnSlot(OID, 0, 0, slots);
      let calls = 0;
      r.columns.before = (asked, name) => {
        if (asked === slot && name === op && ++calls === 1) r.columns.silent.add(slot);
      };
      r.write(3000, 16_384 * k);
      await r.flush();
      // With copies not every read asks the silent one.
      for (let turn = 0; turn < 8; turn++) await r.check();
      expect(r.columns.reported).toBeGreaterThan(0);
      r.audit();
      r.end();
    }
  });

  test('a flipped bit is found, mended and counted; more than the redundancy covers is EIO', async () => {
    const r = rig(k, m, slots);
    r.write(0, 16_384 * k);
    await r.flush();
    const flip = (column: number): void => {
      const place = r.columns.column(columnSlot(OID, 0, column, slots), {oid: OID, chunk: 0, k});
      place.data[4096 + 99]! ^= 4;
    };
    for (let column = 0; column < m; column++) flip(column);
    if (m > 0) {
      // With copies a read may meet a sound one first.
      for (let turn = 0; turn < 8; turn++) await r.check();
      expect(r.path.stats.badBlocks).toBeGreaterThan(0);
      expect(r.columns.badReported).toBeGreaterThan(0);
    }
    flip(m);
    await expect(r.read(0, 16_384 * k)).rejects.toMatchObject({errno: 'EIO'});
    r.end();
  });
});

test('what the redundancy does not cover is EIO, never invented', async () => {
  const r = rig(4, 1, 5);
  r.write(0, 4 * 16_384);
  await r.flush();
  // Column 1 was written, with its sum, but its redundancy was not (a torn update); then column 0 is lost.
  const torn = r.columns.column(columnSlot(OID, 0, 1, 5), {oid: OID, chunk: 0, k: 4});
  torn.data.fill(9, 0, 4096);
  const memory = new Uint8Array(4096).fill(9).buffer;
  torn.sums.set(storedSums(codec, memory, 0, 4096), 0);
  r.columns.set(columnSlot(OID, 0, 0, 5), SLOT.away);
  await expect(r.read(0, 4096)).rejects.toMatchObject({errno: 'EIO'});
  expect((await r.read(4096, 16_384)).equals(r.bytes.subarray(4096, 16_384))).toBe(true);
  r.end();
});

test('a sequential write takes one request for each column and reads nothing', async () => {
  const r = rig(4, 1, 5, 65_536);
  r.write(0, 1024 * 1024);
  await r.flush();
  expect(r.columns.writes).toBe(5);
  expect(r.columns.reads).toBe(0);
  expect(r.path.stats.wholeStripes).toBe(4);
  r.end();
});
