// Goal: where bytes are is said truly, and damage to local files is found and mended. Method: real processes, files that are changed behind their backs.
import {existsSync, linkSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import type {CheckResult} from '../../src/roles/check/main.js';
import type {ColumnWhere, Where} from '../../src/roles/where.js';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';

const SIZE = 2_000_000;
const AT = 1_234_567;
let cluster: DevCluster;
let file: string;
let bytes: Buffer;
beforeAll(async () => {
  cluster = await DevCluster.up();
  file = join(cluster.mount, 'file');
  await shell(`head -c ${SIZE} /dev/urandom > ${file}`);
  bytes = readFileSync(file);
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

async function where(path: string, ...offset: string[]): Promise<Where> {
  const ran = await cpfs('where', path, ...offset, '-o', 'json');
  expect(ran.stderr).toBe('');
  return JSON.parse(ran.stdout) as Where;
}

async function check(...flags: string[]): Promise<CheckResult> {
  const ran = await cpfs('check', '--meta', cluster.meta, '-o', 'json', ...flags);
  expect(ran.stderr).toBe('');
  const result = JSON.parse(ran.stdout) as CheckResult;
  expect(ran.code).toBe(result.exit);
  return result;
}

/** The local file of a column. */
function local({address, file: path}: ColumnWhere): string {
  return join(cluster.dev.data.find((one) => one.address === address)!.folder, path);
}

async function flip(path: string, offset: number): Promise<void> {
  const handle = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, offset);
  byte[0]! ^= 1;
  await handle.write(byte, 0, 1, offset);
  await handle.close();
}

test('a byte is where it is said to be; what is inline, or a hole, is said to be so', async () => {
  const found = await where(file, String(AT));
  const own = found.chunks[0]!.columns.find(
    ({kind, offset}) => kind === 'data' && offset !== null,
  )!;
  const handle = await open(local(own), 'r');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, own.offset!);
  await handle.close();
  expect(byte[0]).toBe(bytes[AT]);
  expect([found.size, found.hole, own.state]).toEqual([SIZE, false, 'ready']);
  writeFileSync(join(cluster.mount, 'small'), 'small');
  expect(await where(join(cluster.mount, 'small'))).toMatchObject({inline: 5, chunks: []});
  const sparse = join(cluster.mount, 'sparse');
  await shell(`truncate -s 200M ${sparse}`);
  expect((await where(sparse, '150MiB')).hole).toBe(true);
  expect((await cpfs('where', join(cluster.mount, 'none'))).code).toBe(3);
  expect((await cpfs('where', '/')).code).toBe(2);
}, 60_000);

test('damage is found where it is, and mended on demand (issue 5, items 9 and 11)', async () => {
  const removed = join(cluster.mount, 'removed');
  writeFileSync(removed, bytes);
  const gone = statSync(removed).ino;
  await shell(`sync ${removed} && rm ${removed}`);
  expect(await check()).toMatchObject({found: 0, unlooked: [], exit: 0});
  const {inode, chunks} = await where(file);
  const [data, second] = chunks[0]!.columns.map(local);
  const redundancy = local(chunks[0]!.columns.at(-1)!);
  await flip(data!, 100_000);
  await flip(redundancy, 0);
  const stray = `${second!.replace(/0$/, '')}7`;
  linkSync(second!, stray);
  const hex = gone.toString(16);
  const folder = (gone % 256).toString(16).padStart(2, '0');
  const leak = join(dirname(dirname(second!)), folder, `${hex}.0.0`);
  // Its columns go a moment after its name.
  for (let i = 0; existsSync(leak) && i < 200; i++) await delay(100);
  await shell(`mkdir -p ${dirname(leak)}`);
  linkSync(second!, leak);
  const found = await check();
  expect(found.findings.map(({kind, inode, column}) => [kind, inode, column]).sort()).toEqual(
    [
      ['column', inode, 0],
      ['column', inode, 4],
      ['leak', gone, null],
      ['leak', inode, null],
    ].sort(),
  );
  expect([found.mended, found.exit]).toEqual([0, 1]);
  expect(await check('--repair')).toMatchObject({found: 4, mended: 4, exit: 0});
  expect([existsSync(stray), existsSync(leak)]).toEqual([false, false]);
  expect(await check()).toMatchObject({found: 0, exit: 0});
  expect(readFileSync(file).equals(bytes)).toBe(true);
}, 120_000);

test('what cannot be looked at is said; the folder of a stopped server is checked by itself', async () => {
  const column = (await where(file)).chunks[0]!.columns[2]!;
  const {index, folder} = cluster.dev.data.find(({address}) => address === column.address)!;
  expect((await cpfs('check', '--state', folder)).code).toBe(4);
  await cluster.do('kill', 'data', String(index));
  await cluster.until('degraded', 10_000);
  expect((await check()).exit).toBe(8);
  expect((await cpfs('check', '--state', folder)).code).toBe(0);
  await flip(local(column), 8192);
  const ran = await cpfs('check', '--state', folder);
  expect(ran.stdout).toContain(`(${column.file}): 1 block of it fail their sums; start the server`);
  expect(ran.code).toBe(1);
  expect((await cpfs('check', '--state', cluster.folder)).code).toBe(3);
}, 60_000);
