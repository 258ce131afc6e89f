import {afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import {FOPEN, NOTIFY, OPCODE} from '../../src/core/door/fuse/abi.js';
import {
  deleteBody,
  invalEntryBody,
  invalInodeBody,
  storeBody,
} from '../../src/core/door/fuse/structs.js';
import {child, requireFuse, type Served, serve} from '../support/fuse-mount.js';

// Goal: notifications change the kernel's caches and never wait for the thread that serves. Method: as fuse.test.ts,
// with timeouts of a minute, so that only a notification can make the kernel ask again.

const LONG = {entryMs: 60_000, attrMs: 60_000};
let served: Served | undefined;

beforeAll(requireFuse);
afterEach(async () => {
  await served?.stop();
  served = undefined;
});

/** Sends one notification and waits for what the kernel says. */
function notified(s: Served, code: number, body: Uint8Array): Promise<number> {
  return new Promise((now) => {
    const id = s.channel.notify(code, body);
    s.fs.onNotified = (done, errno) => {
      if (done === id) now(errno);
    };
  });
}

describe('notify', () => {
  test('fuse: INVAL_INODE makes a stale page fresh', async () => {
    served = await serve({valid: LONG, openFlags: FOPEN.KEEP_CACHE});
    const {fs, dir} = served;
    const file = fs.addFile(fs.root, 'f', 'old');
    expect(await child('read', `${dir}/f`)).toEqual({text: 'old'});
    fs.setContent(file, 'new');
    expect(await child('read', `${dir}/f`)).toEqual({text: 'old'}); // The kernel has no reason to ask.
    expect(await notified(served, NOTIFY.INVAL_INODE, invalInodeBody(file.ino, 0, 0))).toBe(0);
    expect(await child('read', `${dir}/f`)).toEqual({text: 'new'});
  });

  test('fuse: INVAL_ENTRY inside a CREATE in the same directory does not deadlock', async () => {
    // Written on the serving thread it does: the kernel wants the directory's lock, which the creator holds.
    served = await serve({valid: LONG});
    const {fs, dir, channel} = served;
    fs.addFile(fs.root, 'gone', '');
    expect(await child('exists', `${dir}/gone`)).toEqual({exists: true});
    const order: string[] = [];
    const answered = new Promise<number>((now) => {
      fs.onNotified = (_, errno) => {
        order.push('notified');
        now(errno);
      };
    });
    fs.onCreate = (parent) => {
      fs.root.names.delete('gone');
      channel.notify(NOTIFY.INVAL_ENTRY, invalEntryBody(parent, Buffer.from('gone'), 0));
      order.push('created');
    };
    expect(await child('write', `${dir}/new`, 'x')).toEqual({});
    expect(await answered).toBe(0);
    expect(order).toEqual(['created', 'notified']);
    expect(await child('exists', `${dir}/gone`)).toEqual({exists: false});
  });

  test('fuse: DELETE takes a name out of the cache', async () => {
    served = await serve({valid: LONG});
    const {fs, dir} = served;
    const file = fs.addFile(fs.root, 'f', 'x');
    expect(await child('exists', `${dir}/f`)).toEqual({exists: true});
    fs.root.names.delete('f');
    expect(await child('exists', `${dir}/f`)).toEqual({exists: true});
    const body = deleteBody(1, file.ino, Buffer.from('f'));
    expect(await notified(served, NOTIFY.DELETE, body)).toBe(0);
    expect(await child('exists', `${dir}/f`)).toEqual({exists: false});
  });

  test('fuse: STORE puts bytes into the page cache, and no READ comes for them', async () => {
    served = await serve({valid: LONG, openFlags: FOPEN.KEEP_CACHE});
    const {fs, dir, channel} = served;
    const file = fs.addFile(fs.root, 'f', 'from a read');
    expect(await child('exists', `${dir}/f`)).toEqual({exists: true}); // The kernel must know the node.
    const bytes = Buffer.from('from STORE!');
    expect(await notified(served, NOTIFY.STORE, storeBody(file.ino, 0, bytes))).toBe(0);
    expect(await child('read', `${dir}/f`)).toEqual({text: 'from STORE!'});
    expect(channel.stats().ops[OPCODE.READ]).toBeUndefined();
  });

  test('fuse: notifications of what the kernel does not have are answered ENOENT', async () => {
    served = await serve();
    const {fs, channel} = served;
    const results: number[] = [];
    const all = new Promise<void>((now) => {
      fs.onNotified = (_, errno) => results.push(errno) === 1000 && now();
    });
    for (let i = 0; i < 1000; i++) channel.notify(NOTIFY.INVAL_INODE, invalInodeBody(999, 0, 0));
    await all;
    expect(new Set(results)).toEqual(new Set([2]));
  });
});
