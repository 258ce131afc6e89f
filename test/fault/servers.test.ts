// Goal: the loss of any one server loses nothing and stops nobody. Method: real processes, SIGKILL, SIGSTOP, flipped bits.
import {readdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {DevCluster, run, shell} from '../support/dev-cluster.js';

const MINUTES = 60_000;
const TREE = '/usr/include/linux';
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const dropCaches = () => writeFileSync('/proc/sys/vm/drop_caches', '3');

describe('fault: data servers', () => {
  test(
    'server 2 killed and restarted in the middle of a copy: identical, and whole again',
    async () => {
      const to = join(cluster.mount, 'copy1');
      const copy = shell(`cp -a ${TREE} ${to}`, undefined, 3 * MINUTES);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await cluster.do('kill', 'data', '2');
      await cluster.until('degraded', 10_000);
      await copy;
      await shell(`diff -r ${TREE} ${to}`);
      await cluster.do('start', 'data', '2');
      await cluster.until('ready', MINUTES);
      // Now another one goes: what server 2 missed must be there.
      await cluster.do('kill', 'data', '5');
      await cluster.until('degraded', 10_000);
      dropCaches();
      await shell(`diff -r ${TREE} ${to}`);
      await cluster.do('start', 'data', '5');
      await cluster.until('ready', MINUTES);
    },
    6 * MINUTES,
  );

  test(
    'a stopped server (SIGSTOP) delays a write by at most 10 s and fails nothing',
    async () => {
      const {pid} = cluster.dev.data[2]!;
      process.kill(pid, 'SIGSTOP');
      const started = performance.now();
      await shell(
        `head -c 4194304 /dev/urandom > ${cluster.mount}/stopped && sync ${cluster.mount}/stopped`,
      );
      expect(performance.now() - started).toBeLessThan(10_000);
      const sum = await shell(`sha256sum < ${cluster.mount}/stopped`);
      process.kill(pid, 'SIGCONT');
      await cluster.until('ready', MINUTES);
      dropCaches();
      expect(await shell(`sha256sum < ${cluster.mount}/stopped`)).toBe(sum);
    },
    3 * MINUTES,
  );

  test(
    'a wiped server is rebuilt whole',
    async () => {
      await cluster.do('wipe', 'data', '1');
      await cluster.until('degraded', 10_000);
      await cluster.do('start', 'data', '1');
      await cluster.until('ready', 2 * MINUTES);
      await cluster.do('kill', 'data', '3');
      await cluster.until('degraded', 10_000);
      dropCaches();
      await shell(`diff -r ${TREE} ${join(cluster.mount, 'copy1')}`);
      await cluster.do('start', 'data', '3');
      await cluster.until('ready', MINUTES);
    },
    5 * MINUTES,
  );

  test(
    'all five killed at once and restarted: what was fsynced is there, byte for byte',
    async () => {
      const file = join(cluster.mount, 'synced');
      await shell(`head -c 8388608 /dev/urandom > ${file} && sync ${file}`);
      const sum = await shell(`sha256sum < ${file}`);
      for (const {pid} of cluster.dev.data) process.kill(pid, 'SIGKILL');
      for (const {index} of cluster.dev.data) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        await cluster.do('start', 'data', String(index));
      }
      await cluster.until('ready', MINUTES);
      dropCaches();
      expect(await shell(`sha256sum < ${file}`)).toBe(sum);
      await shell(`diff -r ${TREE} ${join(cluster.mount, 'copy1')}`);
    },
    4 * MINUTES,
  );

  test(
    'meta server killed and restarted in the middle of a copy: a pause, no error',
    async () => {
      const to = join(cluster.mount, 'copy2');
      const copy = shell(`cp -a ${TREE} ${to}`, undefined, 3 * MINUTES);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await cluster.do('kill', 'meta', '1');
      await cluster.do('start', 'meta', '1');
      await copy;
      await shell(`diff -r ${TREE} ${to}`);
    },
    5 * MINUTES,
  );
});

describe('fault: bits', () => {
  /** The column files of an object, by data server. */
  function columns(oid: number): string[] {
    const name = `${oid.toString(16)}.`;
    return cluster.dev.data.flatMap(({folder}) =>
      readdirSync(join(folder, 'columns'), {recursive: true, withFileTypes: true})
        .filter((e) => e.isFile() && e.name.startsWith(name))
        .map((e) => join(e.parentPath, e.name)),
    );
  }

  async function flip(path: string, offset: number): Promise<void> {
    const file = await open(path, 'r+');
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, offset);
    byte[0]! ^= 0x10;
    await file.write(byte, 0, 1, offset);
    await file.sync();
    await file.close();
  }

  test(
    'one flipped bit: right bytes, and counted; two columns of one stripe: EIO, never wrong bytes',
    async () => {
      const file = join(cluster.mount, 'bits');
      const bytes = Buffer.alloc(1 << 20, 'cpfs');
      writeFileSync(file, bytes, {flush: true});
      const paths = columns(statSync(file).ino);
      expect(paths).toHaveLength(5);
      const other = await cluster.mountAgain('fresh');
      const before = (await cluster.status()).servers.reduce((sum, s) => sum + s.badBlocks, 0);
      // Every column, one after the other: whichever holds redundancy is not read, the others are.
      await flip(paths[0]!, 5000);
      await flip(paths[1]!, 200_000);
      dropCaches();
      expect(readFileSync(join(other, 'bits')).equals(bytes)).toBe(true);
      await new Promise((resolve) => setTimeout(resolve, 2500));
      const after = (await cluster.status()).servers.reduce((sum, s) => sum + s.badBlocks, 0);
      expect(after).toBeGreaterThan(before);

      const file2 = join(cluster.mount, 'bits2');
      writeFileSync(file2, bytes, {flush: true});
      for (const path of columns(statSync(file2).ino).slice(0, 3)) await flip(path, 100);
      dropCaches();
      const read = await run('bash', ['-c', `cat ${join(other, 'bits2')} >/dev/null`]);
      expect(read.stderr).toContain('Input/output error');
    },
    2 * MINUTES,
  );
});
