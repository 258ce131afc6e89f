// Goal: the README's tour works as it is written. Method: run its commands, with a test cluster's folders and address.
import {mkdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {cpfs, DevCluster, run} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

/** The shell blocks of the tour, but for the one that fault/install.test.ts runs on machines of their own. */
function tour(): string[] {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const section = readme.slice(
    readme.indexOf('## Five minutes'),
    readme.indexOf('## What is promised'),
  );
  const here = section.replace(/(## Three machines\n[\s\S]*?)```\n[\s\S]*?```/, '$1');
  return [...here.matchAll(/```\n([\s\S]*?)```/g)].map((m) => m[1]!);
}

test('every command of the tour, one after the other', async () => {
  const blocks = tour();
  expect(blocks.length).toBeGreaterThan(4);
  mkdirSync(join(cluster.folder, 'two'));
  // A part of the tree is enough here; the whole one is copied by posix/programs.test.ts.
  const source = join(cluster.folder, 'source');
  mkdirSync(source);
  await run('cp', ['-a', '/usr/include/linux', join(source, 'include')]);
  const skipped: string[] = [];
  for (const line of blocks.flatMap((block) => block.trim().split('\n'))) {
    // Roles on other machines, and the start and the end of the cluster itself, which other tests try.
    if (/10\.0\.0\.|npm start|dev down/.test(line)) {
      skipped.push(line);
      continue;
    }
    const command = line
      .replaceAll('/mnt/cpfs', cluster.mount)
      .replaceAll('/mnt/two', join(cluster.folder, 'two'))
      .replaceAll('127.0.0.1:7400', cluster.meta)
      .replaceAll('/usr/include', join(cluster.folder, 'source/include'));
    const ran = await run('bash', ['--norc', '-euo', 'pipefail', '-c', command], {
      cwd: ROOT,
      env: {CPFS_DEV_STATE: cluster.state, CPFS_LOG_DIR: cluster.logs},
    });
    expect([line, ran.code, ran.stderr]).toEqual([line, 0, '']);
    if (line.includes('dev start')) await cluster.until('ready', 60_000);
  }
  expect(skipped).toHaveLength(10);
  await cpfs('umount', join(cluster.folder, 'two'));
}, 300_000);
