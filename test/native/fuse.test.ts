import {type ChildProcess, execFileSync, spawn, spawnSync} from 'node:child_process';
import {once} from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import {basename, dirname, join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import {FOPEN, INIT, NOTIFY, OPCODE} from '../../src/core/door/fuse/abi.js';
import {invalInodeBody} from '../../src/core/door/fuse/structs.js';
import {
  abortConnection,
  cleanDeadMount,
  mountedOn,
  mountFuse,
  probeMount,
  setReadAhead,
  unmount,
} from '../../src/core/os/mount-point.js';
import {child, requireFuse, type Served, serve, tempDir, watchdog} from '../support/fuse-mount.js';

// Goal: the channel carries the kernel's requests, replies, interrupts and notifications, and nothing that a client or
// a dying server does leaves a mount that hangs. Method: a file system in memory behind the real channel, mounted
// for real; every access comes from a child process, because this one serves.

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
let served: Served | undefined;

beforeAll(requireFuse);
afterEach(async () => {
  await served?.stop();
  served = undefined;
});

describe('mount and serve', () => {
  test('fuse: names, contents, times and renames reach the server (page cache, no caching of attributes)', async () => {
    served = await serve();
    expect(await child('tour', served.dir)).toEqual({
      names: ['b', 'sub'],
      size: 11,
      regular: true,
      text: 'hello',
      mtime: -7500,
      missing: 'ENOENT',
      free: 600,
      left: [],
    });
    expect(served.fs.failures).toEqual([]);
    expect(served.fs.forgotten).toBeGreaterThan(0); // The removed nodes came back.
    const {flags, minor} = served.fs.negotiated!;
    expect(minor).toBeGreaterThanOrEqual(31);
    expect(flags & INIT.HANDLE_KILLPRIV_V2).not.toBe(0);
    expect(served.channel.stats().ops[OPCODE.INIT]).toBe(1);
  });

  test.each([
    ['page cache', 0],
    ['direct', FOPEN.DIRECT_IO],
  ])('fuse: 1 MiB writes and reads are intact (%s)', async (_, openFlags) => {
    served = await serve({openFlags});
    const {wrote, read} = await child('bulk', `${served.dir}/f`, '16');
    expect(read).toBe(wrote);
    expect(await child('sum', `${served.dir}/f`)).toEqual({sum: wrote});
    const {ops} = served.channel.stats();
    // 256 pages a request; a buffer that does not start on a page touches 257 and makes two requests of 1 MiB.
    expect(ops[OPCODE.WRITE]).toBeLessThanOrEqual(32);
    expect(served.fs.failures).toEqual([]);
  });

  test('fuse: 2000 names are listed completely, in pages', async () => {
    served = await serve();
    expect(await child('names', served.dir, '2000')).toEqual({listed: 2000});
  });

  test('fuse: requests wait in the kernel while no slot is armed, and the reserve serves them', async () => {
    served = await serve({slots: 0});
    expect(await child('tour', served.dir)).toMatchObject({text: 'hello', left: []});
    expect(served.fs.fromReserve).toBeGreaterThan(10);
    expect(served.channel.stats().reserveUsed).toBe(served.fs.fromReserve);
  });

  test('fuse: four clients at once with one ordinary slot read what they wrote', async () => {
    served = await serve({slots: 1, openFlags: FOPEN.DIRECT_IO});
    const {dir} = served;
    const runs = [0, 1, 2, 3].map((i) => child('bulk', `${dir}/f${i}`, '8'));
    for (const {wrote, read} of await Promise.all(runs)) expect(read).toBe(wrote);
  });

  test('fuse: read-ahead of the mount can be set', async () => {
    served = await serve();
    expect(await setReadAhead(served.minor, 8 << 20)).toBe(true);
    expect(await setReadAhead(1_000_000, 8 << 20)).toBe(false);
  });

  test('fuse: two mounts in one process do not disturb each other', async () => {
    served = await serve();
    const other = await serve();
    try {
      const [a, b] = [served, other].map((s) => child('bulk', `${s.dir}/f`, '8'));
      const [x, y] = await Promise.all([a!, b!]);
      expect(x!.read).toBe(x!.wrote);
      expect(y!.read).toBe(y!.wrote);
    } finally {
      expect(await other.stop()).toBe(0);
    }
    expect(await child('list', served.dir)).toEqual({names: ['f']});
  });
});

describe('interrupt', () => {
  test('fuse: a signal ends a blocked read with EINTR, then SIGKILL of the reader its second one', async () => {
    served = await serve({openFlags: FOPEN.DIRECT_IO});
    const {fs, dir, channel} = served;
    fs.addFile(fs.root, 'blocked', 'never read');
    const blocked = (): Promise<void> =>
      new Promise((now) => {
        fs.onBlocked = now;
      });
    // dd answers SIGUSR1 with its counts as soon as its read returns EINTR, then reads again.
    const first = blocked();
    const reader = spawn('dd', [`if=${dir}/blocked`, 'of=/dev/null', 'bs=4k'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {...process.env, LC_ALL: 'C'},
    });
    const counts = once(reader.stderr, 'data');
    await first;
    const second = blocked();
    reader.kill('SIGUSR1');
    await second;
    expect(fs.interrupted).toBe(1);
    const [said] = await counts;
    expect(String(said)).toContain('0+0 records in');
    reader.kill('SIGKILL');
    await once(reader, 'exit');
    expect(fs.interrupted).toBe(2);
    expect(fs.blocked).toEqual([]);
    const {interrupts, pending} = channel.stats();
    expect(interrupts).toBe(2);
    expect(pending).toBe(0);
  });
});

interface Server {
  process: ChildProcess;
  minor: number;
  by: string;
  dog: ChildProcess;
}

const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

/** A server in a process of its own; `tree` is where the compiled project lies, `prefix` a command to run it by. */
async function server(
  dir: string,
  options: object,
  {tree = root, prefix = [] as string[], node = process.execPath} = {},
): Promise<Server> {
  const main = join(tree, 'dist/test/support/memory-fuse-main.js');
  const command = [...prefix, node, main, dir, JSON.stringify(options)];
  const started = spawn(command[0]!, command.slice(1), {stdio: ['ignore', 'pipe', 'inherit']});
  const lines = createInterface(started.stdout);
  const [line] = (await once(lines, 'line')) as [string];
  const [word, minor, by] = line.split(' ');
  expect(word).toBe('ready');
  return {process: started, minor: Number(minor), by: by!, dog: watchdog(Number(minor))};
}

async function gone(s: Server): Promise<void> {
  if (s.process.exitCode === null && s.process.signalCode === null) await once(s.process, 'exit');
  s.dog.stdin!.end('\n');
  await once(s.dog, 'close');
}

describe('the end of a mount', () => {
  test('fuse: unmount ends the channel with 0 and leaves nothing', async () => {
    const s = await serve();
    expect(await probeMount(s.dir)).toBe('alive');
    expect(await cleanDeadMount(s.dir)).toBe('alive'); // And it is still there.
    expect(await child('list', s.dir)).toEqual({names: []});
    expect(await s.stop()).toBe(0);
    expect(await mountedOn(s.dir)).toBeNull();
    expect(await cleanDeadMount(s.dir)).toBe('none');
    expect(s.channel.notify(NOTIFY.INVAL_INODE, invalInodeBody(1, 0, 0))).toBe(0);
  });

  test('fuse: kill -9 of the server leaves ENOTCONN, which cleanDeadMount repairs', async () => {
    const dir = tempDir();
    const s = await server(dir, {});
    expect(await child('write', `${dir}/f`, 'x')).toEqual({});
    s.process.kill('SIGKILL');
    await gone(s);
    expect(await child('list', dir)).toEqual({error: 'ENOTCONN'});
    expect(await probeMount(dir)).toBe('dead');
    expect(await cleanDeadMount(dir)).toBe('dead');
    expect(await cleanDeadMount(dir)).toBe('none');
    expect(await child('list', dir)).toEqual({names: []});
    rmdirSync(dir);
  });

  test('fuse: process.exit of a server closes the device, and nothing holds the exit up', async () => {
    const dir = tempDir();
    const s = await server(dir, {});
    s.process.kill('SIGTERM'); // Its handler calls process.exit.
    await gone(s);
    expect(s.process.exitCode).toBe(0);
    expect(await cleanDeadMount(dir)).toBe('dead');
    rmdirSync(dir);
  });

  test('fuse: a server that is stopped makes its mount stuck, not dead, and is not unmounted', async () => {
    const dir = tempDir();
    const s = await server(dir, {});
    s.process.kill('SIGSTOP');
    expect(await probeMount(dir, 300)).toBe('stuck');
    s.process.kill('SIGCONT');
    expect(await probeMount(dir)).toBe('alive');
    expect(await unmount(dir, {lazy: true})).toBeNull();
    await gone(s);
    rmdirSync(dir);
  });

  test('fuse: a mount is found through a symbolic link above it', async () => {
    served = await serve();
    const link = `${served.dir}-link`;
    symlinkSync(dirname(served.dir), link);
    try {
      const path = join(link, basename(served.dir));
      expect((await mountedOn(path))!.minor).toBe(served.minor);
      expect(await probeMount(path)).toBe('alive');
    } finally {
      rmSync(link);
    }
  });

  test('fuse: abortConnection ends our own connection only', async () => {
    const fusectl = await mountedOn('/sys/fs/fuse/connections');
    served = await serve();
    const other = await serve();
    expect(await abortConnection(other.minor)).toBe(true);
    expect(await other.fs.finished).toBe(0);
    expect(await child('write', `${served.dir}/f`, 'x')).toEqual({});
    await other.stop();
    expect(await abortConnection(1_000_000)).toBe(false);
    if (fusectl === null)
      expect(await unmount('/sys/fs/fuse/connections', {lazy: true})).toBeNull();
  });
});

describe('fusermount3', () => {
  test('fuse: the helper mounts for root, too', async () => {
    served = await serve({helper: true});
    expect((await mountedOn(served.dir))!.type).toBe('fuse.cpfs');
    expect(await child('tour', served.dir)).toMatchObject({text: 'hello', left: []});
  });

  test('fuse: what cannot be mounted is told in a sentence with the next step', async () => {
    const dir = tempDir();
    const options = {
      source: 'x',
      allowOther: false,
      defaultPermissions: true,
      maxReadBytes: 4096,
      noSuid: true,
      noDev: true,
      noExec: false,
    };
    const file = join(dir, 'file');
    closeSync(openSync(file, 'w'));
    const none = mountFuse({...options, dir: join(dir, 'none')});
    await expect(none).rejects.toThrow(/none: the folder is not there; create it first/);
    await expect(mountFuse({...options, dir: file})).rejects.toThrow(/it is no folder/);
    const path = process.env.PATH;
    process.env.PATH = dir;
    try {
      const helper = mountFuse({...options, dir, helper: true});
      await expect(helper).rejects.toThrow(/install the package fuse3 or mount as root/);
    } finally {
      process.env.PATH = path;
    }
    rmSync(dir, {recursive: true});
  });

  test('fuse: an ordinary user mounts, crashes, mounts again, uses and unmounts', async () => {
    // The tree may lie where that user cannot read: give it a copy of what the server needs.
    const tree = tempDir();
    const dir = join(tree, 'mnt');
    chmodSync(tree, 0o755);
    mkdirSync(dir);
    chownSync(dir, 65534, 65534);
    for (const part of ['dist/src/core', 'dist/test/support', 'native/build/Release/fuse.node']) {
      cpSync(join(root, part), join(tree, part), {recursive: true, dereference: true});
    }
    cpSync(join(root, 'package.json'), join(tree, 'package.json'));
    let node = process.execPath;
    try {
      execFileSync(asNobody[0]!, [...asNobody.slice(1), node, '-v'], {stdio: 'ignore'});
    } catch {
      node = join(tree, 'node');
      cpSync(process.execPath, node);
    }
    const {mode} = statSync('/dev/fuse');
    chmodSync('/dev/fuse', 0o666);
    try {
      const main = join(tree, 'dist/test/support/memory-fuse-main.js');
      const [run, ...prefix] = [...asNobody, node, main, tree]; // Which is root's.
      expect(spawnSync(run!, prefix, {encoding: 'utf8'}).stderr).toMatch(
        /MountError: fusermount3: /,
      );
      const place = {tree, prefix: asNobody, node};
      const first = await server(dir, {allowOther: false}, place);
      first.process.kill('SIGKILL');
      await gone(first);
      // The next one finds a dead mount and clears it through fusermount3.
      const s = await server(dir, {allowOther: false}, place);
      expect(s.by).toBe('helper');
      expect(await child('list', dir)).toEqual({error: 'EACCES'}); // Not even root: it is that user's.
      const script = join(tree, 'dist/test/support/fuse-child.js');
      const [program, ...args] = [...asNobody, node, script, 'tour', dir];
      const tour = spawn(program!, args, {stdio: ['ignore', 'pipe', 'inherit']});
      const [line] = (await once(createInterface(tour.stdout), 'line')) as [string];
      expect(JSON.parse(line)).toMatchObject({text: 'hello', left: []});
      s.process.kill('SIGHUP'); // Unmounts by fusermount3 -u.
      await gone(s);
      expect(s.process.exitCode).toBe(0);
      expect(await mountedOn(dir)).toBeNull();
    } finally {
      chmodSync('/dev/fuse', mode & 0o7777);
      await cleanDeadMount(dir);
      rmSync(tree, {recursive: true});
    }
  });
});
