// Goal: both engines of a mount are one file system, and what the portable one cannot do it refuses. Method: the same programs on a mount of
// each, what one did looked at through the other.
import {createHash, randomBytes} from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {probeMount} from '../../src/core/os/mount-point.js';
import {readMountNote} from '../../src/roles/mounts.js';
import {ended} from '../../src/roles/process.js';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';

const ENGINES = ['kernel', 'fuse-native'] as const;
const PORTABLE = ['--engine', 'fuse-native'] as const;
let cluster: DevCluster;
const mounts = {kernel: '', 'fuse-native': ''};
const other = {kernel: 'fuse-native', 'fuse-native': 'kernel'} as const;

beforeAll(async () => {
  cluster = await DevCluster.up();
  mounts.kernel = cluster.mount;
  mounts['fuse-native'] = await cluster.mountAgain('portable', '', cluster.meta, ...PORTABLE);
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const sum = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const errorOf = (run: () => unknown): string | undefined => {
  try {
    run();
    return 'none';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
};
/** What a program of Python prints. */
const python = (program: string, ...words: string[]): Promise<string> =>
  shell(`python3 - ${words.join(' ')} <<'P'\nimport os, errno, sys\n${program}\nP`);

test.each(ENGINES)('%s: bytes, sizes and names, seen by the other engine', (engine) => {
  const own = join(mounts[engine], engine);
  const seen = join(mounts[other[engine]], engine);
  mkdirSync(own);
  const bytes = randomBytes(3 * (1 << 20) + 17);
  writeFileSync(join(own, 'file'), bytes);
  expect(sum(readFileSync(join(seen, 'file')))).toBe(sum(bytes));
  expect(sum(readFileSync(join(own, 'file')))).toBe(sum(bytes));

  appendFileSync(join(own, 'file'), 'end');
  expect(statSync(join(seen, 'file')).size).toBe(bytes.length + 3);
  truncateSync(join(own, 'file'), 5);
  expect(readFileSync(join(seen, 'file'))).toEqual(bytes.subarray(0, 5));
  truncateSync(join(own, 'file'), 9);
  expect(readFileSync(join(seen, 'file'))).toEqual(
    Buffer.concat([bytes.subarray(0, 5), Buffer.alloc(4)]),
  );
  const file = openSync(join(own, 'file'), 'w');
  writeSync(file, 'again');
  closeSync(file);
  expect(readFileSync(join(seen, 'file'), 'utf8')).toBe('again');

  linkSync(join(own, 'file'), join(own, 'link'));
  expect(statSync(join(seen, 'link'))).toMatchObject({
    nlink: 2,
    ino: statSync(join(own, 'file')).ino,
  });
  renameSync(join(own, 'file'), join(own, 'moved'));
  symlinkSync('moved', join(own, 'symbolic'));
  expect(readlinkSync(join(seen, 'symbolic'))).toBe('moved');
  expect(readdirSync(seen).sort()).toEqual(['link', 'moved', 'symbolic']);
  utimesSync(join(own, 'moved'), 1_000_000.25, 1_600_000_000.5);
  expect(statSync(join(seen, 'moved'))).toMatchObject({
    atimeMs: 1_000_000_250,
    mtimeMs: 1_600_000_000_500,
  });
  expect(errorOf(() => rmdirSync(own))).toBe('ENOTEMPTY');
  expect(errorOf(() => openSync(join(own, 'moved'), 'wx'))).toBe('EEXIST');
  expect(errorOf(() => statSync(join(own, 'none')))).toBe('ENOENT');
  rmSync(own, {recursive: true});
  expect(existsSync(seen)).toBe(false);
});

test.each(ENGINES)(
  '%s: a file that was unlinked while it is open stays what it is',
  async (engine) => {
    const path = join(mounts[engine], `open-${engine}`);
    writeFileSync(path, 'before');
    const file = openSync(path, 'r+');
    unlinkSync(path);
    expect(errorOf(() => statSync(path))).toBe('ENOENT');
    writeSync(file, ' and after', 6);
    const into = Buffer.alloc(32);
    expect(readSync(file, into, 0, 32, 0)).toBe(16);
    expect(into.toString('utf8', 0, 16)).toBe('before and after');
    expect(fstatSync(file).size).toBe(16);
    closeSync(file);
    // The kernel tells of the close after it has returned; the library removes its name for the file then.
    const left = () => readdirSync(mounts[other[engine]]);
    for (let i = 0; i < 100 && left().length > 0; i++) await delay(20);
    expect(left()).toEqual([]);
  },
);

test.each(ENGINES)('%s: attributes, owners, pipes', async (engine) => {
  const said = await python(
    `
def t(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
os.chdir(sys.argv[1])
open('x', 'w').write('x')
print(t(os.setxattr, 'x', 'user.a', b'v' * 300), t(os.setxattr, 'x', 'user.e', b''), sorted(os.listxattr('x')))
print(len(os.getxattr('x', 'user.a')), os.getxattr('x', 'user.e'), t(os.getxattr, 'x', 'user.none'))
print(t(os.getxattr, 'x', 'system.posix_acl_access'), t(os.setxattr, 'x', 'user.b', b'v' * 70000))
print(t(os.removexattr, 'x', 'user.a'), os.listxattr('x'))
os.chmod('x', 0o4711); os.chown('x', 7, 8)
s = os.stat('x'); print(oct(s.st_mode), s.st_uid, s.st_gid)
os.mkfifo('p'); print(oct(os.stat('p').st_mode))
print(t(os.mkdir, 'n' * 256), t(os.mkdir, 'n' * 255), t(os.mknod, 'x', 0o100600))
print(os.statvfs('.').f_namemax, os.statvfs('.').f_blocks > 0)
for name in ('x', 'p'): os.unlink(name)
os.rmdir('n' * 255)
`,
    mounts[engine],
  );
  expect(said.trim().split('\n')).toEqual([
    "None None ['user.a', 'user.e']",
    "300 b'' ENODATA",
    'ENOTSUP E2BIG',
    "None ['user.e']",
    '0o100711 7 8',
    '0o10644',
    'ENAMETOOLONG None EEXIST',
    '255 True',
  ]);
});

test('what one engine remembers never outlives a change through the other', () => {
  for (let round = 0; round < 30; round++) {
    const [w, r] = round % 2 === 0 ? ENGINES : [ENGINES[1], ENGINES[0]];
    const [own, seen] = [join(mounts[w], `f${round % 3}`), join(mounts[r], `f${round % 3}`)];
    existsSync(seen);
    if (existsSync(own) && round % 5 === 0) {
      renameSync(own, `${own}.moved`);
      expect([existsSync(seen), existsSync(`${seen}.moved`)]).toEqual([false, true]);
      rmSync(`${own}.moved`);
    } else {
      writeFileSync(own, `round ${round} `.repeat(round * 100));
      expect(readFileSync(seen, 'utf8')).toBe(`round ${round} `.repeat(round * 100));
    }
  }
  for (const name of readdirSync(mounts.kernel)) rmSync(join(mounts.kernel, name));
});

test('both at once: one of two makes a file, and every line that is appended is there', async () => {
  const program = `
a, lines = sys.argv[1], 0
for i in range(60):
    try: os.close(os.open(f'{a}/made{i}', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)); lines += 1
    except FileExistsError: pass
    with open(f'{a}/lines', 'a') as f: f.write(f'{i}\\n')
print(lines)
`;
  const made = await Promise.all(ENGINES.map((engine) => python(program, mounts[engine])));
  expect(made.reduce((all, one) => all + Number(one), 0)).toBe(60);
  const lines = readFileSync(join(mounts.kernel, 'lines'), 'utf8').trimEnd().split('\n');
  expect(lines.map(Number).sort((a, b) => a - b)).toEqual(
    Array.from({length: 120}, (_, i) => i >> 1),
  );
}, 30_000);

test('fuse-native refuses what it cannot do, here and at the command line', async () => {
  const said = await python(
    `
import ctypes, mmap
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
def c(f, *a): return 'ok' if f(*a) == 0 else errno.errorcode[ctypes.get_errno()]
def t(f, *a, **k):
    try: f(*a, **k); return 'ok'
    except OSError as e: return errno.errorcode[e.errno]
open('x', 'w').write('x'); open('y', 'w')
fd = os.open('x', os.O_RDWR)
print(c(libc.fallocate, fd, 0, 0, 100), c(libc.renameat2, -100, b'x', -100, b'y', 2))
print(t(mmap.mmap, fd, 1), t(mmap.mmap, fd, 1, flags=mmap.MAP_PRIVATE))
print(t(os.open, '.', os.O_TMPFILE | os.O_RDWR), t(os.mkdir, b'\\xff\\xfe'))
`,
    mounts['fuse-native'],
  );
  expect(said.trim().split('\n')).toEqual(['ENOTSUP EINVAL', 'ENODEV ok', 'ENOTSUP EILSEQ']);
  const dir = join(cluster.folder, 'refused');
  mkdirSync(dir);
  for (const option of ['locks=cluster', 'allow_other']) {
    const ran = await cpfs('mount', dir, '--meta', cluster.meta, ...PORTABLE, '-o', option);
    expect(ran.code).toBe(2);
    expect(ran.stderr).toContain(`${option} is not possible with fuse-native`);
  }
  expect(await probeMount(dir)).toBe('none');
}, 20_000);

test('it ends with its mount; one that is killed leaves nothing that a mount would stumble over', async () => {
  const dir = mounts['fuse-native'];
  writeFileSync(join(dir, 'last'), 'last');
  const note = readMountNote(dir)!;
  const ran = await cpfs('umount', dir);
  expect(ran.stderr).toBe('');
  expect([await probeMount(dir), await ended(note, 0)]).toEqual(['none', true]);
  expect(readFileSync(join(mounts.kernel, 'last'), 'utf8')).toBe('last');

  await cluster.mountAgain('portable', '', cluster.meta, ...PORTABLE);
  const again = readMountNote(dir)!;
  process.kill(again.pid, 'SIGKILL');
  expect(await ended(again, 10_000)).toBe(true);
  expect(await probeMount(dir)).toBe('dead');
  await cluster.mountAgain('portable', '', cluster.meta, ...PORTABLE);
  expect(readFileSync(join(dir, 'last'), 'utf8')).toBe('last');
  // Its process is told to stop: it unmounts.
  const third = readMountNote(dir)!;
  process.kill(third.pid, 'SIGTERM');
  expect(await ended(third, 20_000)).toBe(true);
  expect(await probeMount(dir)).toBe('none');
}, 60_000);
