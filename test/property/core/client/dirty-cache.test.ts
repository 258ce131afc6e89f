import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {BufferPool, poolBytes, type Segment} from '../../../../src/core/base/pool.js';
import {DirtyCache, DirtyObject} from '../../../../src/core/client/dirty-cache.js';

// A dirty object against a plain array of bytes: whatever is written, taken, flushed, failed and cut, a read sees the newest
// bytes, and in the end no slot is left in use.
const SIZE = 200_000;
const shape = {small: 64, medium: 24, large: 8};

type Step =
  | {do: 'write'; at: number; lengths: number[]}
  | {do: 'take'; to: number}
  | {do: 'flushed'; from: number; to: number}
  | {do: 'failed'}
  | {do: 'truncate'; size: number};

const offset = fc.oneof(
  fc.integer({min: 0, max: SIZE - 1}),
  fc.integer({min: 0, max: 40}).map((block) => block * 4096),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      at: offset,
      lengths: fc.array(
        fc.oneof(fc.integer({min: 1, max: 300}), fc.constantFrom(4096, 16384, 65536, 100_000)),
        {minLength: 1, maxLength: 3},
      ),
    }),
  },
  {weight: 2, arbitrary: fc.record({do: fc.constant('take' as const), to: offset})},
  {
    weight: 2,
    arbitrary: fc.record({do: fc.constant('flushed' as const), from: offset, to: offset}),
  },
  {weight: 1, arbitrary: fc.constant({do: 'failed' as const})},
  {weight: 1, arbitrary: fc.record({do: fc.constant('truncate' as const), size: offset})},
);

test('a dirty object reads as an array of bytes does, and leaves no slot in use', () => {
  fc.assert(
    fc.property(fc.array(step, {maxLength: 40}), (steps) => {
      const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
      const cache = new DirtyCache(pool, {bytesMax: Number.MAX_SAFE_INTEGER});
      const object = new DirtyObject(cache);
      // -1: not here; else the byte. `flushing` says which of them a flush has taken.
      const bytes = new Int16Array(SIZE * 2).fill(-1);
      const below = new Int16Array(SIZE * 2).fill(-1);
      let value = 0;
      for (const s of steps) {
        if (s.do === 'write') {
          const segments: Segment[] = s.lengths.map((length) => {
            const slot = pool.alloc(length);
            return {slot, offset: slot === -1 ? 0 : pool.payload(slot), length};
          });
          if (segments.some((x) => x.slot === -1)) {
            for (const x of segments) if (x.slot !== -1) pool.release(x.slot);
            continue;
          }
          const values = segments.map((x) => {
            value = (value + 1) % 251;
            pool.view(x.offset, x.length).fill(value);
            return value;
          });
          if (!object.write(s.at, segments)) {
            for (const x of segments) pool.release(x.slot);
            continue;
          }
          let at = s.at;
          segments.forEach((x, i) => {
            bytes.fill(values[i]!, at, at + x.length);
            at += x.length;
          });
        } else if (s.do === 'take') {
          if (object.flushing.count > 0) continue;
          object.take(s.to);
          for (let i = 0; i < s.to; i++) {
            below[i] = bytes[i]!;
            bytes[i] = -1;
          }
        } else if (s.do === 'flushed') {
          object.flushed(s.from, Math.max(s.from, s.to));
          below.fill(-1, s.from, Math.max(s.from, s.to));
        } else if (s.do === 'failed') {
          object.failed();
          for (let i = 0; i < bytes.length; i++) if (bytes[i] === -1) bytes[i] = below[i]!;
          below.fill(-1);
        } else {
          object.truncate(s.size);
          bytes.fill(-1, s.size);
          below.fill(-1, s.size);
        }
        const seen = new Int16Array(bytes.length).fill(-2);
        object.read(0, bytes.length, (at, length, memory) => {
          if (seen[at] !== -2 || seen[at + length - 1] !== -2) throw new Error('told twice');
          for (let i = 0; i < length; i++)
            seen[at + i] = memory === -1 ? -1 : pool.bytes[memory + i]!;
        });
        const wanted = bytes.map((byte, i) => (byte === -1 ? below[i]! : byte));
        expect(Buffer.compare(Buffer.from(seen.buffer), Buffer.from(wanted.buffer))).toBe(0);
      }
      object.truncate(0);
      cache.sealArena();
      expect(cache.heldBytes).toBe(0);
      expect(pool.used).toBe(0);
    }),
    {numRuns: 100},
  );
});

test('a full cache takes nothing, and says when there is room again', () => {
  const pool = new BufferPool(new ArrayBuffer(poolBytes(shape)), shape);
  const cache = new DirtyCache(pool, {bytesMax: 1024 * 1024});
  const object = new DirtyObject(cache);
  const segment = (): Segment => {
    const slot = pool.alloc(1024 * 1024);
    return {slot, offset: pool.payload(slot), length: 1024 * 1024};
  };
  expect(object.write(0, [segment()])).toBe(true);
  const second = segment();
  expect(object.write(1024 * 1024, [second])).toBe(false);
  expect(pool.references(second.slot)).toBe(1);
  let woken = 0;
  cache.onRoom(() => woken++);
  object.take();
  expect(woken).toBe(0);
  object.flushed(0, 1024 * 1024);
  expect(woken).toBe(1);
  expect(object.write(1024 * 1024, [second])).toBe(true);
  object.truncate(0);
  expect(pool.used).toBe(0);
});
