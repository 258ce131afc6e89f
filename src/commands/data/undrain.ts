import {Args} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class DataUndrain extends CpfsCommand {
  static override summary = "Keep a server that is being drained ('data drain') in its slot.";
  static override examples = ['<%= config.bin %> data undrain 1.3 --meta 127.0.0.1:7400'];
  static override args = {
    server: Args.string({
      required: true,
      description: 'GROUP.SLOT, address, or the beginning of the id',
    }),
  };
  static override flags = {meta: metaFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DataUndrain);
    const {undrainServer} = await import('../../roles/servers.js');
    await undrainServer(metas(flags.meta), flags.timeout * 1000, args.server);
  }
}
