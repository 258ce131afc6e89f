import {describe, expect, test} from '@jest/globals';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {MIB} from '../../../../src/core/base/units.js';
import {MetaRoom} from '../../../../src/core/meta/room.js';
import {OPS} from '../../../../src/core/protocol/ops.js';
import {bytes, errnoOf, MetaFixture, whole} from '../../../support/meta.js';

// C91 and acceptance point 15 of 6.4, for the meta server's own disk.

const RESERVE_BYTES = 64 * MIB;
/** It looks once a second. */
const SEEN_MS = 1500;

describe('the disk of the meta server', () => {
  test('with only the reserve left, what adds is ENOSPC; looking, renaming and removing go on, and nothing is lost', () =>
    MetaFixture.run(async (f) => {
      await f.mkdir(ROOT_OID, 'a');
      f.host.disk.squeeze(RESERVE_BYTES - 1);
      await f.pass(SEEN_MS);
      expect(await errnoOf(() => f.mkdir(ROOT_OID, 'b'))).toBe('ENOSPC');
      expect(await errnoOf(() => f.setxattr(ROOT_OID, 'user.a', '1'))).toBe('ENOSPC');
      expect(await errnoOf(() => f.machine.reserveIds(1))).toBe('ENOSPC');
      await f.rename(ROOT_OID, 'a', ROOT_OID, 'c');
      expect(f.lookup(ROOT_OID, 'c').nlink).toBe(2);
      await f.rmdir(ROOT_OID, 'c');
      f.host.disk.squeeze(null);
      await f.pass(SEEN_MS);
      await f.mkdir(ROOT_OID, 'b');
      await f.machine.sync();
      f.crash(true);
      await f.boot();
      expect(await errnoOf(() => f.lookup(ROOT_OID, 'c'))).toBe('ENOENT');
      expect(f.lookup(ROOT_OID, 'b').nlink).toBe(2);
      expect(f.failures).toEqual([]);
    }));

  test('a change that was answered is answered again, whatever space there is by now', () =>
    MetaFixture.run(async (f) => {
      const caller = {uid: 1, gid: 2};
      const request = whole(OPS.mkdir, {parent: ROOT_OID, name: bytes('a'), mode: 0o755, caller});
      const command = {session: f.session, requestId: 900, request};
      await f.machine.submit(OPS.mkdir, command);
      f.host.disk.squeeze(0);
      await f.pass(SEEN_MS);
      expect((await f.machine.submit(OPS.mkdir, command)).repeated).toBe(true);
    }));

  test('bytes that go with inodes are refused, but not in one message with what a client has done already', () =>
    MetaFixture.run(async (f) => {
      f.host.disk.squeeze(0);
      const room = new MetaRoom(f.host.boot());
      await room.start();
      const flush = (changes: object[], payload: string) =>
        room.refusal(OPS.flush.code, {changes}, bytes(payload))?.errno ?? null;
      expect(flush([], 'x')).toBe('ENOSPC');
      expect(flush([{}], 'x')).toBeNull();
      expect(flush([], '')).toBeNull();
      room.close();
    }));
});
