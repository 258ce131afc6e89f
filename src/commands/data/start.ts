import {hostname} from 'node:os';
import {Flags} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {address, CpfsCommand, metaFlag, metas} from '../_base.js';

export default class DataStart extends CpfsCommand {
  static override summary = 'Run a data server: columns of chunks as files in a folder.';
  static override examples = [
    '<%= config.bin %> data start --group 2 --state /srv/disk1 --meta 10.0.0.1:7400 --listen 10.0.0.5:7401',
  ];
  static override flags = {
    group: Flags.integer({
      summary: 'number of the group that it joins',
      min: 1,
      max: 65535,
    }),
    spare: Flags.boolean({
      summary: 'without a group: take the slot of a server that stays away, or that is drained',
      exclusive: ['group', 'auto'],
    }),
    auto: Flags.boolean({
      summary: 'without a group: be a spare, or one of a new group when there are enough',
      exclusive: ['group', 'spare'],
    }),
    domain: Flags.string({
      summary: 'what is lost together with this server: a rack, say; default: the name of the host',
      env: 'CPFS_DOMAIN',
    }),
    location: Flags.string({
      summary:
        'where it is, the largest place first (room1/rack3/host7): of copies, clients read near ones; default: the name of the host',
      env: 'CPFS_LOCATION',
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
    'leak-grace': Flags.integer({
      summary:
        'seconds for which a file must be gone before columns that were left of it are removed',
      default: 3600,
      min: 1,
      env: 'CPFS_LEAK_GRACE',
    }),
    meta: metaFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(DataStart);
    if (flags.meta === undefined) {
      throw new CliError('no meta server given; use --meta HOST:PORT or set CPFS_META', EXIT.usage);
    }
    if (flags.group === undefined && !flags.spare && !flags.auto) {
      throw new CliError(
        'no group given; use --group NUMBER, or --auto or --spare to wait for one',
        EXIT.usage,
      );
    }
    const domain = flags.domain ?? hostname();
    if (domain.length > 100)
      throw new CliError('--domain is a word of at most 100 characters', EXIT.usage);
    const {parseLocation} = await import('../../roles/location.js');
    const location = parseLocation(flags.location ?? hostname(), '--location');
    const {runData} = await import('../../roles/data/main.js');
    await runData({
      state: flags.state,
      listen: address(flags.listen, '--listen'),
      meta: metas(flags.meta),
      group: flags.group ?? 0,
      auto: flags.auto,
      domain,
      location,
      direct: flags.direct,
      leakGrace: flags['leak-grace'],
    });
  }
}
