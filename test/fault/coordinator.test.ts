// Goal: what the election needs of etcd (STACK: 3.4 and later) holds, also when it is slow, away, or wants to know who asks. Method: the real one.
import {type ChildProcess, spawn} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {Etcd3, Range} from 'etcd3';
import {encodeKey} from '../../src/core/base/coordinator-keys.js';
import {parseCoordinatorUrl} from '../../src/core/base/coordinator-url.js';
import {FsError, Lost} from '../../src/core/base/errors.js';
import type {Coordinator} from '../../src/core/env/coordinator.js';
import {systemClock} from '../../src/core/os/clock.js';
import {SystemResolver} from '../../src/core/os/resolver.js';
import {type EtcdProcess, startEtcd} from '../../src/roles/dev/etcd.js';
import {openCoordinator} from '../../src/roles/meta/coordinator.js';
import {signal, stopProcess} from '../../src/roles/process.js';
import {shell} from '../support/dev-cluster.js';

let folder: string;
let etcd: EtcdProcess;
const open = (url: string): Promise<Coordinator> =>
  openCoordinator(parseCoordinatorUrl(url), systemClock);
const put = (key: string, text: string) => ({key, value: Buffer.from(text)});
const text = async (c: Coordinator, key: string): Promise<string | null> => {
  const found = await c.get(key);
  return found === null ? null : Buffer.from(found.value).toString();
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cpfs-etcd-'));
  etcd = await startEtcd(join(folder, 'etcd'), join(folder, 'etcd.log'));
}, 60_000);
afterAll(async () => {
  await stopProcess(etcd, 5000);
  rmSync(folder, {recursive: true, force: true});
});

describe('etcd as the coordinator', () => {
  let c: Coordinator;
  beforeAll(async () => {
    c = await open(`etcd://${etcd.address}`);
  });
  afterAll(() => c.close());

  test('all puts happen or none, by the revisions of keys', async () => {
    const first = await c.commit([{key: 'a', revision: 0}], [put('a', '1'), put('b', '1')]);
    expect(first).toBeGreaterThan(0);
    expect(await c.commit([{key: 'a', revision: 0}], [put('a', '2'), put('b', '2')])).toBeNull();
    expect(await text(c, 'b')).toBe('1');
    const found = await c.get('a');
    expect(found!.revision).toBe(first);
    const next = await c.commit([{key: 'a', revision: first!}], [put('a', '3')], ['b']);
    expect(next).toBeGreaterThan(first!);
    expect([await text(c, 'a'), await c.get('b')]).toEqual(['3', null]);
  });

  test('a lease takes its keys with it: when it is not renewed, and when it is revoked', async () => {
    const lease = await c.grant(2000, 'leased');
    expect(lease.ttlMs).toBe(2000);
    await c.commit([], [{...put('leased', 'x'), lease}]);
    for (let i = 0; i < 4; i++) {
      await delay(700);
      expect(await lease.keepAlive()).toBe(2000);
    }
    expect(await text(c, 'leased')).toBe('x');
    await delay(3500);
    expect(await text(c, 'leased')).toBeNull();
    await expect(lease.keepAlive()).rejects.toThrow(FsError);
    await expect(
      c.commit([], [put('free', 'x'), {...put('leased', 'x'), lease}]),
    ).rejects.toMatchObject({errno: 'ENOENT'});
    expect(await text(c, 'free')).toBeNull();
    await lease.revoke();
    const other = await c.grant(5000, 'leased');
    await c.commit([], [{...put('leased', 'y'), lease: other}]);
    await other.revoke();
    expect(await text(c, 'leased')).toBeNull();
  }, 20_000);

  test('changes are told', async () => {
    const told: [string, string | null][] = [];
    const watch = c.watch('w/', (key, now) =>
      told.push([key, now === null ? null : Buffer.from(now.value).toString()]),
    );
    await delay(500);
    await c.commit([], [put('w/1', 'a'), put('x', 'b')]);
    await c.commit([], [], ['w/1']);
    await delay(500);
    watch.close();
    expect(told).toEqual([
      ['w/1', 'a'],
      ['w/1', null],
    ]);
  });

  test('one that is stopped is lost within its bound, and found again; a member that is away costs nothing but time', async () => {
    signal(etcd, 'SIGSTOP');
    const began = performance.now();
    await expect(c.get('a')).rejects.toThrow(Lost);
    expect(performance.now() - began).toBeLessThan(5000);
    await expect(c.commit([], [put('a', '4')])).rejects.toThrow(Lost);
    signal(etcd, 'SIGCONT');
    await delay(500);
    const two = await open(`etcd://127.0.0.1:1,${etcd.address}`);
    expect(await two.get('none')).toBeNull();
    await two.close();
  }, 20_000);
});

test('with a name and a password, and without them', async () => {
  const root = new Etcd3({hosts: `http://${etcd.address}`});
  await root.user('root').create('secret');
  await root.user('root').addRole('root');
  // As docs/coordinator.md says.
  for (const [who, permission] of [
    ['meta', 'Readwrite'],
    ['client', 'Read'],
  ] as const) {
    await root.role(who).create();
    await root.role(who).grant({permission, range: Range.prefix('/cpfs/')});
    await root.user(who).create('secret');
    await root.user(who).addRole(who);
  }
  await root.auth.authEnable();
  const file = join(folder, 'password');
  writeFileSync(file, 'secret\n');
  const as = (who: string): string => `etcd://${etcd.address}/?user=${who}&password-file=${file}`;
  const meta = await open(as('meta'));
  const client = await open(as('client'));
  const known = await open(`etcd://${etcd.address}/?user=root&password-file=${file}`);
  const unknown = await open(`etcd://${etcd.address}`);
  try {
    await known.commit([], [put('who', 'root')]);
    expect(await text(known, 'who')).toBe('root');
    await expect(unknown.get('who')).rejects.toThrow();
    const lease = await meta.grant(5000, '/cpfs/active');
    const active = {term: 1, node: 'n', address: '10.0.0.1:7400'};
    await meta.commit([], [{key: '/cpfs/active', value: encodeKey(active), lease}]);
    expect(await lease.keepAlive()).toBe(5000);
    expect(await new SystemResolver(systemClock).resolve(as('client'))).toEqual(['10.0.0.1:7400']);
    await expect(client.commit([], [put('/cpfs/active', 'x')])).rejects.toMatchObject({
      errno: 'EACCES',
    });
    await expect(meta.get('who')).rejects.toMatchObject({errno: 'EACCES'});
    await lease.revoke();
  } finally {
    await meta.close();
    await client.close();
    await known.close();
    await unknown.close();
    const admin = new Etcd3({
      hosts: `http://${etcd.address}`,
      auth: {username: 'root', password: 'secret'},
    });
    await admin.auth.authDisable();
    admin.close();
    root.close();
  }
}, 20_000);

test('over TLS, with a certificate of its own authority, and of the client', async () => {
  await shell(
    `openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt
     for who in server client; do
       openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key -out $who.csr
       printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > $who.ext
       openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $who.ext -out $who.crt
     done`,
    folder,
  );
  const [port, peer] = [23_790 + (process.pid % 1000) * 2, 23_791 + (process.pid % 1000) * 2];
  const at = `https://127.0.0.1:${port}`;
  const own: ChildProcess = spawn(
    'etcd',
    [
      ...['--data-dir', join(folder, 'tls'), '--listen-client-urls', at],
      ...['--advertise-client-urls', at, '--listen-peer-urls', `http://127.0.0.1:${peer}`],
      ...['--initial-advertise-peer-urls', `http://127.0.0.1:${peer}`],
      ...['--initial-cluster', `default=http://127.0.0.1:${peer}`, '--client-cert-auth'],
      ...['--cert-file', 'server.crt', '--key-file', 'server.key', '--trusted-ca-file', 'ca.crt'],
    ],
    {cwd: folder, stdio: 'ignore'},
  );
  try {
    const files = `ca=${folder}/ca.crt&cert=${folder}/client.crt&key=${folder}/client.key`;
    const c = await open(`etcds://127.0.0.1:${port}?${files}`);
    const bare = await open(`etcds://127.0.0.1:${port}?ca=${folder}/ca.crt`);
    let last: unknown = null;
    for (let tries = 0; tries < 20; tries++) {
      last = await c.commit([], [put('tls', 'yes')]).catch((error: unknown) => error);
      if (typeof last === 'number') break;
      await delay(300);
    }
    expect(last).toBeGreaterThan(0);
    expect(await text(c, 'tls')).toBe('yes');
    await expect(bare.get('tls')).rejects.toThrow();
    await c.close();
    await bare.close();
  } finally {
    own.kill('SIGKILL');
  }
}, 60_000);
