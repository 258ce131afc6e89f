// Goal: the executable needs nothing but libc and libstdc++. Method: make it, put it into an empty root with these, and run a meta server and a data
// server there; then a cluster with a mount outside.
import {type ChildProcess, execFile, execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {createInterface} from 'node:readline';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {RELEASE} from '../../src/roles/release.js';
import {run} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

const CPFS = join(ROOT, 'dist/cpfs');
const START_MS_MAX = 300;
const started: ChildProcess[] = [];
let root: string;

/** A folder with the executable and what the system has to have for it. */
function emptyRoot(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-root-'));
  const needs = execFileSync('ldd', [CPFS], {encoding: 'utf8'}).match(/\/\S+/g)!;
  for (const file of needs) {
    expect(file).toMatch(/\/(lib(c|m|dl|pthread|stdc\+\+|gcc_s)\.so\.\d|ld-linux-[^/]*)$/);
    mkdirSync(join(folder, dirname(file)), {recursive: true});
    copyFileSync(file, join(folder, file));
  }
  copyFileSync(CPFS, join(folder, 'cpfs'));
  mkdirSync(join(folder, 'proc'));
  return folder;
}

/** With /proc, in a mount namespace of its own, without an environment. */
const inside = (...args: string[]): [string, string[]] => [
  'unshare',
  [
    '-m',
    'sh',
    '-c',
    'mount -t proc proc "$1/proc" && shift && exec env -i "$@"',
    'sh',
    root,
    '/usr/sbin/chroot',
    root,
    '/cpfs',
    ...args,
  ],
];

beforeAll(async () => {
  const made = await run('sh', [join(ROOT, 'packaging/package.sh'), 'executable']);
  expect([made.code, made.stderr]).toEqual([0, '']);
  root = emptyRoot();
}, 120_000);

afterAll(async () => {
  for (const child of started) child.kill('SIGKILL');
  if (root !== undefined) rmSync(root, {recursive: true, force: true});
});

/** Starts a server in the empty root; resolves with its address. */
async function server(
  ...args: string[]
): Promise<{address: string; stop(): Promise<number | null>}> {
  const [program, argv] = inside(...args);
  const child = spawn(program, argv, {stdio: ['ignore', 'inherit', 'pipe']});
  started.push(child);
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  const address = await new Promise<string>((resolve, reject) => {
    const said: string[] = [];
    createInterface(child.stderr!).on('line', (line) => {
      said.push(line);
      if (/"event":"\w+\.ready"/.test(line)) resolve(JSON.parse(line).address);
    });
    ended.then((code) => reject(new Error(`${args[0]} ended (${code}): ${said.join('\n')}`)));
  });
  return {
    address,
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

test('--version in the empty root, in time', async () => {
  const [program, args] = inside('--version');
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const begin = performance.now();
    const ran = await run(program, args);
    times.push(performance.now() - begin);
    expect(ran).toEqual({code: 0, stderr: '', stdout: expect.stringContaining(`cpfs/${RELEASE} `)});
  }
  // Others use this machine: the fastest one says what it takes.
  expect(Math.min(...times)).toBeLessThan(START_MS_MAX);
}, 30_000);

test('a meta server and a data server in the empty root, twice; a spoilt library is written anew', async () => {
  const library = () =>
    execFileSync('find', [join(root, 'var/cache/cpfs'), '-name', 'codec.node'], {
      encoding: 'utf8',
    }).trim();
  for (const round of [1, 2]) {
    const meta = await server(
      'meta',
      'start',
      '--state',
      '/meta',
      '--listen',
      '127.0.0.1:0',
      '--scheme',
      '1+0',
      '--group-size',
      '1',
    );
    const data = await server(
      'data',
      'start',
      '--group',
      '1',
      '--state',
      '/data',
      '--listen',
      '127.0.0.1:0',
      '--meta',
      meta.address,
    );
    const [program, args] = inside('data', 'list', '--meta', meta.address, '-o', 'json');
    const list = await run(program, args, {timeoutMs: 20_000});
    expect([list.code, list.stderr]).toEqual([0, '']);
    expect(list.stdout).toContain(data.address);
    expect([await data.stop(), await meta.stop()]).toEqual([0, 0]);
    const file = library();
    expect(statSync(file).mode & 0o777).toBe(0o500);
    const bytes = readFileSync(join(ROOT, 'native/build/Release/codec.node'));
    expect(readFileSync(file)).toEqual(bytes);
    if (round === 1) truncateSync(file, 1000);
  }
}, 60_000);

test('a folder for libraries that others may write is refused, with what to do', async () => {
  execFileSync('chmod', ['777', join(root, 'var/cache/cpfs')]);
  const [program, args] = inside('meta', 'start', '--state', '/other', '--listen', '127.0.0.1:0');
  const ran = await run(program, args, {timeoutMs: 20_000});
  execFileSync('chmod', ['700', join(root, 'var/cache/cpfs')]);
  expect(ran.code).not.toBe(0);
  expect(ran.stderr).toContain('chmod go-w /var/cache/cpfs');
}, 30_000);

/** As mount(8) calls it. */
async function mountedByHelper(folder: string, meta: string, env: Record<string, string>) {
  const helper = join(folder, 'mount.cpfs');
  const dir = join(folder, 'by-helper');
  symlinkSync(CPFS, helper);
  mkdirSync(dir);
  const mount = (...args: string[]) => run(helper, [`${meta}:/`, dir, ...args], {env});
  expect((await mount('-fn', '-o', 'rw')).code).toBe(0);
  expect((await mount('-o', 'colour=blue')).code).toBe(1);
  expect((await mount('-sv', '-o', 'ro,noexec,_netdev,colour=blue')).code).toBe(0);
  const found = await run('findmnt', ['-no', 'SOURCE,FSTYPE,OPTIONS', dir]);
  expect(found.stdout).toMatch(new RegExp(`^${meta}:/ +fuse.cpfs .*noexec`));
  const read = await run('timeout', ['10', 'sh', '-c', `cat ${dir}/a; touch ${dir}/b`]);
  expect(read.stdout).toBe('striped\n');
  expect(read.stderr).toMatch(/Read-only/);
  const again = await mount();
  expect([again.code, again.stderr]).toEqual([
    32,
    expect.stringContaining('is a cpfs mount already'),
  ]);
  expect((await run(CPFS, ['umount', dir], {env})).code).toBe(0);
}

test('a cluster with a mount, each process of it the executable', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-appliance-'));
  const [state, mount] = [join(folder, 'state'), join(folder, 'mnt')];
  const env = {CPFS_CACHE_DIR: join(folder, 'cache')};
  try {
    const up = await run(
      'setsid',
      [CPFS, 'dev', 'up', '--state', state, '--mount', mount, '--base-port', '0', '--detach'],
      {env},
    );
    expect(up.code).toBe(0);
    const text = await new Promise((resolve) =>
      execFile(
        'timeout',
        ['10', 'sh', '-c', `echo striped > ${mount}/a && cat ${mount}/a`],
        (_, out) => resolve(out),
      ),
    );
    expect(text).toBe('striped\n');
    const note = JSON.parse(readFileSync(join(state, 'dev.json'), 'utf8')) as {
      mounts: {pid: number}[];
      meta: {address: string}[];
    };
    const running = execFileSync('readlink', [`/proc/${note.mounts[0]!.pid}/exe`], {
      encoding: 'utf8',
    });
    expect(running.trim()).toBe(CPFS);
    await mountedByHelper(folder, note.meta[0]!.address, {...env, CPFS_LOG_DIR: folder});
  } finally {
    const down = await run(CPFS, ['dev', 'down', '--state', state, '--purge'], {env});
    rmSync(folder, {recursive: true, force: true});
    expect(down.code).toBe(0);
  }
}, 60_000);

const LISTEN = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
while True: print(s.recv(4096).decode(), flush=True)
`;

test('systemd hears that a server is ready, alive and stopping', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-notify-'));
  const socket = join(folder, 'notify');
  const listener = spawn('python3', ['-c', LISTEN, socket], {stdio: ['ignore', 'pipe', 'inherit']});
  started.push(listener);
  const said: string[] = [];
  const lines = createInterface(listener.stdout).on('line', (line) => said.push(line));
  await once(lines, 'line');
  const args = ['meta', 'start', '--state', join(folder, 'meta'), '--listen', '127.0.0.1:0'];
  const env = {
    ...process.env,
    CPFS_CACHE_DIR: join(folder, 'cache'),
    NOTIFY_SOCKET: socket,
    WATCHDOG_USEC: '200000',
  };
  const meta = spawn(CPFS, args, {stdio: 'ignore', env});
  started.push(meta);
  const ended = once(meta, 'exit');
  while (said.length < 5) await once(lines, 'line');
  meta.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  while (!said.includes('STOPPING=1')) await once(lines, 'line');
  listener.kill('SIGKILL');
  rmSync(folder, {recursive: true, force: true});
  expect(said.slice(0, 4)).toEqual(['listening', 'READY=1', 'WATCHDOG=1', 'WATCHDOG=1']);
}, 30_000);
