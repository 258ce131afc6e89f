import {Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {address, CpfsCommand, metaFlag} from '../_base.js';

export default class DataStart extends CpfsCommand {
  static override summary = 'Run a data server: columns of chunks as files in a folder.';
  static override examples = [
    '<%= config.bin %> data start --group 2 --state /srv/disk1 --meta 10.0.0.1:7400 --listen 10.0.0.5:7401',
  ];
  static override flags = {
    group: Flags.integer({
      summary: 'number of the group that it joins',
      required: true,
      min: 1,
      max: 65535,
    }),
    state: Flags.string({
      summary: 'folder for its columns',
      default: '/var/lib/cpfs/data',
      env: 'CPFS_STATE',
    }),
    listen: Flags.string({
      summary: 'address to listen on, HOST:PORT; clients must reach it',
      default: '127.0.0.1:7401',
    }),
    direct: Flags.boolean({
      summary: 'move large pieces past the page cache (O_DIRECT)',
    }),
    meta: metaFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(DataStart);
    if (flags.meta === undefined) {
      throw new CliError('no meta server given; use --meta HOST:PORT or set CPFS_META', EXIT.usage);
    }
    const {runData} = await import('../../roles/data/main.js');
    await runData({
      state: flags.state,
      listen: address(flags.listen, '--listen'),
      meta: address(flags.meta, '--meta'),
      group: flags.group,
      direct: flags.direct,
    });
  }
}
