import {Args, Flags} from '@oclif/core';
import {CpfsCommand, metaFlag, metas, timeoutFlag} from '../_base.js';

export default class DataDrain extends CpfsCommand {
  static override summary =
    'Move everything off a healthy server: one that waits for a slot copies it, and takes its slot.';
  static override description =
    'Programs go on, and nothing is less redundant meanwhile, but for the chunks that change during the last moments. The server can be stopped when ' +
    "its slot has been taken ('data list' shows it no more); it is not taken back, unless its folder is emptied.";
  static override examples = [
    '<%= config.bin %> data drain 1.3 --wait --meta 127.0.0.1:7400',
    '<%= config.bin %> data drain 10.0.0.13:7401 --to 10.0.0.20:7401',
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
    to: Flags.string({
      summary:
        'address or id of the server that takes the slot; default: the one with the most room',
    }),
    wait: Flags.boolean({summary: 'return when the server can be stopped'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(DataDrain);
    const {drainServer, untilDrained} = await import('../../roles/servers.js');
    const meta = metas(flags.meta);
    const timeoutMs = flags.timeout * 1000;
    const place = await drainServer(meta, timeoutMs, {server: args.server, to: flags.to});
    if (!flags.wait) return;
    await untilDrained(meta, timeoutMs, place, (line) => process.stderr.write(`${line}\n`));
  }
}
