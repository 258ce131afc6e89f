import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../../src/core/base/ids.js';
import {OPS} from '../../../../../src/core/protocol/ops.js';
import {bytes, errnoOf, MetaFixture} from '../../../../support/meta.js';

describe('C19: layout attributes', () => {
  test('new directories inherit them, new files get their layout from them for good', () =>
    MetaFixture.run(async (f) => {
      const d = await f.mkdir(ROOT_OID, 'd');
      const before = await f.create(d.oid, 'before', {groups: [9, 8, 7]});
      await f.setxattr(d.oid, 'user.cpfs.scheme', '2+1');
      await f.setxattr(d.oid, 'user.cpfs.groups', '3');
      await f.setxattr(d.oid, 'user.cpfs.unit', '16KiB');
      await f.setxattr(d.oid, 'user.cpfs.chunk', '1m');
      const e = await f.mkdir(d.oid, 'e');
      expect(f.listxattr(e.oid)).toEqual([
        'user.cpfs.scheme',
        'user.cpfs.groups',
        'user.cpfs.unit',
        'user.cpfs.chunk',
      ]);
      const after = await f.create(e.oid, 'after', {groups: [9, 8, 7, 6]});
      const {layout, groupCount} = f.query(OPS.layoutGet, {oid: after.oid});
      expect({...layout, groups: [...layout.groups].sort(), groupCount}).toEqual({
        k: 2,
        m: 1,
        unitBytes: 16_384,
        chunkBytes: 2 ** 20,
        groups: [7, 8, 9],
        generation: 0,
        groupCount: 3,
      });
      expect(f.query(OPS.layoutGet, {oid: before.oid}).layout).toMatchObject({k: 4, groups: [9]});
      expect(f.getxattr(e.oid, 'user.cpfs.unit')).toBe('16384');
      expect(f.getxattr(after.oid, 'user.cpfs.scheme')).toBe('2+1');
      expect(f.listxattr(after.oid)).toEqual([]);
    }));

  test.each([
    ['scheme', '5'],
    ['scheme', '0+1'],
    ['scheme', '4+2'], // Wider than the five slots of a group.
    ['groups', '0'],
    ['groups', '65'],
    ['groups', '1e1'],
    ['unit', '5000'],
    ['unit', '2m'],
    ['unit', '-4096'],
    ['chunk', '64k'], // Less than a stripe of 4 * 64 KiB.
    ['chunk', '2g'],
    ['chunk', ''],
    ['shceme', '2+1'],
  ])('%s=%s is refused with EINVAL and changes nothing', (word, value) =>
    MetaFixture.run(async (f) => {
      const before = f.query(OPS.layoutGet, {oid: ROOT_OID});
      expect(await errnoOf(() => f.setxattr(ROOT_OID, `user.cpfs.${word}`, value))).toBe('EINVAL');
      expect(f.query(OPS.layoutGet, {oid: ROOT_OID})).toEqual(before);
      expect(f.listxattr(ROOT_OID)).toEqual([]);
    }),
  );

  test('flags and removal know which were set; removed ones fall back to the default', () =>
    MetaFixture.run(async (f) => {
      const name = 'user.cpfs.groups';
      expect(f.getxattr(ROOT_OID, name)).toBe('1');
      expect(await errnoOf(() => f.setxattr(ROOT_OID, name, '2', 2))).toBe('ENODATA');
      await f.setxattr(ROOT_OID, name, '2', 1);
      expect(await errnoOf(() => f.setxattr(ROOT_OID, name, '3', 1))).toBe('EEXIST');
      await f.removexattr(ROOT_OID, name);
      expect(f.getxattr(ROOT_OID, name)).toBe('1');
      expect(await errnoOf(() => f.removexattr(ROOT_OID, name))).toBe('ENODATA');
    }));

  test('layout-set sets several at once, keeps what is 0, and refuses files', () =>
    MetaFixture.run(async (f) => {
      await f.change(OPS.layoutSet, {oid: ROOT_OID, k: 1, m: 2, groupCount: 4});
      const {layout, groupCount} = f.query(OPS.layoutGet, {oid: ROOT_OID});
      expect({...layout, groupCount}).toMatchObject({k: 1, m: 2, unitBytes: 65_536, groupCount: 4});
      expect(f.listxattr(ROOT_OID)).toEqual(['user.cpfs.scheme', 'user.cpfs.groups']);
      const file = await f.create(ROOT_OID, 'f');
      expect(await errnoOf(() => f.change(OPS.layoutSet, {oid: file.oid, k: 2}))).toBe('ENOTDIR');
      expect(await errnoOf(() => f.setxattr(file.oid, 'user.cpfs.unit', '4k'))).toBe('ENOTDIR');
    }));

  test('C20: a file for which there is no group is refused with ENOSPC; a directory needs none', () =>
    MetaFixture.run(async (f) => {
      expect(await errnoOf(() => f.create(ROOT_OID, 'f', {groups: []}))).toBe('ENOSPC');
      const request = {parent: ROOT_OID, name: bytes('d'), mode: 0o755, caller: {uid: 0, gid: 0}};
      await f.change(OPS.mkdir, request, []);
      expect(f.names(ROOT_OID)).toEqual(['d']);
    }));
});
