// Goal: what status, health and ok-to-stop say at each stage of the loss of a server. Method: a status by hand; health.txt has all that is said
// (CPFS_REWRITE=1 rewrites it: read the difference).
import {readFileSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import type {Status} from '../../src/roles/admin.js';
import {CODES, meaningOf} from '../../src/roles/health/codes.js';
import {healthOf} from '../../src/roles/health/findings.js';
import {okToStop} from '../../src/roles/health/ok-to-stop.js';
import type {MetaStatus} from '../../src/roles/meta/nodes.js';
import {statusTable} from '../../src/roles/status-table.js';
import {setSlot, statusModel} from '../support/status-model.js';

const FILE = new URL('../../../test/transcript/health.txt', import.meta.url);
const METAS: MetaStatus = {
  version: 1,
  state: 'ok',
  cluster: 'c0ffee',
  active: '10.0.0.1:7400',
  term: 3,
  how: 'coordinator',
  coordinator: null,
  durability: 'both',
  durabilityNow: 'both',
  servers: ['10.0.0.1:7400', '10.0.0.2:7400'].map((address, i) => ({
    address,
    role: i === 0 ? 'active' : 'standby',
    why: '',
    node: `m${i}`,
    release: '0.2.0',
    sequence: 10,
    inSync: true,
    follows: true,
    copies: 0,
    heardMs: null,
    coordinatorAwayMs: 0,
  })) as MetaStatus['servers'],
};

function said(title: string, status: Status, metas: MetaStatus, stop: readonly string[]): string {
  const health = healthOf(status, metas);
  return [
    `--- ${title}`,
    '$ cpfs status',
    statusTable(status),
    '$ cpfs health',
    `health: ${health.state}`,
    ...health.findings.map((one) => `${one.code}  ${one.severity}  ${one.subject}  ${one.text}`),
    ...stop.flatMap((server) => {
      const {ok, why} = okToStop(status, metas, server);
      return [`$ cpfs ok-to-stop ${server}`, `${ok ? 'ok' : 'not ok'}: ${why}`];
    }),
    '',
  ].join('\n');
}

function story(): string {
  const status = statusModel();
  const spare = {uuid: 'b0b0b0b0', address: '10.0.0.50:7401', domain: '', left: 0};
  const all: string[] = [];
  const tell = (title: string, stop: readonly string[], metas = METAS) =>
    all.push(said(title, status, metas, stop));
  tell('all is well', ['1.0', '10.0.0.1:7400']);
  setSlot(status, 1, 1, {state: 'away', connected: false, awaySeconds: 42});
  tell('a server has died', ['1.0', '1.1']);
  status.waiting = [{...spare, totalBytes: 0, freeBytes: 0}];
  tell('a spare waits', [spare.address]);
  setSlot(status, 1, 1, {state: 'recovering', connected: true, awaySeconds: null});
  Object.assign(status.servers[1]!, {left: 120, recoverySeconds: 0});
  tell('it is back', ['1.1', '1.2']);
  Object.assign(status.servers[1]!, {left: 80, recoverySeconds: 200, recoveryRate: 1e8});
  tell('it has been measured', []);
  status.recovery.paused = true;
  tell('paused', []);
  setSlot(status, 1, 3, {state: 'away', connected: false, awaySeconds: 4000});
  tell('another one dies before', ['1.0']);
  const meant = statusModel();
  setSlot(meant, 1, 1, {state: 'away', connected: false, awaySeconds: 42});
  const {uuid} = meant.servers[1]!;
  meant.maintenance = {servers: [uuid], secondsLeft: 3000, why: 'new fan'};
  all.push(said('a server is away by intent', meant, METAS, []));
  const held = statusModel();
  Object.assign(held, {phase: 'held', waitsFor: ['10.0.0.12:7401', '10.0.0.13:7401']});
  held.maintenance = {servers: [], secondsLeft: 30, why: ''};
  all.push(said('after a shutdown', held, METAS, []));
  const well = statusModel();
  Object.assign(well.servers[2]!, {freeBytes: 1, badBlocks: 3});
  Object.assign(well.scrub, {lost: 2, paused: true});
  well.sessions[0]!.idleMs = 90_000;
  well.recoveryLeft = 2;
  const [first, second] = METAS.servers;
  const alone = {
    ...METAS,
    servers: [first!, {...second!, role: 'away', inSync: false, follows: false} as const],
  };
  all.push(said('other things', well, alone, ['10.0.0.1:7400', '10.0.0.2:7400']));
  return `${all.join('\n')}`;
}

test('what is said at each stage is what health.txt says', () => {
  if (process.env.CPFS_REWRITE === '1') writeFileSync(FILE, story());
  expect(story()).toBe(readFileSync(FILE, 'utf8'));
});

test('a group of more slots than a file has columns is not failed, and yet bears nothing', () => {
  const status = statusModel(1, 7);
  setSlot(status, 1, 0, {state: 'recovering'});
  setSlot(status, 1, 1, {state: 'away', connected: false});
  status.groups[0]!.state = 'degraded';
  expect(okToStop(status, null, '1.0')).toMatchObject({ok: false});
  expect(okToStop(status, null, '1.2')).toMatchObject({ok: false});
  expect(okToStop(status, null, '1.1')).toMatchObject({ok: true});
});

test('a meta server that says nothing of redundancy: nothing is said to be ok', () => {
  const status = statusModel();
  status.groups[0]!.bears = null;
  expect(okToStop(status, null, '1.0')).toMatchObject({ok: false});
  expect(healthOf(status, null).state).toBe('ok');
});

test('every code that health can say is explained; without a meta server there is one, too', () => {
  expect(healthOf(null, null)).toMatchObject({state: 'error', findings: [{code: 'CPFS-1303'}]});
  for (const code of Object.keys(CODES)) expect(meaningOf(code)?.act).toMatch(/\.$/);
  expect(meaningOf('1001')?.code).toBe('CPFS-1001');
  expect(meaningOf('toString')).toBe(null);
});
