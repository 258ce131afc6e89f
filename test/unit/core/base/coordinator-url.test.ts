import {describe, expect, test} from '@jest/globals';
import {parseCoordinatorUrl} from '../../../../src/core/base/coordinator-url.js';

describe('the address of the coordinator', () => {
  test('names one or several members', () => {
    expect(parseCoordinatorUrl('etcd://a:2379,[::1]:2380/')).toEqual({
      tls: false,
      endpoints: ['a:2379', '[::1]:2380'],
      prefix: '/cpfs',
    });
  });

  test('may name where the keys of the cluster are', () => {
    expect(parseCoordinatorUrl('etcd://a:1/storage/one/?user=u&password-file=/p').prefix).toBe(
      '/storage/one',
    );
  });

  test('takes files and the user as options', () => {
    expect(
      parseCoordinatorUrl('etcds://a:1?ca=/c%20a.pem&cert=/b&key=/k&user=root&password-file=/p'),
    ).toEqual({
      tls: true,
      endpoints: ['a:1'],
      prefix: '/cpfs',
      caFile: '/c a.pem',
      certFile: '/b',
      keyFile: '/k',
      user: 'root',
      passwordFile: '/p',
    });
  });

  test.each([
    ['http://a:1', 'expected etcd://'],
    ['etcd://a:1//x', 'expected etcd://'],
    ['etcd://', "'' is not HOST:PORT"],
    ['etcd://a', "'a' is not HOST:PORT"],
    ['etcd://a:0', "'a:0' is not HOST:PORT"],
    ['etcd://u:p@a:1', "'u:p@a:1' is not HOST:PORT"],
    ['etcd://a:1,', "'' is not HOST:PORT"],
    ['etcd://a:1?pasword=x', "unknown option 'pasword'"],
    ['etcd://a:1?constructor=x', "unknown option 'constructor'"],
    ['etcds://a:1?ca=', "option 'ca' is empty"],
    ['etcds://a:1?ca=x&ca=y', "option 'ca' is given twice"],
    ['etcd://a:1?ca=x', 'need etcds://'],
    ['etcds://a:1?cert=x', 'cert and key go together'],
    ['etcd://a:1?user=x', 'user and password-file go together'],
  ])('%s is refused with a reason', (text, reason) => {
    expect(() => parseCoordinatorUrl(text)).toThrow(reason);
  });
});
