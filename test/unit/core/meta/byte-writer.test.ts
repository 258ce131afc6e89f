import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {ByteReader, ByteWriter} from '../../../../src/core/meta/byte-writer.js';

const field = fc.oneof(
  fc.record({kind: fc.constant('uint' as const), value: fc.maxSafeNat()}),
  fc.record({kind: fc.constant('uint' as const), value: fc.nat(300)}),
  fc.record({kind: fc.constant('int' as const), value: fc.maxSafeInteger()}),
  fc.record({
    kind: fc.constant('sint' as const),
    value: fc.integer({min: -(2 ** 52) + 1, max: 2 ** 52 - 1}),
  }),
  fc.record({kind: fc.constant('u8' as const), value: fc.nat(255)}),
  fc.record({kind: fc.constant('u16' as const), value: fc.nat(65_535)}),
  fc.record({kind: fc.constant('u32' as const), value: fc.nat(2 ** 32 - 1)}),
);

test('fields come back as they were written, whatever the buffer had to grow', () => {
  fc.assert(
    fc.property(
      fc.array(field, {maxLength: 60}),
      fc.uint8Array(),
      fc.string(),
      (fields, blob, text) => {
        const w = new ByteWriter(8);
        for (const {kind, value} of fields) w[kind](value);
        const bytes = w.blob(blob).text(text).latin1('\xe9z').take();
        expect(w.length).toBe(0);
        const r = new ByteReader(bytes);
        expect(fields.map(({kind}) => r[kind]())).toEqual(fields.map(({value}) => value));
        expect([...r.blob()]).toEqual([...blob]);
        expect(r.text()).toBe(text);
        expect([...r.rest()]).toEqual([0xe9, 0x7a]);
      },
    ),
  );
});

test('what does not fit, or ends too soon, is a bug', () => {
  for (const value of [-1, 0.5, 2 ** 53])
    expect(() => new ByteWriter().uint(value)).toThrow('2^53');
  expect(() => new ByteWriter().int(-(2 ** 53))).toThrow('2^53');
  expect(() => new ByteReader(Uint8Array.of(0x80)).uint()).toThrow(/shorter|bounds/);
});
