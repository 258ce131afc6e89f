import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../../src/core/base/ids.js';
import {OPS, SET} from '../../../../../src/core/protocol/ops.js';
import {bytes, errnoOf, MetaFixture} from '../../../../support/meta.js';

describe('setattr and open', () => {
  test('a change of owner and the kill flag take set-id bits and capabilities, but not from directories', () =>
    MetaFixture.run(async (f) => {
      const modes: [number, number][] = [
        [0o6755, 0o755],
        [0o6745, 0o2745], // The group may not execute: set-gid means mandatory locking.
        [0o4644, 0o644],
      ];
      for (const [i, [before, after]] of modes.entries()) {
        const file = await f.create(ROOT_OID, `f${i}`, {mode: before});
        await f.setxattr(file.oid, 'user.keep', '1');
        await f.setxattr(file.oid, 'security.capability', 'c');
        const change = i === 1 ? {mask: SET.uid, uid: 5} : {mask: SET.killSuidgid};
        const {attr} = await f.change(OPS.setattr, {oid: file.oid, ...change});
        expect(attr.mode & 0o7777).toBe(after);
        expect(f.listxattr(file.oid)).toEqual(['user.keep']);
        expect(await errnoOf(() => f.getxattr(file.oid, 'security.capability'))).toBe('ENODATA');
      }
      const d = await f.mkdir(ROOT_OID, 'd');
      const both = {oid: d.oid, mask: SET.mode | SET.gid, mode: 0o2775, gid: 7};
      await f.change(OPS.setattr, both);
      const {attr} = await f.change(OPS.setattr, {oid: d.oid, mask: SET.uid, uid: 7});
      expect(attr.mode & 0o7777).toBe(0o2775);
    }));

  test('O_TRUNC marks the times also of an empty file, and is refused where there are no bytes', () =>
    MetaFixture.run(async (f) => {
      const file = await f.create(ROOT_OID, 'f', {mode: 0o4755});
      await f.pass(10);
      const request = {oid: file.oid, write: true, truncate: true, killSuidgid: true};
      const {attr, layout, created} = await f.change(OPS.open, request);
      expect(attr.mtime).not.toEqual(file.mtime);
      expect(attr.ctime).toEqual(attr.mtime);
      expect(attr.atime).toEqual(file.atime);
      expect([attr.mode & 0o7777, layout!.groups, created]).toEqual([0o755, [1], false]);
      const d = await f.mkdir(ROOT_OID, 'd');
      const l = await f.symlink(ROOT_OID, 'l', 'x');
      expect(await errnoOf(() => f.change(OPS.open, {oid: d.oid, write: true}))).toBe('EISDIR');
      expect(await errnoOf(() => f.change(OPS.open, {oid: l.oid, truncate: true}))).toBe('EINVAL');
    }));

  test('a time that is announced and missing, or none, is refused', () =>
    MetaFixture.run(async (f) => {
      const oid = ROOT_OID;
      expect(await errnoOf(() => f.change(OPS.setattr, {oid, mask: SET.mtime}))).toBe('EINVAL');
      const bad = {oid, mask: SET.atime, atime: {sec: 1, nsec: 1e9}};
      expect(await errnoOf(() => f.change(OPS.setattr, bad))).toBe('EINVAL');
      // A peer may send any 64 bits; what a record cannot hold must not stop the server.
      const far = {oid, mask: SET.mtime, mtime: {sec: 2 ** 60, nsec: 0}};
      expect(await errnoOf(() => f.change(OPS.setattr, far))).toBe('EINVAL');
      const file = await f.create(ROOT_OID, 'f');
      const item = {
        oid: file.oid,
        size: 5,
        blocks: 8,
        hasSize: true,
        hasMtime: true,
        hasAtime: true,
        hasInline: false,
        grow: false,
        inlineBytes: 0,
      };
      const items = [{...item, mtime: far.mtime, atime: {sec: -(2 ** 60), nsec: 0}}];
      await f.change(OPS.flush, {items});
      expect(f.attr(file.oid)).toMatchObject({size: 5, atime: file.atime, mtime: file.mtime});
      const {attr} = await f.change(OPS.setattr, {oid, mask: SET.atimeNow | SET.mtimeNow});
      expect(attr.atime).toEqual(attr.ctime);
    }));
});

describe('flush', () => {
  test('the holder of a write lease tells size and times; ctime follows mtime, not beyond now, not back', () =>
    MetaFixture.run(async (f) => {
      const file = await f.create(ROOT_OID, 'f');
      await f.pass(5000);
      const {sec} = f.now;
      const item = {
        oid: file.oid,
        size: 0,
        blocks: 0,
        hasSize: false,
        hasMtime: true,
        hasAtime: false,
        hasInline: false,
        grow: false,
        inlineBytes: 0,
      };
      const at = (mtime: number) => ({...item, mtime: {sec: mtime, nsec: 0}, atime: null});
      const flush = (mtime: number) => f.change(OPS.flush, {items: [at(mtime)]});
      await flush(sec - 2);
      expect(f.attr(file.oid)).toMatchObject({mtime: {sec: sec - 2}, ctime: {sec: sec - 2}});
      await flush(5);
      expect(f.attr(file.oid)).toMatchObject({mtime: {sec: 5}, ctime: {sec: sec - 2}});
      await flush(sec + 100);
      expect(f.attr(file.oid)).toMatchObject({mtime: {sec: sec + 100}, ctime: f.now});
      const sized = {...item, hasSize: true, size: 9000, blocks: 24, hasMtime: false};
      const gone = {...sized, oid: 12_345, mtime: null, atime: null};
      await f.change(OPS.yieldLease, {oid: file.oid, attr: {...gone, oid: file.oid}});
      await f.change(OPS.flush, {items: [gone, {...gone, oid: ROOT_OID}]});
      expect(f.attr(file.oid)).toMatchObject({size: 9000, blocks: 24});
      expect(f.attr(ROOT_OID).size).toBe(0);
    }));
});

describe('extended attributes', () => {
  test('limits of names, values and lists', () =>
    MetaFixture.run(async (f) => {
      const set = (name: string, value = ''): Promise<string | null> =>
        errnoOf(() => f.setxattr(ROOT_OID, name, value));
      expect(await set(`user.${'n'.repeat(250)}`)).toBeNull();
      expect(await set(`user.${'n'.repeat(251)}`)).toBe('ERANGE');
      expect(await set('')).toBe('ERANGE');
      expect(await set('user.')).toBe('EINVAL');
      expect(await set('user.a\0')).toBe('EINVAL');
      for (const name of ['system.posix_acl_access', 'system.x', 'name', 'users.a']) {
        expect([name, await set(name)]).toEqual([name, 'EOPNOTSUPP']);
      }
      expect(await set('user.big', 'x'.repeat(65_536))).toBeNull();
      expect(await set('user.big', 'x'.repeat(65_537))).toBe('E2BIG');
      expect(f.getxattr(ROOT_OID, 'user.big')).toHaveLength(65_536);
      for (let i = 0; i < 254; i++) {
        expect(await set(`user.${String(i).padStart(250, 'm')}`)).toBeNull();
      }
      expect(await set(`user.${'o'.repeat(250)}`)).toBe('ENOSPC');
      expect(f.listxattr(ROOT_OID)).toHaveLength(256);
    }));

  test('go with the object when it is reaped', () =>
    MetaFixture.run(async (f) => {
      const l = await f.symlink(ROOT_OID, 'l', 'target');
      await f.setxattr(l.oid, 'trusted.a', 'v');
      await f.unlink(ROOT_OID, 'l');
      expect(f.getxattr(l.oid, 'trusted.a')).toBe('v');
      await f.machine.reap([l.oid]);
      expect(await errnoOf(() => f.listxattr(l.oid))).toBe('ENOENT');
      expect(f.machine.removals(null, 9)).toEqual([]);
    }));
});

describe('names', () => {
  test('limits of names, targets and links', () =>
    MetaFixture.run(async (f) => {
      expect(await errnoOf(() => f.mkdir(ROOT_OID, 'n'.repeat(255)))).toBeNull();
      expect(await errnoOf(() => f.mkdir(ROOT_OID, 'n'.repeat(256)))).toBe('ENAMETOOLONG');
      expect(await errnoOf(() => f.lookup(ROOT_OID, '..'))).toBe('EINVAL');
      expect(await errnoOf(() => f.symlink(ROOT_OID, 'l', 't'.repeat(4095)))).toBeNull();
      expect(await errnoOf(() => f.symlink(ROOT_OID, 'm', 't'.repeat(4096)))).toBe('ENAMETOOLONG');
      expect(f.lookup(ROOT_OID, 'l').size).toBe(4095);
      const file = await f.create(ROOT_OID, 'f');
      const links = Array.from({length: 64_999}, (_, i) => f.link(file.oid, ROOT_OID, `f${i}`));
      await Promise.all(links);
      expect(f.attr(file.oid).nlink).toBe(65_000);
      expect(await errnoOf(() => f.link(file.oid, ROOT_OID, 'one'))).toBe('EMLINK');
    }));

  test('a device keeps its number, also beyond 16 bits; names are bytes, not text', () =>
    MetaFixture.run(async (f) => {
      const node = await f.mknod(ROOT_OID, 'n', 0o60600, 0xfff00012);
      expect(f.attr(node.oid)).toMatchObject({mode: 0o60600, rdev: 0xfff00012});
      await f.create(ROOT_OID, '\xff\x80');
      expect(f.query(OPS.lookup, {parent: ROOT_OID, name: bytes('\xff\x80')}).attr?.nlink).toBe(1);
      expect(f.names(ROOT_OID)).toContain('\xff\x80');
    }));
});
