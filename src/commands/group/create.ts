import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class GroupCreate extends CpfsCommand {
  static override summary = 'Add a group of slots for data servers, and print its number.';
  static override description =
    'Servers fill it that are started with this number (data start --group), and those that wait for a group (data start --auto). It gets new ' +
    'files when each slot has a server.';
  static override examples = [
    '<%= config.bin %> group create --meta 127.0.0.1:7400',
    '<%= config.bin %> group create 7 --slots 12',
  ];
  static override args = {
    group: Args.integer({min: 1, description: 'its number; default: the lowest free one'}),
  };
  static override flags = {
    meta: metaFlag,
    timeout: timeoutFlag,
    slots: Flags.integer({summary: 'data servers in it; default: as in other new groups', min: 1}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(GroupCreate);
    const {createGroup} = await import('../../roles/servers.js');
    const what = {id: args.group ?? 0, slots: flags.slots ?? 0};
    const id = await createGroup(metas(flags.meta), flags.timeout * 1000, what);
    this.log(String(id));
  }
}
