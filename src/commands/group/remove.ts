import {Args} from '@oclif/core';
import {address, CpfsCommand, metaFlag, timeoutFlag} from '../_base.js';

export default class GroupRemove extends CpfsCommand {
  static override summary = 'Remove a group that has no servers and never had all of them.';
  static override examples = ['<%= config.bin %> group remove 7 --meta 127.0.0.1:7400'];
  static override args = {
    group: Args.integer({required: true, min: 1, description: 'its number'}),
  };
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(GroupRemove);
    const {removeGroup} = await import('../../roles/servers.js');
    await removeGroup(address(flags.meta, '--meta'), flags.timeout * 1000, args.group);
  }
}
