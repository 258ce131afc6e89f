import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class DataReplace extends CpfsCommand {
  static override summary =
    'Give the slot of a server that is away to one that waits for a slot; it rebuilds everything from the others.';
  static override description =
    'This happens by itself when a server has been away for some time (meta start --out-after) and a spare is there. The old server is not taken ' +
    'back afterwards, unless its folder is emptied.';
  static override examples = [
    '<%= config.bin %> data replace 1.3 --meta 127.0.0.1:7400',
    '<%= config.bin %> data replace 10.0.0.13:7401 --by 10.0.0.20:7401',
  ];
  static override args = {
    server: Args.string({
      required: true,
      description: 'GROUP.SLOT, address, or the beginning of the id',
    }),
  };
  static override flags = {
    meta: metaFlag,
    timeout: timeoutFlag,
    by: Flags.string({
      summary:
        'address or id of the server that takes the slot; default: the one with the most room',
    }),
    yes: Flags.boolean({summary: 'even if what only the old server has is lost'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DataReplace);
    const {replaceServer} = await import('../../roles/servers.js');
    const what = {server: args.server, by: flags.by, sure: flags.yes};
    await replaceServer(metas(flags.meta), flags.timeout * 1000, what);
  }
}
