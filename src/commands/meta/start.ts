import {invalidLayout, parseScheme} from '../../core/layout/scheme.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, metas} from '../_base.js';
import {setting} from '../_settings.js';

export default class MetaStart extends CpfsCommand {
  static override summary = 'Run a meta server: the namespace, the cluster map, leases.';
  static override description =
    'Several meta servers with the same --coordinator are one: one of them is active, the others have everything that it has answered, and take over when ' +
    'it is gone. The first one is started without --join, the others with it. Without a coordinator, one with --join copies the active one, and takes over ' +
    "when an administrator says so ('cpfs meta promote').";
  static override examples = [
    '<%= config.bin %> meta start --state /var/lib/cpfs/meta --listen 10.0.0.1:7400',
    '<%= config.bin %> meta start --listen 10.0.0.1:7400 --coordinator etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379',
    '<%= config.bin %> meta start --listen 10.0.0.2:7400 --coordinator etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 --join 10.0.0.1:7400',
  ];
  static override flags = {
    state: setting('meta.state'),
    listen: setting('meta.listen'),
    advertise: setting('meta.advertise'),
    coordinator: setting('meta.coordinator'),
    join: setting('meta.join'),
    failover: setting('meta.failover'),
    'inline-backup': setting('meta.inline-backup'),
    durability: setting('meta.durability'),
    scheme: setting('meta.scheme'),
    'group-size': setting('meta.group-size'),
    'any-domain': setting('meta.any-domain'),
    'out-after': setting('meta.out-after'),
    unit: setting('meta.unit'),
    chunk: setting('meta.chunk'),
    io: setting('server.io'),
    'log-level': setting('log.level'),
    admin: setting('meta.admin'),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(MetaStart);
    const scheme = parseScheme(flags.scheme)!;
    const layout = {...scheme, unitBytes: flags.unit, chunkBytes: flags.chunk};
    const wrong = invalidLayout(layout);
    if (wrong !== null) throw new CliError(`this layout cannot be: ${wrong}`, EXIT.usage);
    if (scheme.k + scheme.m > flags['group-size']) {
      throw new CliError(
        `${flags.scheme} needs ${scheme.k + scheme.m} servers in a group, --group-size is ${flags['group-size']}`,
        EXIT.usage,
      );
    }
    if (flags.durability === 'memory' && flags.coordinator === undefined) {
      throw new CliError(
        "--durability memory needs --coordinator: without one nobody knows which meta server has what was answered; use 'both' or 'disk'",
        EXIT.usage,
      );
    }
    const {runMeta} = await import('../../roles/meta/main.js');
    const {isToken} = await import('../../roles/join.js');
    const {coordinatorUrl} = await import('../../roles/meta/coordinator.js');
    const {advertise, coordinator} = flags;
    // With a token it gets its keys, and is a standby of those who made it.
    const join =
      flags.join !== undefined && isToken(flags.join)
        ? await this.joined(flags.join, undefined)
        : flags.join;
    await runMeta({
      state: flags.state,
      listen: flags.listen,
      rootLayout: layout,
      groupSize: flags['group-size'],
      anyDomain: flags['any-domain'],
      outAfterMs: flags['out-after'] * 1000,
      advertise: advertise ?? null,
      coordinator: coordinator === undefined ? null : coordinatorUrl(coordinator),
      join: join === undefined ? null : metas(join, '--join'),
      failoverMs: flags.failover * 1000,
      inlineBackup: flags['inline-backup'],
      durability: flags.durability,
      io: flags.io,
      admin: flags.admin,
      logLevel: flags['log-level'],
      settings: () => this.settings(),
    });
  }
}
