// Goal: objects are moved while programs use them, and nobody sees it but in where they lie. Method: real processes and mounts, SIGKILL of the server that moves.
import {createHash, randomBytes, randomInt} from 'node:crypto';
import {mkdirSync, readdirSync, statSync, writeFileSync} from 'node:fs';
import {open, readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {KIB, MIB} from '../../src/core/base/units.js';
import type {DevServer} from '../../src/roles/dev/state.js';
import {layoutGet} from '../../src/roles/layout.js';
import {startRole} from '../../src/roles/spawn.js';
import type {Where} from '../../src/roles/where.js';
import {cpfs, DevCluster, type Ran, shell} from '../support/dev-cluster.js';

const MINUTE = 60_000;
const SLOTS = 3;
const SMALL = 30;
const LARGE = 12;
const LARGE_BYTES = 1_500_000;
const SPARSE_BYTES = 48 * MIB;
const PIECE_BYTES = 128 * KIB;
/** Of the file that a program writes. */
const BUSY_BYTES = MIB;

let cluster: DevCluster;
/** The same folder through two mounts. */
let dirs: [string, string];
/** By name. */
const sums = new Map<string, string>();
/** Servers of the second group; no part of what `dev` knows. */
const more: {pid: number; folder: string}[] = [];

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

beforeAll(async () => {
  cluster = await DevCluster.up('--servers', String(SLOTS), '--scheme', '2+1');
  const other = await cluster.mountAgain('other');
  dirs = [join(cluster.mount, 'tree'), join(other, 'tree')];
  mkdirSync(dirs[0]);
  const put = (name: string, bytes: Uint8Array): void => {
    writeFileSync(join(dirs[0], name), bytes);
    sums.set(name, sumOf(bytes));
  };
  for (let i = 0; i < SMALL; i++) put(`small${i}`, randomBytes(100 + i));
  for (let i = 0; i < LARGE; i++) put(`large${i}`, randomBytes(LARGE_BYTES + i));
  const sparse = Buffer.alloc(SPARSE_BYTES);
  const file = await open(join(dirs[0], 'sparse'), 'w');
  await file.truncate(SPARSE_BYTES);
  for (const at of [0, 20 * MIB, SPARSE_BYTES - PIECE_BYTES]) {
    const piece = randomBytes(PIECE_BYTES);
    sparse.set(piece, at);
    await file.write(piece, 0, PIECE_BYTES, at);
  }
  await file.close();
  sums.set('sparse', sumOf(sparse));
  await shell(`sync -f ${dirs[0]}`);
}, 120_000);
afterAll(async () => {
  for (const {pid} of more) process.kill(pid, 'SIGKILL');
  await cluster?.down();
}, 60_000);

const admin = (...args: string[]): Promise<Ran> => cpfs(...args, '--meta', cluster.meta);

async function done(...args: string[]): Promise<string> {
  const ran = await admin(...args);
  expect({args, code: ran.code, stderr: ran.stderr}).toEqual({args, code: 0, stderr: ''});
  return ran.stdout;
}

/** Of every file, which groups have it. */
async function groupsOf(): Promise<Map<string, number[]>> {
  const groups = new Map<string, number[]>();
  for (const name of sums.keys()) groups.set(name, (await layoutGet(join(dirs[0], name))).groups);
  return groups;
}

/** Files of columns in the folder of a data server. */
const columnsIn = (folder: string): string[] =>
  readdirSync(join(folder, 'columns'), {recursive: true, withFileTypes: true})
    .filter((entry) => entry.isFile())
    .map(({name}) => name);

/** The server that moves; it does so from a moment after an order on. */
async function mover(): Promise<DevServer> {
  for (;;) {
    const {sessions, groups} = await cluster.status();
    const slot = sessions.map(({name}) => /^moves of 1\.(\d)$/.exec(name)?.[1]).find(Boolean);
    const address = slot === undefined ? null : groups[0]!.slots[Number(slot)]!.address;
    const server = cluster.dev.data.find((one) => one.address === address);
    if (server !== undefined) return server;
  }
}

async function schemesOf(names: Iterable<string>): Promise<string[]> {
  const schemes: string[] = [];
  for (const name of names) schemes.push((await layoutGet(join(dirs[1], name))).scheme);
  return schemes;
}

async function everythingIsRight(): Promise<void> {
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  for (const dir of dirs) {
    const found = new Map<string, string>();
    for (const name of sums.keys()) found.set(name, sumOf(await readFile(join(dir, name))));
    expect(found).toEqual(sums);
  }
}

/** Writes a file of its own through one mount, reads it and the others through the other one, until it is to stop. Resolves with how many rounds that were. */
async function program(mine: number, stopped: () => boolean): Promise<number> {
  const name = `busy${mine}`;
  const model = randomBytes(BUSY_BYTES);
  writeFileSync(join(dirs[mine]!, name), model);
  const writer = await open(join(dirs[mine]!, name), 'r+');
  const reader = await open(join(dirs[1 - mine]!, name), 'r');
  const names = [...sums.keys()].filter((one) => !one.startsWith('busy'));
  let rounds = 0;
  for (; !stopped(); rounds++) {
    await delay(10);
    const at = randomInt(BUSY_BYTES - PIECE_BYTES);
    randomBytes(randomInt(1, PIECE_BYTES)).copy(model, at);
    await writer.write(model, at, PIECE_BYTES, at);
    if (rounds % 8 === 0) await writer.sync();
    const from = randomInt(BUSY_BYTES - PIECE_BYTES);
    const got = Buffer.alloc(PIECE_BYTES);
    await reader.read(got, 0, PIECE_BYTES, from);
    if (!got.equals(model.subarray(from, from + PIECE_BYTES)))
      throw new Error(`${name} has other bytes at ${from} in round ${rounds}`);
    const other = names[randomInt(names.length)]!;
    if (sumOf(await readFile(join(dirs[1 - mine]!, other))) !== sums.get(other))
      throw new Error(`${other} has other bytes in round ${rounds}`);
  }
  await writer.close();
  await reader.close();
  sums.set(name, sumOf(model));
  return rounds;
}

/** Both programs, beside `work`. */
async function whilePrograms(work: () => Promise<void>): Promise<void> {
  let stopped = false;
  const programs = Promise.all([0, 1].map((mine) => program(mine, () => stopped)));
  // Their failure ends nothing before the work has ended.
  programs.catch(() => {});
  try {
    await work();
  } finally {
    stopped = true;
  }
  for (const rounds of await programs) expect(rounds).toBeGreaterThan(1);
}

async function startGroup(group: number): Promise<void> {
  for (let slot = 0; slot < SLOTS; slot++) {
    const folder = join(cluster.folder, `more${slot}`);
    const argv = ['data', 'start', '--group', String(group), '--state', folder];
    argv.push('--listen', '127.0.0.1:0', '--meta', cluster.meta, '--domain', `more${slot}`);
    const {pid} = await startRole(argv, join(cluster.folder, `more${slot}.log`), 30_000);
    more.push({pid, folder});
  }
  await cluster.untilStatus('a second group', 20_000, ({groups}) =>
    groups.some(({id, state}) => id === group && state === 'ready'),
  );
}

describe('fault: objects that are moved', () => {
  let removal: Promise<Ran>;

  test(
    'a rebalance moves what its plan says, to a group that was created',
    async () => {
      expect(await done('group', 'create', '--slots', String(SLOTS))).toBe('2\n');
      await startGroup(2);
      const sizes = (names: string[]) =>
        names.reduce((sum, name) => sum + statSync(join(dirs[0], name)).size, 0);
      const plan = JSON.parse(
        await done('rebalance', '--dry-run', '-o', 'json', '--tolerance', '2'),
      );
      expect(plan.seconds).toBeGreaterThan(0);
      expect(await done('rebalance', '--dry-run', '--tolerance', '2')).toMatch(
        new RegExp(`^would move ${plan.objects} files, ${plan.bytes} bytes .*, in about \\d+ s at`),
      );
      expect(new Set([...(await groupsOf()).values()].flat())).toEqual(new Set([1]));

      const said = await done('rebalance', '--tolerance', '2', '--rate', '1GiB', '--wait');
      const there = [...(await groupsOf())].filter(([, [group]]) => group === 2);
      const names = there.map(([name]) => name);
      expect([names.length, sizes(names)]).toEqual([plan.objects, plan.bytes]);
      // Holes are nothing that is moved.
      const holes = names.includes('sparse') ? SPARSE_BYTES - 3 * PIECE_BYTES : 0;
      expect(said).toMatch(new RegExp(`^moved ${plan.objects} files, ${plan.bytes - holes} bytes`));
      const half = sizes([...sums.keys()]) / 2;
      expect(Math.abs(plan.bytes - half)).toBeLessThan(SPARSE_BYTES / 2);
      const objects = names.map((name) => statSync(join(dirs[0], name)).ino.toString(16));
      for (const {folder} of more) {
        const found = new Set(columnsIn(folder).map((file) => file.split('.')[0]!));
        expect([...found].sort()).toEqual(objects.sort());
      }
      await everythingIsRight();
    },
    2 * MINUTE,
  );

  test(
    'a conversion while programs write and read, a group is being removed, and the server that moves is killed',
    async () => {
      await done('rebalance', '--rate', '64MiB', '--tolerance', '1000', '--wait');
      await whilePrograms(async () => {
        removal = admin('group', 'remove', '2', '--wait', '--timeout', '180');
        const args = ['layout', 'set', '--convert', '--wait', dirs[0], '--scheme', '1+2'];
        const conversion = cpfs(...args);
        const {pid, index} = await mover();
        while ((await schemesOf(['large3']))[0] !== '1+2') await delay(20);
        process.kill(pid, 'SIGKILL');
        // In the middle of it.
        expect(await schemesOf(sums.keys())).toContain('2+1');
        await cluster.untilStatus(
          'degraded',
          10_000,
          ({groups}) => groups[0]!.state === 'degraded',
        );
        // Another one goes on, without the columns of this one.
        expect(await conversion).toMatchObject({code: 0, stderr: ''});
        await cluster.do('start', 'data', String(index));
        await cluster.untilStatus('ready', MINUTE, ({groups}) => groups[0]!.state === 'ready');
      });
      expect(new Set(await schemesOf(sums.keys()))).toEqual(new Set(['1+2']));
      expect((await cpfs('layout', 'get', dirs[0])).stdout).toMatch(/^1\+2 /);
      await everythingIsRight();
    },
    2 * MINUTE,
  );

  test(
    'a group that is removed has nothing left in it, and its servers can go',
    async () => {
      expect(await removal).toMatchObject({code: 0, stderr: ''});
      expect(await done('group', 'list')).not.toMatch(/^2 /m);
      for (const [name, groups] of await groupsOf()) expect([name, groups]).toEqual([name, [1]]);
      for (const {folder} of more) expect(columnsIn(folder)).toEqual([]);
      const where = await cpfs('where', join(dirs[1], 'large3'), '-o', 'json');
      expect((JSON.parse(where.stdout) as Where).chunks.map(({group}) => group)).toEqual([1]);
      for (const {pid} of more.splice(0)) process.kill(pid, 'SIGKILL');
      await everythingIsRight();
      expect(JSON.parse(await done('check', '-o', 'json'))).toMatchObject({found: 0, unlooked: []});
      // Nor is anything left of what was moved away, or was to be when the server was killed.
      const files = cluster.dev.data.flatMap(({folder}) => columnsIn(folder));
      const objects = Map.groupBy(new Set(files), (file) => file.split('.')[0]!);
      expect(objects.size).toBe(LARGE + 3);
      for (const names of objects.values())
        expect(new Set(names.map((name) => name.split('.')[2])).size).toBe(1);
    },
    3 * MINUTE,
  );
});
