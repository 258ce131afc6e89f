import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class RebalanceResume extends CpfsCommand {
  static override summary = 'Go on with what is to be moved.';
  static override examples = ['<%= config.bin %> rebalance resume --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(RebalanceResume);
    const {moves} = await import('../../roles/moves.js');
    await moves(metas(flags.meta), flags.timeout * 1000, {paused: 1});
  }
}
