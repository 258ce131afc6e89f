// Goal: all meta servers lost, a tree that compares equal. Method: real processes; both meta servers are killed, their folders deleted, and one is made again from the data servers.
import {existsSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, type Ran, shell} from '../support/dev-cluster.js';

const MINUTE = 60_000;
/** A checkpoint of a meta server that has little to do, and its way to the data servers. */
const LAG_MS = 7_000;
let cluster: DevCluster;
let script: string;
beforeAll(async () => {
  cluster = await DevCluster.up('--servers', '3', '--scheme', '2+1', '--metas', '2');
  script = join(cluster.folder, 'list.py');
  writeFileSync(script, LIST);
}, 120_000);
afterAll(() => cluster?.down(), MINUTE);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Everything that a program can see of a tree, but atime and what a directory takes on a disk. */
const LIST = `
import hashlib, os, sys
os.chdir(sys.argv[1])
for folder, folders, files in os.walk(b'.'):
    for name in [b'.'] + folders + files:
        path = os.path.join(folder, name)
        s = os.lstat(path)
        what = [path, oct(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, s.st_ino, s.st_size, s.st_rdev, s.st_mtime_ns, s.st_ctime_ns]
        if os.path.islink(path): what.append(os.readlink(path))
        elif os.path.isfile(path): what.append(hashlib.sha256(open(path, 'rb').read()).hexdigest())
        if not os.path.islink(path): what += [(n, os.getxattr(path, n)) for n in sorted(os.listxattr(path))]
        print(*what)
`;
const list = async (): Promise<string[]> =>
  (await shell(`python3 ${script} ${cluster.mount} | sort`, undefined, MINUTE)).split('\n');

const METAS = ['1', '2'] as const;
const metaFolder = (): string => cluster.dev.meta[0]!.folder;
function deleteMetas(): void {
  for (const {folder} of cluster.dev.meta) rmSync(folder, {recursive: true, force: true});
}
const addresses = (): string[] => cluster.dev.data.map(({address}) => address);
const rebuild = (...args: string[]): Promise<Ran> =>
  cpfs('meta', 'rebuild', '--from-data', ...args, '--state', metaFolder());

/** Returns when data servers have just been told what has changed: the next time is in five seconds. */
async function nextCheckpoint(): Promise<void> {
  const journal = join(cluster.dev.data[0]!.folder, 'backtraces/journal');
  const changed = (): number => statSync(journal).mtimeMs;
  await pause(LAG_MS);
  const before = changed();
  await shell(`cd ${cluster.mount}; touch checkpoint; sync checkpoint`);
  for (let waited = 0; changed() === before; waited += 50) {
    if (waited > MINUTE) throw new Error('no checkpoint');
    await pause(50);
  }
}

async function loseMeta(): Promise<void> {
  await cpfs('umount', cluster.mount);
  for (const index of METAS) await cluster.do('kill', 'meta', index);
  deleteMetas();
}

/** Waits until both meta servers have everything. */
async function inSync(): Promise<void> {
  const end = performance.now() + MINUTE;
  for (;;) {
    const {stdout} = await cpfs('meta', 'status', '--meta', cluster.meta, '-o', 'json');
    if ((JSON.parse(stdout) as {state: string}).state === 'ok') return;
    if (performance.now() > end) throw new Error(stdout);
    await pause(200);
  }
}

async function startAgain(): Promise<void> {
  const {address} = cluster.dev.meta[0]!;
  await cluster.do('start', 'meta', '1');
  // The coordinator knows of a history that is lost.
  const refused = await cpfs('meta', 'promote', address);
  expect(refused).toMatchObject({code: 9, stderr: expect.stringMatching(/--accept-loss/)});
  expect(await cpfs('meta', 'promote', address, '--accept-loss')).toMatchObject({code: 0});
  await cluster.do('start', 'meta', '2');
  await cluster.do('start', 'mount');
  await inSync();
}

describe('fault: all meta servers lost', () => {
  test(
    'a rebuild from the data servers gives the tree back: names, attributes, contents, attributes of users, links',
    async () => {
      await shell(
        `cd ${cluster.mount}
         mkdir -p a/b/c wide/0755 empty; chmod 2751 a/b; chown 12:34 a/b/c; chmod 1777 empty
         for i in $(seq 120); do echo "file $i" > wide/$i; done
         rm wide/7*; mv wide/5 a/b/moved; mv wide/0755 a/inner
         head -c 3000000 /dev/urandom > a/big; head -c 70000 /dev/urandom > a/medium; : > a/none
         truncate -s 1G a/hole; printf x | dd of=a/hole bs=1 seek=500M conv=notrunc status=none
         ln a/big a/b/hard; ln a/medium a/b/c/hard; ln a/none wide/hard; rm a/medium
         ln -s ../nowhere a/b/sym; mkfifo a/pipe; mknod a/device c 1 3; echo é > "a/b/é ü"
         touch -d '2001-02-03 04:05:06.789' a/big a/none a/b; chown -h 5:6 a/b/sym; chmod 600 a/none
         python3 -c 'import os
os.setxattr("a/big", "user.k", b"v" * 3000); os.setxattr("a/b", "user.of.a.folder", b""); os.setxattr("a", "user.cpfs.unit", b"16384")'
         head -c 400000 /dev/urandom > a/striped
         sync a/big a/striped wide/1; sync`,
      );
      const before = await list();
      expect(before.length).toBeGreaterThan(110);
      await pause(LAG_MS);

      const early = await rebuild(addresses()[0]!);
      expect(early).toMatchObject({code: 9, stderr: expect.stringMatching(/is not empty/)});
      const {cluster: id} = await cluster.status();
      await loseMeta();

      // One server is named; the map says where the others are.
      const dry = await rebuild(addresses()[1]!, '--dry-run', '-o', 'json');
      expect(dry).toMatchObject({code: 0});
      expect(JSON.parse(dry.stdout)).toMatchObject({cluster: id, uncertain: 0, missing: []});
      expect(existsSync(metaFolder())).toBe(false);
      const made = await rebuild(addresses()[1]!);
      expect(made).toMatchObject({code: 0, stdout: expect.stringMatching(/nothing is uncertain/)});
      await startAgain();
      expect((await cluster.status()).cluster).toBe(id);
      expect(await list()).toEqual(before);
      await cluster.until('ready', MINUTE);

      // It is a file system as before: no number is given twice, and a check finds nothing.
      const inos = new Set(before.map((line) => line.split(' ')[5]));
      await shell(`cd ${cluster.mount}; for i in $(seq 20); do echo $i > new$i; done; sync new1`);
      for (const ino of (await shell(`cd ${cluster.mount}; stat -c %i new*`)).trim().split('\n'))
        expect(inos).not.toContain(ino);
      const checked = await cpfs('check', '--meta', cluster.meta);
      expect(checked).toMatchObject({code: 0, stdout: expect.stringMatching(/nothing is wrong/)});
    },
    4 * MINUTE,
  );

  test(
    'what was changed in the last moment is older, or in lost+found, and a server is missing',
    async () => {
      await shell(`cd ${cluster.mount}; mkdir old; echo 1 > old/f; sync old/f; sync`);
      await nextCheckpoint();
      // The data servers do not hear of this one: its meta server is killed before the next checkpoint.
      await shell(`cd ${cluster.mount}; head -c 2000000 /dev/urandom > young; sync young`);
      const sum = await shell(`sha256sum < ${cluster.mount}/young`);
      const ino = (await shell(`stat -c %i ${cluster.mount}/young`)).trim();
      for (const index of METAS) await cluster.do('kill', 'meta', index);
      await cluster.do('kill', 'mount');
      await shell(`umount -l ${cluster.mount} || true`);
      deleteMetas();
      await cluster.do('kill', 'data', '3');

      const made = await rebuild(addresses()[0]!, '-o', 'json', '--timeout', '2');
      expect(made).toMatchObject({code: 0});
      const report = JSON.parse(made.stdout);
      expect(report).toMatchObject({missing: [{group: 1, address: addresses()[2]}]});
      await startAgain();
      expect(await shell(`cat ${cluster.mount}/old/f`)).toBe('1\n');
      expect(existsSync(join(cluster.mount, 'young'))).toBe(false);
      expect(report).toMatchObject({strays: 1, uncertain: 1});
      const found = join(cluster.mount, 'lost+found', ino);
      // Columns are whole blocks, so what comes after its end is zeros.
      expect(await shell(`head -c 2000000 ${found} | sha256sum`, undefined, MINUTE)).toBe(sum);
      expect(await shell(`tail -c +2000001 ${found} | tr -d '\\0' | wc -c`)).toBe('0\n');
    },
    3 * MINUTE,
  );

  test(
    'with too few servers nothing is made, unless it is forced',
    async () => {
      await loseMeta();
      await cluster.do('kill', 'data', '2');
      const refused = await rebuild(addresses()[0]!, '--timeout', '2');
      expect(refused).toMatchObject({
        code: 9,
        stderr: expect.stringMatching(/group 1 lacks more servers/),
      });
      expect(existsSync(join(metaFolder(), 'store'))).toBe(false);
      rmSync(metaFolder(), {recursive: true, force: true});
      const forced = await rebuild(addresses()[0]!, '--timeout', '2', '--force', '-o', 'json');
      expect(forced).toMatchObject({code: 0});
      const {shards, missing} = JSON.parse(forced.stdout);
      expect(shards.lacking).toBeGreaterThan(0);
      expect(missing).toHaveLength(2);
      await cluster.do('kill', 'data', '1');
      rmSync(metaFolder(), {recursive: true});
      const none = await rebuild(addresses()[0]!, '--timeout', '1');
      expect(none).toMatchObject({code: 6});
    },
    MINUTE,
  );
});
