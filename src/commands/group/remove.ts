import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class GroupRemove extends CpfsCommand {
  static override summary = 'Remove a group; what files have in it moves to other groups first.';
  static override description =
    'It gets no new files from now on. When nothing is left in it, which takes a minute at least, the group goes, and its servers can be stopped; ' +
    "they are taken back only emptied. 'cpfs rebalance status' shows how far it is, 'cpfs rebalance stop' ends it.";
  static override examples = [
    '<%= config.bin %> group remove 7 --meta 127.0.0.1:7400',
    '<%= config.bin %> group remove 2 --wait',
  ];
  static override args = {
    group: Args.integer({required: true, min: 1, description: 'its number'}),
  };
  static override flags = {
    meta: metaFlag,
    wait: Flags.boolean({summary: 'until the group is gone'}),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(GroupRemove);
    const {removeGroup} = await import('../../roles/servers.js');
    const {moved} = await import('../../roles/moves.js');
    const meta = metas(flags.meta);
    const task = await removeGroup(meta, flags.timeout * 1000, args.group);
    if (flags.wait && task > 0) await moved(meta, flags.timeout * 1000, task);
  }
}
