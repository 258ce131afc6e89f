import {mkdtempSync, readdirSync, rmSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {GIB, MIB} from '../../../src/core/base/units.js';
import {EXIT} from '../../../src/roles/cli-error.js';
import {examine} from '../../../src/roles/doctor/main.js';
import {doctorSystem} from '../../../src/roles/doctor/real.js';
import type {
  DiskFacts,
  DoctorOptions,
  DoctorSystem,
  Level,
} from '../../../src/roles/doctor/system.js';

const DISK: DiskFacts = {
  folder: '/srv/disk1',
  there: true,
  type: 'xfs',
  options: ['rw', 'noatime'],
  totalBytes: 100 * GIB,
  freeBytes: 50 * GIB,
  writable: true,
  direct: true,
  syncMs: 1.5,
  cache: 'write back',
};
const FILES: Readonly<Record<string, string>> = {
  '/proc/filesystems': 'nodev\tproc\n\text4\nnodev\tfuse\n',
  '/proc/self/limits':
    'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 1048576              files     \nMax locked memory         65536                65536                bytes     \n',
  '/proc/meminfo': `MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n`,
  '/proc/self/cgroup': '0::/system.slice/cpfs.service\n',
  '/sys/fs/cgroup/system.slice/memory.max': 'max\n',
};

/** A machine where all is well, but for what the test says. */
function machine(
  other: Partial<DoctorSystem> = {},
  files: Record<string, string | null> = {},
): DoctorSystem {
  const all: Record<string, string | null> = {...FILES, ...files};
  return {
    root: true,
    release: '6.1.0-18-amd64',
    hasProgram: () => true,
    channel: () => null,
    portable: () => null,
    hostname: 'host7',
    ownRelease: '0.2.0',
    text: (path) => all[path] ?? null,
    opens: () => true,
    output: async (program) => (program === 'timedatectl' ? 'yes\n' : null),
    resolve: async () => ['10.0.0.7'],
    metas: async (names) => names.split(','),
    connects: async () => null,
    listens: async () => null,
    cluster: async () => ({release: '0.2.0', skewMs: 20, doubtMs: 1}),
    disk: async () => DISK,
    ring: () => true,
    ...other,
  };
}

const OPTIONS: DoctorOptions = {
  roles: ['meta', 'data', 'mount'],
  states: {meta: '/srv/meta', data: '/srv/disk1'},
  listen: {meta: '10.0.0.7:7400', data: '10.0.0.7:7401'},
  meta: '10.0.0.1:7400',
  direct: false,
};

/** What is not well: `level check`, with what it says and how it is mended. */
async function complaints(system: DoctorSystem, options: Partial<DoctorOptions> = {}) {
  const {findings, exit} = await examine({...OPTIONS, ...options}, system);
  for (const {level, mend} of findings) expect(mend === null).toBe(level === 'ok');
  const bad = findings.filter(({level}) => level !== 'ok');
  return {exit, said: bad.map(({level, check}) => `${level} ${check}`), text: JSON.stringify(bad)};
}

test('all is well: nothing to say, exit code 0; another role is not asked about what it does not need', async () => {
  expect(await complaints(machine())).toMatchObject({said: [], exit: EXIT.ok});
  const {findings} = await examine({...OPTIONS, roles: ['mount']}, machine());
  expect(
    findings.map(({check}) => check).filter((check) => /disk|ports|io_uring/.test(check)),
  ).toEqual([]);
  const alone = await examine({...OPTIONS, meta: null}, machine());
  expect(alone.findings.map(({check}) => check)).not.toContain('reach.meta');
});

type Case = [Level, string, Partial<DoctorSystem>, Record<string, string | null>?];
const cases: Case[] = [
  ['error', 'mount.device', {opens: () => false}],
  ['warning', 'mount.engine', {release: '4.19.0'}],
  ['error', 'mount.engine', {channel: () => 'not built', portable: () => 'not installed'}],
  ['warning', 'limits.nofile', {}, {'/proc/self/limits': 'Max open files  1024  4096  files\n'}],
  ['warning', 'limits.memory', {}, {'/proc/meminfo': 'MemAvailable:    1000000 kB\n'}],
  ['error', 'limits.memory', {}, {'/sys/fs/cgroup/system.slice/memory.max': `${512 * MIB}\n`}],
  ['warning', 'io_uring', {ring: () => false}],
  ['warning', 'ports.meta', {listens: async (at) => (at.endsWith('7400') ? 'EADDRINUSE' : null)}],
  ['error', 'ports.data', {listens: async (at) => (at.endsWith('7401') ? 'EADDRNOTAVAIL' : null)}],
  ['warning', 'names.own', {resolve: () => Promise.reject(new Error('ENOTFOUND'))}],
  ['warning', 'clock.service', {output: async () => null}],
  ['warning', 'clock.service', {output: async (p) => (p === 'timedatectl' ? 'no\n' : null)}],
  ['error', 'names.meta', {metas: () => Promise.reject(new Error('nobody says where that is'))}],
  ['error', 'reach.meta', {connects: async () => 'ECONNREFUSED'}],
  ['error', 'cluster', {cluster: () => Promise.reject(new Error('of a release too far'))}],
  ['warning', 'release', {cluster: async () => ({release: '0.3.0', skewMs: 0, doubtMs: 1})}],
  [
    'warning',
    'clock.cluster',
    {cluster: async () => ({release: '0.2.0', skewMs: -5000, doubtMs: 1})},
  ],
  [
    'error',
    'clock.cluster',
    {cluster: async () => ({release: '0.2.0', skewMs: 90_000, doubtMs: 1})},
  ],
];
test.each(cases)('%s %s, and nothing else', async (level, check, ...rest) => {
  const [other, files] = rest;
  const {said, exit} = await complaints(machine(other, files));
  expect(said).toEqual([`${level} ${check}`]);
  expect(exit).toBe(level === 'error' ? EXIT.failed : EXIT.degraded);
});

describe('a folder', () => {
  const disks: [Level, string, Partial<DiskFacts>][] = [
    ['error', 'disk.folder', {writable: false, direct: null, syncMs: null}],
    ['error', 'disk.kind', {type: 'tmpfs'}],
    ['error', 'disk.kind', {type: 'nfs4'}],
    ['error', 'disk.kind', {type: 'fuse.sshfs'}],
    ['error', 'disk.kind', {options: ['ro']}],
    ['error', 'disk.kind', {options: ['rw', 'nobarrier']}],
    ['warning', 'disk.kind', {type: 'btrfs'}],
    ['error', 'disk.space', {freeBytes: 100 * MIB}],
    ['warning', 'disk.space', {freeBytes: 5 * GIB}],
    ['warning', 'disk.direct', {direct: false}],
    ['warning', 'disk.sync', {syncMs: 0.01}],
    ['warning', 'disk.sync', {syncMs: 45}],
  ];
  test.each(disks)('%s %s for %j', async (level, check, facts) => {
    const {said} = await complaints(machine({disk: async () => ({...DISK, ...facts})}), {
      roles: ['data'],
    });
    expect(said).toEqual([`${level} ${check}`]);
  });

  test('without direct I/O a server that is to use it does not start', async () => {
    const system = machine({disk: async () => ({...DISK, direct: false})});
    const {said} = await complaints(system, {roles: ['data'], direct: true});
    expect(said).toEqual(['error disk.direct']);
  });
});

test('without root: the helper, and who may use the mount', async () => {
  const user = {root: false, hasProgram: () => true};
  const mount = {roles: ['mount'] as const};
  expect((await complaints(machine(user), mount)).said).toEqual(['warning mount.allow-other']);
  const allowed = machine(user, {'/etc/fuse.conf': '# comment\nuser_allow_other\n'});
  expect((await complaints(allowed, mount)).said).toEqual([]);
  const none = machine({...user, hasProgram: () => false});
  expect((await complaints(none, mount)).text).toContain('install the package fuse3');
});

test('locked memory counts for the io_uring of old kernels only, and not for root', async () => {
  const data = {roles: ['data'] as const};
  const old = {release: '5.10.0', root: false};
  expect((await complaints(machine(old), data)).said).toEqual(['warning limits.memlock']);
  expect((await complaints(machine({...old, root: true}), data)).said).toEqual([]);
  expect((await complaints(machine({...old, release: '5.12.0'}), data)).said).toEqual([]);
});

test('an address that others cannot reach, but for a cluster of this machine alone', async () => {
  const listen = {meta: '127.0.0.1:7400', data: '127.0.0.1:7401'};
  const data = {roles: ['data'] as const, listen};
  expect((await complaints(machine(), data)).said).toEqual(['warning ports.data.reach']);
  expect((await complaints(machine(), {...data, meta: '127.0.0.1:7400'})).said).toEqual([]);
});

test('one meta server of several that does not answer is a warning; a clock is only off by more than is not known', async () => {
  const one = {connects: async (at: string) => (at.startsWith('10.0.0.2') ? 'ECONNREFUSED' : null)};
  const meta = '10.0.0.1:7400,10.0.0.2:7400';
  expect((await complaints(machine(one), {meta})).said).toEqual(['warning reach.meta']);
  const slow = machine({cluster: async () => ({release: '0.2.0', skewMs: 1500, doubtMs: 900})});
  expect((await complaints(slow)).said).toEqual([]);
});

test('the real machine: a folder is measured and left as it was, ports are tried', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cpfs-doctor-'));
  try {
    const system = doctorSystem(2000);
    const facts = await system.disk(join(folder, 'not/there'));
    expect(facts).toMatchObject({folder, there: false, writable: true});
    expect(facts.type).not.toBe('');
    expect(facts.syncMs).toBeGreaterThan(0);
    expect(facts.freeBytes).toBeLessThanOrEqual(facts.totalBytes);
    expect(readdirSync(folder)).toEqual([]);
    expect(system.text('/proc/self/limits')).toContain('Max open files');
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const {port} = server.address() as {port: number};
    const address = `127.0.0.1:${port}`;
    expect([await system.connects(address), await system.listens(address)]).toEqual([
      null,
      'EADDRINUSE',
    ]);
    await new Promise((resolve) => server.close(resolve));
    expect([await system.connects(address), await system.listens(address)]).toEqual([
      'ECONNREFUSED',
      null,
    ]);
  } finally {
    rmSync(folder, {recursive: true});
  }
});
