import {Args} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class RebalanceStop extends CpfsCommand {
  static override summary = 'End a task for good; what it has moved stays where it is.';
  static override description = 'A group whose drain is stopped gets new files again.';
  static override examples = ['<%= config.bin %> rebalance stop 3 --meta 127.0.0.1:7400'];
  static override args = {
    task: Args.integer({
      required: true,
      min: 1,
      description: "as 'cpfs rebalance status' shows it",
    }),
  };
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(RebalanceStop);
    const {moves} = await import('../../roles/moves.js');
    await moves(metas(flags.meta), flags.timeout * 1000, {stop: args.task});
  }
}
