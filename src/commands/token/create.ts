import {Flags} from '@oclif/core';
import {isRights, JOIN_ROLES, RIGHTS} from '../../core/base/identity.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, keysFile, keysFlag, metaFlag, metas, timeoutFlag} from '../_base.js';
import {durationMs} from '../_duration.js';
import {limitFlags, limitsOf} from '../_limits.js';

export default class TokenCreate extends CpfsCommand {
  static override summary = 'Make a token with which a machine joins the cluster, and print it.';
  static override description =
    'The token is one string, and secret: it gets who has it the keys of a server (data, meta), or a credential (client). It is good for so many machines, until it expires or ' +
    'is revoked; the meta servers keep count. It is made on a machine that has the key of the cluster.';
  static override examples = [
    '<%= config.bin %> token create --role data --expires 1h',
    '<%= config.bin %> token create --role client --rights rw --path /projects/shop --uses 20 --expires 1d',
  ];
  static override flags = {
    role: Flags.string({
      summary: 'what a machine with it becomes',
      options: [...JOIN_ROLES],
      required: true,
    }),
    expires: Flags.string({summary: 'how long it is good: 90s, 10m, 1h, 7d', default: '1h'}),
    uses: Flags.integer({summary: 'for how many machines', default: 1, min: 1}),
    name: Flags.string({summary: "of the clients' credentials; else that of the machine"}),
    rights: Flags.string({
      summary: 'of clients',
      options: [...RIGHTS],
      default: 'rw',
    }),
    ...limitFlags,
    keys: keysFlag,
    meta: metaFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(TokenCreate);
    const {createToken} = await import('../../roles/tokens.js');
    const role = JOIN_ROLES.find((one) => one === flags.role)!;
    if (!isRights(flags.rights)) throw new CliError('no such rights', EXIT.usage);
    const limits = limitsOf(flags);
    if (role !== 'client' && limits !== undefined)
      throw new CliError('only clients have limits; use --role client', EXIT.usage);
    const {id, text} = await createToken(
      metas(flags.meta),
      flags.timeout * 1000,
      keysFile(flags.keys),
      {
        ...{role, uses: flags.uses, name: flags.name ?? '', rights: flags.rights, limits},
        lastsMs: durationMs(flags.expires, '--expires'),
      },
    );
    process.stderr.write(
      `token ${id}, good for ${flags.uses} in the next ${flags.expires}: on the machine run 'cpfs join TOKEN'\n`,
    );
    this.log(text);
  }
}
