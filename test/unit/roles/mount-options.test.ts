import {expect, test} from '@jest/globals';
import {KIB, MIB} from '../../../src/core/base/units.js';
import {CliError} from '../../../src/roles/cli-error.js';
import {parseMountOptions} from '../../../src/roles/mount/options.js';

test('mount options: sizes, flags, and what fstab adds', () => {
  expect(
    parseMountOptions(
      'ro,cache-size=256MiB,readahead=0,inline-max=64KiB,_netdev,x-systemd.automount',
    ),
  ).toMatchObject({
    readOnly: true,
    dirtyBytesMax: 256 * MIB,
    readaheadBytes: 0,
    inlineBytesMax: 64 * KIB,
  });
  expect(parseMountOptions('writeback=off')).toMatchObject({writeback: false});
  expect(parseMountOptions('cache=none,durability=replicated')).toMatchObject({
    cache: 'none',
    durability: 'replicated',
    writeback: false,
  });
  expect(parseMountOptions('cache=attr')).toMatchObject({cache: 'attr', writeback: true});
  expect(parseMountOptions('coherence=close-to-open')).toMatchObject({coherence: 'close-to-open'});
  expect(parseMountOptions('locks=local')).toMatchObject({locks: false});
  expect(parseMountOptions('')).toMatchObject({waitOnFailure: false});
  expect(parseMountOptions('on-failure=wait')).toMatchObject({waitOnFailure: true});
  expect(parseMountOptions('')).toMatchObject({selinux: false});
  expect(parseMountOptions('location=room1/rack3/h7')).toMatchObject({location: 'room1/rack3/h7'});
  expect(parseMountOptions('selinux=on')).toMatchObject({selinux: true});
  expect(parseMountOptions('')).toMatchObject({
    locks: true,
    cache: 'full',
    coherence: 'strict',
    durability: 'disk',
    readOnly: false,
    inlineBytesMax: 16 * KIB,
    writeback: true,
  });
});

test.each([
  'location=',
  'location=a//b',
  'inline-max=65KiB',
  'inline-max=',
  'inline-max',
  'cache-size=1',
  'writeback',
  'writeback=1',
  'locks=none',
  'selinux=yes',
  'cache=all',
  'coherence=loose',
  'durability=memory',
  'on-failure=hang',
  'frob',
])('mount option %s is refused with what is right', (text) => {
  expect(() => parseMountOptions(text)).toThrow(CliError);
  expect(() => parseMountOptions(text)).toThrow(
    /^(mount option .* is (a size from|up to 8 words|[\w-]+( or [\w-]+)+,)|unknown mount option .*; known are)/,
  );
});
