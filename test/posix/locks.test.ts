// Goal: locks are what fcntl(2) and flock(2) say, for programs of one mount and of two (C46, F6). Method: processes on two mounts
// that lock what they are told.
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';
import {buildLocker, Locker} from '../support/locker.js';

const BUSY = 'Resource temporarily unavailable';
const DEADLOCK = 'Resource deadlock avoided';
const INTERRUPTED = 'Interrupted system call';

let cluster: DevCluster;
let dir: string;
let program: string;
/** The second mount. */
let second: string;
/** The same file through both mounts. */
let a: string;
let b: string;
const lockers: Locker[] = [];
let files = 0;

function locker(): Locker {
  const one = new Locker(program);
  lockers.push(one);
  return one;
}

/** What a new process gets, which then ends. */
async function once(path: string, command: string): Promise<string> {
  const one = new Locker(program);
  const answer = await one.locks(path, command);
  await one.kill();
  return answer;
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cpfs-locks-'));
  program = buildLocker(dir);
  cluster = await DevCluster.up();
  second = await cluster.mountAgain('b');
}, 120_000);
afterEach(async () => {
  await Promise.all(lockers.splice(0).map((one) => one.kill()));
});
afterAll(async () => {
  await cluster?.down();
  rmSync(dir, {recursive: true, force: true});
}, 60_000);

/** A new file for each test. */
function fresh(): void {
  const name = `f${files++}`;
  a = join(cluster.mount, name);
  b = join(second, name);
}

describe.each([
  ['one mount', false],
  ['two mounts', true],
])('%s', (_, two) => {
  const other = (): string => (two ? b : a);

  test('ranges exclude each other, split, and are told', async () => {
    fresh();
    const one = locker();
    expect(await one.locks(a, 'lock 0 w 10 10')).toBe('ok');
    expect(await once(other(), 'lock 0 r 19 1')).toBe(BUSY);
    expect(await once(other(), 'lock 0 w 20 0')).toBe('ok');
    expect(await once(other(), 'get 0 0 0')).toBe(`w 10 10 ${two ? 0 : one.pid}`);
    expect(await one.ask('lock 0 u 12 4')).toBe('ok');
    expect(await once(other(), 'lock 0 w 12 4')).toBe('ok');
    expect(await once(other(), 'lock 0 w 16 1')).toBe(BUSY);
    expect(await one.ask('lock 0 r 0 100')).toBe('ok');
    expect(await once(other(), 'lock 0 r 0 0')).toBe('ok');
    expect(await once(other(), 'get 0 0 0')).toBe(`r 0 100 ${two ? 0 : one.pid}`);
    // At the far end of what an offset can be, beyond what a double can tell apart.
    expect(await one.ask('lock 0 w 4611686018427387905 1')).toBe('ok');
    expect(await once(other(), 'lock 0 w 4611686018427387906 1')).toBe('ok');
    expect(await once(other(), 'lock 0 w 4611686018427387905 1')).toBe(BUSY);
  });

  test('whoever waits gets it when it is free; a signal ends the wait', async () => {
    fresh();
    const [one, next] = [locker(), locker()];
    expect(await one.locks(a, 'lock 0 w 0 0')).toBe('ok');
    await next.ask(`open 0 ${other()}`);
    await next.ask('alarm 300');
    const begun = performance.now();
    expect(await next.ask('lockw 0 w 5 5')).toBe(INTERRUPTED);
    expect(performance.now() - begun).toBeGreaterThan(200);
    const waited = next.ask('lockw 0 w 5 5');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await one.ask('lock 0 u 0 7')).toBe('ok');
    expect(await Promise.race([waited, new Promise((r) => setTimeout(r, 100))])).toBe(undefined);
    expect(await one.ask('lock 0 u 0 0')).toBe('ok');
    expect(await waited).toBe('ok');
    expect(await one.ask('lock 0 w 9 1')).toBe(BUSY);
  });

  test('a circle of waits is EDEADLK for the one who would close it', async () => {
    fresh();
    const [one, next] = [locker(), locker()];
    expect(await one.locks(a, 'lock 0 w 0 1')).toBe('ok');
    expect(await next.locks(other(), 'lock 0 w 1 1')).toBe('ok');
    const first = one.ask('lockw 0 w 1 1');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await next.ask('lockw 0 w 0 1')).toBe(DEADLOCK);
    await next.ask('lock 0 u 1 1');
    expect(await first).toBe('ok');
  });

  test('closing any descriptor of the file frees what the process had by fcntl; the death of a process, too', async () => {
    fresh();
    const one = locker();
    expect(await one.locks(a, 'lock 0 w 0 0')).toBe('ok');
    await one.ask(`open 1 ${a}`);
    expect(await once(other(), 'lock 0 r 0 1')).toBe(BUSY);
    await one.ask('close 1');
    expect(await once(other(), 'lock 0 w 0 0')).toBe('ok');
    expect(await one.ask('lock 0 w 0 0')).toBe('ok');
    const waiting = locker();
    const waited = waiting.locks(other(), 'lockw 0 w 0 0');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await one.kill();
    expect(await waited).toBe('ok');
    // One who waited and was killed has nothing.
    const dying = locker();
    void dying.locks(a, 'lockw 0 w 0 0');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await dying.kill();
    await waiting.ask('lock 0 u 0 0');
    expect(await once(other(), 'lock 0 w 0 0')).toBe('ok');
  });

  test('OFD locks belong to the open file: they exclude the same process, and stay until its last close', async () => {
    fresh();
    const one = locker();
    expect(await one.locks(a, 'ofd 0 w 0 5')).toBe('ok');
    await one.ask(`open 1 ${a}`);
    expect(await one.ask('ofd 1 w 0 5')).toBe(BUSY);
    await one.ask('close 1');
    expect(await once(other(), 'ofd 0 w 0 5')).toBe(BUSY);
    expect(await once(other(), 'lock 0 r 4 1')).toBe(BUSY);
    await one.ask('close 0');
    expect(await until(() => once(other(), 'lock 0 w 0 0'))).toBe('ok');
  });

  test('flock: shared and exclusive, converted, freed by the last close; fcntl does not see it', async () => {
    fresh();
    const one = locker();
    expect(await one.locks(a, 'flock 0 ex')).toBe('ok');
    expect(await once(other(), 'flock 0 sh')).toBe(BUSY);
    expect(await once(other(), 'lock 0 w 0 0')).toBe('ok');
    expect(await one.ask('flock 0 sh')).toBe('ok');
    expect(await once(other(), 'flock 0 sh')).toBe('ok');
    expect(await once(other(), 'flock 0 ex')).toBe(BUSY);
    const next = locker();
    const waited = next.locks(other(), 'flockw 0 ex');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await one.ask('close 0');
    expect(await waited).toBe('ok');
    await next.kill();
    expect(await until(() => once(a, 'flock 0 ex'))).toBe('ok');
  });
});

/** The kernel tells of a last close a moment after close(2) has returned; an evicted client hears of it a moment later. */
async function until(run: () => Promise<string>, wanted = 'ok'): Promise<string> {
  for (let tries = 0; ; tries++) {
    const answer = await run();
    if (answer === wanted || tries === 50) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('flock(1) of two mounts takes turns: no increment is lost', async () => {
  fresh();
  const add = (path: string): string =>
    `for i in $(seq 40); do flock ${path}.lock sh -c 'echo $(($(cat ${path}) + 1)) > ${path}'; done`;
  await shell(`echo 0 > ${a}; ( ${add(a)} ) & ( ${add(b)} ) & wait`, undefined, 60_000);
  expect(await shell(`cat ${a}`)).toBe('80\n');
}, 60_000);

test("'cpfs client locks' and 'leases' say who holds what; an evicted client's programs get EIO, and the next one the lock", async () => {
  fresh();
  const [one, next] = [locker(), locker()];
  expect(await one.locks(a, 'lock 0 w 0 10')).toBe('ok');
  const waited = next.locks(b, 'lockw 0 w 5 10');
  await new Promise((resolve) => setTimeout(resolve, 200));
  const client = async (...args: string[]): Promise<string> => {
    const {code, stdout, stderr} = await cpfs('client', ...args, '--meta', cluster.meta);
    expect([code, stderr]).toEqual([0, '']);
    return stdout;
  };
  const list = async (what: string) => JSON.parse(await client(what, '-o', 'json'));
  const clients = (await list('list')).sessions as {id: number; name: string}[];
  const session = (mount: string): number =>
    clients.find(({name}) => name === `mount:${mount}`)!.id;
  const {locks} = await list('locks');
  const path = a.slice(cluster.mount.length);
  const common = {kind: 'posix', type: 'exclusive', path, length: 10};
  expect(locks).toMatchObject([
    {...common, session: session(cluster.mount), pid: one.pid, start: 0, state: 'held'},
    {...common, session: session(second), pid: next.pid, start: 5, state: 'waiting'},
  ]);
  const {leases} = await list('leases');
  expect(leases).toContainEqual(
    expect.objectContaining({session: session(cluster.mount), path, type: 'file'}),
  );
  expect(await client('locks')).toContain('waiting');
  await client('evict', `${session(cluster.mount)}`, '--yes');
  expect(await waited).toBe('ok');
  // It believes that it has the lock: so it must not go on, when its mount has heard of it. What it writes until then reaches nobody.
  const failed = 'Input/output error';
  expect(await until(() => one.ask('write 0'), failed)).toBe(failed);
  expect(await one.ask('lock 0 w 0 10')).toBe(failed);
  expect(await once(a, 'write 0')).toBe('ok');
}, 60_000);
