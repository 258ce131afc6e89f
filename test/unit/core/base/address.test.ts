import {describe, expect, test} from '@jest/globals';
import {formatAddress, parseAddress} from '../../../../src/core/base/address.js';

describe('addresses', () => {
  test('host:port and [v6]:port are taken apart and put together', () => {
    for (const [text, host, port] of [
      ['127.0.0.1:7400', '127.0.0.1', 7400],
      ['node-1.example:0', 'node-1.example', 0],
      ['[::1]:65535', '::1', 65535],
      ['[fe80::1%eth0]:1', 'fe80::1%eth0', 1],
    ] as const) {
      expect(parseAddress(text)).toEqual({host, port});
      expect(formatAddress(host, port)).toBe(text);
    }
  });

  test.each([
    '',
    'host',
    'host:',
    ':7400',
    '::1:7400',
    'host:65536',
    'host:-1',
    'a b:1',
    '[::1]',
    'host:1x',
  ])('%j is neither', (text) => expect(parseAddress(text)).toBeNull());
});
