// Goal: `dev down` ends within a bound, whatever its mount does. Method: stop, hang and use the mount, then look what is left.
import {type ChildProcess, spawn} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {DevCluster, run} from '../support/dev-cluster.js';

const MINUTES = 60_000;
/** What `down` may take at most; it takes seconds where nothing hangs. */
const BOUND_MS = 80_000;
let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 2 * MINUTES);
afterAll(() => cluster?.down(), 2 * MINUTES);

async function down(): Promise<void> {
  const {pid} = cluster.dev.mounts[0]!;
  const started = performance.now();
  await cluster.do('down');
  expect(performance.now() - started).toBeLessThan(BOUND_MS);
  expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(cluster.mount);
  expect((await run('ps', ['-o', 'stat=', '-p', String(pid)])).stdout).toMatch(/^(Z.*\s*)?$/);
}

/** A program that is ended by the caller. */
const program = (script: string): ChildProcess => spawn('bash', ['-c', script], {stdio: 'ignore'});

test(
  'the mount was stopped (SIGSTOP): it goes on, writes back what it has, and ends',
  async () => {
    writeFileSync(join(cluster.mount, 'stopped'), 'not synced');
    process.kill(cluster.dev.mounts[0]!.pid, 'SIGSTOP');
    const caller = program(`ls -l ${cluster.mount}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await down();
    caller.kill('SIGKILL');
    await cluster.start();
    expect(readFileSync(join(cluster.mount, 'stopped'), 'utf8')).toBe('not synced');
  },
  4 * MINUTES,
);

test(
  'the mount hangs for ever, and a program waits for it: it is killed, and its caller let go',
  async () => {
    const {pid} = cluster.dev.mounts[0]!;
    const hang = program(`while kill -STOP ${pid}; do :; done`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const caller = program(`ls -l ${cluster.mount}`);
    const over = new Promise((resolve) => caller.on('exit', resolve));
    await down();
    await over;
    hang.kill('SIGKILL');
    await cluster.start();
  },
  4 * MINUTES,
);

test(
  'a program is still in it: it is told the end, and nothing that was written is lost',
  async () => {
    writeFileSync(join(cluster.mount, 'used'), 'not synced');
    const user = program(`cd ${cluster.mount} && exec sleep 600`);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await down();
    user.kill('SIGKILL');
    await cluster.start();
    expect(readFileSync(join(cluster.mount, 'used'), 'utf8')).toBe('not synced');
  },
  4 * MINUTES,
);
