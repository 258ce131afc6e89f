import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class RebalancePause extends CpfsCommand {
  static override summary = 'Have nothing moved for now; every task keeps its place.';
  static override examples = ['<%= config.bin %> rebalance pause --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(RebalancePause);
    const {moves} = await import('../../roles/moves.js');
    await moves(metas(flags.meta), flags.timeout * 1000, {paused: 2});
  }
}
