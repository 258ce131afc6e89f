import {Flags} from '@oclif/core';
import {formatSize} from '../core/base/units.js';
import type {Status as StatusResult} from '../roles/admin.js';
import {EXIT} from '../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';

export default class Status extends CpfsCommand {
  static override summary = 'Show the state of the cluster: groups, servers, sessions.';
  static override examples = [
    '<%= config.bin %> status --meta 127.0.0.1:7400',
    '<%= config.bin %> status -o json --exit-code',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    'exit-code': Flags.boolean({
      summary: `exit with ${EXIT.degraded} when the cluster is not whole`,
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Status);
    const {fetchStatus} = await import('../roles/admin.js');
    const status = await fetchStatus(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : statusTable(status));
    if (flags['exit-code'] && status.state !== 'ok') process.exitCode = EXIT.degraded;
  }
}

/** The status for people. */
export function statusTable(status: StatusResult): string {
  const lines = [
    `cluster ${status.cluster}: ${status.state}   epoch ${status.epoch}   scheme ${status.scheme}   files ${status.files}`,
  ];
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
}: StatusResult['sessions'][number]): string =>
  `${id}  ${name}  ${from}  ${leases} leases, ${opens} open files`;
