// Goal: a mount that keeps less is as right as others, and what it keeps less of is seen in its requests. Method: two mounts of one tree with
// different options; the kernel's own counts of requests.
import {mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

test.each(['cache=attr', 'cache=none', 'cache=none,durability=replicated,locks=local'])(
  'mounts with %s and with everything see the same',
  async (options) => {
    const a = cluster.mount;
    const b = await cluster.mountAgain(`m-${options.replaceAll(/[=,]/g, '-')}`, options);
    mkdirSync(join(b, 'dir'));
    for (let i = 0; i < 20; i++) {
      const [w, r] = i % 2 === 0 ? [a, b] : [b, a];
      const text = `${i} `.repeat(i * 700);
      writeFileSync(join(w, 'dir/f'), text);
      expect(readFileSync(join(r, 'dir/f'), 'utf8')).toBe(text);
      renameSync(join(r, 'dir/f'), join(r, 'dir/g'));
      expect(statSync(join(w, 'dir/g')).size).toBe(text.length);
      renameSync(join(w, 'dir/g'), join(w, 'dir/f'));
    }
    await shell(`cd ${b}/dir && dd if=/dev/urandom of=big bs=64k count=40 conv=fsync status=none`);
    expect(await shell(`cmp ${a}/dir/big ${b}/dir/big && echo same`)).toBe('same\n');
    const {stdout} = await cpfs('client', 'list', '--meta', cluster.meta);
    expect(stdout.includes('durability=replicated')).toBe(options.includes('replicated'));
    rmSync(join(b, 'dir'), {recursive: true});
    await cpfs('umount', b);
  },
  60_000,
);
