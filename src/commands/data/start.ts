import {hostname} from 'node:os';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, joinFlag, metaFlag, metas} from '../_base.js';
import {setting} from '../_settings.js';

export default class DataStart extends CpfsCommand {
  static override summary = 'Run a data server: columns of chunks as files in a folder.';
  static override examples = [
    '<%= config.bin %> data start --group 2 --state /srv/disk1 --meta 10.0.0.1:7400 --listen 10.0.0.5:7401',
  ];
  static override flags = {
    group: setting('data.group'),
    spare: setting('data.spare'),
    auto: setting('data.auto'),
    domain: setting('data.domain'),
    location: setting('data.location'),
    state: setting('data.state'),
    listen: setting('data.listen'),
    direct: setting('data.direct'),
    'leak-grace': setting('data.leak-grace'),
    io: setting('server.io'),
    'log-level': setting('log.level'),
    admin: setting('data.admin'),
    meta: metaFlag,
    join: joinFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(DataStart);
    flags.meta = await this.joined(flags.join, flags.meta);
    if (flags.meta === undefined) {
      throw new CliError('no meta server given; use --meta HOST:PORT or set CPFS_META', EXIT.usage);
    }
    if (flags.group === undefined && !flags.spare && !flags.auto) {
      throw new CliError(
        'no group given; use --group NUMBER, or --auto or --spare to wait for one',
        EXIT.usage,
      );
    }
    const {runData} = await import('../../roles/data/main.js');
    await runData({
      state: flags.state,
      listen: flags.listen,
      meta: metas(flags.meta),
      group: flags.group ?? 0,
      auto: flags.auto,
      domain: flags.domain ?? hostname().slice(0, 100),
      location: flags.location ?? hostname(),
      direct: flags.direct,
      leakGrace: flags['leak-grace'],
      io: flags.io,
      admin: flags.admin,
      logLevel: flags['log-level'],
      settings: () => this.settings(),
    });
  }
}
