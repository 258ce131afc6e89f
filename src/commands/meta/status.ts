import {Flags} from '@oclif/core';
import {EXIT} from '../../roles/cli-error.js';
import type {MetaStatus as Result} from '../../roles/meta/nodes.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class MetaStatus extends CpfsCommand {
  static override summary = 'Show the meta servers: which one is active, and who can take over.';
  static override examples = [
    '<%= config.bin %> meta status --meta 10.0.0.1:7400,10.0.0.2:7400',
    '<%= config.bin %> meta status -o json --exit-code',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    'exit-code': Flags.boolean({
      summary: `exit with ${EXIT.degraded} unless one is active and all others can take over, or with durability disk follow it`,
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(MetaStatus);
    const {metaStatus} = await import('../../roles/meta/nodes.js');
    const status = await metaStatus(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : table(status));
    if (status.servers.every(({role}) => role === 'away')) process.exitCode = EXIT.unavailable;
    else if (flags['exit-code'] && status.state !== 'ok') process.exitCode = EXIT.degraded;
  }
}

const DECIDES: Record<string, string> = {
  alone: 'there is one meta server',
  coordinator: 'the coordinator decides who is active',
  'by hand': 'an administrator decides who is active',
};

/** What is to be known of it while it does not answer all. */
function awayLine({coordinator, active}: Result): string[] {
  if (coordinator === null || coordinator.state === 'ok') return [];
  const {state, since, awayMs, servesMs} = coordinator;
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  const whom = state === 'away' ? 'any of them' : 'all of them';
  const goesOn =
    active === null
      ? 'nobody can become active until it answers one that may'
      : `the active one goes on for ${seconds(servesMs)} if it stays away, and nobody can take over until it is back`;
  return [
    `the coordinator has not answered ${whom} for ${seconds(awayMs)}, since ${since}: ${goesOn}`,
  ];
}

const DURABILITY: Record<string, string> = {
  disk: 'an fsync waits for the disk of the active one; none of the others takes over by itself',
  memory: 'an fsync waits for the memory of all in sync, disks follow',
  both: 'an fsync waits for the disk of the active one and the memory of all in sync',
};

const standing = ({inSync, follows}: Result['servers'][number]): string =>
  inSync ? 'in sync' : follows ? 'follows' : 'not in sync';

/** Of one server that is alone there is nothing to say. */
function durable({durability, durabilityNow, servers}: Result): string[] {
  if (servers.length < 2 || !(durability in DURABILITY)) return [];
  const alone = durability !== 'disk' && durabilityNow === 'disk';
  const now = alone ? ' (none is in sync now: for the disk of the active one)' : '';
  return [`durability ${durability}: ${DURABILITY[durability]}${now}`];
}

function table(status: Result): string {
  const {state, cluster, active, term, how, servers} = status;
  const rows = servers.map((one) => [
    one.address,
    one.role,
    one.role === 'away' ? '-' : String(one.sequence),
    one.role === 'standby' ? standing(one) : '',
    one.why,
  ]);
  return [
    `meta servers of cluster ${cluster === '' ? '-' : cluster}: ${state}; active: ${active ?? 'none'}, term ${term}; ${DECIDES[how] ?? 'nobody answers'}`,
    ...awayLine(status),
    ...durable(status),
    alignedRows([['ADDRESS', 'ROLE', 'RECORD', 'STATE', 'WHY'], ...rows]),
  ].join('\n');
}
