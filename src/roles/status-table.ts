import {formatSize} from '../core/base/units.js';
import type {Status} from './admin.js';
import {closedBecause} from './health/findings.js';
import {type Outlook, outlookOf, span} from './health/outlook.js';

/** The status for people. */
export function statusTable(status: Status): string {
  const lines = [
    `cluster ${status.cluster}: ${status.state}   epoch ${status.epoch}   scheme ${status.scheme}   files ${status.files}`,
  ];
  const closed = closedBecause(status);
  if (closed !== '') lines.push(`shut down: ${closed}`);
  lines.push(...glance(status));
  for (const group of status.groups) {
    lines.push(`group ${group.id}: ${group.state}`);
    for (const slot of group.slots) {
      const server = status.servers.find((s) => s.uuid === slot.server);
      const use =
        server === undefined
          ? ''
          : `${formatSize(server.usedBytes)} of ${formatSize(server.totalBytes)} used, ${server.badBlocks} bad blocks found${server.io === '' ? '' : `, ${server.io}`}`;
      lines.push(
        `  slot ${slot.index}  ${slot.state.padEnd(10)}  ${(slot.address ?? '-').padEnd(21)}  ${use}`.trimEnd(),
      );
    }
  }
  for (const server of status.waiting)
    lines.push(`without a slot: ${server.address}  ${formatSize(server.freeBytes)} free`);
  if (status.recoveryLeft > 0) lines.push(`recovery: ${status.recoveryLeft} left`);
  const {paused, running, bad, repaired, lost} = status.scrub;
  if (paused || running > 0 || bad > 0)
    lines.push(
      `scrub: ${paused ? 'paused' : running > 0 ? `running on ${running} servers` : 'idle'}, ${bad} bad blocks, ${repaired} repaired, ${lost} lost`,
    );
  lines.push(`sessions: ${status.sessions.length}`);
  for (const session of status.sessions) lines.push(`  ${sessionLine(session)}`);
  return lines.join('\n');
}

export const sessionLine = ({
  id,
  name,
  address: from,
  leases,
  opens,
}: Status['sessions'][number]): string =>
  `${id}  ${name}  ${from}  ${leases} leases, ${opens} open files`;

/** The newest ones that are missing, at most. */
const MISSING_MAX = 10;

/** Who is missing, what is at risk, and when that is over; nothing if nobody is. */
function glance(status: Status): string[] {
  const {missing, risk, safeAgain} = outlookOf(status);
  const shown = missing.slice(0, MISSING_MAX).map(missingLine);
  if (missing.length > MISSING_MAX) shown.push(`missing: ${missing.length - MISSING_MAX} more`);
  if (risk !== '') shown.push(`at risk: ${risk}`);
  if (safeAgain !== '') shown.push(`safe again: ${safeAgain}`);
  return shown;
}

function missingLine(one: Outlook['missing'][number]): string {
  const {group, slot, address, uuid, domain, state, since, awaySeconds} = one;
  const name = `server ${uuid.slice(0, 8)} at ${address}${domain === '' ? '' : ` (${domain})`}`;
  const time =
    since === null || awaySeconds === null
      ? ''
      : ` since ${since.slice(0, 19).replace('T', ' ')} UTC, ${span(awaySeconds)} ago`;
  const left = state === 'recovering' ? `, ${one.left} chunks left` : '';
  return `missing: slot ${group}.${slot}, ${name}: ${state}${time}${left}`;
}
