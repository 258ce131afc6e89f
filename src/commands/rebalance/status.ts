import {formatSize} from '../../core/base/units.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class RebalanceStatus extends CpfsCommand {
  static override summary =
    'Show what is being moved: rebalances, conversions of layouts, groups that are to be removed.';
  static override examples = ['<%= config.bin %> rebalance status --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(RebalanceStatus);
    const {moves} = await import('../../roles/moves.js');
    const status = await moves(metas(flags.meta), flags.timeout * 1000);
    if (flags.output === 'json') {
      this.log(JSON.stringify(status, null, 2));
      return;
    }
    const {paused, rate, tasks} = status;
    this.log(`moves: ${paused ? 'paused' : `at most ${formatSize(rate)}/s`}`);
    if (tasks.length === 0) return;
    const rows = tasks.map(({id, kind, group, inode, state, objects, bytes, failed, reason}) => [
      String(id),
      group > 0 ? `${kind} of group ${group}` : inode > 0 ? `${kind} of inode ${inode}` : kind,
      state,
      String(objects),
      formatSize(bytes),
      failed === 0 ? '-' : `${failed} (${reason})`,
    ]);
    this.log(alignedRows([['TASK', 'WHAT', 'STATE', 'FILES', 'BYTES', 'NOT MOVED'], ...rows]));
  }
}
