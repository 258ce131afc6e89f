import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {FLAG, FrameReader} from '../../src/core/protocol/frame.js';
import {type AnyOp, opByCode} from '../../src/core/protocol/ops.js';
import {feedReader} from '../support/feed-reader.js';
import {
  concat,
  digest,
  frameBytes,
  makePool,
  type PlainFrame,
  pattern,
  seeded,
} from '../support/frames.js';
import {mutateFrame} from '../support/mutate-frame.js';

const sizes = fc.oneof(
  fc.nat(200),
  fc.constantFrom(4096, 8191, 8192, 16_384 - 32, 16_384, 40_000, 200_000),
);

const plainFrame = (op: AnyOp): fc.Arbitrary<PlainFrame> =>
  fc
    .record({
      reply: fc.boolean(),
      sum: fc.boolean(),
      message: sizes,
      payload: sizes,
      seed: fc.nat(),
    })
    .map(({reply, sum, message, payload, seed}) => {
      const carries = op.payload === (reply ? 'reply' : 'request');
      return {
        type: op.code,
        flags: (reply ? FLAG.reply : 0) | (sum ? FLAG.payloadSum : 0),
        id: seed,
        status: reply ? seed % 3 : 0,
        message: pattern(message, seed),
        payload: pattern(carries ? payload : 0, seed + 1),
      };
    });
const frames = fc.array(fc.constantFrom(...opByCode.values()).chain(plainFrame), {
  minLength: 1,
  maxLength: 6,
});

/** Pieces of few bytes, of a socket's usual ones, or as much as there is. */
const picker = fc.record({seed: fc.nat(), kind: fc.constantFrom('tiny', 'mixed', 'all')});
function pieces({seed, kind}: {seed: number; kind: string}): (max: number) => number {
  const below = seeded(seed);
  return (max) => {
    if (kind === 'all') return max;
    return 1 + below(kind === 'tiny' || below(2) === 0 ? Math.min(max, 300) : max);
  };
}

describe('FrameReader', () => {
  test('any split of the stream gives the same frames, and the pool is empty at the end', () => {
    const pool = makePool();
    const cases = fc.record({frames, picker, scratch: fc.constantFrom(64, 100, 4096, 16_384)});
    fc.assert(
      fc.property(cases, ({frames, picker, scratch}) => {
        const reader = new FrameReader(pool, scratch);
        const result = feedReader(reader, pool, concat(frames.map(frameBytes)), pieces(picker));
        expect(result.reason).toBeNull();
        expect(result.frames.map(digest)).toEqual(frames.map(digest));
        expect(reader.idle).toBe(true);
        expect(pool.used).toBe(0);
      }),
      {numRuns: 300},
    );
  });

  // Goal: a peer's bytes never throw and never write where they should not. Method: valid frames, damaged one after
  // the other, in odd pieces; the pool memory around the slots in use must stay as it was.
  test('20,000 damaged frames end in frames or a reason, and leave other slots alone (seed 20261121)', () => {
    const below = seeded(20_261_121);
    const samples = fc.sample(frames, {seed: 20_261_121, numRuns: 60}).flat();
    const small = samples.filter((frame) => frame.message.length + frame.payload.length < 9000);
    const valid = small.map(frameBytes);
    const pool = makePool();
    const guard = pool.alloc(16_384);
    const canary = pattern(16_384, 9);
    pool.bytes.set(canary, pool.payload(guard));
    let reasons = 0;
    let taken = 0;
    for (let round = 0; round < 10_000; round++) {
      const reader = new FrameReader(pool);
      const one = mutateFrame(valid[below(valid.length)]!, below);
      const two = mutateFrame(valid[below(valid.length)]!, below);
      const kind = below(3) === 0 ? 'all' : 'mixed';
      const result = feedReader(reader, pool, concat([one, two]), pieces({seed: round, kind}));
      if (result.reason !== null) reasons++;
      taken += result.frames.length;
      reader.close();
      if (pool.used !== 1 || !result.frames.every((frame) => opByCode.has(frame.type)))
        throw new Error(`round ${round}: ${pool.used} slots in use`);
    }
    expect(pool.view(pool.payload(guard), 16_384).equals(canary)).toBe(true);
    // The damage reaches both outcomes: else the test would have lost its point.
    expect(reasons).toBeGreaterThan(1000);
    expect(taken).toBeGreaterThan(1000);
  });
});
