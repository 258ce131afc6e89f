import {expect, test} from '@jest/globals';
import {LockOwners} from '../../../../../src/core/door/fuse/locks.js';

test('who waits for a lock while another thread closes the file keeps his number, so that he can give the lock back', () => {
  const owners = new LockOwners();
  const number = owners.asks(1, 2);
  owners.done(number, 7, 10);
  expect(owners.known(1, 2)).toBe(number);
  owners.asked(number, true, 12, 7);
  expect(owners.known(1, 2)).toBe(number);
  expect([...(owners.closed(12) ?? [])]).toEqual([number]);
  owners.done(number, 7, 12);
  expect(owners.known(1, 2)).toBe(0);
});

test('who did not get a lock and has none is forgotten', () => {
  const owners = new LockOwners();
  const number = owners.asks(1, 2);
  expect(owners.asks(1, 2)).toBe(number);
  owners.asked(number, false, 10, 7);
  expect(owners.known(1, 2)).toBe(number);
  owners.asked(number, false, 10, 7);
  expect(owners.known(1, 2)).toBe(0);
  expect(owners.closed(10)).toBeNull();
});
