// Goal: rot on disks is found and repaired before it is needed, what cannot be is said and not invented, and programs that write notice
// nothing (U84, acceptance point 10, C133). Method: real processes, bits flipped in column files, a column file removed.
import {readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import type {Status} from '../../src/roles/admin.js';
import type {ScrubStatus} from '../../src/roles/scrub.js';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';

const MINUTES = 60_000;
const HEADER = 2 ** 40;
const BLOCK = 4096;
const bytes = Buffer.from(Array.from({length: 1 << 20}, (_, i) => (i * i) % 251));
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
  expect((await cpfs('scrub', 'set', '--rate', '1GiB', '--meta', cluster.meta)).code).toBe(0);
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

/** A file that is on the servers' disks. */
async function synced(name: string): Promise<string> {
  const path = join(cluster.mount, name);
  writeFileSync(path, bytes, {flush: true});
  return path;
}

/** Files of the columns of its first chunk, data first, with the numbers of their servers. */
async function columns(path: string): Promise<{file: string; server: number}[]> {
  const oid = statSync(path).ino;
  const folder = (oid % 256).toString(16).padStart(2, '0');
  const found: {file: string; server: number}[] = [];
  for (const data of cluster.dev.data) {
    const file = join(data.folder, 'columns', folder, `${oid.toString(16)}.0.0`);
    const header = Buffer.alloc(64);
    const one = await open(file, 'r');
    await one.read(header, 0, 64, HEADER);
    await one.close();
    found[header.readUInt32LE(24)] = {file, server: data.index};
  }
  return found;
}

async function flip(file: string, offset: number): Promise<void> {
  const one = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await one.read(byte, 0, 1, offset);
  byte[0]! ^= 0x10;
  await one.write(byte, 0, 1, offset);
  await one.close();
}

/** A pass over everything. */
async function scrub(...flags: string[]) {
  const ran = await cpfs(
    'scrub',
    'start',
    '--wait',
    '-o',
    'json',
    '--meta',
    cluster.meta,
    ...flags,
  );
  const {servers, lostRanges} = JSON.parse(ran.stdout) as ScrubStatus;
  const sum = (of: 'bad' | 'repaired' | 'lost' | 'skipped'): number =>
    servers.reduce((total, server) => total + server[of], 0);
  const counts = {bad: sum('bad'), repaired: sum('repaired'), lost: sum('lost')};
  return {code: ran.code, ...counts, skipped: sum('skipped'), lostRanges};
}

test(
  'while everything is being written nothing is found',
  async () => {
    const work = shell(
      `for i in $(seq 15); do
         dd if=/dev/urandom of=load bs=64k count=40 conv=notrunc status=none
         dd if=/dev/urandom of=load bs=4k seek=$((RANDOM % 600)) count=1 conv=notrunc,fsync status=none
         cp -r /usr/include/linux/usb usb$i; rm -r usb$i
       done`,
      cluster.mount,
      2 * MINUTES,
    );
    for (const flags of [[], ['--deep']])
      expect(await scrub(...flags)).toMatchObject({code: 0, bad: 0});
    await work;
    expect(await scrub('--deep')).toMatchObject({code: 0, bad: 0});
  },
  3 * MINUTES,
);

test(
  'two columns of one row: said, with exit code 8, and nothing is made from them',
  async () => {
    const path = await synced('lost');
    const [first, , third] = await columns(path);
    await flip(first!.file, 4 * BLOCK);
    await flip(third!.file, 4 * BLOCK);
    const found = await scrub();
    expect(found).toMatchObject({code: 8, bad: 2, repaired: 0, lost: 2});
    const unit = 65_536;
    const ranges = found.lostRanges.sort((a, b) => a.offset - b.offset);
    expect(ranges).toEqual([
      {inode: statSync(path).ino, path: '/lost', offset: 4 * BLOCK, length: BLOCK},
      {inode: statSync(path).ino, path: '/lost', offset: 2 * unit + 4 * BLOCK, length: BLOCK},
    ]);
    const {stdout} = await cpfs('status', '-o', 'json', '--meta', cluster.meta);
    expect((JSON.parse(stdout) as Status).scrub).toMatchObject({paused: false, lost: 2});
    await flip(first!.file, 4 * BLOCK);
    await flip(third!.file, 4 * BLOCK);
    expect(await scrub()).toMatchObject({code: 0, bad: 0});
    expect(readFileSync(path).equals(bytes)).toBe(true);
  },
  3 * MINUTES,
);

test(
  'bits of data and of redundancy, and a file that is gone: all is well again, without any one server',
  async () => {
    const path = await synced('rot');
    const [first, second, , , redundancy] = await columns(path);
    await flip(first!.file, 5000);
    await flip(redundancy!.file, 100_000);
    expect(await scrub()).toMatchObject({code: 0, bad: 2, repaired: 2, lost: 0, lostRanges: []});
    await cluster.do('kill', 'data', String(second!.server));
    rmSync(second!.file);
    await cluster.do('start', 'data', String(second!.server));
    await cluster.until('ready', MINUTES);
    const {code, lost} = await scrub('--deep');
    expect({code, lost}).toEqual({code: 0, lost: 0});
    const other = await cluster.mountAgain('other');
    await cluster.do('kill', 'data', String(first!.server));
    await cluster.until('degraded', MINUTES);
    expect(readFileSync(join(other, 'rot')).equals(bytes)).toBe(true);
  },
  3 * MINUTES,
);
