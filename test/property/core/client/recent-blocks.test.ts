// Goal: blocks that are kept are what columns have, or gone, and there are never more than fit. Method: random reads, writes and losses beside a
// plain twin of the columns.
import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {BufferPool, poolBytes} from '../../../../src/core/base/pool.js';
import {Lives} from '../../../../src/core/client/lives.js';
import {
  RECENT_TOTAL_BYTES_MAX,
  RecentBlocks,
  type RecentTicket,
} from '../../../../src/core/client/recent-blocks.js';

const BLOCK = 4096;
const BLOCKS = 4;
const OBJECTS = 2;
const POOL = {small: 4, medium: 2, large: 2};
/** Blocks. */
const FIT = RECENT_TOTAL_BYTES_MAX / 4096;

interface Reading {
  ticket: RecentTicket;
  oid: number;
  block: number;
  /** What columns had when it was asked for. */
  bytes: number;
}

const object = fc.nat(OBJECTS - 1);
const block = fc.nat(BLOCKS - 1);
const often = 8;
const step = fc.oneof(
  {weight: often, arbitrary: fc.record({kind: fc.constant('begin' as const), oid: object, block})},
  {weight: often, arbitrary: fc.record({kind: fc.constant('end' as const), oid: object, block})},
  {
    weight: often,
    arbitrary: fc.record({
      kind: fc.constant('wrote' as const),
      oid: object,
      block,
      part: fc.boolean(),
      keep: fc.boolean(),
    }),
  },
  {weight: often, arbitrary: fc.record({kind: fc.constant('read' as const), oid: object, block})},
  {weight: 1, arbitrary: fc.record({kind: fc.constant('forget' as const), oid: object, block})},
  {weight: 1, arbitrary: fc.record({kind: fc.constant('lost' as const), oid: object, block})},
);

function rig() {
  const pool = new BufferPool(new ArrayBuffer(poolBytes(POOL)), POOL);
  const lives = new Lives();
  const memory = pool.payload(pool.alloc(1 << 20));
  return {pool, lives, memory, recent: new RecentBlocks(pool, lives, true)};
}

test('they are what columns have', () => {
  let found = 0;
  fc.assert(
    fc.property(fc.array(step, {minLength: 20, maxLength: 80, size: 'max'}), (steps) => {
      const {pool, lives, memory, recent} = rig();
      const columns = new Map<string, number>();
      const key = (oid: number, at: number): string => `${oid}.${at}`;
      const readings: Reading[] = [];
      let version = 0;
      for (const one of steps) {
        const {oid, block: at} = one;
        const now = columns.get(key(oid, at)) ?? 0;
        switch (one.kind) {
          case 'begin':
            readings.push({ticket: recent.begin(oid), oid, block: at, bytes: now});
            break;
          case 'end': {
            const reading = readings.shift();
            if (reading === undefined) break;
            pool.bytes.fill(reading.bytes, memory, memory + BLOCK);
            const segments = [{slot: 0, offset: memory, length: BLOCK}];
            recent.end(reading.ticket, reading.block * BLOCK, segments);
            break;
          }
          case 'wrote': {
            version = (version + 1) % 250;
            columns.set(key(oid, at), version + 1);
            pool.bytes.fill(version + 1, memory, memory + BLOCK);
            const length = one.part ? BLOCK / 2 : BLOCK;
            recent.wrote(oid, [{offset: at * BLOCK, length, memory}], one.keep);
            break;
          }
          case 'forget':
            columns.set(key(oid, at), 251);
            recent.forget(oid);
            break;
          case 'lost':
            columns.set(key(oid, at), 252);
            lives.failed(1, 0);
            // Whoever waits for an answer has one of before or after; after it nothing that he asked for before is believed.
            readings.splice(0);
            break;
          case 'read': {
            pool.bytes.fill(255, memory, memory + 100);
            if (!recent.copy(oid, at * BLOCK + 10, at * BLOCK + 110, memory)) break;
            found++;
            expect([...pool.bytes.subarray(memory, memory + 100)]).toEqual(Array(100).fill(now));
          }
        }
      }
    }),
    {numRuns: 2000, seed: 1},
  );
  expect(found).toBeGreaterThan(1000);
});

test('there are never more than fit, and what is used stays', () => {
  const {memory, pool, recent} = rig();
  const many = 3 * FIT;
  for (let at = 0; at < many; at++) {
    pool.bytes.fill(at % 251, memory, memory + BLOCK);
    recent.wrote(1, [{offset: at * BLOCK, length: BLOCK, memory}], true);
    recent.copy(1, 0, 8, memory);
  }
  let here = 0;
  for (let at = 0; at < many; at++) {
    if (!recent.copy(1, at * BLOCK, at * BLOCK + 1, memory)) continue;
    here++;
    expect(pool.bytes[memory]).toBe(at % 251);
  }
  expect(here).toBeLessThanOrEqual(FIT);
  expect(here).toBeGreaterThan(0.9 * FIT);
  expect(recent.has(1, 0, BLOCK)).toBe(true);
});
