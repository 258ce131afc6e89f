import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {bytes, errnoOf, FORMAT, MetaFixture, whole} from '../../../support/meta.js';

describe('the machine', () => {
  test('an empty store becomes a file system with a root', () =>
    MetaFixture.run(async (f) => {
      expect(f.machine.superblock).toEqual(FORMAT);
      expect(f.attr(ROOT_OID)).toMatchObject({mode: 0o40755, nlink: 2, uid: 0, gid: 0});
      expect(f.machine.files).toBe(1);
      expect(f.machine.map).toBeNull();
    }));

  test('a request that is sent again gets the reply of then and is not done twice', () =>
    MetaFixture.run(async (f) => {
      const caller = {uid: 1, gid: 2};
      const request = whole(OPS.mkdir, {parent: ROOT_OID, name: bytes('a'), mode: 0o755, caller});
      const command = {session: f.session, requestId: 900, request};
      const first = await f.machine.submit(OPS.mkdir, command);
      expect(first.repeated).toBe(false);
      f.crash(false);
      await f.boot();
      const [second, third] = await Promise.all([
        f.machine.submit(OPS.mkdir, command),
        f.machine.submit(OPS.mkdir, command),
      ]);
      for (const again of [second, third]) {
        expect(again.repeated).toBe(true);
        expect(OPS.mkdir.reply.encode(again.reply)).toEqual(OPS.mkdir.reply.encode(first.reply));
      }
    }));

  test('errors are kept like replies; ids beyond the ring are refused as OutOfState', () =>
    MetaFixture.run(async (f) => {
      const unlink = (requestId: number, name: string) =>
        f.machine.submit(OPS.unlink, {
          session: f.session,
          requestId,
          request: {parent: ROOT_OID, name: bytes(name), directory: false, idle: false, oid: 0},
        });
      expect(await errnoOf(() => unlink(1000, 'a'))).toBe('ENOENT');
      await f.create(ROOT_OID, 'a');
      expect(await errnoOf(() => unlink(1000, 'a'))).toBe('ENOENT');
      await unlink(1256, 'a');
      await expect(unlink(1000, 'a')).rejects.toMatchObject({kind: 'OutOfState'});
      expect(await errnoOf(() => unlink(1001, 'a'))).toBe('ENOENT'); // Never seen, so new.
    }));

  test('a session that is not known is refused, and forgetting drops its replies', () =>
    MetaFixture.run(async (f) => {
      await f.mkdir(ROOT_OID, 'd');
      expect(f.machine.sessions()).toEqual([{session: f.session, data: bytes('test')}]);
      await f.machine.forgetSession(f.session);
      expect(f.machine.sessions()).toEqual([]);
      await expect(f.mkdir(ROOT_OID, 'e')).rejects.toMatchObject({kind: 'NoSession'});
      expect(await errnoOf(() => f.lookup(ROOT_OID, 'e'))).toBe('ENOENT');
    }));

  test('an orphan stays usable until it is reaped; a reaped file is queued for removal', () =>
    MetaFixture.run(async (f) => {
      const file = await f.create(ROOT_OID, 'f');
      await f.unlink(ROOT_OID, 'f');
      expect(f.effects).toEqual([{kind: 'orphan', oid: file.oid}]);
      expect(f.attr(file.oid).nlink).toBe(0);
      expect(f.machine.orphans(0, 10)).toEqual([file.oid]);
      const set = await f.change(OPS.setattr, {oid: file.oid, mask: 8, size: 7});
      expect(set.attr.size).toBe(7);
      await f.machine.reap([file.oid, ROOT_OID]);
      expect(f.machine.missing([file.oid, ROOT_OID])).toEqual([file.oid]);
      expect(f.machine.orphans(0, 10)).toEqual([]);
      const {groupCount: _, ...striping} = FORMAT.rootLayout;
      const removal = {
        oid: file.oid,
        layout: {...striping, groups: [1], generation: 0},
        whole: true,
      };
      expect(f.effects.at(-1)).toEqual({kind: 'remove', ...removal});
      f.crash(true);
      await f.boot();
      // Not synced: whatever the power cut left, the two lists are consistent.
      if (f.machine.missing([file.oid]).length === 1 && f.machine.sequence > 4) {
        expect(f.machine.removals(null, 10)).toEqual([removal]);
        await f.machine.removalDone([removal]);
        expect(f.machine.removals(null, 10)).toEqual([]);
      }
    }));

  test('after close everything is in the store and later requests are refused as Busy', () =>
    MetaFixture.run(async (f) => {
      await f.mkdir(ROOT_OID, 'd');
      await f.machine.putMap(bytes('map'));
      const sequence = f.machine.sequence;
      await f.machine.close();
      await expect(f.mkdir(ROOT_OID, 'e')).rejects.toMatchObject({kind: 'Busy'});
      f.crash(true);
      await f.boot();
      expect(f.machine.sequence).toBeGreaterThanOrEqual(sequence);
      expect(f.names(ROOT_OID)).toEqual(['d']);
      expect(f.machine.map).toEqual(bytes('map'));
    }));

  test('ids are not given twice, also when a power cut takes the files that had them', () =>
    MetaFixture.run(async (f) => {
      const before = await f.create(ROOT_OID, 'a');
      for (let round = 0; round < 5; round++) {
        const lost = await f.create(ROOT_OID, `b${round}`);
        f.crash(true);
        await f.boot();
        f.session = await f.machine.createSession(bytes('again'));
        const next = await f.create(ROOT_OID, `c${round}`);
        expect(next.oid).toBeGreaterThan(Math.max(lost.oid, before.oid));
      }
    }));

  test('a log that cannot be written stops the machine', () =>
    MetaFixture.run(async (f) => {
      f.host.disk.fault = (action) => (action === 'append' ? 'ENOSPC' : null);
      let settled = false;
      void f.mkdir(ROOT_OID, 'd').then(
        () => {
          settled = true;
        },
        () => {
          settled = true;
        },
      );
      await f.pass(1);
      expect(f.failures).toMatchObject([{errno: 'ENOSPC'}]);
      await expect(f.mkdir(ROOT_OID, 'e')).rejects.toMatchObject({kind: 'Busy'});
      expect(settled).toBe(false); // Whether it happened is for the log to say after a restart.
    }));
});
