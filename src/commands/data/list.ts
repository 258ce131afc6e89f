import {formatSize} from '../../core/base/units.js';
import type {Status} from '../../roles/admin.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class DataList extends CpfsCommand {
  static override summary =
    'List the data servers: those in slots of groups, and those that wait for one.';
  static override examples = ['<%= config.bin %> data list --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(DataList);
    const {fetchStatus} = await import('../../roles/admin.js');
    const status = await fetchStatus(metas(flags.meta), flags.timeout * 1000);
    const {servers, waiting} = status;
    if (flags.output === 'json') this.log(JSON.stringify({version: 1, servers, waiting}, null, 2));
    else this.log(serverTable(status));
  }
}

function serverTable({servers, waiting, groups}: Status): string {
  const stateOf = (group: number, index: number): string => {
    const slot = groups.find(({id}) => id === group)?.slots[index];
    return slot?.state === 'ready' && slot.successor !== null ? 'draining' : (slot?.state ?? '');
  };
  const rows = [
    ['SLOT', 'STATE', 'ADDRESS', 'DOMAIN', 'USED', 'SIZE', 'ID'],
    ...servers.map((one) => [
      `${one.group}.${one.slot}`,
      stateOf(one.group, one.slot),
      one.address,
      one.domain,
      formatSize(one.usedBytes),
      formatSize(one.totalBytes),
      one.uuid,
    ]),
    ...waiting.map(({address: at, domain, totalBytes, freeBytes, uuid}) => [
      '-',
      'waiting',
      at,
      domain,
      formatSize(totalBytes - freeBytes),
      formatSize(totalBytes),
      uuid,
    ]),
  ];
  return alignedRows(rows);
}
