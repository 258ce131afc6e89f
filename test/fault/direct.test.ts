// Goal: data servers that move large pieces past the page cache lose no more than others. Method: real processes, SIGKILL, cold reads.
import {readdirSync, readFileSync, readlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, run, shell} from '../support/dev-cluster.js';

const MINUTES = 60_000;
const O_DIRECT = 0o40000;
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up('--direct');
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const dropCaches = () => writeFileSync('/proc/sys/vm/drop_caches', '3');
const sumOf = (file: string): Promise<string> => shell(`sha256sum < ${file}`, undefined, MINUTES);

/** Column files that the process has open with O_DIRECT. */
function directFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .filter((fd) => {
      const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
      return (Number.parseInt(/flags:\s+(\d+)/.exec(info)![1]!, 8) & O_DIRECT) !== 0;
    })
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}

describe('fault: data servers with --direct', () => {
  test(
    'large and small writes over one another, a server killed in the middle: every byte, also without another one',
    async () => {
      const big = join(cluster.mount, 'big');
      const local = join(cluster.folder, 'local');
      await shell(`head -c 100000000 /dev/urandom > ${local}`);
      const copy = shell(`cp ${local} ${big} && sync ${big}`, undefined, MINUTES);
      await new Promise((resolve) => setTimeout(resolve, 100));
      await cluster.do('kill', 'data', '2');
      await copy;
      expect(directFiles(cluster.dev.data[0]!.pid).length).toBeGreaterThan(0);
      const {servers} = await cluster.status();
      expect(servers.map(({io}) => io)).toEqual(
        servers.map(() => expect.stringMatching(/^(io_uring|threads) direct$/)),
      );
      await cluster.do('start', 'data', '2');
      await cluster.until('ready', MINUTES);
      // Pieces of all sizes, at places that fit nothing, on both.
      for (const [at, length] of [
        [4096, 4096],
        [123_457, 333],
        [1 << 20, 3 << 20],
        [(40 << 20) + 77, (2 << 20) + 5],
        [(70 << 20) - 8192, 300_000],
      ])
        for (const to of [local, big])
          await shell(
            `dd if=${local} of=${to} bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc skip=50000000 count=${length} seek=${at} status=none`,
          );
      const sum = await sumOf(local);
      expect(await sumOf(big)).toBe(sum);
      await shell(`sync ${big}`);
      await cluster.do('kill', 'data', '4');
      await cluster.until('degraded', 10_000);
      dropCaches();
      expect(await sumOf(big)).toBe(sum);
      await cluster.do('start', 'data', '4');
      await cluster.until('ready', MINUTES);
    },
    5 * MINUTES,
  );

  test(
    'all five killed at once and restarted: what was fsynced is there, byte for byte',
    async () => {
      const file = join(cluster.mount, 'synced');
      await shell(`head -c 33554432 /dev/urandom > ${file} && sync ${file}`);
      const sum = await sumOf(file);
      for (const {pid} of cluster.dev.data) process.kill(pid, 'SIGKILL');
      for (const {index} of cluster.dev.data) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        await cluster.do('start', 'data', String(index));
      }
      await cluster.until('ready', MINUTES);
      dropCaches();
      expect(await sumOf(file)).toBe(sum);
    },
    3 * MINUTES,
  );

  test('a bit that flipped on the disk of one server is not read', async () => {
    const file = join(cluster.mount, 'flipped');
    await shell(`head -c 4194304 /dev/urandom > ${file} && sync ${file}`);
    const sum = await sumOf(file);
    const found = await shell(
      `cd ${cluster.state}/data1/columns && find . -name "$(printf %x $(stat -c %i ${file})).*" | head -1`,
    );
    const column = join(cluster.state, 'data1/columns', found.trim());
    await shell(`printf '\\xa5\\x5a' | dd of=${column} bs=1 seek=70000 conv=notrunc status=none`);
    await shell(`sync ${column}`);
    await cpfs('umount', cluster.mount);
    await cluster.do('start', 'mount', '1');
    dropCaches();
    expect(await sumOf(file)).toBe(sum);
  });

  test('a disk without direct I/O is refused with the way out', async () => {
    const dir = join(cluster.folder, 'ram');
    await shell(`mkdir ${dir} && mount -t ramfs none ${dir}`);
    try {
      const argv = ['data', 'start', '--group', '1', '--state', dir, '--meta', cluster.meta];
      const ran = await cpfs(...argv, '--listen', '127.0.0.1:0', '--direct');
      expect(ran.code).toBe(9);
      expect(ran.stderr).toMatch(/no direct I\/O .*start without --direct, or use another disk/);
      expect((await run('ls', ['-A', dir])).stdout).toBe('');
    } finally {
      await shell(`umount ${dir}`);
    }
  });
});
