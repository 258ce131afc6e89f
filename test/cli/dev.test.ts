// Goal: the CLI contract that other tools rely on. Method: run bin/cpfs as a user would and look at output and exit codes.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, run} from '../support/dev-cluster.js';
import {ROOT} from '../support/source-tree.js';

describe('cli: without a cluster', () => {
  test('--version names the release', async () => {
    const ran = await cpfs('--version');
    expect(ran.code).toBe(0);
    expect(ran.stdout).toMatch(/^cpfs\/\d+\.\d+\.\d+ /);
  });

  test('an unknown command and a bad flag are usage errors (2) in one sentence', async () => {
    for (const args of [
      ['frobnicate'],
      ['status', '--frob'],
      ['data', 'start'],
      ['dev', 'up', '--mount', '/x', '--scheme', '0+1'],
    ]) {
      const ran = await cpfs(...args);
      expect([args, ran.code]).toEqual([args, 2]);
      expect(ran.stderr.trim()).not.toBe('');
      expect(ran.stderr).not.toMatch(/\n\s+at /);
    }
  });

  test('status of a meta server that is not there: unavailable (6), within its bound', async () => {
    const started = performance.now();
    const ran = await cpfs('status', '--meta', '127.0.0.1:1', '--timeout', '2');
    expect(ran.code).toBe(6);
    expect(ran.stderr).toContain('cannot be reached');
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test('mount refuses: meta server not reachable, folder missing, unknown option', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'cpfs-cli-'));
    const logs = mkdtempSync(join(tmpdir(), 'cpfs-cli-'));
    try {
      expect(
        (await cpfs('mount', dir, '--meta', '127.0.0.1:1', '--detach', '--log-dir', logs)).code,
      ).toBe(6);
      expect((await cpfs('mount', join(dir, 'no'), '--meta', '127.0.0.1:1')).code).toBe(3);
      const option = await cpfs('mount', dir, '--meta', '127.0.0.1:1', '-o', 'frob=1');
      expect(option.code).toBe(2);
      expect(option.stderr).toContain("unknown mount option 'frob'");
    } finally {
      rmSync(dir, {recursive: true});
      rmSync(logs, {recursive: true});
    }
  });

  test('dev commands without a cluster: not found (3)', async () => {
    for (const verb of ['down', 'status'])
      expect((await cpfs('dev', verb, '--state', '/nonexistent/x')).code).toBe(3);
    expect((await cpfs('dev', 'kill', 'data', '1', '--state', '/nonexistent/x')).code).toBe(3);
  });

  test('dev up: port in use and mount folder not empty are clear, and leave nothing behind', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'cpfs-cli-'));
    const blocker = createServer();
    await new Promise<void>((done) => blocker.listen(0, '127.0.0.1', done));
    const {port} = blocker.address() as {port: number};
    const state = join(dir, 'state');
    try {
      const taken = await cpfs(
        'dev',
        'up',
        '--state',
        state,
        '--mount',
        join(dir, 'm'),
        '--base-port',
        String(port),
        '--detach',
      );
      expect(taken.code).toBe(4);
      expect(taken.stderr).toContain(String(port));
      mkdirSync(join(dir, 'full'));
      writeFileSync(join(dir, 'full/file'), '');
      const full = await cpfs(
        'dev',
        'up',
        '--state',
        state,
        '--mount',
        join(dir, 'full'),
        '--base-port',
        '0',
        '--detach',
      );
      expect(full.code).toBe(9);
      expect(full.stderr).toContain('not empty');
      expect((await run('pgrep', ['-f', '--', state])).stdout).toBe('');
    } finally {
      blocker.close();
      rmSync(dir, {recursive: true});
    }
  });
});

describe('cli: a dev cluster', () => {
  let cluster: DevCluster;
  beforeAll(async () => {
    cluster = await DevCluster.up();
  }, 120_000);
  afterAll(() => cluster?.down(), 60_000);

  test('dev.json names addresses, processes, folders and mounts; everything listens on 127.0.0.1', () => {
    const {version, meta, data, mounts} = cluster.dev;
    expect([version, meta.length, data.length, mounts.length]).toEqual([1, 1, 5, 1]);
    for (const s of [...meta, ...data]) {
      expect(s.address).toMatch(/^127\.0\.0\.1:\d+$/);
      expect(existsSync(s.folder)).toBe(true);
      const sockets = readFileSync(`/proc/${s.pid}/net/tcp`, 'utf8');
      const port = Number(s.address.split(':')[1]).toString(16).toUpperCase().padStart(4, '0');
      expect(sockets).toContain(`0100007F:${port} 00000000:0000 0A`);
      expect(sockets).not.toContain(`00000000:${port} 00000000:0000 0A`);
    }
  });

  test('status -o json: version, epoch, group with slot states, servers with capacity, sessions', async () => {
    const status = await cluster.status();
    expect(status).toMatchObject({version: 1, state: 'ok', scheme: '4+1'});
    expect(status.groups[0]!.slots.map((s) => s.state)).toEqual(Array(5).fill('ready'));
    expect(status.servers).toHaveLength(5);
    for (const s of status.servers) expect(s.totalBytes).toBeGreaterThan(s.freeBytes);
    expect(status.sessions.some((s) => s.name.includes(cluster.mount))).toBe(true);
  });

  test('up on a running cluster and mount on a mounted folder: conflict (4)', async () => {
    const up = await cpfs(
      'dev',
      'up',
      '--state',
      cluster.state,
      '--mount',
      join(cluster.folder, 'other'),
      '--detach',
    );
    expect([up.code, up.stderr]).toEqual([4, expect.stringContaining('dev down')]);
    expect((await cpfs('mount', cluster.mount, '--meta', cluster.meta, '--detach')).code).toBe(4);
  });

  test('npm start on a running cluster: says where it is mounted, and what does not run; another folder is a conflict (4); wipe refuses (9) meanwhile', async () => {
    const start = (mount: string) =>
      run('sh', [join(ROOT, 'scripts/start.sh')], {
        env: {CPFS_DEV_STATE: cluster.state, CPFS_MOUNT: mount},
      });
    const before = cluster.dev;
    const again = await start(cluster.mount);
    expect([again.code, again.stderr]).toEqual([
      0,
      `cpfs runs already, and is mounted on ${cluster.mount}; meta server ${cluster.meta}, 5 data servers\n`,
    ]);
    const other = await start(join(cluster.folder, 'other'));
    expect([other.code, other.stderr]).toEqual([
      4,
      expect.stringContaining(`mounted on ${cluster.mount};`),
    ]);
    await cluster.do('kill', 'data', '2');
    const less = await start(cluster.mount);
    expect([less.code, less.stderr]).toEqual([0, expect.stringContaining('dev start data 2')]);
    await cluster.until('degraded', 60_000);
    const wipe = await cpfs('dev', 'wipe', 'data', '3', '--state', cluster.state);
    expect([wipe.code, wipe.stderr]).toEqual([9, expect.stringContaining('may be lost')]);
    expect(existsSync(cluster.dev.data[2]!.folder)).toBe(true);
    await cluster.do('kill', 'mount');
    const none = await start(cluster.mount);
    expect([none.code, none.stderr]).toEqual([4, expect.stringContaining('dev start mount')]);
    await cluster.do('start', 'mount');
    await cluster.do('start', 'data', '2');
    await cluster.until('ready', 60_000);
    // What was killed was started again by nobody else.
    expect(cluster.dev.meta).toEqual(before.meta);
  }, 120_000);

  test('a second mount from another folder, and umount: busy is a conflict (4), then it works', async () => {
    const dir = await cluster.mountAgain('second');
    const logs = readdirSync(cluster.logs);
    expect(logs).toEqual([expect.stringMatching(/^mount-second-/)]);
    expect(existsSync(join('/var/log/cpfs', logs[0]!))).toBe(false);
    writeFileSync(join(dir, 'hello'), 'hello');
    expect(readFileSync(join(cluster.mount, 'hello'), 'utf8')).toBe('hello');
    const busy = await run('bash', [
      '-c',
      `cd ${dir} && ${process.cwd()}/bin/cpfs umount ${dir}; echo $?`,
    ]);
    expect(busy.stdout.trim()).toBe('4');
    expect((await cpfs('umount', dir)).code).toBe(0);
    expect((await cpfs('umount', dir)).code).toBe(3);
  });

  test('layout get and set: inherited by new files, bad values refused (2) and nothing changed', async () => {
    const dir = join(cluster.mount, 'layout');
    mkdirSync(dir);
    expect((await cpfs('layout', 'set', dir, '--scheme', '1+1', '--unit', '16KiB')).code).toBe(0);
    writeFileSync(join(dir, 'file'), 'x'.repeat(100_000));
    const layout = JSON.parse(
      (await cpfs('layout', 'get', join(dir, 'file'), '-o', 'json')).stdout,
    );
    expect(layout).toMatchObject({scheme: '1+1', unitBytes: 16384, groups: [1]});
    expect((await cpfs('layout', 'set', dir, '--scheme', '9+9')).code).toBe(2);
    expect((await cpfs('layout', 'set', dir, '--unit', '5000')).code).toBe(2);
    const after = JSON.parse((await cpfs('layout', 'get', dir, '-o', 'json')).stdout);
    expect(after).toMatchObject({scheme: '1+1', unitBytes: 16384});
  });

  test('down and up again: the same files; the mount that was killed comes back', async () => {
    writeFileSync(join(cluster.mount, 'kept'), 'kept');
    await cluster.do('kill', 'mount');
    expect(() => readFileSync(join(cluster.mount, 'kept'))).toThrow();
    await cluster.do('start', 'mount');
    expect(existsSync(cluster.mount)).toBe(true);
    writeFileSync(join(cluster.mount, 'after'), 'after');
    await cluster.do('down');
    expect(existsSync(join(cluster.mount, 'after'))).toBe(false);
    await cluster.start();
    expect(readFileSync(join(cluster.mount, 'after'), 'utf8')).toBe('after');
  }, 120_000);
});
