// Goal: a column is an array of blocks, whatever is written, cut and punched, in whatever order, at the same time, with
// restarts in between; and its sums are always those of its bytes. Method: random requests against a plain array.
import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {punch} from '../../../../src/core/data/ops/punch.js';
import {read} from '../../../../src/core/data/ops/read.js';
import {truncate} from '../../../../src/core/data/ops/truncate.js';
import {write} from '../../../../src/core/data/ops/write.js';
import {DataBench} from '../../../support/data.js';

const BLOCK = 4096;
const BLOCKS = 24;

const ranges = fc
  .uniqueArray(fc.nat(BLOCKS - 1), {minLength: 1, maxLength: 6})
  .map((starts) =>
    starts
      .sort((a, b) => a - b)
      .map((start, i) => ({start, count: Math.min(3, (starts[i + 1] ?? BLOCKS) - start)})),
  );
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({do: fc.constant('write' as const), ranges, byte: fc.nat(3)}),
  },
  {weight: 3, arbitrary: fc.record({do: fc.constant('read' as const), ranges})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('punch' as const), ranges})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('truncate' as const), blocks: fc.nat(BLOCKS)})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('restart' as const)})},
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Piece = {start: number; count: number};

const each = (pieces: readonly Piece[]): number[] =>
  pieces.flatMap(({start, count}) => Array.from({length: count}, (_, i) => start + i));
const wire = (pieces: readonly Piece[]) =>
  pieces.map(({start, count}) => ({offset: start * BLOCK, length: count * BLOCK}));

/** What each block may hold: one value, or several while requests that overlap are under way. */
class Model {
  readonly blocks = Array.from({length: BLOCKS}, () => new Set([0]));

  set(blocks: readonly number[], value: number, alone: boolean): void {
    for (const block of blocks) {
      if (alone) this.blocks[block]!.clear();
      this.blocks[block]!.add(value);
    }
  }
}

async function change(bench: DataBench, model: Model, column: number, one: Step, alone: boolean) {
  const ref = bench.ref(33, 1, column);
  if (one.do === 'write') {
    const blocks = each(one.ranges);
    model.set(blocks, one.byte, alone);
    const bytes = Buffer.alloc(blocks.length * BLOCK, one.byte);
    const q = bench.writing(ref, wire(one.ranges), bytes);
    await write(q, bench.context, bench.payload(bytes));
  } else if (one.do === 'punch') {
    model.set(each(one.ranges), 0, alone);
    await punch({ref, ranges: wire(one.ranges)}, bench.context);
  } else if (one.do === 'truncate') {
    model.set(each([{start: one.blocks, count: BLOCKS - one.blocks}]), 0, alone);
    await truncate({ref, bytes: one.blocks * BLOCK}, bench.context);
  } else if (one.do === 'read') {
    await check(bench, model, column, one.ranges);
  }
}

/** Reads, with the sums verified at rest; each block must hold one value, and one that it may. */
async function check(bench: DataBench, model: Model, column: number, pieces: Piece[]) {
  const ref = bench.ref(33, 1, column);
  const blocks = each(pieces);
  const q = {ref, ranges: wire(pieces), covered: true, verify: true, copy: 0};
  const {message, payload} = await read(q, bench.context);
  let bytes = Buffer.alloc(blocks.length * BLOCK);
  if (payload !== undefined && payload !== null) {
    const [{slot, offset, length}] = payload as [{slot: number; offset: number; length: number}];
    bytes = Buffer.from(bench.pool.view(offset, length));
    bench.pool.release(slot);
    expect(Buffer.from(message.sums!).equals(bench.sums(bytes))).toBe(true);
  } else {
    expect(message.hole).toBe(true);
    expect(message.sums!.every((byte) => byte === 0)).toBe(true);
  }
  return blocks.map((block, i) => {
    const one = bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
    expect(one.every((byte) => byte === one[0])).toBe(true);
    expect([...model.blocks[block]!]).toContain(one[0]);
    return one[0]!;
  });
}

/** Waits for what is under way; then every block has one value again. */
async function settle(bench: DataBench, model: Model, column: number, running: Promise<void>[]) {
  await Promise.all(running.splice(0));
  const values = await check(bench, model, column, [{start: 0, count: BLOCKS}]);
  for (const [block, value] of values.entries()) model.set([block], value, true);
}

test.each([
  ['data', 0, false],
  ['redundancy', 4, false],
  ['data', 0, true],
  ['redundancy', 4, true],
])('a %s column (%i) is an array of blocks (overlapping: %p)', async (_, column, overlap) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, {maxLength: 25}), async (steps) => {
      const bench = await DataBench.open();
      const model = new Model();
      const running: Promise<void>[] = [];
      try {
        for (const one of [...steps, {do: 'restart' as const}]) {
          if (one.do === 'restart') {
            await settle(bench, model, column, running);
            await bench.end();
            await bench.start();
            continue;
          }
          const done = change(bench, model, column, one, !overlap);
          if (overlap && running.length < 8) running.push(done);
          else await done;
        }
        await settle(bench, model, column, running);
      } finally {
        await Promise.allSettled(running);
        await bench.close();
      }
    }),
    {numRuns: 40},
  );
});
