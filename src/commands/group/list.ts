import {formatSize} from '../../core/base/units.js';
import type {Status} from '../../roles/admin.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class GroupList extends CpfsCommand {
  static override summary = 'List the groups of data servers.';
  static override examples = ['<%= config.bin %> group list --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(GroupList);
    const {fetchStatus} = await import('../../roles/admin.js');
    const status = await fetchStatus(metas(flags.meta), flags.timeout * 1000);
    const groups = status.groups.map((group) => summary(status, group.id));
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, groups}, null, 2));
      return;
    }
    const rows = groups.map(({id, state, slots, ready, freeBytes}) => [
      String(id),
      state,
      String(slots),
      String(ready),
      formatSize(freeBytes),
    ]);
    this.log(alignedRows([['GROUP', 'STATE', 'SLOTS', 'READY', 'FREE, LEAST'], ...rows]));
  }
}

function summary({groups, servers}: Status, id: number) {
  const {state, slots} = groups.find((group) => group.id === id)!;
  const free = servers.filter(({group}) => group === id).map(({freeBytes}) => freeBytes);
  return {
    id,
    state,
    slots: slots.length,
    ready: slots.filter((slot) => slot.state === 'ready').length,
    /** Of the server that has the least: that is full first. */
    freeBytes: free.length === 0 ? 0 : Math.min(...free),
  };
}
