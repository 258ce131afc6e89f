// Goal: what mount(8) and fstab give is understood, or refused with the exit code that mount(8) expects.
import {describe, expect, test} from '@jest/globals';
import {CliError, EXIT} from '../../../src/roles/cli-error.js';
import {metasOfDevice, mountExit, optionsOfMount} from '../../../src/roles/mount/helper.js';

describe('the device', () => {
  test.each([
    ['meta1:/', 'meta1:7400'],
    ['meta1,meta2:/', 'meta1:7400,meta2:7400'],
    ['meta1:7500,10.0.0.2:/', 'meta1:7500,10.0.0.2:7400'],
    ['[fd00::1]:/', '[fd00::1]:7400'],
    ['[fd00::1]:7500,[fd00::2]:/', '[fd00::1]:7500,[fd00::2]:7400'],
    ['srv:example.com:/', 'srv:example.com'],
    ['etcd://10.0.0.7:2379,10.0.0.8:2379/cpfs:/', 'etcd://10.0.0.7:2379,10.0.0.8:2379/cpfs'],
  ])('%s', (device, meta) => expect(metasOfDevice(device)).toBe(meta));

  test.each([
    ['meta1', /META:\/|META\[/],
    ['etcd://10.0.0.7:2379', /the device is/],
    [':/', /the device is/],
    ['meta1:/home', /only the whole file system/],
  ])('%s is refused', (device, reason) => {
    expect(() => metasOfDevice(device)).toThrow(reason);
  });
});

describe('options', () => {
  test('those of fstab and of cpfs go on as they are', () => {
    const given = ['rw,_netdev,nofail,x-systemd.automount', 'cache=attr'];
    expect(optionsOfMount(given, false)).toEqual([given.join(',')]);
    expect(optionsOfMount([''], false)).toEqual([]);
  });

  test('one that is not known is refused, or left out with -s', () => {
    expect(() => optionsOfMount(['ro,colour=blue'], false)).toThrow(
      /unknown mount option 'colour'/,
    );
    expect(optionsOfMount(['ro,colour=blue'], true)).toEqual(['ro']);
  });

  test('remount is refused', () => {
    expect(() => optionsOfMount(['remount,ro'], true)).toThrow(/unmount it and mount it again/);
  });
});

test.each([
  ['wrong words', new CliError('x', EXIT.usage), EXIT.usage, 1],
  ['what oclif refuses', new Error('x'), EXIT.usage, 1],
  ['nobody answers', new CliError('x', EXIT.unavailable), EXIT.unavailable, 32],
  ['mounted already', new CliError('x', EXIT.conflict), EXIT.conflict, 32],
  ['what nobody foresaw', new Error('x'), EXIT.failed, 2],
])('exit code of mount(8): %s', (_, error, code, expected) => {
  expect(mountExit(error, code)).toBe(expected);
});
