import {Flags} from '@oclif/core';
import {DURABILITIES} from '../../core/base/durability.js';
import {parseSize} from '../../core/base/units.js';
import {
  CHUNK_BYTES_DEFAULT,
  invalidLayout,
  parseScheme,
  UNIT_BYTES_DEFAULT,
} from '../../core/layout/scheme.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {address, CpfsCommand, metas} from '../_base.js';

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
    state: Flags.string({
      summary: 'folder of its store and log',
      default: '/var/lib/cpfs/meta',
      env: 'CPFS_STATE',
    }),
    listen: Flags.string({summary: 'address to listen on, HOST:PORT', default: '127.0.0.1:7400'}),
    advertise: Flags.string({
      summary: 'where others reach it, HOST:PORT, if that is not the address that it listens on',
    }),
    coordinator: Flags.string({
      summary:
        'who decides which meta server is active: etcd://HOST:PORT[,HOST:PORT...][/PREFIX], or etcds://...?ca=FILE&cert=FILE&key=FILE; ?user=NAME&password-file=FILE',
      env: 'CPFS_COORDINATOR',
    }),
    join: Flags.string({
      summary:
        'be a standby of the active meta server: copy what it has, and follow it; named as with --meta of the other commands',
    }),
    failover: Flags.integer({
      summary: 'seconds without a sign of life after which another one takes over',
      default: 3,
      min: 2,
      max: 60,
    }),
    'inline-backup': Flags.string({
      summary:
        "do data servers keep copies of files that are so short that they lie in the metadata, for 'cpfs meta rebuild'? The same with all meta servers",
      options: ['on', 'off'],
      default: 'on',
    }),
    durability: Flags.option({
      summary:
        "what an fsync waits for: the disk of the active meta server, the memory of all standbys in sync, or both; with 'disk' none of them takes over by itself",
      options: DURABILITIES,
      default: 'both',
    })(),
    scheme: Flags.string({
      summary:
        'how files are protected unless their folder says otherwise; read at the first start',
      default: '4+1',
    }),
    'group-size': Flags.integer({
      summary: 'data servers in a group; read at the first start',
      default: 5,
      min: 1,
      max: 255,
    }),
    'any-domain': Flags.boolean({
      summary: 'let servers of one group share a failure domain (a host): for trying things out',
    }),
    'out-after': Flags.integer({
      summary: 'seconds after which a spare takes the slot of a server that is away; 0: never',
      default: 600,
      min: 0,
      max: 30 * 86400,
    }),
    unit: Flags.string({
      summary: 'bytes of one column in one stripe; read at the first start',
      default: `${UNIT_BYTES_DEFAULT / 1024}KiB`,
    }),
    chunk: Flags.string({
      summary: 'bytes of a chunk; read at the first start',
      default: `${CHUNK_BYTES_DEFAULT / 1024 / 1024}MiB`,
    }),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(MetaStart);
    const scheme = parseScheme(flags.scheme);
    if (scheme === null)
      throw new CliError(
        `--scheme is DATA+REDUNDANCY, such as 4+1, not '${flags.scheme}'`,
        EXIT.usage,
      );
    const layout = {
      ...scheme,
      unitBytes: parseSize(flags.unit) ?? 0,
      chunkBytes: parseSize(flags.chunk) ?? 0,
    };
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
    const {coordinatorUrl} = await import('../../roles/meta/coordinator.js');
    const {advertise, coordinator, join} = flags;
    await runMeta({
      state: flags.state,
      listen: address(flags.listen, '--listen'),
      rootLayout: layout,
      groupSize: flags['group-size'],
      anyDomain: flags['any-domain'],
      outAfterMs: flags['out-after'] * 1000,
      advertise: advertise === undefined ? null : address(advertise, '--advertise'),
      coordinator: coordinator === undefined ? null : coordinatorUrl(coordinator),
      join: join === undefined ? null : metas(join, '--join'),
      failoverMs: flags.failover * 1000,
      inlineBackup: flags['inline-backup'] === 'on',
      durability: flags.durability,
    });
  }
}
