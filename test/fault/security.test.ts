// Goal: with keys, a cluster works as without, and nobody gets more than his credential gives (P9, P10, P42, U60; SEEDS.md 6.4 point 24). Method: real processes
// at `encrypt`, and commands and mounts that have no keys, those of another cluster, fewer rights, and a credential that is taken back.
import {appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {cpfs, DevCluster, type Ran, run, shell} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

const MINUTES = 60_000;
const BIN = join(ROOT, 'bin/cpfs');
const folder = mkdtempSync(join(tmpdir(), 'cpfs-test-'));
const keys = join(folder, 'keys');
let cluster: DevCluster;

/** With this file of keys; empty: without any. */
const as = (file: string, ...args: string[]): Promise<Ran> =>
  run('setsid', [BIN, ...args], {
    env: {CPFS_KEYS: file, CPFS_SECURITY: file === '' ? 'auth' : 'encrypt'},
    timeoutMs: MINUTES,
  });

async function credential(name: string, ...flags: string[]): Promise<string> {
  const made = await as(keys, 'auth', 'create', name, ...flags);
  expect(made.code).toBe(0);
  const file = join(folder, `${name}.keys`);
  writeFileSync(file, made.stdout, {mode: 0o600});
  return file;
}

beforeAll(async () => {
  expect((await as(keys, 'init')).code).toBe(0);
  process.env.CPFS_KEYS = keys;
  process.env.CPFS_SECURITY = 'encrypt';
  cluster = await DevCluster.up('--servers', '3', '--scheme', '2+1');
}, MINUTES);
afterAll(async () => {
  await cluster?.down();
  delete process.env.CPFS_KEYS;
  delete process.env.CPFS_SECURITY;
  rmSync(folder, {recursive: true, force: true});
}, MINUTES);

test(
  'files are written and read, also while a server is away',
  async () => {
    const {mount} = cluster;
    await shell(`cp -a /usr/include/linux ${mount}/a && sync -f ${mount}`);
    await cluster.do('kill', 'data', '2');
    await shell(`cp -a /usr/include/linux ${mount}/b && sync -f ${mount}`);
    await cluster.do('start', 'data', '2');
    await shell(`diff -r /usr/include/linux ${mount}/a && diff -r /usr/include/linux ${mount}/b`);
  },
  MINUTES,
);

test(
  'a command without keys, or with those of another cluster, is told so and gets nothing',
  async () => {
    const {meta} = cluster;
    const none = await run('env', [
      '-u',
      'CPFS_KEYS',
      '-u',
      'CPFS_SECURITY',
      BIN,
      'status',
      '--meta',
      meta,
    ]);
    expect([none.code, none.stdout]).toEqual([6, '']);
    const foreign = join(folder, 'foreign');
    await as(foreign, 'init');
    const refused = await as(foreign, 'status', '--meta', meta);
    expect([refused.code, refused.stdout]).toEqual([5, '']);
    expect(refused.stderr).toMatch(/did not prove to each other who they are .*cpfs auth show/);
    expect(readFileSync(join(cluster.state, 'log/meta1.log'), 'utf8')).toContain(
      'it has not the secret of a server',
    );
  },
  MINUTES,
);

test(
  'rights: who may read mounts and reads, and changes nothing; who may write uses no commands of an administrator',
  async () => {
    const {meta, mount} = cluster;
    const [reader, writer] = [
      await credential('reader', '--rights', 'ro'),
      await credential('writer'),
    ];
    for (const file of [reader, writer]) {
      const told = await as(file, 'status', '--meta', meta);
      expect([told.code, told.stderr]).toEqual([
        5,
        expect.stringContaining('rights of an administrator'),
      ]);
    }
    const admin = await credential('boss', '--rights', 'admin', '--days', '1');
    expect((await as(admin, 'status', '--meta', meta)).code).toBe(0);
    for (const [file, mayWrite] of [
      [reader, false],
      [writer, true],
    ] as const) {
      const at = join(folder, `mnt-${mayWrite}`);
      mkdirSync(at);
      const mounted = await as(file, 'mount', at, '--meta', meta, '--detach');
      expect([mounted.stderr, mounted.code]).toEqual([expect.anything(), 0]);
      try {
        await shell(`diff -r /usr/include/linux ${at}/a`);
        const tried = await run('bash', ['-c', `echo x > ${at}/new-${mayWrite}`]);
        expect(tried.code === 0).toBe(mayWrite);
        if (!mayWrite) expect(tried.stderr).toContain('Read-only file system');
      } finally {
        await as(file, 'umount', at);
      }
    }
    expect(await shell(`ls ${mount} | grep new`)).toBe('new-true\n');
  },
  2 * MINUTES,
);

test(
  'a credential is taken back, and the key of the cluster replaced, while everybody works',
  async () => {
    const {meta, mount} = cluster;
    const file = await credential('gone', '--rights', 'admin');
    expect((await as(file, 'status', '--meta', meta)).code).toBe(0);
    const {serial} = JSON.parse(
      (await as(file, 'auth', 'show', '--keys', file, '-o', 'json')).stdout,
    ).client;
    expect((await as(keys, 'auth', 'revoke', serial)).code).toBe(0);
    await delay(1_500);
    const refused = await as(file, 'status', '--meta', meta);
    expect(refused.code).toBe(5);

    const id = /key ([0-9a-f]{8})/.exec((await as(keys, 'auth', 'rotate')).stderr)![1]!;
    await delay(1_500);
    const [old] = JSON.parse((await as(keys, 'auth', 'show', '-o', 'json')).stdout).cluster;
    for (const step of [
      ['use', id],
      ['forget', old],
    ]) {
      expect((await as(keys, 'auth', ...step)).code).toBe(0);
      await delay(1_500);
      await shell(`echo ${step[0]} >> ${mount}/rotated && sync -f ${mount}`);
      expect((await cpfs('status', '--meta', meta)).code).toBe(0);
    }
    // What is damaged changes nothing for who runs.
    appendFileSync(keys, 'what is this\n');
    await delay(1_500);
    await cluster.do('kill', 'data', '1');
    const damaged = await cpfs('status', '--meta', meta);
    expect([damaged.code, damaged.stderr]).toEqual([2, expect.stringContaining('line ')]);
    await shell(`cat ${mount}/rotated | diff - <(printf 'use\\nforget\\n')`);
  },
  MINUTES,
);
