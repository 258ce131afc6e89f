import type {UpgradeStatus as Result} from '../../roles/upgrade.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class UpgradeStatus extends CpfsCommand {
  static override summary =
    'Show which releases take part, what is switched on, and what is to be done next.';
  static override examples = ['<%= config.bin %> upgrade status --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(UpgradeStatus);
    const {upgradeStatus} = await import('../../roles/upgrade.js');
    const status = await upgradeStatus(metas(flags.meta), flags.timeout * 1000);
    this.log(flags.output === 'json' ? JSON.stringify(status, null, 2) : text(status));
  }
}

export function text({state, next, nodes, features}: Result): string {
  const rows = nodes.map(({role, place, name, release, connected}) => [
    role,
    place,
    name,
    connected ? (release === '' ? 'older' : release) : 'away',
  ]);
  const switched = features.map(
    ({name, what, on, lacking}) =>
      `${name} (${what}): ${on ? 'on' : lacking.length === 0 ? 'off; all have it' : `off; not at ${lacking.join(', ')}`}`,
  );
  return [
    `upgrade: ${state}`,
    alignedRows([['ROLE', 'PLACE', 'NAME', 'RELEASE'], ...rows]),
    ...switched,
    ...(next === '' ? [] : [`next: ${next}`]),
  ].join('\n');
}
