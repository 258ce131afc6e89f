import {describe, expect, test} from '@jest/globals';
import {FsError} from '../../../../../src/core/base/errors.js';
import {BufferPool, poolBytes} from '../../../../../src/core/base/pool.js';
import {Traffic} from '../../../../../src/core/base/traffic.js';
import type {Client} from '../../../../../src/core/client/api.js';
import {OPCODE} from '../../../../../src/core/door/fuse/abi.js';
import {LISTED_MAX, PathDoor} from '../../../../../src/core/door/path/door.js';
import {silentLog} from '../../../../../src/core/env/log.js';
import {ManualClock} from '../../../../support/manual-clock.js';

// Paths of the library become calls of the client: the test is the library, and the client.

const SHAPE = {small: 4, medium: 4, large: 4};
const FILE = 9;
const REGULAR = 0o100644;

/** `/dir/file` is FILE; the test says what else there is. Calls are noted. */
function opened(client: Partial<Client>, {readOnly = false, uid = 7, spareSlots = 0} = {}) {
  const pool = new BufferPool(new ArrayBuffer(poolBytes(SHAPE)), SHAPE);
  const calls: string[] = [];
  const names = new Map([
    ['1/dir', 5],
    ['5/file', FILE],
  ]);
  const all: Partial<Client> = {
    lookup: async (parent, name) => {
      const oid = names.get(`${parent}/${Buffer.from(name)}`);
      if (oid === undefined) throw new FsError('ENOENT');
      return {oid} as Awaited<ReturnType<Client['lookup']>>;
    },
    getattr: async (oid) => ({oid, size: 1}) as Awaited<ReturnType<Client['getattr']>>,
    open: async (oid, options) => {
      calls.push(`open ${oid} ${JSON.stringify(options)}`);
      return {oid} as Awaited<ReturnType<Client['open']>>;
    },
    release: (oid) => {
      calls.push(`release ${oid}`);
    },
    write: async (oid, offset, [segment], options) => {
      calls.push(`write ${oid} ${offset} ${segment!.length} ${JSON.stringify(options)}`);
      pool.release(segment!.slot);
      return offset;
    },
    ...client,
  };
  const traffic = new Traffic();
  const door = new PathDoor(
    all as Client,
    {clock: new ManualClock(), log: silentLog, pool, traffic},
    {caller: {uid, gid: uid}, readOnly, labels: false, spareSlots},
  );
  return {door, pool, calls, traffic};
}

const errno = (name: string) => ({errno: name});

describe('names', () => {
  test('a path is walked from the root; a number of an open file is that file, wherever its name is', async () => {
    const {door} = opened({});
    expect(await door.getattr('/')).toMatchObject({oid: 1});
    expect(await door.getattr('/dir/file')).toMatchObject({oid: FILE});
    await expect(door.getattr('/dir/none')).rejects.toMatchObject(errno('ENOENT'));
    const fd = await door.open('/dir/file', 0);
    expect(await door.getattr('/gone', fd)).toMatchObject({oid: FILE, size: 1});
    await expect(door.getattr('/gone', fd + 1)).rejects.toMatchObject(errno('EBADF'));
  });

  test('what the library has lost of a name is not guessed: EILSEQ', async () => {
    const {door} = opened({});
    await expect(door.mkdir('/dir/�', 0o755)).rejects.toMatchObject(errno('EILSEQ'));
    await expect(door.symlink('�', '/dir/l')).rejects.toMatchObject(errno('EILSEQ'));
  });

  test('somebody else was faster with a file: the kernel is to look again; with another kind it is there', async () => {
    const {door} = opened({mknod: () => Promise.reject(new FsError('EEXIST'))});
    await expect(door.mknod('/dir/file', REGULAR, 0)).rejects.toMatchObject(errno('ESTALE'));
    await expect(door.mknod('/dir/file', 0o010644, 0)).rejects.toMatchObject(errno('EEXIST'));
  });

  test('a listing has an end', async () => {
    const entries = Array.from({length: 1000}, (_, i) => ({name: Buffer.from('n'), cookie: i + 1}));
    const page = {entries, end: false, parent: 1, leased: false};
    let pages = 0;
    const {door} = opened({
      readdir: async () => {
        pages++;
        return page as unknown as Awaited<ReturnType<Client['readdir']>>;
      },
    });
    await expect(door.readdir('/dir')).rejects.toMatchObject(errno('EOVERFLOW'));
    expect(pages).toBeLessThanOrEqual(LISTED_MAX / 1000 + 1);
  });

  test('a mount that only reads changes nothing', async () => {
    const {door} = opened({}, {readOnly: true});
    const changes = [
      door.mkdir('/dir/x', 0o755),
      door.mknod('/dir/x', REGULAR, 0),
      door.unlink('/dir/file'),
      door.rename('/dir/file', '/dir/x'),
      door.truncate('/dir/file', 0),
      door.setxattr('/dir/file', 'user.a', Buffer.alloc(1), 0),
      door.open('/dir/file', 1),
    ];
    for (const change of changes) await expect(change).rejects.toMatchObject(errno('EROFS'));
  });
});

describe('bytes', () => {
  test('a write appends where its file was opened so, and takes set-id bits unless it is of root', async () => {
    const {door, calls, pool} = opened({});
    const [plain, append] = [await door.open('/dir/file', 1), await door.open('/dir/file', 0o2001)];
    calls.length = 0;
    expect(await door.files.write(plain, Buffer.alloc(10), 4)).toBe(10);
    expect(await door.files.write(append, Buffer.alloc(10), 4)).toBe(10);
    expect(calls).toEqual([
      'write 9 4 10 {"append":false,"killSuidgid":true}',
      'write 9 4 10 {"append":true,"killSuidgid":true}',
    ]);
    door.files.release(append);
    expect(calls.at(-1)).toBe('release 9');
    await expect(door.files.write(append, Buffer.alloc(1), 0)).rejects.toMatchObject(
      errno('EBADF'),
    );
    expect(pool.used).toBe(0);
    const root = opened({}, {uid: 0});
    await root.door.files.write(await root.door.open('/dir/file', 1), Buffer.alloc(1), 0);
    expect(root.calls.at(-1)).toContain('"killSuidgid":false');
  });

  test('what was read is copied, and its slots are free again', async () => {
    const {door, pool} = opened({
      read: async () =>
        ['abc', 'de'].map((text) => {
          const slot = pool.alloc(16);
          pool.bytes.write(text, pool.payload(slot));
          return {slot, offset: pool.payload(slot), length: text.length};
        }),
    });
    const into = Buffer.alloc(8);
    expect(await door.files.read(await door.open('/dir/file', 0), into, 0)).toBe(5);
    expect(into.toString('latin1')).toBe('abcde\0\0\0');
    expect(pool.used).toBe(0);
  });

  test('a write waits while the pool has only what the client needs', async () => {
    const {door, pool, calls} = opened({}, {spareSlots: SHAPE.large - 1});
    const fd = await door.open('/dir/file', 1);
    const taken = pool.alloc(1 << 20);
    const written = door.files.write(fd, Buffer.alloc(10), 0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls.some((call) => call.startsWith('write'))).toBe(false);
    pool.release(taken);
    expect(await written).toBe(10);
  });
});

test('attributes: size 0 asks how much there is, too small a buffer is ERANGE, lists of control are not here', async () => {
  const {door} = opened({
    getxattr: async () => Buffer.from('value'),
    listxattr: async () => ['user.a', 'trusted.b'].map((name) => Buffer.from(name)),
  });
  expect(await door.getxattr('/dir/file', 'user.a', 0)).toBe(5);
  expect(Buffer.from((await door.getxattr('/dir/file', 'user.a', 5)) as Buffer).toString()).toBe(
    'value',
  );
  await expect(door.getxattr('/dir/file', 'user.a', 4)).rejects.toMatchObject(errno('ERANGE'));
  const acl = door.getxattr('/dir/file', 'system.posix_acl_access', 0);
  await expect(acl).rejects.toMatchObject(errno('EOPNOTSUPP'));
  expect(Buffer.from((await door.listxattr('/dir/file', 99)) as Buffer).toString()).toBe(
    'user.a\0',
  );
});

test('an answer is a value or a number, and is counted while it waits and when it is given', async () => {
  const {door, traffic} = opened({});
  let done = () => {};
  const waits = door.answer('READ', () => new Promise<void>((resolve) => (done = resolve)));
  expect([...traffic.kernel.waiting()]).toMatchObject([{kind: OPCODE.READ}]);
  done();
  expect(await waits).toEqual({ok: true, value: undefined});
  expect([...traffic.kernel.waiting()]).toEqual([]);
  const failed = await door.answer('GETATTR', () => door.getattr('/none'));
  expect(failed).toEqual({ok: false, result: -2});
  const bug = await door.answer('GETATTR', () => Promise.reject(new Error('a bug')));
  expect(bug).toEqual({ok: false, result: -5});
  expect(traffic.kernel.meter.kinds.get(OPCODE.GETATTR)?.failed).toBe(2);
  expect(door.answered).toBe(3);
});
