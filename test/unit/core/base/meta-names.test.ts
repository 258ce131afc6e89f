import {describe, expect, test} from '@jest/globals';
import {namesIn, parseMetaNames} from '../../../../src/core/base/meta-names.js';

describe('what --meta names', () => {
  test('addresses and hosts, with commas between', () => {
    expect(parseMetaNames('10.0.0.1:7400, [fe80::1]:7400,meta.example.com:7400')).toEqual([
      {kind: 'address', address: '10.0.0.1:7400'},
      {kind: 'address', address: '[fe80::1]:7400'},
      {kind: 'host', host: 'meta.example.com', port: 7400},
    ]);
  });

  test('services of a domain', () => {
    expect(parseMetaNames('srv:example.com')).toEqual([
      {kind: 'service', service: '_cpfs-meta._tcp.example.com'},
    ]);
  });

  test('a coordinator, which has commas of its own', () => {
    const text = 'etcd://a:1,b:1/storage?user=u&password-file=/p';
    expect(namesIn(text)).toEqual([text]);
    expect(parseMetaNames(text)).toMatchObject([
      {kind: 'coordinator', url: {endpoints: ['a:1', 'b:1'], prefix: '/storage', user: 'u'}},
    ]);
  });

  test.each([
    ['', "must be HOST:PORT, srv:DOMAIN or etcd://HOST:PORT[/PREFIX], not ''"],
    ['a:1,', "must be HOST:PORT, srv:DOMAIN or etcd://HOST:PORT[/PREFIX], not ''"],
    ['a', "must be HOST:PORT, srv:DOMAIN or etcd://HOST:PORT[/PREFIX], not 'a'"],
    ['srv:', "must be srv:DOMAIN, not 'srv:'"],
    ['srv:a..b', "must be srv:DOMAIN, not 'srv:a..b'"],
    ['a:1,etcd://b:1', "names a coordinator alone, not with others: 'a:1,etcd://b:1'"],
    ['etcd://a', "'a' is not HOST:PORT"],
    [Array(33).fill('a:1').join(), 'at most 32'],
  ])('%s is refused with what is wrong', (text, why) => {
    expect(() => parseMetaNames(text)).toThrow(why);
  });
});
