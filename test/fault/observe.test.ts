// Goal: what a process tells of itself is true, also while others are gone, and settings are taken over where it says so. Method: real
// processes with an HTTP port each, scraped before and after work, a kill, and changes of the configuration.
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {METRIC_NAMES, type MetricRole, metricOf} from '../../src/roles/observe/list.js';
import {adminPort, ask, parseMetrics, scrape, sumOf} from '../support/admin-port.js';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';

const cluster = DevCluster.create();
const CONFIG = join(cluster.state, 'config', 'cpfs.toml');
const ADMIN = ['meta', 'data', 'mount'].map((role) => `[${role}]\nadmin = ":0"\n`).join('');
const port = (log: string) => adminPort(cluster, log);
const MINUTES = 60_000;

beforeAll(async () => {
  mkdirSync(join(cluster.state, 'config'), {recursive: true});
  writeFileSync(CONFIG, ADMIN);
  await cluster.start('--servers', '3', '--scheme', '2+1');
}, 120_000);
afterAll(() => cluster.down(), 60_000);

async function until(what: string, so: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + 15_000;
  while (!(await so())) {
    if (performance.now() > end) throw new Error(`not ${what} after 15 s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test.each<[string, MetricRole]>([
  ['meta1', 'meta'],
  ['data2', 'data'],
  ['mount', 'mount'],
])('%s is alive and ready, and has the metrics of the list, and no others', async (log, role) => {
  const at = port(log);
  expect(await ask(at, '/livez')).toEqual({status: 200, text: 'alive\n'});
  const ready = await ask(at, '/readyz?verbose');
  expect(ready.status).toBe(200);
  expect(ready.text).toMatch(/^(\[\+\] .*\n)+ready\n$/);
  expect(JSON.parse((await ask(at, '/version')).text)).toMatchObject({role});
  expect((await ask(at, '/metrics', 'POST')).status).toBe(405);
  expect((await ask(at, '/other')).status).toBe(404);
  const {text} = await ask(at, '/metrics');
  const listed = METRIC_NAMES.filter((name) => metricOf(name).roles.includes(role));
  const told = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]);
  expect(told).toEqual(listed.map((name) => [name, metricOf(name).type]));
  for (const {name, labels} of parseMetrics(text)) {
    const base = listed.find(
      (one) => name.replace(/_(bucket|sum|count)$/, '') === one || one === name,
    )!;
    const allowed = [...metricOf(base).labels, ...(name.endsWith('_bucket') ? ['le'] : [])];
    expect([...allowed].sort()).toEqual(expect.arrayContaining(Object.keys(labels).sort()));
  }
});

test('what is written and read is counted where it passes', async () => {
  const file = join(cluster.mount, 'file');
  const bytes = Buffer.alloc(1 << 20, 7);
  writeFileSync(file, bytes, {flush: true});
  expect(readFileSync(file).equals(bytes)).toBe(true);
  const mount = await scrape(port('mount'));
  const took = 'cpfs_mount_operation_duration_seconds';
  const writes = sumOf(mount, `${took}_count`, {operation: 'write'});
  expect(writes).toBeGreaterThan(0);
  expect(sumOf(mount, `${took}_bucket`, {operation: 'write', le: '+Inf'})).toBe(writes);
  expect(sumOf(mount, `${took}_sum`, {operation: 'fsync'})).toBeGreaterThan(0);
  expect(sumOf(mount, 'cpfs_mount_payload_bytes_total', {direction: 'out'})).toBeGreaterThanOrEqual(
    1.5 * bytes.length,
  );
  expect(sumOf(mount, 'cpfs_mount_operations_waiting')).toBe(0);
  let taken = 0;
  for (const i of [1, 2, 3])
    taken += sumOf(await scrape(port(`data${i}`)), 'cpfs_data_payload_bytes_total', {
      direction: 'in',
    });
  expect(taken).toBeGreaterThanOrEqual(1.5 * bytes.length);
  const meta = await scrape(port('meta1'));
  expect(sumOf(meta, 'cpfs_meta_active')).toBe(1);
  expect(sumOf(meta, 'cpfs_meta_groups', {state: 'ready'})).toBe(1);
  expect(sumOf(meta, 'cpfs_meta_server_connected')).toBe(3);
  expect(sumOf(meta, 'cpfs_meta_sessions')).toBeGreaterThan(0);
  expect(sumOf(meta, 'cpfs_meta_leases')).toBeGreaterThan(0);
  expect(sumOf(meta, 'cpfs_request_duration_seconds_count')).toBeGreaterThan(0);
});

test(
  'a data server that is killed shows, and one without a meta server is alive but not ready',
  async () => {
    await cluster.do('kill', 'data', '3');
    await until('degraded', async () => {
      const meta = await scrape(port('meta1'));
      const away = sumOf(meta, 'cpfs_meta_slots', {state: 'away'});
      return away === 1 && sumOf(meta, 'cpfs_meta_groups', {state: 'degraded'}) === 1;
    });
    await cluster.do('start', 'data', '3');
    await until('ready', async () => (await ask(port('data3'), '/readyz')).status === 200);
    await cluster.do('kill', 'meta', '1');
    await until('unready', async () => (await ask(port('data1'), '/readyz')).status === 503);
    expect((await ask(port('data1'), '/readyz?verbose')).text).toMatch(/^\[-\] meta: .*\n/);
    expect((await ask(port('data1'), '/livez')).status).toBe(200);
    await cluster.do('start', 'meta', '1');
    for (const log of ['data1', 'mount', 'meta1'])
      await until('ready', async () => (await ask(port(log), '/readyz')).status === 200);
  },
  MINUTES,
);

test('SIGHUP takes over what is live, says what is not, and keeps what it has where a file is wrong', async () => {
  const {pid, address} = cluster.dev.data[0]!;
  const level = async () =>
    (await scrape(port('data1'))).find(({name}) => name === 'cpfs_log_level_info')!.labels.level;
  const logged = (event: string) =>
    readFileSync(join(cluster.state, 'log', 'data1.log'), 'utf8').includes(`"${event}"`);
  writeFileSync(CONFIG, `${ADMIN}[log]\nlevel = "warn,config=info"\n[server]\nio = "threads"\n`);
  process.kill(pid, 'SIGHUP');
  await until('reloaded', async () => (await level()) === 'warn,config=info');
  expect([logged('config.reloaded'), logged('config.restart_needed')]).toEqual([true, true]);
  writeFileSync(CONFIG, '[log]\nlevel = "loud"\n');
  process.kill(pid, 'SIGHUP');
  await until('refused', () => logged('config.refused'));
  expect(await level()).toBe('warn,config=info');
  const status = await cpfs('status', '--meta', cluster.meta, '-o', 'json');
  expect(status.stdout).toContain(address);
});

const logOf = (name: string) =>
  readFileSync(join(cluster.state, 'log', `${name}.log`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('levels of logs are set for all servers, or one, and for a while', async () => {
  const {address} = cluster.dev.data[1]!;
  const meta = ['--meta', cluster.meta];
  const all = await cpfs('log', 'set', 'debug', '--for', '10m', ...meta);
  expect(all.code).toBe(0);
  expect(all.stdout.match(/ debug {2}for \d+ s$/gm)).toHaveLength(4);
  expect(await cpfs('log', 'set', 'peer=error', '--server', address, ...meta)).toMatchObject({
    code: 0,
    stdout: `data  ${address}  debug,peer=error\n`,
  });
  const shown = JSON.parse((await cpfs('log', 'show', '-o', 'json', ...meta)).stdout) as {
    servers: {levels: string}[];
  };
  expect(shown.servers.map(({levels}) => levels).sort()).toEqual([
    ...['debug', 'debug', 'debug', 'debug,peer=error'],
  ]);
  const closed = (name: string) => logOf(name).filter(({event}) => event === 'peer.closed').length;
  const before = {data1: closed('data1'), data2: closed('data2')};
  expect((await cpfs('log', 'show', ...meta)).code).toBe(0);
  await until('logged', () => closed('data1') > before.data1);
  expect(closed('data2')).toBe(before.data2);
  expect((await cpfs('log', 'set', 'loud', ...meta)).code).toBe(2);
  expect((await cpfs('log', 'set', 'debug', '--for', '1y', ...meta)).code).toBe(2);
  expect((await cpfs('log', 'set', 'info', '--server', '127.0.0.1:1', ...meta)).code).toBe(3);
}, 30_000);

test('what waits for a server that hangs is told, by the mount and by a command', async () => {
  const {pid, address} = cluster.dev.data[1]!;
  process.kill(pid, 'SIGSTOP');
  const file = join(cluster.mount, 'waits');
  const writer = spawn('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', 'count=4', 'conv=fsync']);
  const ended = once(writer, 'exit');
  try {
    const oldest = 'cpfs_mount_operations_oldest_seconds';
    const seconds = async () => sumOf(await scrape(port('mount')), oldest);
    await until('waiting', async () => (await seconds()) > 0.5);
    process.kill(cluster.dev.mounts[0]!.pid, 'SIGUSR1');
    await until('dumped', () => logOf('mount').some(({event}) => event === 'waiting.request'));
    const told = logOf('mount').filter(({event}) => event === 'waiting.request');
    expect(told).toContainEqual(expect.objectContaining({peer: 'kernel', own: false}));
    expect(told).toContainEqual(expect.objectContaining({peer: address, own: true}));
    const ran = await cpfs(
      ...['support', 'waiting', '--timeout', '1', '-o', 'json', '--meta', cluster.meta],
    );
    expect(ran.code).toBe(8);
    expect(JSON.parse(ran.stdout).noAnswer).toMatchObject([{address}]);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  expect((await ended)[0]).toBe(0);
}, 30_000);

test('the bundle has what helps, and no secret', async () => {
  const file = join(cluster.folder, 'bundle.tar.gz');
  const secret = join(cluster.folder, 'password');
  const own = join(cluster.folder, 'own.toml');
  writeFileSync(secret, 'hunter2');
  writeFileSync(
    own,
    `[meta]\ncoordinator = "etcd://a:1?user=u&password-file=${secret}"\nadmin = "${port('meta1')}"\n`,
  );
  const logs = join(cluster.state, 'log');
  writeFileSync(join(logs, 'other.log'), '{"event":"x","password":"hunter2"}\n');
  const args = ['support', 'bundle', file, '--meta', cluster.meta, '--logs', logs, '--config', own];
  const ran = await cpfs(...args);
  expect(ran).toMatchObject({code: 0, stdout: `${file}\n`, stderr: ''});
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const list = await shell(`tar -tzf ${file}`);
  for (const part of [
    'status.json',
    'servers.json',
    'config.json',
    'meta-metrics.txt',
    'data1.log',
  ])
    expect(list).toContain(`bundle/${part}\n`);
  const all = await shell(`tar -xzOf ${file}`);
  expect(all).not.toContain('hunter2');
  expect(all).toContain(`password-file=${secret}`);
  expect((await cpfs(...args)).code).toBe(4);
}, 30_000);
