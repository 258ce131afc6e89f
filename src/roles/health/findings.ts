import {formatSize} from '../../core/base/units.js';
import type {Status} from '../admin.js';
import type {MetaStatus} from '../meta/nodes.js';
import {CODES, type Code, type Severity} from './codes.js';
import {outlookOf, span} from './outlook.js';

export interface Finding {
  code: Code;
  severity: Severity;
  /** What it is about: a slot, a group, a client. */
  subject: string;
  text: string;
}

/** What `cpfs health -o json` prints. Stable: fields are added, never changed. */
export interface Health {
  version: 1;
  state: 'ok' | 'warning' | 'error';
  findings: Finding[];
}

const SILENT_MS = 15_000;
const NEARLY_FULL = 0.1;
const FULL = 0.02;
const RANKS: readonly Severity[] = ['error', 'warning', 'note'];

const finding = (
  code: Code,
  subject: string,
  text: string,
  severity: Severity = CODES[code].severity,
): Finding => ({code, severity, subject, text});

/** What is wrong with a cluster, the worst first. `status` null: no meta server is active. */
export function healthOf(status: Status | null, metas: MetaStatus | null): Health {
  const findings = [
    ...(status === null
      ? [finding('CPFS-1303', 'meta servers', CODES['CPFS-1303'].title)]
      : [
          ...ofLife(status),
          ...ofGroups(status),
          ...ofServers(status),
          ...ofScrub(status),
          ...ofClients(status),
        ]),
    ...ofMetas(metas),
  ];
  findings.sort((a, b) => RANKS.indexOf(a.severity) - RANKS.indexOf(b.severity));
  const worst = findings[0]?.severity ?? 'note';
  return {version: 1, state: worst === 'note' ? 'ok' : worst, findings};
}

const WAITED_FOR_MAX = 5;

/** Why a cluster that was shut down does not serve; empty: it does. */
export function closedBecause({phase, waitsFor}: Status): string {
  if (phase === 'open') return '';
  if (phase === 'flushing') return 'clients write back';
  if (phase === 'closed') return 'it is closed';
  const more = waitsFor.length - WAITED_FOR_MAX;
  return `it waits for ${waitsFor.slice(0, WAITED_FOR_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function* ofLife(status: Status): Generator<Finding> {
  const {maintenance, servers} = status;
  const closed = closedBecause(status);
  if (closed !== '') yield finding('CPFS-1008', 'cluster', closed);
  if (maintenance === null) return;
  const meant = servers.filter(({uuid}) => maintenance.servers.includes(uuid));
  const who = meant.length === 0 ? 'all servers' : meant.map(({address}) => address).join(', ');
  const why = maintenance.why === '' ? '' : ` (${maintenance.why})`;
  yield finding('CPFS-1007', 'cluster', `${who}${why}, for ${span(maintenance.secondsLeft)} yet`);
}

function* ofGroups(status: Status): Generator<Finding> {
  const {missing} = outlookOf(status);
  for (const {id, state, bears} of status.groups) {
    if (state === 'creating')
      yield finding('CPFS-1006', `group ${id}`, 'not every slot has a server yet');
    const lacking = missing.filter(({group}) => group === id);
    if (state === 'failed')
      yield finding('CPFS-1003', `group ${id}`, `${lacking.length} of its servers are not there`);
    else if (bears !== null && bears <= 0 && lacking.length > 0)
      yield finding('CPFS-1002', `group ${id}`, 'it bears no more loss');
  }
  for (const one of missing) {
    const {group, slot, address, state, awaySeconds, left, secondsLeft, byIntent} = one;
    const where = `slot ${group}.${slot}`;
    if (state === 'away') {
      const time = awaySeconds === null ? '' : ` for ${span(awaySeconds)}`;
      // Who has said that it would be away needs no warning of it.
      if (byIntent) yield finding('CPFS-1001', where, `${address} is away${time}`, 'note');
      else yield finding('CPFS-1001', where, `${address} is away${time}`);
    } else {
      const time = secondsLeft === 0 ? '' : `, about ${span(secondsLeft)}`;
      yield finding('CPFS-1004', where, `${address} has ${left} chunks left${time}`);
    }
  }
  if (status.recovery.paused && missing.length > 0)
    yield finding(
      'CPFS-1005',
      'cluster',
      missing.length === 1
        ? 'a server lacks something'
        : `${missing.length} servers lack something`,
    );
}

function* ofServers({servers}: Status): Generator<Finding> {
  for (const {group, slot, address, connected, totalBytes, freeBytes, badBlocks} of servers) {
    const where = `slot ${group}.${slot}`;
    const free = totalBytes === 0 ? 1 : freeBytes / totalBytes;
    const text = `${address} has ${formatSize(freeBytes)} of ${formatSize(totalBytes)} free`;
    if (connected && free < FULL) yield finding('CPFS-1102', where, text);
    else if (connected && free < NEARLY_FULL) yield finding('CPFS-1101', where, text);
    if (badBlocks > 0)
      yield finding('CPFS-1103', where, `${badBlocks} on ${address} since it was started`);
  }
}

function* ofScrub({scrub}: Status): Generator<Finding> {
  if (scrub.lost > 0) yield finding('CPFS-1104', 'scrub', `${scrub.lost} blocks`);
  if (scrub.paused) yield finding('CPFS-1105', 'scrub', 'nothing is gone through');
}

function* ofClients({sessions}: Status): Generator<Finding> {
  for (const {id, name, leases, idleMs} of sessions) {
    if (idleMs < SILENT_MS || leases === 0) continue;
    const text = `${name} was last heard of ${span(idleMs / 1000)} ago, and holds ${leases} leases`;
    yield finding('CPFS-1201', `client ${id}`, text);
  }
}

function* ofMetas(metas: MetaStatus | null): Generator<Finding> {
  if (metas === null) return;
  for (const {address, role, why, inSync, follows} of metas.servers) {
    if (role === 'active' || inSync || follows) continue;
    yield finding(
      'CPFS-1301',
      address,
      why || (role === 'away' ? 'it does not answer' : 'it is behind'),
    );
  }
  const {coordinator} = metas;
  if (coordinator !== null && coordinator.state !== 'ok')
    yield finding(
      'CPFS-1302',
      'coordinator',
      `it has not answered for ${span(coordinator.awayMs / 1000)}`,
    );
}
