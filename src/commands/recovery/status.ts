import {formatSize} from '../../core/base/units.js';
import type {Status} from '../../roles/admin.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class RecoveryStatus extends CpfsCommand {
  static override summary = 'Show which servers rebuild what they lack, and how far they are.';
  static override examples = ['<%= config.bin %> recovery status --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(RecoveryStatus);
    const {fetchStatus} = await import('../../roles/admin.js');
    const status = await fetchStatus(metas(flags.meta), flags.timeout * 1000);
    const {recovery, recoveryLeft} = status;
    const servers = recovering(status);
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, ...recovery, left: recoveryLeft, servers}, null, 2));
      return;
    }
    const how = recovery.paused ? 'paused' : `up to ${formatSize(recovery.rate)}/s for each server`;
    this.log(`recovery: ${how}, ${recoveryLeft} left`);
    if (servers.length > 0) this.log(table(servers));
  }
}

/** Servers that rebuild what they lack, or copy another one. */
function recovering({groups, servers, waiting}: Status) {
  const stateOf = (group: number, slot: number): string =>
    groups.find(({id}) => id === group)?.slots[slot]?.state ?? '';
  return [
    ...servers
      .filter(({group, slot}) => stateOf(group, slot) === 'recovering')
      .map(({group, slot, address: at, left, recoveryRate, recoverySeconds, givesWay}) => {
        const moves = {left, recoveryRate, recoverySeconds, givesWay};
        return {slot: `${group}.${slot}`, address: at, ...moves};
      }),
    ...groups.flatMap(({id, slots}) =>
      slots.flatMap(({index, successor}) => {
        const copier = waiting.find(({uuid}) => uuid === successor);
        if (copier === undefined) return [];
        const {address: at, left} = copier;
        const none = {recoveryRate: 0, recoverySeconds: 0, givesWay: false};
        return [{slot: `copy of ${id}.${index}`, address: at, left, ...none}];
      }),
    ),
  ];
}

function table(servers: ReturnType<typeof recovering>): string {
  const rows = servers.map(({slot, address: at, left, recoveryRate, recoverySeconds, givesWay}) => [
    slot,
    at,
    String(left),
    recoveryRate === 0 ? '-' : `${formatSize(recoveryRate)}/s`,
    recoverySeconds === 0 ? '-' : `${recoverySeconds} s`,
    givesWay ? 'gives way to clients' : '',
  ]);
  return alignedRows([['SLOT', 'ADDRESS', 'CHUNKS LEFT', 'RATE', 'TIME LEFT', ''], ...rows]);
}
