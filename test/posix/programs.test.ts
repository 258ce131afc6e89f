// Goal: real programs find a file system. Method: run them on a mount of a real cluster and compare with the source.
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {writeCProject} from '../support/c-project.js';
import {DevCluster, shell} from '../support/dev-cluster.js';

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const MINUTES = 60_000;

describe('programs on a mount', () => {
  test(
    'cp -a of a source tree, then diff -r and rsync: identical',
    async () => {
      const to = join(cluster.mount, 'include');
      await shell(`cp -a /usr/include ${to}`, undefined, 5 * MINUTES);
      await shell(`diff -r --no-dereference /usr/include ${to}`);
      const changes = await shell(`rsync -aHAXn --itemize-changes /usr/include/ ${to}/`);
      expect(changes).toBe('');
    },
    6 * MINUTES,
  );

  test(
    'a C project compiles with make -j2 and its program runs',
    async () => {
      const dir = join(cluster.mount, 'project');
      await writeCProject(dir);
      await shell('make -j2 >make.log', dir);
      expect(await shell(`${dir}/prog`)).toBe('300\n');
      await shell(`make -q -C ${dir}`);
    },
    2 * MINUTES,
  );

  test(
    'git clone, status, fsck',
    async () => {
      const source = join(cluster.folder, 'source');
      await shell(`mkdir ${source} && cd ${source} && git init -q . && cp -r /usr/include/linux . && git add . &&
      git -c user.name=t -c user.email=t@example.com commit -qm one`);
      const dir = join(cluster.mount, 'clone');
      await shell(`git clone -q ${source} ${dir}`, undefined, 3 * MINUTES);
      expect(await shell('git status --porcelain', dir)).toBe('');
      await shell('git fsck --strict', dir);
      await shell(`diff -r --exclude=.git ${source} ${dir}`);
    },
    5 * MINUTES,
  );

  test(
    'sqlite3: transactions, integrity check, and the same bytes after a remount',
    async () => {
      const db = join(cluster.mount, 'test.db');
      await shell(`python3 - <<'P'
import sqlite3
c = sqlite3.connect('${db}')
c.execute('create table t(a integer primary key, b text)')
for i in range(200):
    with c: c.execute('insert into t(b) values(?)', ('x' * (i * 7 % 500),))
assert c.execute('pragma integrity_check').fetchone()[0] == 'ok'
c.close()
P`);
      const sum = await shell(`sha256sum < ${db}`);
      await cluster.do('down');
      await cluster.start();
      expect(await shell(`sha256sum < ${db}`)).toBe(sum);
    },
    3 * MINUTES,
  );

  test(
    'a 256 MiB file there and back: the same sha256',
    async () => {
      const file = join(cluster.mount, 'big');
      const local = join(cluster.folder, 'big');
      await shell(
        `head -c 268435456 /dev/urandom > ${local} && cp ${local} ${file} && sync ${file}`,
      );
      await shell(`echo 3 > /proc/sys/vm/drop_caches; cmp ${local} ${file}`);
    },
    3 * MINUTES,
  );
});
