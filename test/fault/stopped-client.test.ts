// Goal: a client that hangs with what it has not told holds nobody up beyond the recall time, and nothing of it comes later over what others
// did. Method: two mounts, SIGSTOP and SIGCONT of one.
import {type ChildProcess, spawn} from 'node:child_process';
import {mkdirSync, readdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {DevCluster, shell} from '../support/dev-cluster.js';

/** The recall time, the fence at all data servers, and some slack. */
const BOUND_MS = 20_000;
let cluster: DevCluster;
let program: ChildProcess | null = null;
beforeAll(async () => {
  cluster = await DevCluster.up();
}, 120_000);
afterAll(async () => {
  program?.kill('SIGKILL');
  await cluster?.down();
}, 60_000);

/**
 * A program with an open file of the first mount. It is one of its own: a process that starts another one while it has such a file open
 * waits, in the child's exec, for a mount that does not answer.
 */
const PROGRAM = `
const fs = require('node:fs');
const errorOf = (run) => { try { run(); return 'none'; } catch (error) { return error.code; } };
const file = fs.openSync(process.argv[1], 'r+');
fs.writeSync(file, 'late', 0);
process.stdout.write('open\\n');
process.stdin.once('data', () => process.stdout.write(errorOf(() => fs.fsyncSync(file)) + '\\n'));
`;

const line = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => {
    child.stdout!.once('data', (bytes: Buffer) => resolve(bytes.toString().trim()));
  });

test('a stopped client is fenced; its programs get EIO; what it held back does not come (P24)', async () => {
  const a = cluster.mount;
  const b = await cluster.mountAgain('b');
  mkdirSync(join(a, 'dir'));
  writeFileSync(join(a, 'dir/kept'), 'kept');
  await shell(`sync ${a}/dir ${a}/dir/kept`);
  program = spawn(process.execPath, ['-e', PROGRAM, join(a, 'dir/kept')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  expect(await line(program)).toBe('open');
  writeFileSync(join(a, 'dir/untold'), 'untold');
  const {pid} = cluster.dev.mounts[0]!;
  process.kill(pid, 'SIGSTOP');
  try {
    const started = performance.now();
    const look = `cd ${b}/dir && ls && cat kept && printf new > kept && printf b > own`;
    const seen = await shell(look, undefined, 30_000);
    expect(performance.now() - started).toBeLessThan(BOUND_MS);
    // What it had not told when it was stopped is not there.
    expect(seen).toBe('kept\nkept');
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  program.stdin!.write('go\n');
  expect(await line(program)).toBe('EIO');
  await shell(`sync ${b}/dir ${b}/dir/kept`, undefined, 30_000);
  expect(await shell(`cat ${b}/dir/kept`, undefined, 30_000)).toBe('new');
  // With its next session it goes on.
  expect(await shell(`cat ${a}/dir/kept ${a}/dir/own`, undefined, 30_000)).toBe('newb');
  expect(readdirSync(join(a, 'dir')).sort()).toEqual(['kept', 'own']);
  writeFileSync(join(a, 'dir/again'), 'again');
  expect(await shell(`cat ${b}/dir/again`, undefined, 30_000)).toBe('again');
}, 120_000);
