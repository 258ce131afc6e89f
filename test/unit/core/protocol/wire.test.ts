import {describe, expect, test} from '@jest/globals';
import * as wire from '../../../../src/core/protocol/gen/wire.js';

describe('64-bit fields of messages', () => {
  test('are numbers, also the absent ones and those in lists', () => {
    const {files, totalBytes, freeBytes} = wire.StatfsReply.decode(
      wire.StatfsReply.encode({files: 5, totalBytes: Number.MAX_SAFE_INTEGER}),
    );
    expect([files, totalBytes, freeBytes]).toEqual([5, Number.MAX_SAFE_INTEGER, 0]);
    expect(wire.Time.decode(wire.Time.encode({sec: -5})).sec).toBe(-5);
    const {oids} = wire.ExistsRequest.decode(wire.ExistsRequest.encode({oids: [1, 2 ** 40]}));
    expect(oids).toEqual([1, 2 ** 40]);
  });

  test('beyond 2^53 are refused by check', () => {
    const bytes = Uint8Array.of(8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1);
    const request = wire.OidRequest.decode(bytes);
    expect(wire.OidRequest.check(request)).toBe('OidRequest.oid is beyond 2^53');
  });
});

test('a decoded message owns all its fields: a copy of it lacks none', () => {
  const attr = {...wire.Attr.decode(wire.Attr.encode({oid: 5, mtime: {sec: 0, nsec: 3}}))};
  expect(attr).toMatchObject({oid: 5, mode: 0, nlink: 0, uid: 0, size: 0, atime: null});
  expect({...attr.mtime}).toMatchObject({sec: 0, nsec: 3});
  expect({...wire.ReadReply.decode(new Uint8Array(0))}).toMatchObject({hole: false});
});
