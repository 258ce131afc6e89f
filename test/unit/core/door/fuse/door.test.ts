import {describe, expect, test} from '@jest/globals';
import {FsError} from '../../../../../src/core/base/errors.js';
import {BufferPool, poolBytes} from '../../../../../src/core/base/pool.js';
import type {Client, DirectoryPage} from '../../../../../src/core/client/api.js';
import {
  ATTR_OUT,
  ENTRY_OUT,
  FOPEN,
  INIT_IN,
  NOTIFY,
  OPCODE,
  OPEN_OUT,
  READ_IN,
} from '../../../../../src/core/door/fuse/abi.js';
import {FuseDoor} from '../../../../../src/core/door/fuse/door.js';
import {put64} from '../../../../../src/core/door/fuse/structs.js';
import {silentLog} from '../../../../../src/core/env/log.js';
import {SimFuseChannel} from '../../../../../src/core/sim/fuse-channel.js';
import {ManualClock} from '../../../../support/manual-clock.js';

// What the kernel keeps of names and listings, and what it is told to drop: the test is the kernel, and the client.

const FOLDER = 5;
const ENOENT = 2;
const ENOSYS = 38;
const EINTR = 4;
const EIO = 5;
const EOPNOTSUPP = 95;
const SHAPE = {small: 16, medium: 4, large: 24};
const ATTR = {oid: 9, mode: 0o040755, nlink: 2, size: 0, xattrs: false};
const text = (s: string): Uint8Array => Buffer.from(`${s}\0`);
const mkdir = (name: string): Uint8Array => Buffer.concat([new Uint8Array(8), text(name)]);
const entry = {name: Buffer.from('a'), oid: 7, type: 8, cookie: 3, attr: null, lease: 0};
const full = {entries: [{...entry, cacheable: false}], end: true, parent: 1};

async function mounted(client: Partial<Client>, {locks = false, looseMs = 0} = {}) {
  const memory = new ArrayBuffer(poolBytes(SHAPE));
  const pool = new BufferPool(memory, SHAPE);
  const channel = new SimFuseChannel(memory);
  const door = new FuseDoor(
    channel,
    {clock: new ManualClock(), log: silentLog, pool},
    {
      readaheadBytes: 0,
      readOnly: false,
      cache: 'full',
      locks,
      looseMs,
      labels: false,
      dying: () => true,
      ran: () => null,
      slots: 4,
      reserveSlots: 2,
    },
  );
  const nothing = {attrValid: () => ({ms: 0, under: 0}), nameValid: () => 0, held: () => 0};
  const greeted = door.serve({...nothing, ...client} as Client);
  const init = new Uint32Array(16);
  init.set([7, 45, 131_072, 0xffffffff], INIT_IN.major);
  await channel.call(OPCODE.INIT, 0, new Uint8Array(init.buffer)).reply;
  await greeted;
  return channel;
}

/** What the kernel was told to drop. */
const told = ({notices}: SimFuseChannel): string[] =>
  notices.map(({code, body}) => {
    if (code === NOTIFY.INC_EPOCH) return 'names';
    const words = new Int32Array(Uint8Array.from(body).buffer);
    return `${words[2]! < 0 ? 'attributes' : 'listing'} ${words[0]}`;
  });

function readdir(channel: SimFuseChannel, offset: number, pid: number) {
  const words = new Uint32Array(READ_IN.words);
  put64(words, READ_IN.offset, offset);
  words[READ_IN.size] = 4096;
  const body = new Uint8Array(words.buffer);
  return channel.call(OPCODE.READDIR, FOLDER, body, {pid}).reply;
}

describe('a change of which the kernel does not hear', () => {
  test('since its program was killed: what it has of the folder is dropped when it is made', async () => {
    let made = (_attr: unknown): void => {};
    const channel = await mounted({
      mkdir: () => new Promise((resolve) => (made = resolve as typeof made)),
    });
    const {ticket, reply} = channel.call(OPCODE.MKDIR, FOLDER, mkdir('d'));
    channel.interrupt(ticket);
    expect((await reply).errno).toBe(EINTR);
    expect(told(channel)).toEqual([]);
    made(ATTR);
    await new Promise((resolve) => setImmediate(resolve));
    expect(told(channel).sort()).toEqual([`attributes ${FOLDER}`, 'names']);
  });

  test('since nobody knows whether it was made: before the program does', async () => {
    const channel = await mounted({
      mkdir: () => Promise.reject(new FsError('EIO', 'too late')),
      rmdir: () => Promise.reject(new FsError('ENOTEMPTY')),
    });
    await channel.call(OPCODE.RMDIR, FOLDER, text('d')).reply;
    expect(told(channel)).toEqual([]);
    expect((await channel.call(OPCODE.MKDIR, FOLDER, mkdir('d')).reply).errno).toBe(EIO);
    expect(told(channel).sort()).toEqual([`attributes ${FOLDER}`, 'names']);
  });
});

describe('listings', () => {
  const listed = async (leased: boolean): Promise<SimFuseChannel> => {
    const page = (cookie: number): DirectoryPage => ({
      ...full,
      entries: cookie === 0 ? full.entries : [],
      leased,
    });
    const channel = await mounted({readdir: (_oid, cookie) => Promise.resolve(page(cookie))});
    expect((await channel.call(OPCODE.OPENDIR, FOLDER, new Uint8Array(8)).reply).errno).toBe(
      ENOSYS,
    );
    expect((await readdir(channel, 0, 1)).bytes.length).toBeGreaterThan(0);
    expect((await readdir(channel, 5, 1)).bytes.length).toBe(0);
    return channel;
  };

  test('that were told under a lease stay', async () => {
    expect(told(await listed(true))).toEqual([]);
  });

  test('that were not are dropped before the kernel calls them complete', async () => {
    expect(told(await listed(false))).toEqual([`listing ${FOLDER}`]);
  });
});

test('what no file has is EOPNOTSUPP, and nobody is asked', async () => {
  const channel = await mounted({});
  for (const name of ['system.posix_acl_access', 'security.selinux']) {
    const body = Buffer.concat([new Uint8Array(8), text(name)]);
    expect((await channel.call(OPCODE.GETXATTR, FOLDER, body).reply).errno).toBe(EOPNOTSUPP);
  }
});

test.each([
  ['of this mount only: only that of a handle that may write', false],
  ['of the cluster: every one, for the locks that end with it', true],
])('with locks %s is told when it is closed', async (_, locks) => {
  const channel = await mounted({open: () => Promise.resolve(ATTR as never)}, {locks});
  const told: boolean[] = [];
  for (const access of [0, 1, 2]) {
    const body = new Uint8Array(Uint32Array.of(access, 0).buffer);
    const {bytes} = await channel.call(OPCODE.OPEN, 7, body).reply;
    const words = new Uint32Array(Uint8Array.from(bytes).buffer);
    told.push((words[OPEN_OUT.openFlags]! & FOPEN.NOFLUSH) === 0);
  }
  expect(told).toEqual([locks, true, true]);
});

describe('names and attributes that no lease covers', () => {
  const time = {sec: 1, nsec: 0};
  const attr = {...ATTR, oid: 7, mode: 0o100644, uid: 0, gid: 0, rdev: 0, blocks: 0};
  const file = {...attr, atime: time, mtime: time, ctime: time};
  const client = {
    lookup: (_parent: number, name: Uint8Array) =>
      Buffer.from(name).toString() === 'there'
        ? Promise.resolve(file as never)
        : Promise.reject(new FsError('ENOENT')),
    getattr: () => Promise.resolve(file as never),
    open: () => Promise.resolve(file as never),
  };
  /** For how many seconds the kernel may keep what it is answered. */
  const seconds = ({bytes}: {bytes: Uint8Array}, at: number): number =>
    new Uint32Array(Uint8Array.from(bytes).buffer)[at]!;
  const open = new Uint8Array(8);

  test.each([0, 3000])(
    'are believed for %d ms, and after an open those of the file not',
    async (looseMs) => {
      const channel = await mounted(client, {looseMs});
      const found = await channel.call(OPCODE.LOOKUP, FOLDER, text('there')).reply;
      expect(seconds(found, ENTRY_OUT.entryValid)).toBe(looseMs / 1000);
      expect(seconds(found, ENTRY_OUT.attrValid)).toBe(looseMs / 1000);
      const missing = await channel.call(OPCODE.LOOKUP, FOLDER, text('missing')).reply;
      if (looseMs > 0) expect(seconds(missing, ENTRY_OUT.entryValid)).toBe(looseMs / 1000);
      else expect(missing.errno).toBe(ENOENT);
      await channel.call(OPCODE.OPEN, 7, open).reply;
      expect(told(channel)).toEqual(looseMs > 0 ? ['attributes 7'] : []);
      await channel.call(OPCODE.OPEN, 7, open).reply;
      expect(told(channel)).toHaveLength(looseMs > 0 ? 1 : 0);
      const again = await channel.call(OPCODE.GETATTR, 7, new Uint8Array(16)).reply;
      expect(seconds(again, ATTR_OUT.attrValid)).toBe(looseMs / 1000);
    },
  );
});
