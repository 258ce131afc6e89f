// Goal: a backup that was made while programs worked gives the tree back, and going back to an old one destroys nothing unnoticed. Method: real processes and a mount; the meta server is
// killed, its folder moved away, and made again from the backup.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, type Ran, shell} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

const MINUTE = 60_000;
/** A checkpoint of a meta server that has little to do, and its way to the data servers. */
const LAG_MS = 7_000;
let cluster: DevCluster;
let folder: string;
let away = 0;
beforeAll(async () => {
  cluster = await DevCluster.up('--servers', '3', '--scheme', '2+1');
  folder = join(cluster.folder, 'backup');
  writeFileSync(join(cluster.folder, 'list.py'), LIST);
}, 120_000);
afterAll(() => cluster?.down(), MINUTE);

/** Everything that a program can see of a tree, but atime and what a directory takes on a disk. */
const LIST = `
import hashlib, os, sys
os.chdir(sys.argv[1])
for folder, folders, files in os.walk(b'.'):
    for name in [b'.'] + folders + files:
        path = os.path.join(folder, name)
        s = os.lstat(path)
        what = [path, oct(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]
        if os.path.islink(path): what.append(os.readlink(path))
        elif os.path.isfile(path): what.append(hashlib.sha256(open(path, 'rb').read()).hexdigest())
        if not os.path.islink(path): what += [(n, os.getxattr(path, n)) for n in sorted(os.listxattr(path))]
        print(*what)
`;
const list = async (): Promise<string[]> =>
  (
    await shell(
      `python3 ${join(cluster.folder, 'list.py')} ${cluster.mount} | sort`,
      undefined,
      MINUTE,
    )
  ).split('\n');

interface Report {
  kind: string;
  sequence: number;
  bytes: number;
  chainParts: number;
}

async function backup(...flags: string[]): Promise<Report> {
  const ran = await cpfs('meta', 'backup', folder, '--meta', cluster.meta, '-o', 'json', ...flags);
  expect(ran).toMatchObject({code: 0, stderr: ''});
  return JSON.parse(ran.stdout) as Report;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const metaFolder = (): string => cluster.dev.meta[0]!.folder;
const restore = (from: string, ...flags: string[]): Promise<Ran> =>
  cpfs('meta', 'restore', from, '--state', metaFolder(), ...flags);

/** Kills it, and moves its folder to where it is given back. */
async function loseMeta(): Promise<string> {
  await cluster.do('kill', 'meta', '1');
  const there = join(cluster.folder, `lost-${++away}`);
  renameSync(metaFolder(), there);
  return there;
}

async function startAgain(): Promise<void> {
  await cluster.do('start', 'meta', '1');
  await cluster.do('start', 'mount');
}

const logs = (): string[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith('log-'))
    .sort();

describe('fault: the meta server comes from a backup', () => {
  test(
    'that was made in parts while programs worked: the tree is the same, to the last attribute',
    async () => {
      await shell(
        `cd ${cluster.mount}
         mkdir -p a/b c; for i in $(seq 200); do echo "file $i" > a/$i; done
         head -c 3000000 /dev/urandom > a/big; ln a/big c/hard; ln -s ../nowhere c/sym; truncate -s 1G c/hole
         python3 -c 'import os
os.setxattr("a/big", "user.k", bytes(range(256))); os.setxattr("c", "user.cpfs.unit", b"16384")'
         chown 12:34 a/b; chmod 2751 c; sync`,
      );
      const load = shell(
        `cd ${cluster.mount}
         for i in $(seq 400); do mkdir -p w/$((i % 20)); echo $i > w/$((i % 20))/$i; head -c 20000 /dev/urandom > w/f$((i % 50)); mv w/f$((i % 50)) w/g$((i % 9)); done
         sync`,
        undefined,
        MINUTE,
      );
      const kinds: string[] = [];
      let sequence = 0;
      for (let i = 0; i < 8; i++) {
        const report = await backup();
        expect(report.sequence).toBeGreaterThanOrEqual(sequence);
        sequence = report.sequence;
        kinds.push(report.kind);
        await pause(300);
      }
      await load;
      expect(kinds[0]).toBe('full');
      expect(kinds.filter((kind) => kind === 'incremental').length).toBeGreaterThan(1);
      expect(kinds.slice(1)).not.toContain('full');
      const before = await list();
      expect(before.length).toBeGreaterThan(600);
      await cpfs('umount', cluster.mount);
      const last = await backup();
      expect(last.kind).toBe('incremental');
      expect(last.sequence).toBeGreaterThan(sequence);
      expect(await backup()).toMatchObject({kind: 'unchanged', bytes: 0});
      const {cluster: id} = await cluster.status();

      const running = await restore(folder);
      expect(running).toMatchObject({code: 4, stderr: expect.stringMatching(/is not empty/)});
      const there = await loseMeta();
      const dry = await restore(folder, '--dry-run', '-o', 'json');
      expect(dry).toMatchObject({code: 0});
      expect(JSON.parse(dry.stdout)).toMatchObject({
        ...{cluster: id, sequence: last.sequence, missing: [], strays: 0, grown: 0, mended: 0},
        ...{newer: null, state: null},
      });
      expect(existsSync(metaFolder())).toBe(false);

      // The backup and the folder that was lost say the same, word for word.
      const text = join(cluster.folder, 'dump');
      await shell(`bin/cpfs meta dump --state ${there} > ${text}`, ROOT);
      await shell(`bin/cpfs meta dump ${folder} | cmp - ${text}`, ROOT);

      expect(await restore(folder)).toMatchObject({code: 0, stderr: ''});
      await startAgain();
      expect((await cluster.status()).cluster).toBe(id);
      expect(await list()).toEqual(before);
      await cluster.until('ready', MINUTE);

      // No number is given twice, and a check finds nothing.
      const inos = new Set(before.map((line) => line.split(' ')[5]));
      await shell(`cd ${cluster.mount}; for i in $(seq 20); do echo $i > new$i; done; sync new1`);
      for (const ino of (await shell(`cd ${cluster.mount}; stat -c %i new*`)).trim().split('\n'))
        expect(inos).not.toContain(ino);
      const checked = await cpfs('check', '--meta', cluster.meta);
      expect(checked).toMatchObject({code: 0, stdout: expect.stringMatching(/nothing is wrong/)});
      // It is another history: what is added to the backup is all of it.
      expect((await backup()).kind).toBe('full');
    },
    4 * MINUTE,
  );

  test(
    'that is older than what the data servers know: only when it is said, and what is younger is kept',
    async () => {
      await shell(
        `cd ${cluster.mount}; mkdir old; head -c 500000 /dev/urandom > old/grows; head -c 400000 /dev/urandom > old/goes; truncate -s 1M old/hole; head -c 300000 /dev/urandom > old/stays; head -c 300000 /dev/urandom > old/grows-little; sync old/* old; sync`,
      );
      await backup();
      const goes = (await shell(`stat -c %i ${cluster.mount}/old/goes`)).trim();
      await shell(
        `cd ${cluster.mount}; rm old/goes; head -c 2000000 /dev/urandom > young; head -c 700000 /dev/urandom >> old/grows; echo a little >> old/grows-little; sync young old/grows* old .; sync`,
      );
      const sums = async (path: string, bytes: number): Promise<string> =>
        shell(`head -c ${bytes} ${join(cluster.mount, path)} | sha256sum`, undefined, MINUTE);
      const [young, grows, stays] = [
        await sums('young', 2_000_000),
        await sums('old/grows', 1_200_000),
        await sums('old/stays', 300_000),
      ];
      const ino = (await shell(`stat -c %i ${cluster.mount}/young`)).trim();
      await pause(LAG_MS);
      await cpfs('umount', cluster.mount);
      await loseMeta();

      const refused = await restore(folder);
      expect(refused).toMatchObject({
        code: 9,
        stderr: expect.stringMatching(/batches after the backup: 'cpfs meta rebuild --from-data'/),
      });
      expect(existsSync(metaFolder())).toBe(false);
      const made = await restore(folder, '--accept-loss', '-o', 'json');
      expect(made).toMatchObject({code: 0});
      const report = JSON.parse(made.stdout);
      expect(report).toMatchObject({
        strays: 1,
        grown: 2,
        hollow: 1,
        hollowOids: [Number(goes)],
        mended: 0,
        missing: [],
      });
      expect(report.newer.batches).toBeGreaterThan(0);
      await startAgain();
      await cluster.until('ready', MINUTE);
      expect(existsSync(join(cluster.mount, 'young'))).toBe(false);
      expect(await sums(`lost+found/${ino}`, 2_000_000)).toBe(young);
      expect(await sums('old/grows', 1_200_000)).toBe(grows);
      expect(await sums('old/stays', 300_000)).toBe(stays);
      // Nothing stays hidden behind an end, to show when the file grows.
      expect(await shell(`tail -c 9 ${cluster.mount}/old/grows-little`)).toBe('a little\n');
      expect(statSync(join(cluster.mount, 'old/grows-little')).size).toBe(300_009);
      expect(statSync(join(cluster.mount, 'old/stays')).size).toBe(300_000);
      // Behind the end of what has grown, redundancy is right, too.
      await shell(`cd ${cluster.mount}; head -c 100000 /dev/urandom >> old/grows; sync old/grows`);
      const checked = await cpfs('check', '--meta', cluster.meta);
      expect(checked).toMatchObject({code: 0, stdout: expect.stringMatching(/nothing is wrong/)});
    },
    3 * MINUTE,
  );

  test(
    'not when a bit of the backup is another one, a file is missing, or servers do not answer',
    async () => {
      await shell(`cd ${cluster.mount}; echo 1 > more; sync more`);
      await backup('--full');
      await shell(`cd ${cluster.mount}; echo 2 > even-more; sync even-more`);
      await cpfs('umount', cluster.mount);
      expect((await backup()).kind).toBe('incremental');
      expect(logs().length).toBeGreaterThan(0);
      await loseMeta();
      const copy = join(cluster.folder, 'copy');
      const files = newest(folder);
      expect(files.length).toBeGreaterThan(1);
      for (const file of [...files, 'backup.json']) {
        for (const harm of ['flip', 'cut', 'remove']) {
          rmSync(copy, {recursive: true, force: true});
          cpSync(folder, copy, {recursive: true});
          const path = join(copy, file);
          const bytes = readFileSync(path);
          bytes[Math.floor(bytes.length / 2)]! ^= 4;
          if (harm === 'remove') rmSync(path);
          else writeFileSync(path, harm === 'flip' ? bytes : bytes.subarray(0, -1));
          const ran = await restore(copy);
          const code = harm === 'remove' && file === 'backup.json' ? 3 : 1;
          expect([file, harm, ran.code, ran.stderr]).toEqual([
            ...[file, harm, code],
            expect.stringMatching(code === 3 ? /there is no backup/ : /is damaged/),
          ]);
          expect(existsSync(metaFolder())).toBe(false);
        }
      }
      await cluster.do('kill', 'data', '2');
      await cluster.do('kill', 'data', '3');
      const few = await restore(folder, '--timeout', '1');
      expect(few).toMatchObject({code: 6, stderr: expect.stringMatching(/do not answer/)});
      expect(existsSync(metaFolder())).toBe(false);
      const forced = await restore(folder, '--timeout', '1', '--force', '-o', 'json');
      expect(forced).toMatchObject({code: 0});
      expect(JSON.parse(forced.stdout).missing).toHaveLength(2);
      await cluster.do('start', 'meta', '1');
      await cluster.do('start', 'data', '2');
      await cluster.do('start', 'data', '3');
      await cluster.until('ready', MINUTE);
      await cluster.do('start', 'mount');
      expect(await shell(`cat ${cluster.mount}/more ${cluster.mount}/even-more`)).toBe('1\n2\n');
    },
    3 * MINUTE,
  );

  test(
    'or from a dump of its state; and a compaction changes nothing but the size',
    async () => {
      const other = join(cluster.folder, 'other');
      mkdirSync(other);
      writeFileSync(join(other, 'thesis.tex'), '');
      const foreign = await cpfs('meta', 'backup', other, '--meta', cluster.meta);
      expect(foreign).toMatchObject({code: 4, stderr: expect.stringMatching(/thesis\.tex/)});
      expect(readdirSync(other)).toEqual(['thesis.tex']);

      const before = await list();
      const used = await cpfs('meta', 'compact', '--state', metaFolder());
      expect(used).toMatchObject({code: 4, stderr: expect.stringMatching(/stop its meta server/)});
      await cpfs('umount', cluster.mount);
      await cluster.do('kill', 'meta', '1');
      const text = join(cluster.folder, 'dump');
      const dump = `bin/cpfs meta dump --state ${metaFolder()}`;
      await shell(`${dump} > ${text}`, ROOT);
      const compacted = await cpfs('meta', 'compact', '--state', metaFolder(), '-o', 'json');
      expect(compacted).toMatchObject({code: 0});
      const {store, log} = JSON.parse(compacted.stdout);
      expect(store.after).toBeLessThanOrEqual(store.before);
      expect(statSync(join(metaFolder(), 'store/data.mdb')).size).toBe(store.after);
      expect(log.before).toBeGreaterThan(0);
      expect(log.after).toBe(0);
      await shell(`${dump} | cmp - ${text}`, ROOT);

      rmSync(metaFolder(), {recursive: true});
      const harmed = join(cluster.folder, 'harmed');
      writeFileSync(harmed, readFileSync(text, 'utf8').replace('"nlink":2', '"nlink":3'));
      const refused = await cpfs('meta', 'load', harmed, '--state', metaFolder());
      expect(refused).toMatchObject({code: 1, stderr: expect.stringMatching(/it was changed/)});
      expect(existsSync(metaFolder())).toBe(false);
      expect(await cpfs('meta', 'load', text, '--state', metaFolder())).toMatchObject({code: 0});
      await shell(`${dump} | cmp - ${text}`, ROOT);
      expect(await cpfs('meta', 'load', text, '--state', metaFolder())).toMatchObject({code: 4});
      await startAgain();
      expect(await list()).toEqual(before);
      await backup();
    },
    2 * MINUTE,
  );
});

/** The files of the newest chain. */
function newest(path: string): string[] {
  const {parts} = JSON.parse(readFileSync(join(path, 'backup.json'), 'utf8')) as {
    parts: {file: string; kind: string}[];
  };
  const start = parts.map(({kind}) => kind).lastIndexOf('state');
  return parts.slice(start).map(({file}) => file);
}
