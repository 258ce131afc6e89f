// Goal: releases work side by side, in any mixture, while programs work; and what the newer one switches on, the older one leaves alone
// (docs/upgrade.md). Method: the kept release 0.1.0, built from its sources, and this one: real processes on the same folders.
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {RELEASE} from '../../src/roles/release.js';
import type {UpgradeStatus} from '../../src/roles/upgrade.js';
import {cpfs, run, shell} from '../support/dev-cluster.js';
import {FailoverWork} from '../support/failover-work.js';
import {buildRelease, RoleProcess} from '../support/releases.js';
import {ROOT} from '../support/source-tree.js';

const MINUTES = 60_000;
const NEW = join(ROOT, 'bin/cpfs');
const DATA = [0, 1, 2] as const;
const folder = mkdtempSync(join(tmpdir(), 'cpfs-test-'));
const mounts = [join(folder, 'mnt-a'), join(folder, 'mnt-b')] as const;
const running = new Map<string, RoleProcess>();
let OLD = '';
let meta = '';

beforeAll(() => {
  OLD = buildRelease('0.1.0', join(folder, 'old'));
}, 2 * MINUTES);
afterAll(async () => {
  const names = ['mount0', 'mount1', 'data0', 'data1', 'data2', 'meta'];
  for (const name of names) await running.get(name)?.end();
  for (const mount of mounts) await run('umount', ['-l', mount]);
  rmSync(folder, {recursive: true, force: true});
}, MINUTES);

/** Ends what runs under the name, and starts this release of it. Data servers listen where they did. */
async function start(bin: string, name: string, ...argv: string[]): Promise<RoleProcess> {
  const before = running.get(name);
  running.delete(name);
  const code = await before?.stop();
  if (code !== undefined) expect([name, code]).toEqual([name, 0]);
  const role = await RoleProcess.start(bin, argv, join(folder, `${name}.log`));
  running.set(name, role);
  return role;
}

async function startMeta(bin: string): Promise<void> {
  const at = ['--state', join(folder, 'meta'), '--listen', meta === '' ? '127.0.0.1:0' : meta];
  const {info} = await start(
    bin,
    'meta',
    'meta',
    'start',
    ...at,
    '--scheme',
    '2+1',
    '--group-size',
    '3',
  );
  meta = info.address!;
}

async function startData(bin: string, index: number): Promise<void> {
  const known = running.get(`data${index}`)?.info.address ?? '127.0.0.1:0';
  const at = ['--state', join(folder, `data${index}`), '--listen', known, '--group', '1'];
  const domain = ['--domain', `host${index}`];
  await start(bin, `data${index}`, 'data', 'start', ...at, '--meta', meta, ...domain);
}

async function startMount(bin: string, index: 0 | 1): Promise<void> {
  const dir = mounts[index];
  mkdirSync(dir, {recursive: true});
  await start(bin, `mount${index}`, 'mount', dir, '--meta', meta);
}

async function whole(): Promise<void> {
  const until = Date.now() + MINUTES;
  for (;;) {
    const {stdout} = await cpfs('status', '--meta', meta, '-o', 'json');
    if (stdout !== '' && (JSON.parse(stdout) as {state: string}).state === 'ok') return;
    if (Date.now() > until) throw new Error(`not whole: ${stdout}`);
    await delay(200);
  }
}

async function upgrade(): Promise<UpgradeStatus> {
  const {stdout, stderr} = await cpfs('upgrade', 'status', '--meta', meta, '-o', 'json');
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as UpgradeStatus;
}

/** What it says once all servers have come back to the meta server. */
async function nextWhenWhole(): Promise<string> {
  const until = Date.now() + MINUTES;
  for (;;) {
    const {next} = await upgrade();
    if (next.startsWith('stop')) return next;
    if (Date.now() > until) throw new Error(next);
    await delay(200);
  }
}

/** All files of the log of the meta server, as one. */
function logBytes(): Buffer {
  const log = join(folder, 'meta/log');
  const names = readdirSync(log).sort();
  return Buffer.concat(names.map((name) => readFileSync(join(log, name))));
}

test(
  'all roles are upgraded under programs on an old and a new mount, the meta server back and forth; then what is new is switched on',
  async () => {
    await startMeta(OLD);
    for (const index of DATA) await startData(OLD, index);
    await whole();
    await startMount(OLD, 0);
    // A newer client of older servers.
    await startMount(NEW, 1);
    await shell(`cp -a /usr/include/linux ${mounts[0]}/kept && sync -f ${mounts[0]}`);
    const refused = await cpfs('upgrade', 'status', '--meta', meta);
    expect(refused.stderr).toBe(
      `cpfs: the meta server ${meta} cannot do that (meta.upgrade: the other side is of an older release: upgrade it first)\n`,
    );

    const local = join(folder, 'local');
    mkdirSync(local);
    const work = await FailoverWork.start(mounts, local);
    await startMeta(NEW);
    const first = await nextWhenWhole();
    expect(first).toMatch(/^stop the data server .* \(1\.0\), install the newer/);
    await startMeta(OLD);
    // That release is ready a moment before it heeds signals.
    await delay(500);
    await startMeta(NEW);
    for (const index of DATA) {
      await startData(NEW, index);
      await whole();
    }
    const {next, nodes, state} = await upgrade();
    expect([state, next]).toEqual([
      'under way',
      expect.stringMatching(/^unmount .*, and mount it with the newer release$/),
    ]);
    expect(nodes.map(({role, release}) => `${role} ${release}`).sort()).toEqual(
      [
        'client ',
        `client ${RELEASE}`,
        ...DATA.map(() => `data ${RELEASE}`),
        `meta ${RELEASE}`,
      ].sort(),
    );
    expect(await work.end()).toBe(null);
    expect(Object.entries(work.rounds).filter(([, rounds]) => rounds === 0)).toEqual([]);

    await startMount(NEW, 0);
    expect((await upgrade()).state).toBe('ready');
    expect((await cpfs('upgrade', 'finalize', '--meta', meta)).code).toBe(0);
    expect((await upgrade()).state).toBe('done');
    await shell(`touch ${mounts[0]}/after`);

    await running.get('meta')!.stop();
    running.delete('meta');
    const before = logBytes();
    await expect(startMeta(OLD)).rejects.toThrow(/superblock of version 5/);
    // It takes ids before it looks; nothing is gone.
    // Not toEqual, which takes minutes for as much.
    expect(logBytes().subarray(0, before.length).equals(before)).toBe(true);
    await startMeta(NEW);
    for (const mount of mounts) await shell(`diff -r /usr/include/linux ${mount}/kept`);
    const {stdout} = await run('cat', [join(folder, 'meta.log')]);
    expect(stdout).not.toMatch(/diverged/);
  },
  5 * MINUTES,
);
