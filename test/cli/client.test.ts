// Goal: an administrator sees the clients and can end one that others wait for, without harm to anybody else.
import {readFileSync, writeFileSync} from 'node:fs';
import {open} from 'node:fs/promises';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import type {Status} from '../../src/roles/admin.js';
import type {DoctorResult} from '../../src/roles/doctor/main.js';
import {cpfs, DevCluster} from '../support/dev-cluster.js';

let cluster: DevCluster;
let other: string;
beforeAll(async () => {
  cluster = await DevCluster.up();
  other = await cluster.mountAgain('b');
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

const client = (...args: string[]) => cpfs('client', ...args, '--meta', cluster.meta);

async function idOf(mount: string): Promise<number> {
  const {sessions} = JSON.parse((await client('list', '-o', 'json')).stdout) as Status;
  return sessions.find(({name}) => name === `mount:${mount}`)!.id;
}

test('the clients are listed, for people and for programs', async () => {
  const table = await client('list');
  expect(table.code).toBe(0);
  for (const mount of [cluster.mount, other]) {
    expect(table.stdout).toContain(`mount:${mount}`);
    expect(await idOf(mount)).toBeGreaterThan(0);
  }
  expect((await cpfs('client', 'list')).code).toBe(2);
});

test('the machine of a mount is examined against its cluster', async () => {
  const ran = await cpfs('doctor', 'mount', '--meta', cluster.meta, '-o', 'json');
  const {findings, exit} = JSON.parse(ran.stdout) as DoctorResult;
  expect(ran.code).toBe(exit);
  const levels = new Map(findings.map(({check, level}) => [check, level]));
  for (const check of ['mount.device', 'mount.engine', 'reach.meta', 'release', 'clock.cluster'])
    expect([check, levels.get(check)]).toEqual([check, 'ok']);
  const nobody = await cpfs('doctor', 'data', '--meta', '127.0.0.1:1', '--state', cluster.folder);
  expect(nobody.code).toBe(1);
  expect(nobody.stdout).toMatch(/^error +reach.meta .*ECONNREFUSED/m);
  expect((await cpfs('doctor', 'spare')).code).toBe(2);
});

test('one that is alive and holds something is evicted only on demand; one that is not there, never', async () => {
  writeFileSync(join(other, 'held'), 'bytes');
  const id = await idOf(other);
  const refused = await client('evict', String(id));
  expect(refused.code).toBe(9);
  expect(refused.stderr).toMatch(/^cpfs: mount:.* is alive and holds \d+ leases: .*--yes.*\n$/);
  expect(await idOf(other)).toBe(id);
  const unknown = await client('evict', '123456', '--yes');
  expect([unknown.code, unknown.stderr.includes('no session 123456')]).toEqual([3, true]);
});

test('what it held is free at once, its programs get EIO, and it goes on with a new session (C60)', async () => {
  const before = await idOf(other);
  const file = await open(join(other, 'shared'), 'w');
  await file.write('not written back');
  expect((await client('evict', String(before), '--yes')).code).toBe(0);
  writeFileSync(join(cluster.mount, 'shared'), 'of the other one', {flush: true});
  await expect(file.sync()).rejects.toMatchObject({code: 'EIO'});
  await file.close().catch(() => {});
  expect(readFileSync(join(cluster.mount, 'shared'), 'utf8')).toBe('of the other one');
  expect(readFileSync(join(other, 'shared'), 'utf8')).toBe('of the other one');
  writeFileSync(join(other, 'after'), 'it');
  expect(readFileSync(join(cluster.mount, 'after'), 'utf8')).toBe('it');
  expect(await idOf(other)).toBeGreaterThan(before);
}, 60_000);
